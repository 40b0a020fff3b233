// pipeline/regroup_pg.cpp: see regroup_pg.hpp.
#include "pipeline/regroup_pg.hpp"

#include <map>

#include "govern/consent_pg.hpp"
#include "pg/probes.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "profile/history_pg.hpp"

namespace cdp::pipeline {

namespace {

constexpr size_t kPeopleAtATime = 10'000;

void MoveIdentifiers(const Regrouping& regrouping) {
    pg::StagedRows staged("cdp_move", {{"identifier_id", INT8OID}, {"profile_id", INT8OID}});
    for (const Move& move : regrouping.moves) staged.Add({Int64GetDatum(move.identifier_id), Int64GetDatum(move.profile_id)});
    static pg::Statement move(
        "UPDATE cdp.identifier i SET profile_id = m.profile_id FROM cdp_move m WHERE i.identifier_id = m.identifier_id");
    move.Execute();
}

/// Ids that were merged away go with the oldest identifier that they had.
void MoveAliases(const Regrouping& regrouping) {
    pg::StagedRows before("cdp_before", {{"profile_id", INT8OID}, {"survivor", INT8OID}});
    for (const int64 profile_id : regrouping.staying) before.Add({Int64GetDatum(profile_id), Int64GetDatum(profile_id)});
    for (const auto& [gone, survivor] : regrouping.gone) before.Add({Int64GetDatum(gone), Int64GetDatum(survivor)});
    static pg::Statement follow(
        "UPDATE cdp.profile_alias a SET profile_id = coalesce(i.profile_id, b.survivor)"
        " FROM cdp_before b JOIN cdp.profile_alias o ON o.profile_id = b.profile_id"
        " LEFT JOIN cdp.identifier i ON i.identifier_id = o.identifier_id"
        " WHERE a.alias_id = o.alias_id AND a.profile_id <> coalesce(i.profile_id, b.survivor)");
    follow.Execute();
}

/// The people whose ids are staged as cdp_afresh, from their events and identifiers.
class Afresh {
public:
    Afresh(Definitions& definitions, const std::vector<int64>& staying, const std::vector<int64>& made)
        : people_(*definitions.traits, pg::Now()), traits_(*definitions.traits) {
        for (const int64 profile_id : staying) people_.Want(profile_id);
        people_.Load();
        people_.StartOver(made);
    }
    profile::People& people() { return people_; }

    void AddEvents() {
        profile::ForEachPersonsEvents("cdp_afresh", "cdp.identifier", "true", profile::AllColumns(),
                                      [&](int64 profile_id, std::span<const profile::EventRow> events) { Add(profile_id, events); });
    }
    void CountIdentifiers() {
        static pg::Statement count(
            "SELECT i.profile_id, t.type_id, count(*),"
            " bool_or(EXISTS (SELECT FROM cdp.identity_separation s WHERE s.identifier_id = i.identifier_id OFFSET 0))"
            " FROM cdp_afresh b CROSS JOIN LATERAL (SELECT * FROM cdp.identifier x WHERE x.profile_id = b.profile_id OFFSET 0) i"
            " JOIN cdp.identifier_type t ON t.name = i.type GROUP BY 1, 2");
        const auto rows = count.Query();
        for (uint64 i = 0; i < rows.size(); ++i) {
            auto& state = people_.OfProfile(rows.Int8(i, 1)).state();
            state.SetIdentifierCount(DatumGetInt32(*rows.Get(i, 2)), rows.Int8(i, 3));
            if (rows.Bool(i, 4)) state.SetIdentifierCount(profile::kMarkedTypeId, 1);
        }
    }
    void WriteMembers() {
        static pg::Statement remove("DELETE FROM cdp.account_member m USING cdp_afresh b WHERE m.profile_id = b.profile_id");
        remove.Execute();
        if (members_.empty()) return;
        pg::StagedRows staged("cdp_batch_member", {{"profile_id", INT8OID}, {"group_id", TEXTOID}, {"since", TIMESTAMPTZOID}});
        for (const auto& [member, since] : members_)
            staged.Add({Int64GetDatum(member.first), pg::TextDatum(member.second), TimestampTzGetDatum(since)});
        static pg::Statement add("INSERT INTO cdp.account_member (profile_id, group_id, since) SELECT * FROM cdp_batch_member");
        add.Execute();
    }

private:
    void Add(int64 profile_id, std::span<const profile::EventRow> events) {
        profile::Person& person = people_.OfProfile(profile_id);
        const profile::FilterResults filters(traits_, events);
        for (size_t i = 0; i < events.size(); ++i) {
            person.Add(events[i], i, filters);
            if (events[i].Text(profile::kEventType) != "group") continue;
            const int64 at = events[i].stamp().occurred_at;
            const auto [member, is_new] = members_.try_emplace({profile_id, std::string(events[i].Text(profile::kEventGroupId))}, at);
            member->second = std::min(member->second, at);
        }
        // The row must outlive the person's events.
        const pg::Scratch::Use use(memory_);
        person.Finish();
        if (person.must_recompute()) person.ReadSequences(events);
        person.Detach();
    }

    pg::Scratch memory_;
    profile::People people_;
    profile::Traits& traits_;
    std::map<std::pair<int64, std::string>, int64> members_;  // since when
};

/// Of those who are gone nothing holds any more.
void ForgetConsents(const Regrouping& regrouping) {
    std::vector<int64> gone;
    for (const auto& [profile_id, survivor] : regrouping.gone) gone.push_back(profile_id);
    govern::ComputeConsents(gone);
}

/// Those of `ids` in [from, to).
std::vector<int64> Between(const std::vector<int64>& ids, int64 from, int64 to) {
    return {std::lower_bound(ids.begin(), ids.end(), from), std::lower_bound(ids.begin(), ids.end(), to)};
}

}  // namespace

void Regroup(Definitions& definitions, const Regrouping& regrouping) {
    {
        const pg::Probes probes;
        MoveIdentifiers(regrouping);
        MoveAliases(regrouping);
    }
    std::vector<int64> everybody = regrouping.staying;
    everybody.insert(everybody.end(), regrouping.made.begin(), regrouping.made.end());
    std::sort(everybody.begin(), everybody.end());

    pg::StagedRows gone("cdp_batch_merge", {{"gone", INT8OID}, {"survivor", INT8OID}});
    for (const auto& [profile_id, survivor] : regrouping.gone) gone.Add({Int64GetDatum(profile_id), Int64GetDatum(survivor)});
    bool any_gone = !regrouping.gone.empty();
    const bool consents = govern::ConsentsInUse();
    if (consents) ForgetConsents(regrouping);
    if (any_gone) pg::Execute("DELETE FROM cdp.account_member m USING cdp_batch_merge b WHERE m.profile_id = b.gone");

    pg::Scratch memory;
    for (size_t begin = 0; begin < everybody.size(); begin += kPeopleAtATime) {
        const size_t end = std::min(everybody.size(), begin + kPeopleAtATime);
        const pg::Scratch::Use use(memory);
        {
            const int64 upto = end == everybody.size() ? PG_INT64_MAX : everybody[end];
            pg::StagedRows staged("cdp_afresh", {{"profile_id", INT8OID}});
            for (size_t i = begin; i < end; ++i) staged.Add({Int64GetDatum(everybody[i])});
            Afresh afresh(definitions, Between(regrouping.staying, everybody[begin], upto), Between(regrouping.made, everybody[begin], upto));
            {
                const pg::Probes probes;
                afresh.AddEvents();
                afresh.CountIdentifiers();
                afresh.WriteMembers();
            }
            if (consents) govern::ComputeConsents(std::span(everybody).subspan(begin, end - begin));
            auto touched = afresh.people().TouchedAfresh(regrouping.cause);
            WritePeople(definitions, afresh.people(), touched, any_gone);
            any_gone = false;
        }
        memory.Reset();
    }
    NoteProblems(definitions);
}

void Introduce(Definitions& definitions, const std::vector<int64>& people, const std::function<int64(size_t, size_t)>& count, segment::Cause cause) {
    const auto rules = definitions.rules.limits();
    const bool consents = govern::ConsentsInUse();
    pg::Scratch memory;
    for (size_t begin = 0; begin < people.size(); begin += kPeopleAtATime) {
        poll_stop();
        const size_t end = std::min(people.size(), begin + kPeopleAtATime);
        const pg::Scratch::Use use(memory);
        {
            profile::People made(*definitions.traits, pg::Now());
            made.StartOver(std::span(people).subspan(begin, end - begin));
            for (size_t i = begin; i < end; ++i)
                for (size_t type = 0; type < rules.size(); ++type)
                    if (const int64 n = count(i, type); n != 0) made.AtPlace(i - begin).state().SetIdentifierCount(rules[type].type_id, n);
            if (consents) govern::ComputeConsents(std::span(people).subspan(begin, end - begin));
            auto touched = made.TouchedAfresh(cause);
            WritePeople(definitions, made, touched, false);
        }
        memory.Reset();
    }
    NoteProblems(definitions);
}

}  // namespace cdp::pipeline
