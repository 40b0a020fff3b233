// pg/clock_rules.hpp: what PostgreSQL's functions make of something that rises or falls as time goes on.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/primnodes.h"
}

namespace cdp::pg {

enum class Effect {
    kPlain,       // rises and falls with it, whatever the zone
    kWhole,       // the same, into an integer, which has an end
    kElapsed,     // the difference of two points in time
    kShift,       // adds an interval to a local time
    kZonedShift,  // adds an interval to a point in time
    kZone,        // between points in time and local times
    kNamedZone,   // the same in a zone by name
    kZoneCut,     // from a point in time to its local date
    kCut,         // from a local time to its date
    kZoneTrunc,   // date_trunc of a point in time
    kTrunc,       // of a local time
    kAge,
    kField,       // a field of a point in time, a local time or a date
    kSpanField,   // a field of an interval
    kTimes,       // a constant
    kBy,          // a constant
};

/// For a function and the argument that moves: which way the result moves then.
struct Rule {
    Oid function;
    int argument;
    int direction;
    Effect effect;
    int sign = 1;  // of the interval that is added
};
const Rule* FindRule(Oid function, int argument);

/// A function whose value only changes where a day, an hour or a minute begins, and the argument that moves.
enum class StepKind { kDay, kField, kTrunc, kSpanField, kFormat };
struct StepRule {
    Oid function;
    int argument;
    StepKind kind;
};
const StepRule* FindStepRule(Oid function);

// Names of fields and units are in lower case.
bool IsTruncUnit(const std::string& unit);
bool IsRisingField(const std::string& field);
/// `elapsed`: the interval has no months.
bool IsRisingSpanField(const std::string& field, bool elapsed);
/// The step in microseconds in which a field changes, something truncated to a unit, a field of an interval that grows,
/// and what to_char makes of a format; 0: none that is a minute or longer.
int64 StepOfField(const std::string& field);
int64 StepOfTrunc(const std::string& unit);
int64 StepOfSpanField(const std::string& field);
int64 StepOfFormat(const std::string& format);

/// A number, or 0 for what is none.
double NumberOf(const Const* number);

}  // namespace cdp::pg
