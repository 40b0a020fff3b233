// pipeline/replay_acts_pg.cpp: the part of a replay (replay_pg.hpp) that people did by hand, between events.
//
// Joining is a union; taking apart is not: a person that comes apart is made anew, from what links are in force then.
// Links in force hold each person together at any time, as in the ledger, so its members are found by them.
#include <set>
#include <unordered_set>

#include "pipeline/replay_pg.hpp"

namespace cdp::pipeline {

using identity::Mark;

void Replay::ActUntil(int64 event_id) {
    for (;;) {
        const int64 hand = next_by_hand_ < by_hand_.size() ? by_hand_[next_by_hand_].at : PG_INT64_MAX;
        const int64 act = next_act_ < acts_.size() ? acts_[next_act_].at : PG_INT64_MAX;
        const int64 at = std::min(hand, act);
        if (at >= event_id || at == PG_INT64_MAX) return;
        for (; next_by_hand_ < by_hand_.size() && by_hand_[next_by_hand_].at == at; ++next_by_hand_)
            LinkByHand(by_hand_[next_by_hand_].a, by_hand_[next_by_hand_].b);
        const size_t begin = next_act_;
        while (next_act_ < acts_.size() && acts_[next_act_].at == at) ++next_act_;
        if (begin < next_act_) TakeBack(std::span(acts_).subspan(begin, next_act_ - begin));
    }
}

void Replay::AddLink(int a, int b, bool by_hand) {
    const int link = static_cast<int>(links_.size());
    if (last_link_.size() < identifiers_.size()) last_link_.resize(identifiers_.size(), -1);
    links_.push_back({a, b, last_link_[a], last_link_[b], by_hand, true});
    last_link_[a] = last_link_[b] = link;
}

std::vector<int> Replay::PersonOf(int identifier) const {
    std::vector<int> person{identifier};
    std::unordered_set<int> reached{identifier};
    for (size_t i = 0; i < person.size(); ++i) {
        const int at = person[i];
        for (int link = static_cast<size_t>(at) < last_link_.size() ? last_link_[at] : -1; link >= 0;) {
            const Link& l = links_[link];
            if (const int other = l.a == at ? l.b : l.a; l.in_force && reached.insert(other).second) person.push_back(other);
            link = l.a == at ? l.next_of_a : l.next_of_b;
        }
    }
    return person;
}

void Replay::Unite(int a, int b, std::span<const int> people) {
    const int x = NodeOf(a), y = NodeOf(b);
    if (resolver_->Root(x) == resolver_->Root(y)) return;
    std::set<Mark> before(resolver_->Marks(x).begin(), resolver_->Marks(x).end());
    before.insert(resolver_->Marks(y).begin(), resolver_->Marks(y).end());
    resolver_->Unite(x, y, 0);
    // Sides of one separation that became one are a new side.
    for (const Mark& mark : resolver_->Marks(x)) {
        if (before.contains(mark)) continue;
        for (const int member : people) {
            if (resolver_->Root(NodeOf(member)) != resolver_->Root(x)) continue;
            const auto marks = marks_.find(member);
            if (marks == marks_.end()) continue;
            for (Mark& known : marks->second)
                if (known.separation == mark.separation) known.part = mark.part;
        }
    }
}

void Replay::LinkByHand(int a, int b) {
    if (taken_back_) AddLink(a, b, true);
    const bool separated = taken_back_ && resolver_->AreSeparated(NodeOf(a), NodeOf(b));
    Unite(a, b, separated ? PersonOf(a) : std::vector<int>());
}

bool Replay::LinkByRule(int now, int place) {
    const auto pair = pairs_.find(Pair(place, now));
    if (!identifiers_[now].Exists() || (pair != pairs_.end() && (pair->second & kRevoked) != 0)) return false;
    if (resolver_->AreSeparated(NodeOf(now), NodeOf(place))) return false;
    Unite(now, place, {});
    Confirm(now, place, 0, 0, {});
    return true;
}

void Replay::Revoke(int a, int b, bool by_hand) {
    if (!by_hand) {
        int& flags = pairs_[Pair(a, b)];
        flags = (flags | kRevoked) & ~kConfirmed;
    }
    for (int link = static_cast<size_t>(a) < last_link_.size() ? last_link_[a] : -1; link >= 0;) {
        Link& l = links_[link];
        if (l.in_force && l.by_hand == by_hand && Pair(l.a, l.b) == Pair(a, b)) {
            l.in_force = false;
            return;
        }
        link = l.a == a ? l.next_of_a : l.next_of_b;
    }
}

/// Everything that one call did, in the order of its kinds.
void Replay::TakeBack(std::span<const Act> acts) {
    std::vector<std::vector<int>> people;
    std::unordered_set<int> seen;
    for (const Act& act : acts) {
        if (act.what == Act::kLinkWithout) {
            const Carried& carried = carried_.at(Pair(act.a, act.b));
            if (carried.event_id != 0 && resolver_->Root(NodeOf(act.a)) == resolver_->Root(NodeOf(act.b)))
                Confirm(act.a, act.b, carried.event_id, carried.at, carried.message_id);
        } else if (act.what == Act::kLinkByRule) {
            const auto renamed = renamed_.find(act.b);
            if (renamed != renamed_.end() && identifiers_[act.a].value == renamed->second && identifiers_[act.a].type == identifiers_[act.b].type)
                LinkByRule(act.a, act.b);
        } else {
            for (const int identifier : {act.a, act.b}) {
                if (seen.contains(identifier)) continue;
                people.push_back(PersonOf(identifier));
                seen.insert(people.back().begin(), people.back().end());
            }
        }
    }
    for (const Act& act : acts) {
        if (act.what == Act::kRevoke) Revoke(act.a, act.b, act.by_hand);
        if (act.what == Act::kSeparate) marks_[act.a].push_back({act.separation, act.part});
    }
    for (const auto& person : people) TakeApart(person);
    for (const Act& act : acts)
        if (act.what == Act::kRevoke) KeepApart(act.a, act.b, act.at);
}

/// Makes people anew of those who were one: by the links in force among them, as far as no separation is between.
void Replay::TakeApart(std::span<const int> person) {
    std::vector<int> by_hand, others;
    for (const int member : person) {
        std::vector<int64_t> counts(rules_.types().size());
        if (identifiers_[member].type >= 0) counts[identifiers_[member].type] = 1;
        const int node = resolver_->AddProfile(-1 - member, counts);
        resolver_->Know(member, node);
        if (const auto marks = marks_.find(member); marks != marks_.end())
            for (const Mark& mark : marks->second) resolver_->AddMark(node, mark);
        for (int link = static_cast<size_t>(member) < last_link_.size() ? last_link_[member] : -1; link >= 0;) {
            const Link& l = links_[link];
            if (l.in_force && l.a == member) (l.by_hand ? by_hand : others).push_back(link);
            link = l.a == member ? l.next_of_a : l.next_of_b;
        }
    }
    std::sort(by_hand.begin(), by_hand.end());
    std::sort(others.begin(), others.end());
    for (const int link : by_hand) Unite(links_[link].a, links_[link].b, person);
    for (const int link : others) {
        Link& l = links_[link];
        if (resolver_->AreSeparated(NodeOf(l.a), NodeOf(l.b))) {
            l.in_force = false;
            pairs_[Pair(l.a, l.b)] &= ~kConfirmed;
        } else {
            Unite(l.a, l.b, {});
        }
    }
}

/// Two of whom somebody said that they are not one person, and who are not: if no separation says so, a new one does.
void Replay::KeepApart(int a, int b, int64 act) {
    if (resolver_->Root(NodeOf(a)) == resolver_->Root(NodeOf(b)) || resolver_->AreSeparated(NodeOf(a), NodeOf(b))) return;
    NewSeparation& separation = separations_.emplace_back(NewSeparation{act, {}, {}});
    const auto id = -static_cast<int64>(separations_.size());
    for (const int64 part : {0, 1})
        for (const int member : PersonOf(part == 0 ? a : b)) {
            separation.first.push_back({member, id, part});
            marks_[member].push_back({id, part});
            resolver_->AddMark(NodeOf(member), {id, part});
        }
}

std::vector<Replay::Side> Replay::ChangedSides() const {
    // A part is a name only: what counts is who is on one side with whom.
    std::map<std::pair<int64, int64>, std::set<int64>> parts_now, parts_stored;
    const auto now = [&](const Side& side) {
        for (const Mark& mark : marks_.at(side.identifier))
            if (mark.separation == side.separation) return mark.part;
        return side.part;
    };
    for (const Side& side : sides_) {
        parts_now[{side.separation, side.part}].insert(now(side));
        parts_stored[{side.separation, now(side)}].insert(side.part);
    }
    std::set<int64> changed;
    for (const auto* parts : {&parts_now, &parts_stored})
        for (const auto& [side, others] : *parts)
            if (others.size() > 1) changed.insert(side.first);
    std::vector<Side> sides;
    for (const Side& side : sides_)
        if (changed.contains(side.separation)) sides.push_back({side.identifier, side.separation, now(side)});
    return sides;
}

std::vector<Replay::NewSeparation> Replay::NewSeparations() const {
    std::vector<NewSeparation> separations = separations_;
    for (NewSeparation& separation : separations) {
        separation.now = separation.first;
        for (Side& side : separation.now)
            for (const Mark& mark : marks_.at(side.identifier))
                if (mark.separation == side.separation) side.part = mark.part;
    }
    return separations;
}

}  // namespace cdp::pipeline
