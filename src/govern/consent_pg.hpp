// govern/consent_pg.hpp: purposes, the ledger of what people said of them, and what holds now.
//
// A statement is of a contact point: a type of identifiers and a value. It holds for whoever has that, and nobody may
// yet. cdp.consent and cdp.suppressed_profile follow from the ledger, the list of suppressions and cdp.identifier;
// messages and merges change them by what is new, everything else computes its people afresh.
#pragma once

#include <functional>

#include "govern/consent.hpp"
#include "identity/rules_pg.hpp"
#include "pg/expression.hpp"
#include "profile/traits_pg.hpp"

namespace cdp::govern {

struct Purpose {
    std::string name;
    bool opt_out;
    bool operator==(const Purpose&) const = default;
};

/// Whether somebody consents to a purpose: on a channel, or on every one.
struct ConsentQuestion {
    Purpose purpose;
    std::optional<std::string> channel;
    bool operator==(const ConsentQuestion&) const = default;
};

/// What may be consented to.
class Purposes {
public:
    static Purposes Load();

    bool empty() const { return all_.empty(); }
    /// Nullptr: there is none of that name.
    const Purpose* Named(std::string_view name) const;

private:
    std::vector<Purpose> all_;
};

/// That there is no such purpose.
Error NoPurpose(std::string_view name);

/// What the call of consented() that is the special call number `call` asks. Throws, with its position, if there is no
/// such purpose.
ConsentQuestion ConsentAt(const pg::Condition& condition, size_t call, const Purposes& purposes);

/// A condition of SQL: whether `person` (an SQL expression: a profile id) consents. The same as Answers::Covers.
std::string CoversSql(const std::string& person, const ConsentQuestion& question, const std::string& consents = "cdp.consent");

/// A contact point as it stands in the ledger, and whose it is.
struct Contact {
    std::string type, value;
    std::optional<int64> profile_id;
};

/// The contact point that somebody names. Throws if it can identify nobody.
Contact ContactNamed(const identity::Rules& rules, std::string_view type, std::string_view value);

/// Whether anybody ever said anything or is suppressed. If not, people and identifiers change as if all this were not there.
bool ConsentsInUse();

/// Somebody has said something more, which is in the ledger as `record_id`. Whether something else holds for them by that.
bool TakeAnswer(int64 profile_id, const std::string& purpose, const std::optional<std::string>& channel, const Statement& statement, int64 record_id);

/// Works out what holds for people afresh, from the ledger. Those who are gone leave.
void ComputeConsents(std::span<const int64> people);

/// The profiles in the staged rows cdp_batch_merge are their survivors now, as their identifiers are already.
void MergeConsents();

/// What the messages of a batch say of consent (context.consent.categoryPreferences), on its way to the ledger.
class BatchConsents {
public:
    explicit BatchConsents(const Purposes& purposes) : purposes_(purposes) {}

    /// Notes what an event says, if anything; of the contact point that is its strongest identifier, `entry` of the batch's.
    void Take(const profile::EventRow& event, int entry);

    /// Brings ledger and people up to date with the batch, after its identifiers are written. `first_new`: from this profile on all are
    /// new. `any_gone`: see MergeConsents. Returns for whom something else may hold now, beside those merged; ascending.
    std::vector<int64> Write(identity::BatchIdentifiers& identifiers, const std::function<int64(int entry)>& profile_of, int64 first_new, bool any_gone);

private:
    struct Said {
        profile::EventRow event;
        int entry;
        const Purpose* purpose;
        bool granted;
    };
    void TakeNew(identity::BatchIdentifiers& identifiers, const std::function<int64(int entry)>& profile_of, int64 first_new, std::vector<int64>* people);
    void WriteRecords(identity::BatchIdentifiers& identifiers, int64 first_id);
    void WriteAnswers(const std::function<int64(int entry)>& profile_of, int64 first_id, std::vector<int64>* people);

    const Purposes& purposes_;
    std::vector<Said> said_;
};

/// How many rows of what follows from the ledger differ from it, with identifiers as in `identifiers` (identifier_id,
/// profile_id); by table. `repair`: puts them right.
std::vector<std::pair<std::string, int64>> CompareConsents(const std::string& identifiers, bool repair);

}  // namespace cdp::govern
