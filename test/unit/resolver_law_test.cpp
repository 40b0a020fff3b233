// resolver_law_test.cpp: the resolver against a slow reference, on random messages and however they are cut into
// batches, with people taken apart and joined by hand in between.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "identity/components.hpp"
#include "resolver_reference.hpp"

namespace cdp::identity {
namespace {

// The resolver, as the pipeline uses it -----------------------------------------------------------------------------

/// What the database remembers between batches.
struct Database {
    struct Alias {
        ProfileId profile;
        Name oldest;
    };
    std::vector<Name> born;  // identifier ids are places here
    std::map<Name, ProfileId> identifiers;
    std::map<Name, std::set<Mark>> marks;
    std::map<ProfileId, std::vector<int64_t>> counts;
    std::map<ProfileId, Alias> alias;
    std::vector<Tie> ties;
    ProfileId next = 1;
    int64_t next_separation = 1;

    std::vector<Name> NamesOf(ProfileId profile) const {
        std::vector<Name> names;
        for (const Name& name : born)
            if (identifiers.at(name) == profile) names.push_back(name);
        return names;
    }
    void Merge(ProfileId gone, ProfileId survivor, const Name& oldest) {
        for (auto& entry : identifiers)
            if (entry.second == gone) entry.second = survivor;
        for (auto& entry : alias)
            if (entry.second.profile == gone) entry.second.profile = survivor;
        alias[gone] = {survivor, oldest};
        counts.erase(gone);
    }
    void Count(const World& world, ProfileId profile) {
        counts[profile].assign(world.rules.size(), 0);
        for (const Name& name : NamesOf(profile)) ++counts[profile][name.type];
    }
};

void RunBatch(const World& world, size_t begin, size_t end, Database* database, Outcome* outcome) {
    std::map<Name, int> place;
    for (size_t m = begin; m < end; ++m)
        for (const Name& name : world.steps[m].sent) place.emplace(name, 0);
    int places = 0;
    for (auto& entry : place) entry.second = places++;

    Resolver resolver(world.rules, place.size(), database->next);
    std::map<ProfileId, int> node_of;
    for (const auto& [name, identifier] : place) {
        const auto known = database->identifiers.find(name);
        if (known == database->identifiers.end()) continue;
        if (!node_of.contains(known->second)) {
            const int node = node_of[known->second] = resolver.AddProfile(known->second, database->counts.at(known->second));
            for (const Name& other : database->NamesOf(known->second))
                for (const Mark& mark : database->marks[other]) resolver.AddMark(node, mark);
        }
        resolver.Know(identifier, node_of[known->second]);
    }

    std::set<Name> kept_names;
    std::map<ProfileId, Name> made_for;  // new profiles, and their first identifiers
    for (size_t m = begin; m < end; ++m) {
        std::vector<Candidate> candidates;
        for (const Name& name : world.steps[m].sent) candidates.push_back({place[name], name.type, name.value});
        const Joined joined = resolver.Join(m, candidates);
        outcome->kept.push_back(static_cast<size_t>(joined.kept));
        outcome->profile_of_message.push_back(resolver.ProfileOf(joined.node));
        const auto name_of = [&](int i) { return Name{candidates[i].type, std::string(candidates[i].value)}; };
        made_for.try_emplace(resolver.OwnProfile(joined.node), name_of(0));
        for (int i = 0; i < joined.kept; ++i)
            if (!database->identifiers.contains(name_of(i)) && kept_names.insert(name_of(i)).second) database->born.push_back(name_of(i));
        for (int i = 1; i < joined.kept; ++i)
            if (std::none_of(database->ties.begin(), database->ties.end(),
                             [&](const Tie& t) { return !t.by_hand && t.a == name_of(0) && t.b == name_of(i); }))
                database->ties.push_back({name_of(0), name_of(i), false, false});
    }

    // Identifiers that no message of this batch carried move with their profile.
    std::map<ProfileId, size_t> oldest;  // by place in born
    for (size_t i = 0; i < database->born.size(); ++i) {
        const auto known = database->identifiers.find(database->born[i]);
        if (known != database->identifiers.end()) oldest.try_emplace(known->second, i);
        for (const auto& [profile, name] : made_for)
            if (name == database->born[i]) oldest.try_emplace(profile, i);
    }
    for (const Merge& merge : resolver.merges()) {
        database->Merge(merge.gone, merge.survivor, database->born[oldest.at(merge.gone)]);
        oldest[merge.survivor] = std::min(oldest.at(merge.survivor), oldest.at(merge.gone));
    }
    for (const auto& [name, identifier] : place)
        if (const int node = resolver.NodeOf(identifier); node >= 0) {
            database->identifiers[name] = resolver.ProfileOf(node);
            const auto counts = resolver.Counts(node);
            database->counts[resolver.ProfileOf(node)].assign(counts.begin(), counts.end());
        }
    database->next = resolver.next_profile_id();
}

/// What split_pg.cpp does.
void ComeApart(const World& world, const Name& one, bool leaves, Database* database) {
    const ProfileId profile = database->identifiers.at(one);
    auto names = database->NamesOf(profile);
    std::stable_sort(names.begin(), names.end(), [&](const Name& a, const Name& b) { return world.rules[a.type].priority < world.rules[b.type].priority; });
    const auto place = [&](const Name& name) { return static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin()); };
    std::vector<Edge> links, revoked;
    for (const Tie& tie : database->ties)
        if (database->identifiers.at(tie.a) == profile && database->identifiers.at(tie.b) == profile)
            (tie.revoked ? revoked : links).emplace_back(place(tie.a), place(tie.b));
    const auto part = Components(names.size(), links);
    const int alone = part[place(one)], parts = *std::max_element(part.begin(), part.end()) + 1;
    if (parts == 1) return;
    const auto separate = [&](int p, int q) {  // q < 0: all but p
        for (size_t i = 0; i < names.size(); ++i)
            if (part[i] == p || part[i] == q || q < 0) database->marks[names[i]].insert({database->next_separation, part[i] == p ? 0 : 1});
        ++database->next_separation;
    };
    separate(alone, -1);
    std::set<std::pair<int, int>> pairs;
    for (const auto& [a, b] : revoked)
        if (part[a] != part[b] && part[a] != alone && part[b] != alone) pairs.insert(std::minmax(part[a], part[b]));
    for (const auto& [p, q] : pairs) separate(p, q);
    const int keeper = leaves && alone == 0 ? 1 : 0;
    for (int p = 0; p < parts; ++p) {
        const ProfileId now = p == keeper ? profile : database->next++;
        for (size_t i = 0; i < names.size(); ++i)
            if (part[i] == p) database->identifiers[names[i]] = now;
    }
    for (const Name& name : names) database->Count(world, database->identifiers[name]);
    for (auto& [gone, alias] : database->alias)
        if (alias.profile == profile) alias.profile = database->identifiers.at(alias.oldest);
}

void TakeBack(const World& world, const Step& step, Database* database) {
    if (step.kind == Step::kRevoke) {
        if (database->ties.empty()) return;
        Tie& tie = database->ties[step.link % database->ties.size()];
        if (tie.revoked) return;
        tie.revoked = true;
        return ComeApart(world, tie.b, false, database);
    }
    const Name& name = step.sent[0];
    if (!database->identifiers.contains(name) || database->NamesOf(database->identifiers[name]).size() == 1) return;
    for (Tie& tie : database->ties)
        if (tie.a == name || tie.b == name) tie.revoked = true;
    ComeApart(world, name, true, database);
}

void MergeByHand(const World& world, const Step& step, Database* database) {
    if (!database->identifiers.contains(step.sent[0]) || !database->identifiers.contains(step.sent[1])) return;
    const ProfileId a = database->identifiers[step.sent[0]], b = database->identifiers[step.sent[1]];
    if (a == b) return;
    const auto strongest = [&](ProfileId profile) {
        const auto names = database->NamesOf(profile);
        return *std::min_element(names.begin(), names.end(), [&](const Name& x, const Name& y) { return world.Stronger(x, y); });
    };
    database->ties.push_back({strongest(a), strongest(b), true, false});
    std::map<int64_t, std::set<int64_t>> parts;
    auto both = database->NamesOf(a);
    for (const Name& name : database->NamesOf(b)) both.push_back(name);
    for (const Name& name : both)
        for (const Mark& mark : database->marks[name]) parts[mark.separation].insert(mark.part);
    for (const auto& [separation, sides] : parts) {
        if (sides.size() < 2) continue;
        const int64_t fresh = database->next_separation++;
        for (const Name& name : both) {
            auto& marks = database->marks[name];
            if (std::erase_if(marks, [old = separation](const Mark& mark) { return mark.separation == old; }) > 0) marks.insert({separation, fresh});
        }
    }
    const ProfileId gone = std::max(a, b), survivor = std::min(a, b);
    const auto names = database->NamesOf(gone);
    database->Merge(gone, survivor, names.front());
    database->Count(world, survivor);
}

Outcome Resolved(const World& world, const std::vector<size_t>& cuts) {
    Outcome outcome;
    Database database;
    size_t begin = 0;
    const auto run = [&](size_t end) {
        if (begin < end) RunBatch(world, begin, end, &database, &outcome);
        begin = end;
    };
    for (size_t m = 0; m < world.steps.size(); ++m) {
        const Step& step = world.steps[m];
        if (step.kind != Step::kMessage || std::binary_search(cuts.begin(), cuts.end(), m)) run(m);
        if (step.kind == Step::kMessage) continue;
        step.kind == Step::kMerge ? MergeByHand(world, step, &database) : TakeBack(world, step, &database);
        begin = m + 1;
    }
    run(world.steps.size());
    outcome.profile_of = database.identifiers;
    for (const auto& [gone, alias] : database.alias) outcome.alias[gone] = alias.profile;
    return outcome;
}

// Random worlds -----------------------------------------------------------------------------------------------------

rc::Gen<World> Worlds(bool limits, bool by_hand = false) {
    return rc::gen::exec([limits, by_hand] {
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
            if (by_hand && *rc::gen::weightedElement<bool>({{1, true}, {5, false}})) {
                const auto kind = *rc::gen::element(Step::kSplit, Step::kRevoke, Step::kMerge);
                if (kind == Step::kRevoke)
                    world.steps.push_back({kind, {}, *rc::gen::inRange<size_t>(0, 30)});
                else
                    world.steps.push_back({kind, {*name, *name}, 0});
                continue;
            }
            std::set<Name> sent;
            for (int tries = *rc::gen::inRange(1, 6); tries > 0; --tries) sent.insert(*name);
            world.steps.push_back({Step::kMessage, Sent(sent.begin(), sent.end()), 0});
        }
        return world;
    });
}

std::vector<size_t> SomeCuts(const World& world) {
    std::vector<size_t> cuts;
    for (size_t m = 1; m < world.steps.size(); ++m)
        if (*rc::gen::weightedElement<bool>({{1, true}, {4, false}})) cuts.push_back(m);
    return cuts;
}

std::vector<size_t> CutEverywhere(const World& world) {
    std::vector<size_t> cuts;
    for (size_t m = 1; m < world.steps.size(); ++m) cuts.push_back(m);
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

RC_GTEST_PROP(ResolverLaw, AgreesWithTheContractWhenPeopleAreTakenApart, ()) {
    const World world = *Worlds(true, true);
    const Outcome expected = Expected(world);
    RC_ASSERT(Resolved(world, {}) == expected);
    RC_ASSERT(Resolved(world, SomeCuts(world)) == expected);
    RC_ASSERT(Resolved(world, CutEverywhere(world)) == expected);
}

RC_GTEST_PROP(ResolverLaw, WithoutLimitsAMessageIsOnePersonForEver, ()) {
    const World world = *Worlds(false);
    const Outcome outcome = Resolved(world, SomeCuts(world));
    for (size_t m = 0; m < world.steps.size(); ++m) {
        RC_ASSERT(outcome.kept[m] == world.steps[m].sent.size());
        for (const Name& name : world.steps[m].sent)
            RC_ASSERT(outcome.profile_of.at(name) == outcome.profile_of.at(world.steps[m].sent.front()));
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
