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

std::optional<Definitions> kept;
int64 kept_version = -1;
bool stale = false;
bool listening = false;

int OrderTexts(std::string_view a, std::string_view b) {
    return pg::Call([&] {
        return varstr_cmp(a.data(), static_cast<int>(a.size()), b.data(), static_cast<int>(b.size()), DEFAULT_COLLATION_OID);
    });
}

/// Somebody changed a function or a type (conditions call them), a role, or the table cdp.profile.
void OnCatalogChange(Datum, int, uint32) { stale = true; }
void OnTableChange(Datum, Oid relation) {
    if (!kept || !OidIsValid(relation) || relation == kept->traits->profile_table()) stale = true;
}

void Listen() {
    if (listening) return;
    pg::Call([] {
        for (const int cache : {PROCOID, TYPEOID, AUTHOID}) CacheRegisterSyscacheCallback(cache, OnCatalogChange, Datum(0));
        CacheRegisterRelcacheCallback(OnTableChange, Datum(0));
    });
    profile::text_order = OrderTexts;
    listening = true;
}

}  // namespace

Definitions& Current() {
    static pg::Statement version("SELECT last_value FROM cdp.configuration_seq");
    Listen();
    const int64 now = version.Query().Int8(0, 1);
    if (kept && !stale && now == kept_version) return *kept;
    kept.reset();
    stale = false;
    Definitions fresh;
    fresh.rules = identity::Rules::Load();
    fresh.traits = profile::Traits::Load();
    fresh.segments = segment::Segments::Load(*fresh.traits);
    kept = std::move(fresh);
    kept_version = now;
    return *kept;
}

void ForgetCaches() {
    stale = true;
    collect::MessageKeys::Forget();
}

void TouchConfiguration() { pg::Query("SELECT nextval('cdp.configuration_seq')"); }

}  // namespace cdp::pipeline
