// resolver_law_test.cpp: the resolver against a slow reference, on random messages and however they are cut into
// batches. The reference is the contract, word for word, with sets and loops instead of disjoint sets.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "identity/resolver.hpp"

namespace cdp::identity {
namespace {

/// An identifier of the little world that the messages are about.
struct Name {
    int type;
    std::string value;
    auto operator<=>(const Name&) const = default;
};
using Sent = std::vector<Name>;  // what one message carries, without repetition

struct World {
    std::vector<TypeRule> rules;
    std::vector<Sent> messages;
};

/// What is known in the end, and what became of each message.
struct Outcome {
    std::map<Name, ProfileId> profile_of;
    std::map<ProfileId, ProfileId> alias;      // gone → what it is now
    std::vector<ProfileId> profile_of_message; // as it was then
    std::vector<size_t> kept;
    bool operator==(const Outcome&) const = default;
};

// The reference -----------------------------------------------------------------------------------------------------

class Reference {
public:
    explicit Reference(std::vector<TypeRule> rules) : rules_(std::move(rules)) {}

    void Apply(Sent sent, Outcome* outcome) {
        std::sort(sent.begin(), sent.end(), [&](const Name& a, const Name& b) {
            return std::tuple(rules_[a.type].priority, a.value, rules_[a.type].type_id) <
                   std::tuple(rules_[b.type].priority, b.value, rules_[b.type].type_id);
        });
        while (sent.size() > 1 && !Fits(sent)) sent.pop_back();
        const std::set<ProfileId> involved = Involved(sent);
        const ProfileId survivor = involved.empty() ? next_++ : *involved.begin();
        for (const ProfileId gone : involved) {
            if (gone == survivor) continue;
            people_[survivor].merge(people_[gone]);
            people_.erase(gone);
            for (auto& entry : alias_)
                if (entry.second == gone) entry.second = survivor;
            alias_[gone] = survivor;
        }
        people_[survivor].insert(sent.begin(), sent.end());
        outcome->profile_of_message.push_back(survivor);
        outcome->kept.push_back(sent.size());
    }

    void Finish(Outcome* outcome) const {
        for (const auto& [profile, names] : people_)
            for (const Name& name : names) outcome->profile_of[name] = profile;
        outcome->alias = alias_;
    }

private:
    std::set<ProfileId> Involved(const Sent& sent) const {
        std::set<ProfileId> involved;
        for (const auto& [profile, names] : people_)
            for (const Name& name : sent)
                if (names.contains(name)) involved.insert(profile);
        return involved;
    }
    bool Fits(const Sent& sent) const {
        std::set<Name> together(sent.begin(), sent.end());
        for (const ProfileId profile : Involved(sent)) together.insert(people_.at(profile).begin(), people_.at(profile).end());
        for (size_t type = 0; type < rules_.size(); ++type) {
            const auto count = std::count_if(together.begin(), together.end(), [&](const Name& n) { return n.type == static_cast<int>(type); });
            if (rules_[type].max_per_profile && count > *rules_[type].max_per_profile) return false;
        }
        return true;
    }

    std::vector<TypeRule> rules_;
    std::map<ProfileId, std::set<Name>> people_;
    std::map<ProfileId, ProfileId> alias_;
    ProfileId next_ = 1;
};

Outcome Expected(const World& world) {
    Outcome outcome;
    Reference reference(world.rules);
    for (const Sent& sent : world.messages) reference.Apply(sent, &outcome);
    reference.Finish(&outcome);
    return outcome;
}

// The resolver, as the pipeline uses it -----------------------------------------------------------------------------

/// What the database remembers between batches.
struct Database {
    std::map<Name, ProfileId> identifiers;
    std::map<ProfileId, std::vector<int64_t>> counts;
    std::map<ProfileId, ProfileId> alias;
    ProfileId next = 1;
};

void RunBatch(const World& world, size_t begin, size_t end, Database* database, Outcome* outcome) {
    std::map<Name, int> place;
    for (size_t m = begin; m < end; ++m)
        for (const Name& name : world.messages[m]) place.emplace(name, 0);
    int places = 0;
    for (auto& entry : place) entry.second = places++;

    Resolver resolver(world.rules, place.size(), database->next);
    std::map<ProfileId, int> node_of;
    for (const auto& [name, identifier] : place) {
        const auto known = database->identifiers.find(name);
        if (known == database->identifiers.end()) continue;
        if (!node_of.contains(known->second))
            node_of[known->second] = resolver.AddProfile(known->second, database->counts.at(known->second));
        resolver.Know(identifier, node_of[known->second]);
    }

    std::vector<int> nodes;
    for (size_t m = begin; m < end; ++m) {
        std::vector<Candidate> candidates;
        for (const Name& name : world.messages[m]) candidates.push_back({place[name], name.type, name.value});
        const Joined joined = resolver.Join(m, candidates);
        outcome->kept.push_back(static_cast<size_t>(joined.kept));
        outcome->profile_of_message.push_back(resolver.ProfileOf(joined.node));
        nodes.push_back(joined.node);
    }

    // Identifiers that no message of this batch carried move with their profile.
    for (const Merge& merge : resolver.merges()) {
        for (auto& entry : database->identifiers)
            if (entry.second == merge.gone) entry.second = merge.survivor;
        for (auto& entry : database->alias)
            if (entry.second == merge.gone) entry.second = merge.survivor;
        database->alias[merge.gone] = merge.survivor;
        database->counts.erase(merge.gone);
    }
    for (const auto& [name, identifier] : place)
        if (const int node = resolver.NodeOf(identifier); node >= 0) {
            database->identifiers[name] = resolver.ProfileOf(node);
            const auto counts = resolver.Counts(node);
            database->counts[resolver.ProfileOf(node)].assign(counts.begin(), counts.end());
        }
    database->next = resolver.next_profile_id();
}

Outcome Resolved(const World& world, const std::vector<size_t>& cuts) {
    Outcome outcome;
    Database database;
    size_t begin = 0;
    for (const size_t cut : cuts) {
        RunBatch(world, begin, cut, &database, &outcome);
        begin = cut;
    }
    RunBatch(world, begin, world.messages.size(), &database, &outcome);
    outcome.profile_of = database.identifiers;
    outcome.alias = database.alias;
    return outcome;
}

// How RapidCheck shows what failed.

void showValue(const World& world, std::ostream& out) {
    for (const TypeRule& rule : world.rules)
        out << "\ntype " << rule.type_id << " priority " << rule.priority << " limit " << (rule.max_per_profile ? std::to_string(*rule.max_per_profile) : "none");
    for (const Sent& sent : world.messages) {
        out << "\nmessage";
        for (const Name& name : sent) out << " " << world.rules[name.type].type_id << ":" << name.value;
    }
}

// Random worlds -----------------------------------------------------------------------------------------------------

rc::Gen<World> Worlds(bool limits) {
    return rc::gen::exec([limits] {
        World world;
        const int types = *rc::gen::inRange(1, 5);
        for (int type = 0; type < types; ++type) {
            // Priorities may be equal: then the value decides, and then the type.
            const int priority = *rc::gen::inRange(1, 4);
            std::optional<int64_t> limit;
            if (limits && *rc::gen::weightedElement<bool>({{3, true}, {1, false}})) limit = *rc::gen::inRange<int64_t>(1, 4);
            world.rules.push_back({10 - type, priority, limit});
        }
        const int values = *rc::gen::inRange(1, 7);
        const auto name = rc::gen::map(rc::gen::pair(rc::gen::inRange(0, types), rc::gen::inRange(0, values)), [](std::pair<int, int> p) {
            return Name{p.first, std::string(1, static_cast<char>('a' + p.second))};
        });
        for (int left = *rc::gen::inRange(1, 60); left > 0; --left) {
            std::set<Name> sent;
            for (int tries = *rc::gen::inRange(1, 6); tries > 0; --tries) sent.insert(*name);
            world.messages.emplace_back(sent.begin(), sent.end());
        }
        return world;
    });
}

std::vector<size_t> SomeCuts(const World& world) {
    std::vector<size_t> cuts;
    for (size_t m = 1; m < world.messages.size(); ++m)
        if (*rc::gen::weightedElement<bool>({{1, true}, {4, false}})) cuts.push_back(m);
    return cuts;
}

std::vector<size_t> CutEverywhere(const World& world) {
    std::vector<size_t> cuts;
    for (size_t m = 1; m < world.messages.size(); ++m) cuts.push_back(m);
    return cuts;
}

RC_GTEST_PROP(ResolverLaw, AgreesWithTheContractWordForWord, ()) {
    const World world = *Worlds(true);
    RC_ASSERT(Resolved(world, {}) == Expected(world));
}

RC_GTEST_PROP(ResolverLaw, DoesNotDependOnBatches, ()) {
    const World world = *Worlds(true);
    const Outcome whole = Resolved(world, {});
    RC_ASSERT(Resolved(world, SomeCuts(world)) == whole);
    RC_ASSERT(Resolved(world, CutEverywhere(world)) == whole);
}

RC_GTEST_PROP(ResolverLaw, WithoutLimitsAMessageIsOnePersonForEver, ()) {
    const World world = *Worlds(false);
    const Outcome outcome = Resolved(world, SomeCuts(world));
    for (size_t m = 0; m < world.messages.size(); ++m) {
        RC_ASSERT(outcome.kept[m] == world.messages[m].size());
        for (const Name& name : world.messages[m])
            RC_ASSERT(outcome.profile_of.at(name) == outcome.profile_of.at(world.messages[m].front()));
    }
}

RC_GTEST_PROP(ResolverLaw, HoldsEveryLimit, ()) {
    const World world = *Worlds(true);
    const Outcome outcome = Resolved(world, SomeCuts(world));
    std::map<std::pair<ProfileId, int>, int64_t> counts;
    for (const auto& [name, profile] : outcome.profile_of) ++counts[{profile, name.type}];
    for (const auto& [key, count] : counts) {
        const auto& limit = world.rules[key.second].max_per_profile;
        RC_ASSERT(!limit || count <= *limit);
    }
}

RC_GTEST_PROP(ResolverLaw, LeadsEveryGoneProfileToALivingOne, ()) {
    const World world = *Worlds(true);
    const Outcome outcome = Resolved(world, SomeCuts(world));
    std::set<ProfileId> living;
    for (const auto& entry : outcome.profile_of) living.insert(entry.second);
    for (const auto& [gone, now] : outcome.alias) {
        RC_ASSERT(now < gone);
        RC_ASSERT(living.contains(now) && !living.contains(gone));
    }
}

}  // namespace
}  // namespace cdp::identity
