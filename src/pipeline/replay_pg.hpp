// pipeline/replay_pg.hpp: who is who if the rules had always been these: all events again, through the same resolver.
//
// Events come in the order in which they were processed, links that people and matches made in between, where they
// were made. What somebody took apart is apart from the beginning; a pair whose link was taken back is joined by no
// message. Identifiers that are known stay known, whether any message would carry them now or not. Memory grows with
// identifiers and links, not with events.
#pragma once

#include <deque>
#include <unordered_map>

#include "identity/rules_pg.hpp"

namespace cdp::pipeline {

class Replay {
public:
    struct Identifier {
        int type;                           // of the rules; -1: of a type that was dropped
        std::string_view value;
        int64 identifier_id;                // 0: not known yet
        int64 profile_id;                   // whose it is now; 0: nobody's
        int64 stored_first, stored_last;    // when it was seen, as known
        int64 first = PG_INT64_MAX, last = PG_INT64_MIN;  // by the replayed events
        bool Exists() const { return identifier_id != 0 || first != PG_INT64_MAX; }
    };
    /// A link that is not in the ledger.
    struct NewLink {
        int a, b;
        int64 event_id, at;  // 0: made by a rule
        std::string message_id;
    };
    /// An event that carries identifiers which it was not known to carry.
    struct Relinked {
        int64 event_id, occurred_at, identifier_id;
        std::vector<int> linked;  // all of them: those joined now, strongest first, then those joined before
    };

    explicit Replay(const identity::Rules& rules) : rules_(rules) {}

    /// Replays everything. `relinked` is called for events whose linked_ids grow, as they come.
    void Run(const std::function<void(const Relinked&)>& relinked);

    /// The known ones first, by identifier_id.
    std::vector<Identifier>& identifiers() { return identifiers_; }
    /// Which person each is: numbers from 0, in the order of the first identifiers; -1 for those that do not exist.
    std::vector<int> Groups();
    const std::vector<NewLink>& new_links() const { return new_links_; }
    /// Links of messages and rules, in force now, that nothing makes under these rules.
    std::vector<int64> OutdatedLinks() const;
    /// Pairs whose links somebody took back.
    std::vector<std::pair<int, int>> RevokedPairs() const;
    /// The sides that an identifier is on.
    std::span<const identity::Mark> MarksOf(int identifier) const;
    int PriorityOf(int identifier) const;

private:
    enum Flag { kInForce = 1, kRevoked = 2, kConfirmed = 4 };
    struct Held {
        int64 link_id;
        uint64_t pair;
    };
    struct ByHand {
        int a, b;
        int64 after_event_id;
    };
    static uint64_t Pair(int a, int b) { return uint64_t(std::min(a, b)) << 32 | uint32_t(std::max(a, b)); }

    void LoadIdentifiers();
    void LoadLinks();
    void LoadMarks();
    int PlaceOf(int64 identifier_id) const;
    int Intern(int type, std::string_view value);
    int NodeOf(int identifier);
    void UniteByHand(int64 before_event_id);
    void Take(const pg::Rows& rows, const std::function<void(const Relinked&)>& relinked);
    void TakeEvent(const collect::InboxMessage& message, int64 event_id, int64 identifier_id, std::span<const int64> linked_ids,
                   std::vector<identity::Candidate>& candidates, const std::function<void(const Relinked&)>& relinked);
    /// Those whom a message carried and whose links to its strongest were taken back: they are linked among themselves
    /// where splits left them so.
    void JoinWithoutStrongest(std::span<identity::Candidate> left, const collect::InboxMessage& message, int64 event_id);
    void Confirm(int a, int b, int64 event_id, int64 at, std::string_view message_id);
    void See(int identifier, int64 at);

    const identity::Rules& rules_;
    std::vector<Identifier> identifiers_;
    std::deque<std::string> texts_;
    std::unordered_map<std::string, int> index_;            // by type and value
    std::vector<std::pair<int, std::string>> renamed_;      // known ones that the rules write otherwise now
    size_t known_ = 0;
    std::unordered_map<uint64_t, int> pairs_;               // flags
    std::vector<Held> held_;
    std::vector<ByHand> by_hand_;
    size_t next_by_hand_ = 0;
    std::unordered_map<int, std::vector<identity::Mark>> marks_;
    std::vector<NewLink> new_links_;
    std::optional<identity::Resolver> resolver_;
};

}  // namespace cdp::pipeline
