// pg/clock_leaf.cpp: see clock_leaf.hpp.
#include "pg/clock_leaf.hpp"

#include <cmath>

#include "pg/clock_rules.hpp"
#include "pg/compat.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/pg_opfamily.h"
#include "datatype/timestamp.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
}

namespace cdp::pg {

namespace {

/// By how much the moment of a change may spread: where the zone changes its offset, and where days and months are
/// counted (31 January and a month is 28 February, and so are the three days before).
constexpr int64 kZoneSlack = 26 * USECS_PER_HOUR, kMonthSlack = 4 * USECS_PER_DAY, kAgeSlack = 26 * USECS_PER_HOUR;

struct Search {
    AttrNumber clock;
    int location;
};

bool FindClock(Node* node, Search* search) {
    if (node == nullptr) return false;
    if (IsA(node, Var)) {
        const auto* var = reinterpret_cast<const Var*>(node);
        if (static_cast<int>(var->varno) != INNER_VAR || var->varattno != search->clock) return false;
        search->location = var->location;
        return true;
    }
    return expression_tree_walker(node, CDP_TREE_FUNCTION(FindClock), search);
}

struct CallParts {
    Oid function = InvalidOid;
    List* arguments = NIL;
    Node* at(int i) const { return static_cast<Node*>(list_nth(arguments, i)); }
    int count() const { return list_length(arguments); }
};

/// A call or an operator as a function and its arguments.
CallParts Parts(const Node* node) {
    if (IsA(node, FuncExpr)) {
        const auto* call = reinterpret_cast<const FuncExpr*>(node);
        return {call->funcid, call->args};
    }
    if (IsA(node, OpExpr)) {
        const auto* call = reinterpret_cast<const OpExpr*>(node);
        return {call->opfuncid, call->args};
    }
    return {};
}

const Const* ConstantOf(const Node* node) {
    const auto* constant = IsA(node, Const) ? reinterpret_cast<const Const*>(node) : nullptr;
    return constant != nullptr && !constant->constisnull ? constant : nullptr;
}

std::string TextOf(const Node* node) {
    const Const* constant = ConstantOf(node);
    if (constant == nullptr || constant->consttype != TEXTOID) return "";
    const auto bytes = Bytes(constant->constvalue);
    std::string text(bytes);
    for (char& c : text) c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
    return text;
}

Operand Prepared(Node* node, int sign = 1) {
    return {Call([&] { return ExecInitExpr(reinterpret_cast<Expr*>(node), nullptr); }), Call([&] { return exprType(node); }), sign};
}

/// Something that only rises or only falls as time goes on, as far as it has been read.
struct Moving {
    int direction = 1;        // 0: it is not known to do so
    int64 zone_slack = 0;
    int64 calendar_slack = 0;
    bool cut = false;         // to days, hours, …
    bool by_day = false;      // to days or more
    bool cut_shifted = false; // and moved by hours then: it steps to the next day at another time than the day begins
    bool seconds = false;     // a number of seconds since long ago, too many for an integer some day
    bool elapsed = false;     // an interval without months
};

class Reader {
public:
    explicit Reader(AttrNumber clock) : clock_(clock) {}

    Moving Read(Node* node, ClockChain* chain) const;
    /// The step in which a node changes, at most: 0 if it does not read the clock, -1 if it changes at any time.
    int64 Step(Node* node, std::vector<ClockChain>* chains) const;
    bool ReadsClock(Node* node) const { return clock_location(node, clock_) != kNoClock; }

private:
    Moving Apply(const Rule& rule, const CallParts& call, Moving inner, ClockChain* chain) const;
    bool Shift(const Rule& rule, const CallParts& call, Moving* inner, ClockChain* chain) const;
    int64 StepOfCall(const CallParts& call, std::vector<ClockChain>* chains) const;

    AttrNumber clock_;
};

Moving Reader::Read(Node* node, ClockChain* chain) const {
    const Moving none{.direction = 0};
    if (IsA(node, RelabelType)) return Read(reinterpret_cast<Node*>(reinterpret_cast<RelabelType*>(node)->arg), chain);
    if (IsA(node, Var)) {
        chain->probes.push_back(Prepared(node));
        return {};
    }
    const CallParts call = Parts(node);
    int argument = -1;
    for (int i = 0; i < call.count(); ++i) {
        if (!ReadsClock(call.at(i))) continue;
        if (argument >= 0) return none;
        argument = i;
    }
    const Rule* rule = FindRule(call.function, argument);
    if (rule == nullptr) return none;
    const Moving inner = Read(call.at(argument), chain);
    if (inner.direction == 0) return none;
    Moving result = Apply(*rule, call, inner, chain);
    result.direction *= rule->direction;
    const Oid type = Call([&] { return exprType(node); });
    if (type == TIMESTAMPTZOID || type == TIMESTAMPOID) chain->probes.push_back(Prepared(node));
    return result;
}

/// Adding an interval: hours are only hours, days and months depend on where one is.
bool Reader::Shift(const Rule& rule, const CallParts& call, Moving* inner, ClockChain* chain) const {
    Node* operand = call.at(1 - rule.argument);
    const bool zoned = rule.effect == Effect::kZonedShift;
    const Const* constant = ConstantOf(operand);
    const Interval* interval = constant != nullptr ? DatumGetIntervalP(constant->constvalue) : nullptr;
    const bool months = interval == nullptr || interval->month != 0, days = interval == nullptr || interval->day != 0;
    const bool hours = interval == nullptr || interval->time != 0;
    if (inner->cut_shifted && (months || days)) return false;
    if (months) inner->calendar_slack += kMonthSlack;
    if (zoned && (months || days)) {
        inner->zone_slack += kZoneSlack;
        ++chain->zone_steps;
    }
    if (hours) {
        chain->shifts.push_back(Prepared(operand, rule.sign));
        inner->cut_shifted |= inner->cut;
    }
    return true;
}

Moving Reader::Apply(const Rule& rule, const CallParts& call, Moving inner, ClockChain* chain) const {
    const Moving none{.direction = 0};
    const auto pass_zone = [&] {
        inner.zone_slack += kZoneSlack;
        ++chain->zone_steps;
    };
    switch (rule.effect) {
        case Effect::kPlain: inner.elapsed = false; return inner;
        case Effect::kWhole: return inner.seconds ? none : inner;
        case Effect::kElapsed: inner.elapsed = true; return inner;
        case Effect::kZonedShift:
        case Effect::kShift: return Shift(rule, call, &inner, chain) ? inner : none;
        case Effect::kZone:
        case Effect::kNamedZone:
        case Effect::kZoneCut:
            if (inner.cut_shifted) return none;
            if (rule.effect == Effect::kNamedZone) chain->zones.push_back(Prepared(call.at(0)));
            pass_zone();
            if (rule.effect == Effect::kZoneCut) inner.cut = inner.by_day = true;
            return inner;
        case Effect::kCut:
            if (inner.cut_shifted) return none;
            inner.cut = inner.by_day = true;
            return inner;
        case Effect::kZoneTrunc:
        case Effect::kTrunc:
            if (inner.cut_shifted || !IsTruncUnit(TextOf(call.at(0)))) return none;
            if (rule.effect == Effect::kZoneTrunc) pass_zone();
            inner.cut = true;
            inner.by_day |= StepOfTrunc(TextOf(call.at(0))) == USECS_PER_DAY;
            return inner;
        case Effect::kAge:
            if (inner.cut_shifted) return none;
            pass_zone();
            inner.calendar_slack += kAgeSlack;
            chain->marks.push_back(Prepared(call.at(1 - rule.argument)));
            return inner;
        case Effect::kField: {
            const std::string field = TextOf(call.at(0));
            if (!IsRisingField(field)) return none;
            inner.seconds = field == "epoch";
            if (Call([&] { return exprType(call.at(1)); }) == TIMESTAMPTZOID && field != "epoch") {
                if (inner.cut_shifted) return none;
                pass_zone();
            }
            inner.by_day |= StepOfField(field) == USECS_PER_DAY;
            return inner;
        }
        case Effect::kSpanField: {
            const std::string field = TextOf(call.at(0));
            if (!IsRisingSpanField(field, inner.elapsed)) return none;
            inner.seconds = field == "epoch";
            inner.by_day |= !inner.elapsed && field != "epoch" && !chain->marks.empty();
            return inner;
        }
        case Effect::kTimes:
        case Effect::kBy: {
            const double number = NumberOf(ConstantOf(call.at(1 - rule.argument)));
            inner.direction *= number > 0 ? 1 : number < 0 ? -1 : 0;
            if (rule.effect == Effect::kBy && std::abs(number) >= SECS_PER_MINUTE) inner.seconds = false;
            return inner;
        }
    }
    return none;
}

/// A call whose value changes only where a day, an hour or a minute begins; 0: it is no such call.
int64 Reader::StepOfCall(const CallParts& call, std::vector<ClockChain>* chains) const {
    const StepRule* rule = FindStepRule(call.function);
    if (rule == nullptr) return 0;
    int64 step = USECS_PER_DAY;
    if (rule->kind == StepKind::kField) step = StepOfField(TextOf(call.at(0)));
    if (rule->kind == StepKind::kTrunc) step = StepOfTrunc(TextOf(call.at(0)));
    if (rule->kind == StepKind::kSpanField) step = StepOfSpanField(TextOf(call.at(0)));
    if (rule->kind == StepKind::kFormat) step = StepOfFormat(ConstantOf(call.at(1)) != nullptr ? TextOf(call.at(1)) : "ss");
    if (step == 0) return 0;
    for (int i = 0; i < call.count(); ++i)
        if (i != rule->argument && ReadsClock(call.at(i))) return 0;
    Node* inner = call.at(rule->argument);
    ClockChain chain;
    if (rule->kind == StepKind::kSpanField) {
        // Of a difference: it goes on at the time of day of what it is counted from.
        const CallParts difference = Parts(inner);
        if (difference.function != F_AGE_TIMESTAMPTZ_TIMESTAMPTZ && difference.function != F_AGE_TIMESTAMP_TIMESTAMP &&
            difference.function != F_TIMESTAMPTZ_MI && difference.function != F_TIMESTAMP_MI)
            return 0;
        const int clock = ReadsClock(difference.at(0)) ? 0 : 1;
        if (ReadsClock(difference.at(1 - clock))) return 0;
        auto& marks = difference.function == F_TIMESTAMPTZ_MI ? chain.utc_marks : chain.marks;
        marks.push_back(Prepared(difference.at(1 - clock)));
        inner = difference.at(clock);
    }
    const Moving moving = Read(inner, &chain);
    if (moving.direction == 0 || moving.cut_shifted) return 0;
    ++chain.zone_steps;
    chains->push_back(std::move(chain));
    return step;
}

int64 Reader::Step(Node* node, std::vector<ClockChain>* chains) const {
    if (!ReadsClock(node)) return 0;
    if (IsA(node, Var)) return -1;
    if (const int64 step = StepOfCall(Parts(node), chains); step > 0) return step;
    // Whatever is made of values that change in steps changes in steps.
    List* children = Call([&] {
        List* found = NIL;
        const auto collect = [](Node* child, List** list) -> bool {
            if (child != nullptr) *list = lappend(*list, child);
            return false;
        };
        bool (*walker)(Node*, List**) = collect;
        expression_tree_walker(node, CDP_TREE_FUNCTION(walker), &found);
        return found;
    });
    int64 finest = 0;
    for (int i = 0; i < list_length(children); ++i) {
        const int64 step = Step(static_cast<Node*>(list_nth(children, i)), chains);
        if (step < 0) return step;
        if (step > 0 && (finest == 0 || step < finest)) finest = step;
    }
    return finest;
}

/// The strategy of a comparison in the order of its type: <, <=, > or >=; 0: it is none.
int OrderStrategy(Oid op) {
    return Call([&] {
        ListCell* cell;
        foreach (cell, get_op_btree_interpretation(op)) {
            const int strategy = static_cast<const OpBtreeInterpretation*>(lfirst(cell))->strategy;
            if (strategy != BTEqualStrategyNumber && strategy != ROWCOMPARE_NE) return strategy;
        }
        return 0;
    });
}

}  // namespace

Datum value_at(ExprState* state, const ClockRow& row, int64 instant, bool* null) {
    row.context->ecxt_innertuple->tts_values[row.clock - 1] = TimestampTzGetDatum(instant);
    ResetExprContext(row.context);
    return ExecEvalExprSwitchContext(state, row.context, null);
}

Truth truth_at(ExprState* state, const ClockRow& row, int64 instant) {
    bool null;
    const Datum value = value_at(state, row, instant, &null);
    return null ? Truth::kNull : DatumGetBool(value) ? Truth::kTrue : Truth::kFalse;
}

int clock_location(Node* node, AttrNumber clock) {
    Search search{clock, kNoClock};
    FindClock(node, &search);
    return search.location;
}

bool ClockLeaf::Read(Node* node, AttrNumber clock) {
    const Reader reader(clock);
    state = Call([&] { return ExecInitExpr(reinterpret_cast<Expr*>(node), nullptr); });
    if (IsA(node, OpExpr) && OrderStrategy(reinterpret_cast<const OpExpr*>(node)->opno) != 0) {
        const CallParts compared = Parts(node);
        const int side = reader.ReadsClock(compared.at(0)) ? 0 : 1;
        ClockChain chain;
        if (!reader.ReadsClock(compared.at(1 - side))) {
            const Moving read = reader.Read(compared.at(side), &chain);
            if (read.direction != 0) {
                moving = Prepared(compared.at(side));
                still = Prepared(compared.at(1 - side));
                direction = read.direction;
                calendar_slack = read.calendar_slack;
                slack = calendar_slack + read.zone_slack;
                cut = read.cut;
                by_day = read.by_day;
                if (moving.type != still.type) {  // compared through the zone, perhaps
                    if (read.cut_shifted && moving.type == TIMESTAMPOID && still.type == TIMESTAMPTZOID) return false;
                    slack += kZoneSlack;
                    ++chain.zone_steps;
                }
                chains.push_back(std::move(chain));
                return true;
            }
        }
    }
    step = reader.Step(node, &chains);
    reach = step == USECS_PER_DAY ? 32 * USECS_PER_DAY : step == USECS_PER_HOUR ? 48 * USECS_PER_HOUR : 120 * USECS_PER_MINUTE;
    return step > 0;
}

}  // namespace cdp::pg
