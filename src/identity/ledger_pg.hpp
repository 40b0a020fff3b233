// identity/ledger_pg.hpp: identifiers, links, conflicts and aliases of a batch, to their tables.
#pragma once

#include <functional>
#include <map>
#include <unordered_map>

#include "identity/rules_pg.hpp"
#include "profile/people_pg.hpp"

namespace cdp::identity {

/// The profiles that ended in this batch and what they are now, staged as cdp_batch_merge (gone, survivor, and the
/// oldest identifier_id of the one that is gone). Make it before identifiers are written.
class StagedMerges {
public:
    /// `why`: why a profile ended, by the number of its merge (Merge::message); otherwise Ledger::Write is told.
    StagedMerges(Resolver& resolver, BatchIdentifiers& identifiers, const std::function<std::string_view(size_t)>& why = {});
    bool any() const { return staged_.size() > 0; }

private:
    pg::StagedRows staged_;
};

class Ledger {
public:
    /// The id that the next new profile gets.
    static ProfileId NextProfileId();

    /// Gives ids to the new identifiers that messages kept, in order of appearance.
    /// `kept(i)`: the candidates that message i of `messages` kept.
    void NumberNewIdentifiers(size_t messages, const std::function<std::span<Candidate>(size_t)>& kept,
                              BatchIdentifiers& identifiers);
    /// Notes what one message says: its identifiers were seen, they are linked, some were refused.
    void Record(const collect::InboxMessage& message, int64 event_id, std::span<const Candidate> carried, const Joined& joined,
                BatchIdentifiers& identifiers);

    void Write(BatchIdentifiers& identifiers, Resolver& resolver, const StagedMerges& merges, std::string_view why_merged = "message");

private:
    struct Link {
        int64 a, b;  // identifiers, the stronger first
        std::string_view message_id;
        int64 event_id, at;
        bool surely_new;  // one of the two was never seen before
    };
    struct Conflict {
        int limit_type;
        int64 separation;
        std::string message_id;
        int64 event_id, refusals, first_at, last_at;
    };
    void WriteIdentifiers(BatchIdentifiers& identifiers, Resolver& resolver, const StagedMerges& merges);
    void WriteLinks();
    void WriteConflicts(BatchIdentifiers& identifiers);
    void WriteAliases(Resolver& resolver, const StagedMerges& merges, std::string_view why_merged);

    std::vector<Link> links_;                                // in processing order
    std::map<std::pair<int64, int>, Conflict> conflicts_;    // by identifier and the entry that was left out
};

}  // namespace cdp::identity
