// pipeline/definitions_pg.cpp: see definitions_pg.hpp.
#include "pipeline/definitions_pg.hpp"

#include "collect/message_keys_pg.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
}

namespace cdp::pipeline {

namespace {

/// Something read once for a version of the configuration.
template <class T>
struct Kept {
    std::optional<T> value;
    int64 version = 0;
    bool stale = false;
    SubTransactionId read_in = InvalidSubTransactionId;  // while the transaction that read it goes on

    template <class F>
    T& Get(F&& load) {
        static pg::Statement ask("SELECT version FROM cdp.configuration");
        const int64 now = ask.Query().Int8(0, 1);
        if (!value || stale || now != version) {
            value.reset();
            stale = false;  // whatever changes from here on makes it stale again
            value.emplace(load());
            version = now;
            read_in = GetCurrentSubTransactionId();
        }
        return *value;
    }
    void Forget(SubTransactionId from) {
        if (read_in >= from) stale = true;
    }
};

Kept<Definitions> definitions;
Kept<identity::Rules> rules;
bool listening = false;

int OrderTexts(std::string_view a, std::string_view b) {
    return pg::Call([&] {
        return varstr_cmp(a.data(), static_cast<int>(a.size()), b.data(), static_cast<int>(b.size()), DEFAULT_COLLATION_OID);
    });
}

/// Somebody changed a function or a type (conditions call them), a schema's rights, a role, or the table cdp.profile, or one that
/// segments follow.
void OnCatalogChange(Datum, int, uint32) { definitions.stale = true; }
void OnTableChange(Datum, Oid relation) {
    if (!definitions.value || !OidIsValid(relation) || relation == definitions.value->traits->profile_table() ||
        definitions.value->segments->ReadsTable(relation))
        definitions.stale = true;
}

void Listen() {
    if (listening) return;
    pg::Call([] {
        for (const int cache : {PROCOID, TYPEOID, NAMESPACEOID, AUTHOID, AUTHMEMROLEMEM}) CacheRegisterSyscacheCallback(cache, OnCatalogChange, Datum(0));
        CacheRegisterRelcacheCallback(OnTableChange, Datum(0));
    });
    profile::text_order = OrderTexts;
    listening = true;
}

}  // namespace

Definitions& Current() {
    Listen();
    return definitions.Get([] {
        Definitions fresh;
        fresh.rules = identity::Rules::Load();
        fresh.traits = profile::Traits::Load();
        fresh.segments = segment::Segments::Load(*fresh.traits);
        if (fresh.segments->AnyByClock()) fresh.traits->UseClock();
        fresh.purposes = govern::Purposes::Load();
        fresh.destinations = activate::Destinations::Load(fresh.traits.get());
        return fresh;
    });
}

const identity::Rules& CurrentRules() {
    return rules.Get([] { return identity::Rules::Load(); });
}

void ForgetCaches(SubTransactionId from) {
    definitions.Forget(from);
    rules.Forget(from);
    collect::MessageKeys::Forget();
}

void KeepCaches() { definitions.read_in = rules.read_in = InvalidSubTransactionId; }

void ForgetAllCaches() {
    definitions.stale = rules.stale = true;
    collect::MessageKeys::Forget();
}

void TouchConfiguration() {
    pg::Query("SELECT cdp.touch_configuration()");
    // Whatever comes of this transaction: what was changed in memory is not to be believed.
    definitions.stale = true;
}

}  // namespace cdp::pipeline
