// pg/clock_leaf.hpp: one part of a condition that reads the clock, and how it may change as time goes on.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace cdp::pg {

/// Where expressions are evaluated: the row is in the context's slots, and the clock is a column of the inner one.
struct ClockRow {
    ExprContext* context;
    AttrNumber clock;
    int64 now;
};

enum class Truth : char { kFalse, kTrue, kNull };
/// An expression's value for the row with the clock at `instant`; it lasts until the next. May ereport.
Datum value_at(ExprState* state, const ClockRow& row, int64 instant, bool* null);
Truth truth_at(ExprState* state, const ClockRow& row, int64 instant);

/// Where `node` reads the clock: the location in the text of the first place; kNoClock: nowhere.
inline constexpr int kNoClock = INT_MIN;
int clock_location(Node* node, AttrNumber clock);

/// Something that is evaluated beside the part itself, to know when it may change.
struct Operand {
    ExprState* state = nullptr;
    Oid type = InvalidOid;
    int sign = 1;
};

/// What is done with one reading of the clock, as far as it matters for when its days and months begin.
struct ClockChain {
    std::vector<Operand> probes;  // the points in time along the way: about them the zone may change its offset
    std::vector<Operand> shifts;  // the intervals that are added
    std::vector<Operand> marks;   // the points in time that it is counted from, by local time
    std::vector<Operand> utc_marks;  // the same, whatever the zone
    std::vector<Operand> zones;   // by name, beside the session's
    int zone_steps = 0;           // how often it passes from one side of the zone's offset to the other
};

/// A part that changes
/// - once as time goes on, comparing something that only rises or falls with something that stays (`step` is 0); by
///   `slack` around that moment it may go to and fro, where months end and zones change their offset; or
/// - only where a day, an hour or a minute begins (`step`).
struct ClockLeaf {
    ExprState* state = nullptr;
    std::vector<ClockChain> chains;
    // Changes once:
    Operand moving, still;
    int direction = 0;
    int64 slack = 0;              // all of it
    int64 calendar_slack = 0;     // where no zone changes its offset
    bool cut = false;             // to days, hours, …: the points along the way may jump far
    bool by_day = false;          // it changes nowhere but where a day begins
    // Changes in steps:
    int64 step = 0;
    int64 reach = 0;              // how far one looks ahead

    /// Reads a planned expression; false: it cannot be foreseen when it changes.
    bool Read(Node* node, AttrNumber clock);
};

}  // namespace cdp::pg
