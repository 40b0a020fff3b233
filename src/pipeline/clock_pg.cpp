// pipeline/clock_pg.cpp: see clock_pg.hpp.
#include "pipeline/clock_pg.hpp"

#include <unordered_map>

#include "pg/index_helpers.hpp"
#include "pg/probes.hpp"
#include "pipeline/batch_pg.hpp"
#include "profile/timers_pg.hpp"
#include "segment/fill_pg.hpp"

namespace cdp::pipeline {

namespace {

constexpr int64 kTimersAPass = 10'000;

/// When the next segment is to be computed afresh; PG_INT64_MAX: none is.
int64 NextRefresh() {
    const auto& segments = Current().segments->all();
    if (std::none_of(segments.begin(), segments.end(), [](const auto& segment) { return segment.refreshed; })) return PG_INT64_MAX;
    static pg::Statement next("SELECT min(coalesce(refreshed_at, '-infinity') + refresh) FROM cdp.segment WHERE refresh IS NOT NULL");
    const auto rows = next.Query();
    return rows.Get(0, 1) ? rows.Int8(0, 1) : PG_INT64_MAX;
}

/// Looks at people, each as of an instant, and hands them with what that touched to write(people, touched).
template <class F>
void LookAt(Definitions& definitions, const std::unordered_map<int64, int64>& instants, F&& write) {
    profile::People people(*definitions.traits, 0);
    for (const auto& entry : instants) people.Want(entry.first);
    people.Load();
    auto touched = people.TouchedByClock(instants);
    write(people, touched);
}

}  // namespace

void PassInstants(Definitions& definitions, std::unordered_map<int64, int64> instants, int64 until) {
    const pg::Probes probes;
    while (!instants.empty()) {
        poll_stop();
        std::unordered_map<int64, int64> next;
        LookAt(definitions, instants, [&](profile::People& people, std::span<segment::Touched> touched) {
            WriteProfiles(definitions, people, touched, false);
            if (auto* helpers = pg::IndexHelpers::current()) helpers->Finish();  // conditions that users wrote may read anything
            for (const auto& t : touched)
                if (const int64 armed = t.person->state().armed(); armed != 0 && armed <= until) next[t.person->profile_id()] = armed;
        });
        instants = std::move(next);
    }
}

int64 RunTimers(int64 until, int64 most, std::vector<int64>* followed) {
    const pg::Probes probes;
    int64 taken = 0;
    const auto due = profile::TakeTimers(until, most, &taken);
    if (due.empty()) return taken;
    Definitions& definitions = Current();
    std::unordered_map<int64, int64> instants;
    for (const auto& timer : due) instants[timer.profile_id] = timer.at;
    LookAt(definitions, instants, [&](profile::People& people, std::span<segment::Touched> touched) {
        followed != nullptr ? WriteProfiles(definitions, people, touched, false) : WritePeople(definitions, people, touched, false);
    });
    if (followed != nullptr)
        for (const auto& timer : due) followed->push_back(timer.profile_id);
    NoteProblems(definitions);
    return taken;
}

bool RefreshSegment(int64 now) {
    static pg::Statement next(
        "SELECT segment_id, name FROM cdp.segment WHERE refresh IS NOT NULL AND coalesce(refreshed_at, '-infinity') + refresh <= $1"
        " ORDER BY coalesce(refreshed_at, '-infinity') + refresh, segment_id LIMIT 1", {TIMESTAMPTZOID});
    const auto rows = next.Query({pg::Time(now)});
    if (rows.empty()) return false;
    const int64 segment_id = rows.Int8(0, 1);
    const std::string name = rows.Text(0, 2);
    const auto& definitions = Current();
    std::vector<std::string> changed;
    auto failure = pg::Attempts::One([&] {
        segment::Fill(*definitions.segments, definitions.segments->Sound(name), *definitions.traits, false, segment::Cause::kRefresh);
        changed = segment::FillDependents(*definitions.segments, *definitions.traits, name, segment::Cause::kRefresh);
    });
    if (failure) {
        pg::Execute("UPDATE cdp.segment SET refreshed_at = $2 WHERE segment_id = $1", {pg::Int8(segment_id), pg::Time(now)});
        if (pg::Query("SELECT FROM cdp.segment WHERE segment_id = $1 AND problem = $2", {pg::Int8(segment_id), pg::Text(failure->message)}).empty())
            pg::NoteProblem("cdp.segment", "segment_id", segment_id, "segment \"" + name + "\"", pg::Standing{failure});
    } else {
        pg::Execute("UPDATE cdp.segment SET problem = NULL WHERE segment_id = $1 AND problem IS NOT NULL", {pg::Int8(segment_id)});
        Current().destinations.Refill(changed);
    }
    TouchConfiguration();
    return true;
}

void CatchUp(int64 now) {
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::LatestSnapshot snapshot;
    if (!AnythingDue(now)) return;
    // People go through one instant after the other, their destinations from what was to what is.
    std::vector<int64> followed;
    while (RunTimers(now, kTimersAPass, &followed) > 0) poll_stop();
    std::sort(followed.begin(), followed.end());
    followed.erase(std::unique(followed.begin(), followed.end()), followed.end());
    if (!followed.empty()) Current().destinations.Follow(followed);
    while (RefreshSegment(now)) poll_stop();
}

bool AnythingDue(int64 now) { return NextDue() <= now; }

int64 NextDue() { return std::min(profile::NextTimer(), NextRefresh()); }

}  // namespace cdp::pipeline
