// profile/activity_pg.hpp: what segments ask of people's events: cdp.did(…) and its like.
//
// Each is kept as a trait that is no column of cdp.profile; equal ones, of whatever segments, are one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pg/expression.hpp"
#include "profile/window.hpp"

extern "C" {
#include "datatype/timestamp.h"
}

namespace cdp::profile {

inline Span SpanOf(const Interval& interval) { return {interval.month, interval.day, interval.time}; }

struct Activity {
    /// How often, on how many days (of UTC), when first and last; whether a sequence of events came to pass.
    enum class Measure { kTimes, kDays, kFirst, kLast, kSequence };

    Measure measure = Measure::kTimes;
    std::vector<std::string> events;  // one; of a sequence all, in order
    std::optional<Interval> within;   // of a sequence: the last at most that long after the first; else a window
    std::string filter;               // SQL over cdp.event; empty: none
    Oid owner = InvalidOid;           // whose the filter is
    std::string same;                 // of a sequence: a property that is the same in all; empty: none

    bool operator==(const Activity& other) const;
};

/// The calls in conditions that ask for activities: cdp.did, cdp.times_did, …
bool AsksForActivity(const pg::SpecialCall& call);

/// What a call asks for: of an activity, as a yes or no (how many times count as yes) or for its value.
struct ActivityQuestion {
    Activity activity;
    bool yes_or_no = false;
    int64 least = 0, most = PG_INT64_MAX;
};

/// Throws, without position, if its arguments make no sense. `owner`: of the condition.
ActivityQuestion QuestionOf(const pg::SpecialCall& call, Oid owner);

/// The name of a measure in SQL, and back.
const char* NameOf(Activity::Measure measure);
std::optional<Activity::Measure> MeasureNamed(std::string_view name);

/// Makes what keeps an activity for everybody, unless it is there. Its state must be filled then. Returns its trait_id.
int64 InsertActivity(const Activity& activity);

}  // namespace cdp::profile
