// pg/clock.cpp: see clock.hpp.
#include "pg/clock.hpp"

#include <map>

#include "pg/clock_breaks.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
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
int64 first_change(const ClockLeaf& leaf, const ClockRow& row, const Breaks& breaks, int64 from, int64 to, Truth truth) {
    for (int64 piece = from; piece < to;) {
        const int64 next = std::min(breaks.After(piece), to);
        if (!leaf.by_day && Differs(leaf, row, next - 1, truth)) return bisect(leaf, row, piece, next - 1, truth);
        if (Differs(leaf, row, next, truth)) return next;
        piece = next;
    }
    return kNever;
}

/// A time or a span of time in microseconds, for guessing how far two are apart.
bool microseconds(const Operand& operand, const ClockRow& row, int64 instant, int64* result) {
    bool null;
    const Datum value = value_at(operand.state, row, instant, &null);
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

/// Between what instants the leaf ceases to be `truth`, which it is now and not at the horizon: to the microsecond, or to
/// a day where it changes nowhere but where a day begins.
struct Bracket {
    int64 low, high;
};
Bracket some_change(const ClockLeaf& leaf, const ClockRow& row, Truth truth) {
    Bracket bracket{row.now, row.now + kHorizon};
    const int64 wanted = leaf.by_day ? USECS_PER_DAY : 1;
    const auto narrow = [&](int64 instant) {
        if (bracket.high - bracket.low > wanted && bracket.low < instant && instant < bracket.high)
            (Differs(leaf, row, instant, truth) ? bracket.high : bracket.low) = instant;
    };
    int64 moving, still, guess = row.now;
    const bool guessed = microseconds(leaf.still, row, row.now, &still);
    // Months are not equally long: what was guessed from afar is guessed again from near.
    for (int tries = 0; guessed && tries < 6 && microseconds(leaf.moving, row, guess, &moving) && moving != still; ++tries)
        guess += leaf.direction * (still - moving);
    if (guess != row.now) {
        for (const int64 about : {int64{0}, int64{1}, 2 * USECS_PER_DAY}) {
            narrow(guess - about);
            narrow(guess + about);
        }
    }
    while (bracket.high - bracket.low > wanted) narrow(bracket.low + (bracket.high - bracket.low) / 2);
    return bracket;
}

int64 next_of_comparison(const ClockLeaf& leaf, const ClockRow& row, Truth truth) {
    Bracket within{row.now, row.now + leaf.slack};
    const bool for_good = !Differs(leaf, row, row.now + kHorizon, truth);
    if (for_good) {
        // Unless this is about the moment when it changed and it goes to and fro.
        if (leaf.slack == 0 || !Differs(leaf, row, row.now - leaf.slack, truth)) return kNever;
    } else {
        within = some_change(leaf, row, truth);
        if (leaf.slack == 0 && !leaf.by_day) return within.high;
        within.low = std::max(row.now, within.low - leaf.slack);
    }
    Breaks breaks;
    breaks.collect(leaf, row, within.low, within.high);
    int64 change = for_good || leaf.by_day ? kNever : within.high;
    if (breaks.zone_changes || leaf.calendar_slack > 0 || leaf.by_day)
        change = first_change(leaf, row, breaks, within.low, within.high, truth);
    breaks.release();
    return change;
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

/// Some of the parts of an AND or OR, in one again.
Node* Joined(BoolExprType how, const std::vector<Node*>& nodes) {
    return Call([&] {
        List* list = NIL;
        for (size_t i = 0; i < nodes.size(); ++i) list = lappend(list, nodes[i]);
        return reinterpret_cast<Node*>(makeBoolExpr(how, list, -1));
    });
}

}  // namespace

std::string InstantLiteral(int64 instant, const char* type) {
    pg_tm tm{};
    fsec_t microseconds = 0;
    const bool fits = Call([&] { return timestamp2tm(instant, nullptr, &tm, &microseconds, nullptr, nullptr) == 0; });
    if (!fits) throw Error(sqlstate::datetime_field_overflow, "timestamp out of range");
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
        std::map<int64, std::vector<Node*>> in_steps;
        for (int i = 0; i < list_length(joined->args); ++i) {
            auto* argument = static_cast<Node*>(list_nth(joined->args, i));
            part.parts.push_back(Read(argument, clock, at));
            const Part& last = part.parts.back();
            if (last.kind == Kind::kLeaf && last.leaf.step > 0) in_steps[last.leaf.step].push_back(argument);
        }
        // Those that change in the same steps are looked at together: "from 9 to 17" is one change a morning.
        for (const auto& [step, nodes] : in_steps) {
            if (nodes.size() < 2) continue;
            std::erase_if(part.parts, [&, step = step](const Part& p) { return p.kind == Kind::kLeaf && p.leaf.step == step; });
            Part& together = part.parts.emplace_back(Part{Kind::kLeaf});
            together.leaf.Read(Joined(joined->boolop, nodes), clock);
        }
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
