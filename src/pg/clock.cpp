// pg/clock.cpp: see clock.hpp.
#include "pg/clock.hpp"

#include "pg/clock_breaks.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/date.h"
}

namespace cdp::pg {

namespace {

constexpr int64 kNever = INT64_MAX;
/// How far ahead a change is looked for that happens once.
constexpr int64 kHorizon = 200 * 366 * USECS_PER_DAY;

bool Differs(const ClockLeaf& leaf, const ClockRow& row, int64 instant, Truth from) {
    return truth_at(leaf.state, row, instant) != from;
}

/// The first instant at which the leaf is not `from`, which it is at `low` and not at `high`; it changes once between.
int64 bisect(const ClockLeaf& leaf, const ClockRow& row, int64 low, int64 high, Truth from) {
    while (high - low > 1) {
        const int64 middle = low + (high - low) / 2;
        (Differs(leaf, row, middle, from) ? high : low) = middle;
    }
    return high;
}

/// The first instant in (from, to] at which the leaf is not `truth`, which it is at `from`; kNever: none. Exact although
/// it may change to and fro there: between breaks it changes once at most.
int64 first_change(const ClockLeaf& leaf, const ClockRow& row, int64 from, int64 to, Truth truth) {
    Breaks breaks;
    breaks.collect(leaf, row, from, to);
    int64 result = kNever;
    for (int64 piece = from; result == kNever && piece < to;) {
        const int64 next = std::min(breaks.After(piece), to + 1);
        if (Differs(leaf, row, next - 1, truth))
            result = bisect(leaf, row, piece, next - 1, truth);
        else if (next <= to && Differs(leaf, row, next, truth))
            result = next;
        piece = next;
    }
    breaks.release();
    return result;
}

/// A time or a span of time in microseconds, for guessing how far two are apart.
bool microseconds(const Operand& operand, const ClockRow& row, int64* result) {
    bool null;
    const Datum value = value_at(operand.state, row, row.now, &null);
    if (null) return false;
    switch (operand.type) {
        case TIMESTAMPOID:
        case TIMESTAMPTZOID: *result = DatumGetTimestamp(value); return !TIMESTAMP_NOT_FINITE(*result);
        case DATEOID: *result = DatumGetDateADT(value) * USECS_PER_DAY; return !DATE_NOT_FINITE(DatumGetDateADT(value));
        case INTERVALOID: {
            const Interval* span = DatumGetIntervalP(value);
            *result = (span->month * int64{DAYS_PER_MONTH} + span->day) * USECS_PER_DAY + span->time;
            return true;
        }
        default: return false;
    }
}

/// Some instant in (now, now + kHorizon] at which the leaf is no longer `truth` and was just before, if it is not then.
int64 some_change(const ClockLeaf& leaf, const ClockRow& row, Truth truth) {
    int64 low = row.now, high = row.now + kHorizon, moving, still;
    const auto narrow = [&](int64 instant) {
        if (low < instant && instant < high) (Differs(leaf, row, instant, truth) ? high : low) = instant;
    };
    if (microseconds(leaf.moving, row, &moving) && microseconds(leaf.still, row, &still)) {
        const int64 guess = row.now + leaf.direction * (still - moving), about = leaf.slack + 2 * USECS_PER_DAY;
        for (const int64 instant : {guess, guess - 1, guess + 1, guess - about, guess + about}) {
            if (high - low > 1) narrow(instant);
        }
    }
    return bisect(leaf, row, low, high, truth);
}

int64 next_of_comparison(const ClockLeaf& leaf, const ClockRow& row, Truth truth) {
    if (!Differs(leaf, row, row.now + kHorizon, truth)) {
        // For good, unless this is about the moment when it changed and it goes to and fro.
        if (leaf.slack == 0 || !Differs(leaf, row, row.now - leaf.slack, truth)) return kNever;
        return first_change(leaf, row, row.now, row.now + leaf.slack, truth);
    }
    const int64 change = some_change(leaf, row, truth);
    if (leaf.slack == 0) return change;
    return first_change(leaf, row, std::max(row.now, change - leaf.slack), change, truth);
}

int64 next_of_steps(const ClockLeaf& leaf, const ClockRow& row, Truth truth) {
    const int64 until = row.now + leaf.reach;
    Breaks breaks;
    breaks.collect(leaf, row, row.now, until);
    int64 instant = breaks.After(row.now);
    while (instant < until && !Differs(leaf, row, instant, truth)) instant = breaks.After(instant);
    breaks.release();
    return instant;
}

Truth not_of(Truth truth) { return truth == Truth::kNull ? truth : truth == Truth::kTrue ? Truth::kFalse : Truth::kTrue; }

Truth test_of(BoolTestType test, Truth truth) {
    const auto is = [](bool holds) { return holds ? Truth::kTrue : Truth::kFalse; };
    switch (test) {
        case IS_TRUE: return is(truth == Truth::kTrue);
        case IS_NOT_TRUE: return is(truth != Truth::kTrue);
        case IS_FALSE: return is(truth == Truth::kFalse);
        case IS_NOT_FALSE: return is(truth != Truth::kFalse);
        case IS_UNKNOWN: return is(truth == Truth::kNull);
        case IS_NOT_UNKNOWN: return is(truth != Truth::kNull);
    }
    return truth;
}

}  // namespace

std::string InstantLiteral(int64 instant, const char* type) {
    pg_tm tm{};
    fsec_t microseconds = 0;
    const bool fits = Call([&] { return timestamp2tm(instant, nullptr, &tm, &microseconds, nullptr, nullptr) == 0; });
    if (!fits) throw Error("22008", "timestamp out of range");
    char text[80];
    snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d:%02d.%06d+00%s", tm.tm_year > 0 ? tm.tm_year : 1 - tm.tm_year, tm.tm_mon,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, microseconds, tm.tm_year > 0 ? "" : " BC");
    const std::string literal = std::string("'") + text + "'::pg_catalog.timestamptz";
    return strcmp(type, "timestamptz") == 0 ? "(" + literal + ")" : "(" + literal + "::pg_catalog." + type + ")";
}

ClockUse::ClockUse(Node* expression, AttrNumber clock, const std::function<Error(int, Error)>& at)
    : clock_(clock), root_(Read(expression, clock, at)) {}

ClockUse::Part ClockUse::Read(Node* node, AttrNumber clock, const std::function<Error(int, Error)>& at) const {
    Part part{Kind::kStill};
    const int location = clock_location(node, clock);
    if (location == kNoClock) {
        part.still = Call([&] { return ExecInitExpr(reinterpret_cast<Expr*>(node), nullptr); });
        return part;
    }
    if (IsA(node, BooleanTest)) {
        const auto* test = reinterpret_cast<const BooleanTest*>(node);
        part.kind = Kind::kTest;
        part.test = test->booltesttype;
        part.parts.push_back(Read(reinterpret_cast<Node*>(test->arg), clock, at));
        return part;
    }
    if (IsA(node, BoolExpr)) {
        const auto* joined = reinterpret_cast<const BoolExpr*>(node);
        part.kind = joined->boolop == AND_EXPR ? Kind::kAnd : joined->boolop == OR_EXPR ? Kind::kOr : Kind::kNot;
        for (int i = 0; i < list_length(joined->args); ++i)
            part.parts.push_back(Read(static_cast<Node*>(list_nth(joined->args, i)), clock, at));
        return part;
    }
    part.kind = Kind::kLeaf;
    if (!part.leaf.Read(node, clock))
        throw at(location, Error(sqlstate::feature_not_supported, "it uses the clock in a way whose changes cannot be foreseen")
                               .Hint("Compare now() by <, <=, > or >= in a part of its own, which AND, OR and NOT join to the others;"
                                     " or give the segment a refresh interval."));
    return part;
}

/// What a part is now, and the first instant after now at which that might change.
struct ClockUse::Outlook {
    Truth truth;
    int64 change;
};

int64 ClockUse::next(ExprContext* context, int64 now) const { return foresee(root_, ClockRow{context, clock_, now}).change; }

ClockUse::Outlook ClockUse::foresee(const Part& part, const ClockRow& row) {
    switch (part.kind) {
        case Kind::kStill: return {truth_at(part.still, row, row.now), kNever};
        case Kind::kAnd:
        case Kind::kOr: return foresee_joined(part, row);
        case Kind::kNot: {
            const Outlook inner = foresee(part.parts.front(), row);
            return {not_of(inner.truth), inner.change};
        }
        case Kind::kTest: {
            const Outlook inner = foresee(part.parts.front(), row);
            return {test_of(part.test, inner.truth), inner.change};
        }
        case Kind::kLeaf: break;
    }
    const Truth truth = truth_at(part.leaf.state, row, row.now);
    return {truth, part.leaf.step > 0 ? next_of_steps(part.leaf, row, truth) : next_of_comparison(part.leaf, row, truth)};
}

/// One part that is false decides an AND, one that is true an OR, for as long as it stays that.
ClockUse::Outlook ClockUse::foresee_joined(const Part& part, const ClockRow& row) {
    const Truth deciding = part.kind == Kind::kAnd ? Truth::kFalse : Truth::kTrue;
    Truth truth = not_of(deciding);
    for (const Part& child : part.parts) {
        if (child.kind != Kind::kStill) continue;
        const Truth of_child = truth_at(child.still, row, row.now);
        if (of_child == deciding) return {deciding, kNever};
        if (of_child == Truth::kNull) truth = Truth::kNull;
    }
    int64 decided_until = 0, change = kNever;
    bool decided = false;
    for (const Part& child : part.parts) {
        if (child.kind == Kind::kStill) continue;
        const Outlook outlook = foresee(child, row);
        change = std::min(change, outlook.change);
        if (outlook.truth == deciding) {
            decided_until = decided ? std::max(decided_until, outlook.change) : outlook.change;
            decided = true;
        } else if (outlook.truth == Truth::kNull) {
            truth = Truth::kNull;
        }
    }
    return decided ? Outlook{deciding, decided_until} : Outlook{truth, change};
}

}  // namespace cdp::pg
