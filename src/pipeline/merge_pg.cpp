// pipeline/merge_pg.cpp: see merge_pg.hpp.
#include "pipeline/merge_pg.hpp"

#include "govern/consent_pg.hpp"
#include "identity/ledger_pg.hpp"
#include "identity/separations_pg.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "profile/accounts_pg.hpp"

namespace cdp::pipeline {

namespace {

using identity::Joining;

/// What is joined, in the order of `joinings`; the rest is refused, or was one person already.
std::vector<Joining*> Unite(std::span<Joining> joinings, profile::People& people, identity::Resolver& resolver, bool within_limits) {
    std::vector<Joining*> joined;
    for (size_t i = 0; i < joinings.size(); ++i) {
        Joining& joining = joinings[i];
        const int a = people.NodeOf(joining.a), b = people.NodeOf(joining.b);
        if (resolver.Root(a) == resolver.Root(b)) continue;
        if (within_limits) joining.refusal = resolver.WhyApart(a, b);
        if (joining.refusal) continue;
        resolver.Unite(a, b, i);
        joined.push_back(&joining);
    }
    return joined;
}

/// Returns what the first of them is now.
int64 Merge(std::span<Joining> joinings, bool within_limits) {
    Definitions& definitions = Current();
    const auto limits = definitions.rules.limits();
    profile::People people(*definitions.traits, pg::Now());
    for (const Joining& joining : joinings) {
        people.Want(joining.a);
        people.Want(joining.b);
    }
    people.Load();
    identity::Resolver resolver(limits, 0, identity::Ledger::NextProfileId());
    AddPeople(people, limits, resolver);
    const auto joined = Unite(joinings, people, resolver, within_limits);
    std::vector<const Joining*> refused;
    for (const Joining& joining : joinings)
        if (joining.refusal) refused.push_back(&joining);
    identity::NoteRefusals(refused, [&](int type) { return std::string_view(definitions.rules.types()[static_cast<size_t>(type)].name); });
    const int64 survivor = resolver.ProfileOf(people.NodeOf(joinings.front().a));
    if (joined.empty()) return survivor;

    identity::LinkByHand(joined);
    people.Arrange(resolver);
    people.CountIdentifiers(resolver, limits);
    auto touched = people.Touched();
    identity::BatchIdentifiers none(definitions.rules, 0);
    const identity::StagedMerges merges(resolver, none, [&](size_t i) {
        return joinings[i].reason.empty() ? std::string_view(joinings[i].cause) : std::string_view(joinings[i].reason);
    });
    identity::Ledger().Write(none, resolver, merges);
    if (merges.any() && govern::ConsentsInUse()) govern::MergeConsents();
    profile::WriteAccounts({}, {}, merges.any());
    WritePeople(definitions, people, touched, merges.any());
    NoteProblems(definitions);
    return survivor;
}

}  // namespace

int64 MergeProfiles(int64 a, int64 b, const std::string& reason, const std::string& actor) {
    identity::LiftSeparations(a, b);
    Joining joining{a, b, "manual", reason, actor, std::nullopt};
    return Merge({&joining, 1}, false);
}

void MergeMatches(std::span<Joining> joinings) {
    if (!joinings.empty()) Merge(joinings, true);
}

}  // namespace cdp::pipeline
