// pg/expression_walk.cpp: see expression_walk.hpp.
#include "pg/expression_walk.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/sysattr.h"
#include "catalog/pg_proc.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
}

namespace cdp::pg {

namespace {

constexpr const char* kDependsOnClock = "depends on the clock";

/// Which of `nodes` is the same and stands at the same place in the text, counted from 0; -1: none. PostgreSQL copies what
/// stands left of BETWEEN, and of IN where it compares it with columns.
int PlaceIn(const List* nodes, const Node* node) {
    for (int i = 0; i < list_length(nodes); ++i) {
        const auto* other = static_cast<const Node*>(list_nth(nodes, i));
        if (exprLocation(other) == exprLocation(node) && equal(other, node)) return i;
    }
    return -1;
}

void AddOnce(List** nodes, Node* node) {
    if (PlaceIn(*nodes, node) < 0) *nodes = lappend(*nodes, node);
}

bool Refuse(ExpressionWalk* walk, const Node* node, const char* why, const char* hint = nullptr) {
    if (walk->refused == nullptr) {
        walk->refused = why;
        walk->hint = hint;
        walk->refused_at = exprLocation(node);
    }
    return true;
}

/// The same, with what to write instead: `instead` where the clock is allowed.
bool RefuseClock(ExpressionWalk* walk, const Node* node, const char* instead = nullptr) {
    if (walk->options.clock == ConditionOptions::Clock::kRefused)
        instead = walk->options.kind == ConditionOptions::Kind::kCondition
            ? nullptr
            : "Make a segment that compares it with the clock, and write 'its name' = ANY (cdp.segment_names()).";
    return Refuse(walk, node, kDependsOnClock, instead);
}

/// What to write for a literal of a date or a time, at `literal` in the text, that says when by the clock: 'now',
/// 'tomorrow 12:00'. Null: it does not.
const char* InsteadOf(const char* literal) {
    if (*literal != '\'') return nullptr;
    do ++literal;
    while (isspace(static_cast<unsigned char>(*literal)));
    static const char* const words[][2] = {{"now", "Write now() instead of 'now'."},
                                           {"today", "Write CURRENT_DATE instead of 'today'."},
                                           {"tomorrow", "Write CURRENT_DATE + 1 instead of 'tomorrow'."},
                                           {"yesterday", "Write CURRENT_DATE - 1 instead of 'yesterday'."}};
    for (const auto& [word, instead] : words) {
        const size_t length = strlen(word);
        if (pg_strncasecmp(literal, word, length) == 0 && !isalnum(static_cast<unsigned char>(literal[length]))) return instead;
    }
    return nullptr;
}

bool RefuseLiteral(ExpressionWalk* walk, const Const* literal) {
    switch (literal->consttype) {
        case DATEOID:
        case TIMEOID:
        case TIMETZOID:
        case TIMESTAMPOID:
        case TIMESTAMPTZOID: {
            const char* instead = literal->location >= 0 ? InsteadOf(walk->text + literal->location) : nullptr;
            return instead != nullptr && RefuseClock(walk, reinterpret_cast<const Node*>(literal), instead);
        }
        default: return false;
    }
}

/// Inside the arguments of special calls, which must be constants in the end: are they by the clock?
bool InspectArguments(Node* node, ExpressionWalk* walk) {
    if (node == nullptr) return false;
    if (IsA(node, Const)) return RefuseLiteral(walk, reinterpret_cast<const Const*>(node));
    return expression_tree_walker(node, CDP_TREE_FUNCTION(InspectArguments), walk);
}

bool IsVolatile(Oid function, void*) { return func_volatile(function) == PROVOLATILE_VOLATILE; }

bool Follows(const ExpressionWalk* walk) { return walk->options.subqueries == ConditionOptions::Subqueries::kFollowed; }

bool InspectClock(Node* node, ExpressionWalk* walk) {
    if (walk->in_subquery && Follows(walk)) return Refuse(walk, node, "depends on the clock in a subquery", "Give the segment a refresh interval; then it may.");
    if (walk->options.clock == ConditionOptions::Clock::kRefused) return RefuseClock(walk, node);
    AddOnce(&walk->clocks, node);
    return false;
}

bool InspectValue(Node* node, ExpressionWalk* walk) {
    if (clock_type(node) != nullptr) return InspectClock(node, walk);
    switch (reinterpret_cast<const SQLValueFunction*>(node)->op) {
        case SVFOP_CURRENT_TIMESTAMP_N:
        case SVFOP_LOCALTIMESTAMP_N: return RefuseClock(walk, node, "Write it without a precision.");
        case SVFOP_CURRENT_TIME:
        case SVFOP_CURRENT_TIME_N:
        case SVFOP_LOCALTIME:
        case SVFOP_LOCALTIME_N: return RefuseClock(walk, node, "Write extract(hour FROM now()) or to_char(now(), 'HH24:MI').");
        default: return Refuse(walk, node, "depends on the clock or the session");
    }
}

bool InspectCall(FuncExpr* call, ExpressionWalk* walk) {
    auto* node = reinterpret_cast<Node*>(call);
    for (int i = 0; i < walk->special_count; ++i) {
        if (call->funcid != walk->specials[i]) continue;
        if (walk->depth > 0 || (walk->in_subquery && Follows(walk))) return Refuse(walk, node, psprintf("calls cdp.%s in a subquery", get_func_name(call->funcid)));
        AddOnce(&walk->calls, node);
        return InspectArguments(reinterpret_cast<Node*>(call->args), walk);
    }
    switch (call->funcid) {
        case F_NOW:
        case F_STATEMENT_TIMESTAMP:
        case F_TRANSACTION_TIMESTAMP: return InspectClock(node, walk);
        case F_AGE_TIMESTAMP:
        case F_AGE_TIMESTAMPTZ: return RefuseClock(walk, node, "Write age(CURRENT_DATE, x) or age(now(), x) instead of age(x).");
        case F_CLOCK_TIMESTAMP:
        case F_TIMEOFDAY:
            if (walk->options.clock != ConditionOptions::Clock::kRefused)
                return Refuse(walk, node, "calls a volatile function", "Write now() instead.");
            break;
        default: break;
    }
    if (IsVolatile(call->funcid, nullptr)) return Refuse(walk, node, "calls a volatile function");
    return expression_tree_walker(node, CDP_TREE_FUNCTION(inspect_expression), walk);
}

bool InspectSubquery(SubLink* link, ExpressionWalk* walk) {
    auto* node = reinterpret_cast<Node*>(link);
    if (walk->options.subqueries == ConditionOptions::Subqueries::kRefused) return Refuse(walk, node, "has a subquery");
    walk->has_subquery = true;
    if (Follows(walk) && !walk->in_subquery) AddOnce(&walk->subqueries, node);
    const bool outer = std::exchange(walk->in_subquery, true);
    const bool refused = expression_tree_walker(node, CDP_TREE_FUNCTION(inspect_expression), walk);
    walk->in_subquery = outer;
    return refused;
}

bool InspectQuery(Query* query, ExpressionWalk* walk) {
    if (query->rowMarks != NIL) return Refuse(walk, nullptr, "locks rows");
    ++walk->depth;
    const bool refused = query_tree_walker(query, CDP_TREE_FUNCTION(inspect_expression), walk, QTW_EXAMINE_RTES_BEFORE);
    --walk->depth;
    return refused;
}

bool IsClock(Node* node, void*) {
    if (node == nullptr) return false;
    if (clock_type(node) != nullptr) return true;
    return expression_tree_walker(node, CDP_TREE_FUNCTION(IsClock), nullptr);
}

}  // namespace

const char* clock_type(const Node* node) {
    if (IsA(node, FuncExpr)) {
        switch (reinterpret_cast<const FuncExpr*>(node)->funcid) {
            case F_NOW:
            case F_STATEMENT_TIMESTAMP:
            case F_TRANSACTION_TIMESTAMP: return "timestamptz";
            default: return nullptr;
        }
    }
    if (!IsA(node, SQLValueFunction)) return nullptr;
    switch (reinterpret_cast<const SQLValueFunction*>(node)->op) {
        case SVFOP_CURRENT_TIMESTAMP: return "timestamptz";
        case SVFOP_CURRENT_DATE: return "date";
        case SVFOP_LOCALTIMESTAMP: return "timestamp";
        default: return nullptr;
    }
}

bool inspect_expression(Node* node, ExpressionWalk* walk) {
    if (node == nullptr) return false;
    switch (nodeTag(node)) {
        case T_Var: {
            auto* var = reinterpret_cast<Var*>(node);
            if (static_cast<int>(var->varlevelsup) != walk->depth) return false;  // of a subquery's own tables
            walk->columns = bms_add_member(walk->columns, var->varattno - FirstLowInvalidHeapAttributeNumber);
            return var->varattno < 0 && Refuse(walk, node, "reads a system column");
        }
        case T_SubLink: return InspectSubquery(reinterpret_cast<SubLink*>(node), walk);
        case T_Query: return InspectQuery(reinterpret_cast<Query*>(node), walk);
        case T_RangeTblEntry: {
            const auto* entry = reinterpret_cast<const RangeTblEntry*>(node);
            if (entry->rtekind == RTE_RELATION) walk->relations = list_append_unique_oid(walk->relations, entry->relid);
            return false;  // query_tree_walker goes on into it
        }
        case T_Const: return RefuseLiteral(walk, reinterpret_cast<const Const*>(node));
        case T_SQLValueFunction: return InspectValue(node, walk);
        case T_FuncExpr: return InspectCall(reinterpret_cast<FuncExpr*>(node), walk);
        case T_List: break;
        default:
            if (check_functions_in_node(node, IsVolatile, nullptr)) return Refuse(walk, node, "calls a volatile function");
    }
    return expression_tree_walker(node, CDP_TREE_FUNCTION(inspect_expression), walk);
}

bool reads_clock(Node* node) { return IsClock(node, nullptr); }

bool runs_code_of_users(Node* node, void* context) {
    const auto by_user = [](Oid function, void*) { return function >= FirstNormalObjectId; };
    if (node == nullptr) return false;
    return IsA(node, CoerceToDomain) || check_functions_in_node(node, by_user, nullptr) ||
           expression_tree_walker(node, CDP_TREE_FUNCTION(runs_code_of_users), context);
}

Bitmapset* columns_of_row(Node* subquery, const Bitmapset* columns) {
    Bitmapset* all = bms_copy(columns);
    ListCell* cell;
    foreach (cell, pull_vars_of_level(subquery, 0))
        all = bms_add_member(all, static_cast<Var*>(lfirst(cell))->varattno - FirstLowInvalidHeapAttributeNumber);
    return all;
}

Node* with_inputs(Node* node, ExpressionWalk* walk) {
    if (node == nullptr) return nullptr;
    if (const int place = PlaceIn(walk->inputs, node); place >= 0)
        return reinterpret_cast<Node*>(makeVar(INNER_VAR, static_cast<AttrNumber>(place + 1), exprType(node), -1, exprCollation(node), 0));
    if (PlaceIn(walk->clocks, node) >= 0) {
        Var* clock = makeVar(INNER_VAR, static_cast<AttrNumber>(list_length(walk->inputs) + 1), TIMESTAMPTZOID, -1, InvalidOid, 0);
        clock->location = exprLocation(node);
        const Oid type = exprType(node);
        if (type == TIMESTAMPTZOID) return reinterpret_cast<Node*>(clock);
        FuncExpr* cast = makeFuncExpr(type == DATEOID ? F_DATE_TIMESTAMPTZ : F_TIMESTAMP_TIMESTAMPTZ, type, list_make1(clock), InvalidOid,
                                      InvalidOid, COERCE_EXPLICIT_CAST);
        cast->location = clock->location;
        return reinterpret_cast<Node*>(cast);
    }
    return expression_tree_mutator(node, CDP_TREE_FUNCTION(with_inputs), walk);
}

}  // namespace cdp::pg
