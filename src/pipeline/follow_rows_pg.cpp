// pipeline/follow_rows_pg.cpp: see follow_rows_pg.hpp.
#include "pipeline/follow_rows_pg.hpp"

#include <charconv>
#include <unordered_map>

#include "pg/probes.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "segment/fill_pg.hpp"

namespace cdp::pipeline {

namespace {

constexpr size_t kPeopleAtATime = 10'000;

/// Somebody whom rows concern: of which tables (segment::Segments::Readers), and since when.
struct Concerned {
    uint64_t readers = 0;
    int64 since = PG_INT64_MAX;
    void Add(const Concerned& other) {
        readers |= other.readers;
        since = std::min(since, other.since);
    }
};
using People = std::unordered_map<int64, Concerned>;

std::optional<int64> Number(std::string_view text) {
    int64 number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

/// Whom the changes concern that name somebody. Nobody yet who has an identifier that is not known yet: they are looked at when it is.
People Find(const segment::Segments& segments, std::span<const collect::RowChange> changes) {
    std::unordered_map<std::string_view, Concerned> of_value;
    pg::StagedRows profiles("cdp_changed_profile", {{"profile_id", INT8OID}}), values("cdp_changed_value", {{"value", TEXTOID}});
    People named, people;
    for (const auto& change : changes) {
        const Concerned concerned{segments.Readers(change.table), change.committed_at};
        if (!change.identifier.empty()) of_value[change.identifier].Add(concerned);
        if (const auto profile_id = change.profile.empty() ? std::nullopt : Number(change.profile)) named[*profile_id].Add(concerned);
    }
    for (const auto& [value, concerned] : of_value) values.Add({pg::TextDatum(value)});
    for (const auto& [profile_id, concerned] : named) profiles.Add({Int64GetDatum(profile_id)});
    const pg::Probes probes;
    if (values.size() > 0) {
        static pg::Statement by_value("SELECT i.profile_id, i.value FROM cdp_changed_value v JOIN cdp.identifier i ON i.value = v.value");
        const auto rows = by_value.Query();
        for (uint64 i = 0; i < rows.size(); ++i) people[rows.Int8(i, 1)].Add(of_value.at(rows.Text(i, 2)));
    }
    if (profiles.size() > 0) {
        static pg::Statement by_id("SELECT p.profile_id FROM cdp_changed_profile c JOIN cdp.profile p ON p.profile_id = c.profile_id");
        const auto rows = by_id.Query();
        for (uint64 i = 0; i < rows.size(); ++i) people[rows.Int8(i, 1)].Add(named.at(rows.Int8(i, 1)));
    }
    return people;
}

void LookAt(Definitions& definitions, const People& people) {
    std::vector<int64> ids;
    for (const auto& [profile_id, concerned] : people) ids.push_back(profile_id);
    std::sort(ids.begin(), ids.end());
    pg::Scratch memory;
    for (size_t begin = 0; begin < ids.size(); begin += kPeopleAtATime) {
        poll_stop();
        {
            const pg::Scratch::Use use(memory);
            profile::People loaded(*definitions.traits, pg::Now());
            for (size_t i = begin; i < std::min(ids.size(), begin + kPeopleAtATime); ++i) loaded.Want(ids[i]);
            loaded.Load();
            auto touched = loaded.TouchedBy(segment::Cause::kRow);
            for (auto& one : touched) {
                const Concerned& concerned = people.at(one.person->profile_id());
                one.rows_changed = concerned.readers;
                one.since = concerned.since;
            }
            WritePeople(definitions, loaded, touched, false);
        }
        memory.Reset();
    }
}

/// The live segments that read one of the tables of which everybody is concerned.
std::vector<std::string> ConcernEverybody(const segment::Segments& segments, std::span<const collect::RowChange> changes) {
    uint64_t readers = 0;
    for (const auto& change : changes)
        if (change.identifier.empty() && change.profile.empty()) readers |= segments.Readers(change.table);
    std::vector<std::string> names;
    for (const auto& segment : segments.all())
        if (segment.live && (segment.tables & readers) != 0) names.push_back(segment.name);
    return names;
}

/// Computes segments afresh, one after the other: what refers to one follows it.
void FillAfresh(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        const auto& definitions = Current();
        auto& segments = *definitions.segments;
        const auto segment = std::find_if(segments.all().begin(), segments.all().end(), [&](const auto& s) { return s.name == name; });
        if (segment->standing.Still()) continue;
        std::vector<std::string> changed;
        segment->standing.failure = pg::Attempts::One([&] {
            segment::Fill(segments, *segment, *definitions.traits, false, segment::Cause::kRow);
            changed = segment::FillDependents(segments, *definitions.traits, name, segment::Cause::kRow);
        });
        if (segment->standing.failure)
            segments.NoteProblems();
        else
            Current().destinations.Refill(changed);
        TouchConfiguration();
    }
}

}  // namespace

void FollowRows(std::span<const collect::RowChange> changes) {
    Definitions& definitions = Current();
    if (definitions.segments->AnyLive())
        if (const People people = Find(*definitions.segments, changes); !people.empty()) LookAt(definitions, people);
    NoteProblems(definitions);  // who cannot be read misses these
    FillAfresh(ConcernEverybody(*Current().segments, changes));
}

void LeaveRows(std::span<const collect::RowChange> changes, const pg::Failure& why) {
    const auto& segments = *Current().segments;
    uint64_t readers = 0;
    for (const auto& change : changes) readers |= segments.Readers(change.table);
    for (const auto& segment : segments.all()) {
        if (!segment.live || (segment.tables & readers) == 0 || segment.standing.noted) continue;
        pg::Standing standing;
        standing.ReadWith(Error(why.sqlstate.c_str(), why.message));
        pg::NoteProblem("cdp.segment", "segment_id", segment.segment_id, "segment \"" + segment.name + "\"", standing);
    }
    TouchConfiguration();
}

}  // namespace cdp::pipeline
