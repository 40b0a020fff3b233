// pg/expression.cpp: see expression.hpp.
#include "pg/expression.hpp"

#include "pg/clock.hpp"
#include "pg/expression_walk.hpp"
#include "pg/special_call.hpp"
#include "pg/spi.hpp"
#include "pg/ties_tables.hpp"

extern "C" {
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
}

namespace cdp::pg {

namespace {

/// Lets a virtual slot point to rows that are elsewhere; its own memory comes back when this dies.
struct RowPointers {
    explicit RowPointers(TupleTableSlot* slot) : slot(slot), values(slot->tts_values), nulls(slot->tts_isnull) {}
    ~RowPointers() {
        slot->tts_values = values;
        slot->tts_isnull = nulls;
        slot->tts_flags |= TTS_FLAG_EMPTY;
        slot->tts_nvalid = 0;
    }
    TupleTableSlot* slot;
    Datum* values;
    bool* nulls;
};

void CollectLeaves(Node* node, List** leaves) {
    if (!IsA(node, BoolExpr)) {
        *leaves = lappend(*leaves, node);
        return;
    }
    ListCell* cell;
    foreach (cell, reinterpret_cast<BoolExpr*>(node)->args) CollectLeaves(static_cast<Node*>(lfirst(cell)), leaves);
}

/// The condition as a parse tree: exactly one expression, nothing of a SELECT around it. Null: it is more, or less, than that.
Node* raw_expression(const char* text) {
    List* statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
    auto* select = reinterpret_cast<SelectStmt*>(linitial_node(RawStmt, statements)->stmt);
    if (list_length(select->targetList) > 1) {
        const int location = lsecond_node(ResTarget, select->targetList)->location;
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("it is more than one SQL expression"), errposition(pg_mbstrlen_with_len(text, location) + 1)));
    }
    const bool plain = select->op == SETOP_NONE && list_length(select->targetList) == 1 && select->distinctClause == NIL &&
                       select->intoClause == nullptr && select->fromClause == NIL && select->whereClause == nullptr &&
                       select->groupClause == NIL && select->havingClause == nullptr && select->windowClause == NIL &&
                       select->valuesLists == NIL && select->sortClause == NIL && select->limitOffset == nullptr &&
                       select->limitCount == nullptr && select->lockingClause == NIL && select->withClause == nullptr;
    auto* target = plain ? linitial_node(ResTarget, select->targetList) : nullptr;
    // A * alone is a list of columns; as an expression it would be taken for a name.
    const bool star = target != nullptr && IsA(target->val, ColumnRef) &&
                      IsA(linitial(reinterpret_cast<ColumnRef*>(target->val)->fields), A_Star);
    return target == nullptr || target->name != nullptr || target->indirection != NIL || star ? nullptr : target->val;
}

/// Throws what is wrong with a text that is no single expression, and where: what the parser says of it in parentheses, where no
/// name and no clause of SELECT may follow.
[[noreturn]] void ThrowNoExpression(const std::string& text) {
    const std::string in_parentheses = "(" + text + "\n)";
    try {
        Call([&] {
            raw_parser(in_parentheses.c_str(), RAW_PARSE_PLPGSQL_EXPR);
            ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("it is no single SQL expression")));
        });
    } catch (const PgError& error) {
        const int characters = Call([&] { return pg_mbstrlen_with_len(text.c_str(), static_cast<int>(text.size())); });
        if (error.data->cursorpos > 0 && --error.data->cursorpos > characters) {
            error.data->cursorpos = characters + 1;
            error.data->message = Call([&] { return MemoryContextStrdup(error.data->assoc_context, "syntax error at end of input"); });
        }
        throw;
    }
    pg_unreachable();
}

/// The names of a relation's columns, as a list.
std::string ColumnsOf(Oid relation) {
    return std::string(Call([&] {
        StringInfoData list;
        initStringInfo(&list);
        Relation rel = table_open(relation, AccessShareLock);
        for (int i = 0; i < RelationGetDescr(rel)->natts; ++i) {
            const FormData_pg_attribute* column = TupleDescAttr(RelationGetDescr(rel), i);
            if (!column->attisdropped) appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", NameStr(column->attname));
        }
        table_close(rel, AccessShareLock);
        return std::string_view(list.data, static_cast<size_t>(list.len));
    }));
}

/// An expression over rows of `rel`, analysed: of type boolean, or of any type.
Node* analyse(ParseState* state, Node* raw, const char* text, Relation rel, const char* alias, const Condition::Options& options) {
    state->p_sourcetext = text;
    ParseNamespaceItem* item = addRangeTableEntryForRelation(state, rel, AccessShareLock, makeAlias(alias, NIL), false, true);
    addNSItemToQuery(state, item, false, true, true);
    // A value is what a generated column might be: no aggregates, sets or subqueries.
    Node* expression = transformExpr(state, raw, options.kind == Condition::Kind::kValue ? EXPR_KIND_GENERATED_COLUMN : EXPR_KIND_WHERE);
    const Oid type = exprType(expression);
    if (options.kind == Condition::Kind::kCondition) {
        if (type != BOOLOID && type != UNKNOWNOID)
            ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("it must be of type boolean, not %s", format_type_be(type)),
                            parser_errposition(state, exprLocation(expression))));
        expression = coerce_to_boolean(state, expression, "WHERE");
    } else if (type == UNKNOWNOID) {
        expression = coerce_to_target_type(state, expression, UNKNOWNOID, TEXTOID, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
    }
    if (OidIsValid(options.type)) {
        Node* cast = coerce_to_target_type(state, expression, exprType(expression), options.type, options.typmod, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
        if (cast == nullptr)
            ereport(ERROR, (errcode(ERRCODE_CANNOT_COERCE), errmsg("cannot cast type %s to %s", format_type_be(exprType(expression)),
                                                                   format_type_with_typemod(options.type, options.typmod)),
                            parser_errposition(state, exprLocation(expression))));
        expression = cast;
    }
    assign_expr_collations(state, expression);
    return expression;
}

void check_rights(const Bitmapset* columns, Oid relation, Oid owner) {
    for (int column = -1; (column = bms_next_member(columns, column)) >= 0;) {
        const auto number = static_cast<AttrNumber>(column + FirstLowInvalidHeapAttributeNumber);
        const bool allowed = pg_class_aclcheck(relation, owner, ACL_SELECT) == ACLCHECK_OK ||
                             (number == 0 ? pg_attribute_aclcheck_all(relation, owner, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK
                                          : pg_attribute_aclcheck(relation, number, owner, ACL_SELECT) == ACLCHECK_OK);
        if (!allowed)
            ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                            errmsg("role \"%s\" may not read column \"%s\"", GetUserNameFromId(owner, false),
                                   number == 0 ? "*" : get_attname(relation, number, false))));
    }
}

/// Where a value of the clock ends that begins at `begin`: behind the word, or the parentheses behind it.
int EndOfClock(const Node* clock, const std::string& text, int begin) {
    if (IsA(clock, FuncExpr)) return Call([&] { return end_of_call(text.c_str(), begin); });
    while (static_cast<size_t>(begin) < text.size() && (isalpha(static_cast<unsigned char>(text[begin])) || text[begin] == '_')) ++begin;
    return begin;
}

}  // namespace

Condition::Condition(std::string text, std::string what, Oid relation, const char* alias, Oid owner,
                     std::span<const char* const> specials, Options options)
    : text_(std::move(text)), what_(std::move(what)), owner_(owner), options_(options) {
    memory_ = Call([] { return AllocSetContextCreate(TopMemoryContext, "cdp condition", ALLOCSET_SMALL_SIZES); });
    const MemoryContext outer = MemoryContextSwitchTo(memory_);
    try {
        Parse(relation, alias, specials);
        MemoryContextSwitchTo(outer);
    } catch (const PgError& error) {
        MemoryContextSwitchTo(outer);
        MemoryContextDelete(memory_);
        Explain(error.data, relation, alias);
    } catch (...) {
        MemoryContextSwitchTo(outer);
        MemoryContextDelete(memory_);
        throw;
    }
}

Condition::~Condition() {
    if (context_ != nullptr) FreeExprContext(context_, false);
    MemoryContextDelete(memory_);
}

void Condition::Explain(ErrorData* data, Oid relation, std::string_view alias) const {
    Error error(unpack_sql_state(data->sqlerrcode), data->message);
    const char* quoted = data->sqlerrcode == ERRCODE_UNDEFINED_COLUMN ? strchr(data->message, '"') : nullptr;
    const char* end = quoted ? strchr(quoted + 1, '"') : nullptr;
    if (end != nullptr) {
        error.message = what_ + " uses column " + std::string(quoted, end + 1) + ", which does not exist";
        error.hint = alias == "profile" ? "Declare it with cdp.create_trait or cdp.create_computed_trait."
                                        : "Its columns are " + ColumnsOf(relation) + ".";
    } else {  // also of another table's column, which is not quoted
        error.message = what_ + ": " + data->message;
        if (data->hint) error.hint = data->hint;
    }
    if (data->detail) error.detail = data->detail;
    error.source = text_;
    error.position = data->cursorpos;
    throw error;
}

void Condition::Parse(Oid relation, const char* alias, std::span<const char* const> special_names) {
    const std::vector<Oid> functions = SpecialFunctions(special_names);
    ExpressionWalk walk{functions.data(), static_cast<int>(functions.size()), text_.c_str(), options_};
    Node* raw = Call([&] { return raw_expression(text_.c_str()); });
    if (raw == nullptr) ThrowNoExpression(text_);
    char* type_name = nullptr;
    tree_ = Call([&] {
        ParseState* state = make_parsestate(nullptr);
        Relation rel = table_open(relation, AccessShareLock);
        Node* expression = analyse(state, raw, text_.c_str(), rel, alias, options_);
        type_name = format_type_with_typemod(exprType(expression), exprTypmod(expression));
        inspect_expression(expression, &walk);
        if (walk.refused != nullptr)
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("it %s", walk.refused),
                            walk.hint != nullptr ? errhint("%s", walk.hint) : 0, parser_errposition(state, walk.refused_at)));
        check_rights(walk.columns, relation, owner_);
        row_ = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(rel)), &TTSOpsVirtual);
        table_close(rel, NoLock);
        free_parsestate(state);
        return expression;
    });
    relation_ = relation;
    alias_ = alias;
    type_ = type_name;
    has_subquery_ = walk.has_subquery;
    for (int column = -1; (column = bms_next_member(walk.columns, column)) >= 0;)
        columns_.push_back(column + FirstLowInvalidHeapAttributeNumber);
    for (int i = 0; i < list_length(walk.relations); ++i) relations_.push_back(list_nth_oid(walk.relations, i));
    std::sort(relations_.begin(), relations_.end());
    for (int i = 0; i < list_length(walk.clocks); ++i) {
        const auto* clock = static_cast<const Node*>(list_nth(walk.clocks, i));
        const int begin = exprLocation(clock);
        clocks_.push_back({begin, EndOfClock(clock, text_, begin), clock_type(clock)});
    }
    // The rights to execute functions are checked here.
    const ActAs as_owner(owner_, true);
    for (int i = 0; i < list_length(walk.calls); ++i)
        specials_.push_back(ReadSpecialCall(static_cast<FuncExpr*>(list_nth(walk.calls, i)), text_, what_));
    if (walk.subqueries != NIL) ReadSubqueries(walk);
    if (!has_subquery_ || walk.subqueries != NIL) Compile(walk);
}

void Condition::ReadSubqueries(const ExpressionWalk& walk) {
    TieRefusal refusal;
    const List* ties = Call([&] { return find_ties(tree_, owner_, &refusal); });
    const auto refuse = [&](const TieRefusal& why) {
        Error error(sqlstate::feature_not_supported, what_ + ": it " + why.why);
        if (why.hint != nullptr) error.hint = why.hint;
        return std::move(error).At(Call([&] { return pg_mbstrlen_with_len(text_.c_str(), std::max(why.at, 0)); }) + 1, text_);
    };
    if (refusal.why != nullptr) throw refuse(refusal);
    tables_ = Copied(ties);
    const Bitmapset* columns = nullptr;
    for (int i = 0; i < list_length(walk.subqueries); ++i) {
        auto* subquery = static_cast<Node*>(list_nth(walk.subqueries, i));
        subqueries_.emplace_back(Call([&] {
            columns = columns_of_row(subquery, columns);
            return deparse_expression(by_own_collations(subquery, nullptr), deparse_context_for(alias_.c_str(), relation_), true, false);
        }));
        if (bms_is_member(-FirstLowInvalidHeapAttributeNumber, columns))
            throw refuse({"reads the row as a whole in a subquery", "Name the columns that are needed.", exprLocation(subquery)});
    }
    for (int column = -1; (column = bms_next_member(columns, column)) >= 0;) subquery_columns_.push_back(column + FirstLowInvalidHeapAttributeNumber);
}

void Condition::Compile(ExpressionWalk& walk) {
    walk.inputs = Call([&] { return list_concat_copy(walk.calls, walk.subqueries); });
    const auto clock = static_cast<AttrNumber>(list_length(walk.inputs) + 1);
    Node* planned = Call([&] {
        TupleDesc descriptor = CreateTemplateTupleDesc(clock);
        for (AttrNumber i = 1; i < clock; ++i)
            TupleDescInitEntry(descriptor, i, "input", exprType(static_cast<Node*>(list_nth(walk.inputs, i - 1))), -1, 0);
        TupleDescInitEntry(descriptor, clock, "clock", TIMESTAMPTZOID, -1, 0);
        inputs_ = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
        ExecStoreAllNullTuple(inputs_);
        Expr* expression = expression_planner(reinterpret_cast<Expr*>(with_inputs(tree_, &walk)));
        if (options_.kind == Kind::kCondition && reads_clock(reinterpret_cast<Node*>(expression)))
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("it calls a function that depends on the clock")));
        may_set_ = runs_code_of_users(reinterpret_cast<Node*>(expression), nullptr);
        state_ = ExecInitExpr(expression, nullptr);
        context_ = CreateStandaloneExprContext();
        context_->ecxt_scantuple = row_;
        context_->ecxt_innertuple = inputs_;
        return reinterpret_cast<Node*>(expression);
    });
    if (UsesClock() && options_.clock == Clock::kAllowed)
        clock_use_ = std::make_unique<ClockUse>(planned, clock, [&](int location, Error error) {
            error.message = what_ + ": " + error.message;
            return std::move(error).At(pg_mbstrlen_with_len(text_.c_str(), location) + 1, text_);
        });
}

Error Condition::At(size_t call, Error error) const {
    const int before = Call([&] { return pg_mbstrlen_with_len(text_.c_str(), specials_[call].begin); });
    return std::move(error).At(before + 1, text_);
}

int Condition::Column() const {
    return IsA(tree_, Var) ? std::max<int>(reinterpret_cast<const Var*>(tree_)->varattno, 0) : 0;
}

std::vector<std::string> Condition::Parts() const {
    List* leaves = Call([&] {
        List* found = NIL;
        CollectLeaves(tree_, &found);
        return found;
    });
    std::vector<std::string> parts;
    for (int i = 0; i < list_length(leaves); ++i)
        parts.emplace_back(Call([&] {
            // A copy: what deparses a subquery writes into it.
            return deparse_expression(static_cast<Node*>(copyObjectImpl(list_nth(leaves, i))), deparse_context_for(alias_.c_str(), relation_), false, false);
        }));
    return parts;
}

std::string Condition::Replaced(const std::vector<std::string>& specials, std::optional<int64> clock) const {
    struct Replacement {
        int begin, end;
        std::string by;
    };
    std::vector<Replacement> replacements;  // found in the order of the parse tree, which need not be that of the text
    for (size_t i = 0; i < specials_.size(); ++i) replacements.push_back({specials_[i].begin, specials_[i].end, specials[i]});
    if (clock)
        for (const ClockCall& call : clocks_) replacements.push_back({call.begin, call.end, InstantLiteral(*clock, call.type)});
    std::sort(replacements.begin(), replacements.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
    std::string result;
    int from = 0;
    for (const auto& [begin, end, by] : replacements) {
        result.append(text_, from, begin - from).append(by);
        from = end;
    }
    return result.append(text_, from, std::string::npos);
}

/// Does `work(i)` for each row, with that and its inputs in their slots.
template <class F>
void Condition::ForEach(std::span<const Row> rows, std::span<const Input> inputs, F&& work) {
    if (state_ == nullptr) throw Error(sqlstate::feature_not_supported, what_ + " has a subquery, and is not evaluated row by row");
    const size_t count = specials_.size() + subqueries_.size();
    const ActAs as_owner(owner_, true);
    const MemoryContext outer = CurrentMemoryContext;
    const auto columns = static_cast<AttrNumber>(row_->tts_tupleDescriptor->natts);
    const RowPointers saved(row_);
    try {
        Call([&] {
            const int nest = may_set_ ? NewGUCNestLevel() : 0;
            for (size_t i = 0; i < rows.size(); ++i) {
                if ((i & 1023) == 0) CHECK_FOR_INTERRUPTS();
                row_->tts_values = const_cast<Datum*>(rows[i].values);
                row_->tts_isnull = const_cast<bool*>(rows[i].nulls);
                row_->tts_flags &= ~TTS_FLAG_EMPTY;
                row_->tts_nvalid = columns;
                for (size_t k = 0; k < count; ++k) {
                    inputs_->tts_values[k] = inputs[i * count + k].value;
                    inputs_->tts_isnull[k] = inputs[i * count + k].null;
                }
                inputs_->tts_values[count] = TimestampTzGetDatum(rows[i].clock);
                inputs_->tts_isnull[count] = false;
                work(i);
            }
            if (may_set_) AtEOXact_GUC(false, nest);
        });
    } catch (const PgError& error) {
        MemoryContextSwitchTo(outer);
        Prefix(error, what_);
        throw;
    }
}

void Condition::Evaluate(std::span<const Row> rows, std::span<const Input> inputs, std::vector<char>* holds) {
    holds->assign(rows.size(), 0);
    char* results = holds->data();
    ForEach(rows, inputs, [&](size_t i) {
        bool null;
        ResetExprContext(context_);
        const Datum result = ExecEvalExprSwitchContext(state_, context_, &null);
        results[i] = !null && DatumGetBool(result);
    });
}

void Condition::Values(std::span<const Row> rows, std::span<const Input> inputs, std::vector<Input>* values) {
    values->assign(rows.size(), Input{Datum(0), true});
    Input* results = values->data();
    int16 length;
    bool by_value;
    Call([&] { get_typlenbyval(exprType(tree_), &length, &by_value); });
    ForEach(rows, inputs, [&](size_t i) {
        bool null;
        ResetExprContext(context_);
        const Datum result = ExecEvalExprSwitchContext(state_, context_, &null);
        if (!null) results[i] = {datumCopy(result, by_value, length), false};
    });
}

void Condition::Texts(std::span<const Row> rows, std::vector<const char*>* values) {
    values->assign(rows.size(), nullptr);
    const char** results = values->data();
    Oid output;
    bool is_varlena;
    Call([&] { getTypeOutputInfo(exprType(tree_), &output, &is_varlena); });
    ForEach(rows, {}, [&](size_t i) {
        bool null;
        ResetExprContext(context_);
        const Datum result = ExecEvalExprSwitchContext(state_, context_, &null);
        if (!null) results[i] = OidOutputFunctionCall(output, result);
    });
}

void Condition::NextFlips(std::span<const Row> rows, std::span<const Input> inputs, std::vector<int64>* flips) {
    flips->assign(rows.size(), INT64_MAX);
    if (!UsesClock()) return;
    if (clock_use_ == nullptr) throw Error(sqlstate::feature_not_supported, what_ + " uses the clock in a way whose changes cannot be foreseen");
    int64* results = flips->data();
    ForEach(rows, inputs, [&](size_t i) { results[i] = clock_use_->next(context_, rows[i].clock); });
}

int64 Condition::NextFlip(const Row& row, std::span<const Input> inputs) {
    std::vector<int64> flips;
    NextFlips({&row, 1}, inputs, &flips);
    return flips.front();
}

}  // namespace cdp::pg
