// pipeline/replay_pg.hpp: who is who if the rules had always been these: all events again, through the same resolver.
//
// Events come in the order in which they were processed, and what people did by hand comes in between, when they did it:
// links that people and matches made, links that were taken back, separations. So while the rules are those that
// messages were processed by, it gives just what processing gave. Where other rules join more, what was taken apart comes
// apart all the same: links between the sides are cut, the later ones first. Identifiers that are known stay known,
// whether any message would carry them now or not. Memory grows with identifiers and links, not with events.
#pragma once

#include <deque>
#include <map>
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

    /// A side of a separation that an identifier is on.
    struct Side {
        int identifier;
        int64 separation, part;
    };
    /// A separation that these rules need beside the known ones: of what a link that was taken back joined.
    struct NewSeparation {
        int64 act;
        std::vector<Side> first, now;  // by identifier; the parts when it was made, and since people were joined across it
    };

    explicit Replay(const identity::Rules& rules) : rules_(rules) {}

    /// Replays everything. `relinked` is called for events whose linked_ids grow, as they come.
    void Run(const std::function<void(const Relinked&)>& relinked);

    /// The known ones first, by identifier_id.
    std::vector<Identifier>& identifiers() { return identifiers_; }
    /// Which person each is: numbers from 0, in the order of the first identifiers; -1 for those that do not exist.
    std::vector<int> Groups();
    std::vector<NewLink> NewLinks() const;
    /// Links of messages and rules, in force now, that nothing makes under these rules.
    std::vector<int64> OutdatedLinks() const;
    /// Known separations that people are joined across otherwise: the sides to be changed. Negative parts are new ones.
    std::vector<Side> ChangedSides() const;
    std::vector<NewSeparation> NewSeparations() const;
    int PriorityOf(int identifier) const;

private:
    enum Flag { kInForce = 1, kRevoked = 2, kConfirmed = 4 };
    struct Held {
        int64 link_id;
        uint64_t pair;
    };
    struct ByHand {
        int a, b;
        int64 at;
    };
    /// What else somebody did between events, or what came of it.
    struct Act {
        enum What { kLinkWithout, kLinkByRule, kRevoke, kSeparate } what;
        bool by_hand;  // kRevoke: the link was
        int a, b;      // kSeparate: a alone
        int64 at, separation, part;
    };
    /// A link in force, or one that was. Each identifier's links are chained.
    struct Link {
        int a, b, next_of_a, next_of_b;
        bool by_hand, in_force;
    };
    /// The first event that carried two identifiers which hang together without a third since that was split off.
    struct Carried {
        int64 event_id = 0, at = 0;
        std::string message_id;
    };
    static uint64_t Pair(int a, int b) { return uint64_t(std::min(a, b)) << 32 | uint32_t(std::max(a, b)); }

    void LoadIdentifiers();
    void LoadLinks();
    void LoadSeparations();
    int PlaceOf(int64 identifier_id) const;
    int Intern(int type, std::string_view value);
    int NodeOf(int identifier);
    void Take(const pg::Rows& rows, const std::function<void(const Relinked&)>& relinked);
    void TakeEvent(const collect::InboxMessage& message, int64 event_id, int64 identifier_id, std::span<const int64> linked_ids,
                   std::vector<identity::Candidate>& candidates, const std::function<void(const Relinked&)>& relinked);
    void Confirm(int a, int b, int64 event_id, int64 at, std::string_view message_id);
    void See(int identifier, int64 at);

    // What was done by hand: replay_acts_pg.cpp.
    /// Does everything that was done before the event.
    void ActUntil(int64 event_id);
    void LinkByHand(int a, int b);
    void Unite(int a, int b, std::span<const int> people);
    bool LinkByRule(int now, int place);
    void TakeBack(std::span<const Act> acts);
    void TakeApart(std::span<const int> person);
    void KeepApart(int a, int b, int64 act);
    void AddLink(int a, int b, bool by_hand);
    void Revoke(int a, int b, bool by_hand);
    /// Who hangs together with the identifier by links in force.
    std::vector<int> PersonOf(int identifier) const;

    const identity::Rules& rules_;
    std::vector<Identifier> identifiers_;
    std::deque<std::string> texts_;
    std::unordered_map<std::string, int> index_;            // by type and value
    std::map<int, std::string> renamed_;                    // known ones that the rules write otherwise now
    size_t known_ = 0;
    std::unordered_map<uint64_t, int> pairs_;               // flags
    std::vector<Held> held_;
    std::vector<ByHand> by_hand_;                           // in order, as are the other acts
    std::vector<Act> acts_;
    size_t next_by_hand_ = 0, next_act_ = 0;
    std::unordered_map<uint64_t, Carried> carried_;         // by pair
    bool taken_back_ = false;                               // anything ever: only then links and marks are kept
    std::vector<Link> links_;
    std::vector<int> last_link_;                            // by identifier; -1: none
    std::unordered_map<int, std::vector<identity::Mark>> marks_;  // by identifier, as they are now
    std::vector<Side> sides_;                               // as they are stored
    std::vector<NewSeparation> separations_;                // their ids are -1, -2, …
    std::vector<NewLink> new_links_;                        // of them, the last of a pair that is confirmed counts
    std::optional<identity::Resolver> resolver_;
};

}  // namespace cdp::pipeline
