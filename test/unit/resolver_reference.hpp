// resolver_reference.hpp: who is who, slowly and obviously: the contract, word for word, with sets and loops instead of
// disjoint sets and marks. The little world that resolver_law_test.cpp is about.
#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>

#include "identity/resolver.hpp"

namespace cdp::identity {

/// An identifier of the little world that the messages are about.
struct Name {
    int type;
    std::string value;
    auto operator<=>(const Name&) const = default;
};
using Sent = std::vector<Name>;  // what one message carries, without repetition

/// A message; or somebody takes an identifier out, takes a link back, or makes two one.
struct Step {
    enum Kind { kMessage, kSplit, kRevoke, kMerge } kind = kMessage;
    Sent sent;       // the two of a merge, the one of a split
    size_t link = 0; // of kRevoke: which of those made so far, counted around
};

struct World {
    std::vector<TypeRule> rules;
    std::vector<Step> steps;

    bool Stronger(const Name& a, const Name& b) const {
        return std::tuple(rules[a.type].priority, a.value, rules[a.type].type_id) <
               std::tuple(rules[b.type].priority, b.value, rules[b.type].type_id);
    }
};

/// What is known in the end, and what became of each message.
struct Outcome {
    std::map<Name, ProfileId> profile_of;
    std::map<ProfileId, ProfileId> alias;      // gone → what it is now
    std::vector<ProfileId> profile_of_message; // as it was then
    std::vector<size_t> kept;
    bool operator==(const Outcome&) const = default;
};

/// A link of the ledger.
struct Tie {
    Name a, b;
    bool by_hand, revoked;
};

class Reference {
public:
    explicit Reference(const World& world) : world_(world) {}

    void Apply(const Step& step, Outcome* outcome) {
        switch (step.kind) {
            case Step::kMessage: return Message(step.sent, outcome);
            case Step::kSplit: return Split(step.sent[0]);
            case Step::kRevoke: return Revoke(step.link);
            case Step::kMerge: return MergeByHand(step.sent[0], step.sent[1]);
        }
    }

    void Finish(Outcome* outcome) const {
        for (const auto& [profile, names] : people_)
            for (const Name& name : names) outcome->profile_of[name] = profile;
        for (const auto& [gone, oldest] : oldest_of_gone_) outcome->alias[gone] = ProfileOf(oldest);
    }

private:
    using Side = std::set<Name>;

    void Message(Sent sent, Outcome* outcome) {
        std::sort(sent.begin(), sent.end(), [&](const Name& a, const Name& b) { return world_.Stronger(a, b); });
        while (sent.size() > 1 && !Fits(sent)) sent.pop_back();
        for (const Name& name : sent) born_.try_emplace(name, born_.size());
        const ProfileId survivor = Together(Involved(sent));
        people_[survivor].insert(sent.begin(), sent.end());
        for (size_t i = 1; i < sent.size(); ++i)
            if (std::none_of(ties_.begin(), ties_.end(), [&](const Tie& t) { return !t.by_hand && t.a == sent[0] && t.b == sent[i]; }))
                ties_.push_back({sent[0], sent[i], false, false});
        outcome->profile_of_message.push_back(survivor);
        outcome->kept.push_back(sent.size());
        RC_ASSERT(Reached(sent[0]) == people_.at(survivor));  // the links in force say the same
    }
    void MergeByHand(const Name& a, const Name& b) {
        const ProfileId pa = ProfileOf(a), pb = ProfileOf(b);
        if (pa == 0 || pb == 0 || pa == pb) return;
        for (auto& sides : separations_) {
            Side both;
            std::set<size_t> touched;
            for (size_t i = 0; i < sides.size(); ++i)
                for (const Name& name : sides[i])
                    if (people_[pa].contains(name) || people_[pb].contains(name)) both.insert(name), touched.insert(i);
            if (touched.size() < 2) continue;
            for (Side& side : sides)
                for (const Name& name : both) side.erase(name);
            sides.push_back(both);
        }
        const auto strongest = [&](ProfileId p) {
            return *std::min_element(people_[p].begin(), people_[p].end(), [&](const Name& x, const Name& y) { return world_.Stronger(x, y); });
        };
        ties_.push_back({strongest(pa), strongest(pb), true, false});
        Together({pa, pb});
    }
    void Split(const Name& name) {
        const ProfileId profile = ProfileOf(name);
        if (profile == 0 || people_[profile].size() == 1) return;
        for (Tie& tie : ties_)
            if (tie.a == name || tie.b == name) tie.revoked = true;
        ComeApart(profile, name, true);
    }
    void Revoke(size_t link) {
        if (ties_.empty()) return;
        Tie& tie = ties_[link % ties_.size()];
        if (tie.revoked) return;
        tie.revoked = true;
        if (!Reached(tie.a).contains(tie.b)) ComeApart(ProfileOf(tie.a), tie.b, false);
    }

    /// The profile falls into what the links in force still hold together. `one`'s part is kept apart from the rest.
    void ComeApart(ProfileId profile, const Name& one, bool leaves) {
        std::vector<Name> names(people_[profile].begin(), people_[profile].end());
        std::sort(names.begin(), names.end(), [&](const Name& a, const Name& b) {
            return std::pair(world_.rules[a.type].priority, born_.at(a)) < std::pair(world_.rules[b.type].priority, born_.at(b));
        });
        std::vector<Side> parts;
        for (const Name& name : names)
            if (const Side part = Reached(name); std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
        const auto own = std::find_if(parts.begin(), parts.end(), [&](const Side& part) { return part.contains(one); });
        Side rest;
        for (const Side& part : parts)
            if (part != *own) rest.insert(part.begin(), part.end());
        separations_.push_back({*own, rest});
        for (const Side& p : parts)
            for (const Side& q : parts) {
                if (!(p < q) || p == *own || q == *own) continue;
                if (std::any_of(ties_.begin(), ties_.end(), [&](const Tie& t) {
                        return t.revoked && ((p.contains(t.a) && q.contains(t.b)) || (q.contains(t.a) && p.contains(t.b)));
                    }))
                    separations_.push_back({p, q});
            }
        const Side keeper = leaves && *own == parts[0] ? parts[1] : parts[0];
        people_.erase(profile);
        people_[profile] = keeper;
        for (const Side& part : parts)
            if (part != keeper) people_[next_++] = part;
    }

    ProfileId ProfileOf(const Name& name) const {
        for (const auto& [profile, names] : people_)
            if (names.contains(name)) return profile;
        return 0;
    }
    /// Makes them one, the oldest survives; a new one if there is none.
    ProfileId Together(const std::set<ProfileId>& involved) {
        if (involved.empty()) return next_++;
        const ProfileId survivor = *involved.begin();
        for (const ProfileId gone : involved) {
            if (gone == survivor) continue;
            oldest_of_gone_[gone] = *std::min_element(people_[gone].begin(), people_[gone].end(),
                                                      [&](const Name& a, const Name& b) { return born_.at(a) < born_.at(b); });
            people_[survivor].merge(people_[gone]);
            people_.erase(gone);
        }
        return survivor;
    }
    Side Reached(const Name& from) const {
        Side reached{from};
        for (size_t before = 0; before != reached.size();) {
            before = reached.size();
            for (const Tie& tie : ties_)
                if (!tie.revoked && (reached.contains(tie.a) || reached.contains(tie.b))) reached.insert({tie.a, tie.b});
        }
        return reached;
    }
    std::set<ProfileId> Involved(const Sent& sent) const {
        std::set<ProfileId> involved;
        for (const Name& name : sent)
            if (const ProfileId profile = ProfileOf(name); profile != 0) involved.insert(profile);
        return involved;
    }
    bool Fits(const Sent& sent) const {
        std::set<Name> together(sent.begin(), sent.end());
        const auto involved = Involved(sent);
        for (const ProfileId profile : involved) together.insert(people_.at(profile).begin(), people_.at(profile).end());
        for (size_t type = 0; type < world_.rules.size(); ++type) {
            const auto of_type = [&](const Name& n) { return n.type == static_cast<int>(type); };
            const auto count = std::count_if(together.begin(), together.end(), of_type);
            std::ptrdiff_t before = 0;
            for (const ProfileId profile : involved)
                before = std::max(before, std::count_if(people_.at(profile).begin(), people_.at(profile).end(), of_type));
            if (world_.rules[type].max_per_profile && count > *world_.rules[type].max_per_profile && count > before) return false;
        }
        for (const auto& sides : separations_)
            if (std::count_if(sides.begin(), sides.end(), [&](const Side& side) {
                    return std::any_of(side.begin(), side.end(), [&](const Name& name) { return together.contains(name); });
                }) > 1)
                return false;
        return true;
    }

    const World& world_;
    std::map<ProfileId, Side> people_;
    std::map<Name, size_t> born_;
    std::map<ProfileId, Name> oldest_of_gone_;
    std::vector<Tie> ties_;
    std::vector<std::vector<Side>> separations_;
    ProfileId next_ = 1;
};

inline Outcome Expected(const World& world) {
    Outcome outcome;
    Reference reference(world);
    for (const Step& step : world.steps) reference.Apply(step, &outcome);
    reference.Finish(&outcome);
    return outcome;
}

// How RapidCheck shows what failed.

inline void showValue(const World& world, std::ostream& out) {
    constexpr const char* kKinds[] = {"message", "split", "revoke", "merge"};
    for (const TypeRule& rule : world.rules)
        out << "\ntype " << rule.type_id << " priority " << rule.priority << " limit " << (rule.max_per_profile ? std::to_string(*rule.max_per_profile) : "none");
    for (const Step& step : world.steps) {
        out << "\n" << kKinds[step.kind];
        if (step.kind == Step::kRevoke) out << " " << step.link;
        for (const Name& name : step.sent) out << " " << world.rules[name.type].type_id << ":" << name.value;
    }
}

inline void showValue(const Outcome& outcome, std::ostream& out) {
    for (const auto& [name, profile] : outcome.profile_of) out << " " << name.type << ":" << name.value << "=" << profile;
    for (const auto& [gone, now] : outcome.alias) out << " " << gone << "->" << now;
    for (size_t m = 0; m < outcome.kept.size(); ++m) out << " message " << m << " kept " << outcome.kept[m] << " of " << outcome.profile_of_message[m];
}

}  // namespace cdp::identity
