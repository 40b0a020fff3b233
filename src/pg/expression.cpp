// pg/expression.cpp: see expression.hpp.
#include "pg/expression.hpp"

#include "pg/compat.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "access/table.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
}

namespace cdp::pg {

namespace {

// C structures for the walks below, which PostgreSQL may longjmp through.
struct Walk {
    const Oid* special_oids;
    int special_count;
    const char* text;            // that is walked through
    Bitmapset* columns = nullptr;
    List* calls = nullptr;       // FuncExpr of special functions, in the order of the walk
    const char* refused = nullptr;
    int refused_at = -1;
};

bool DependsOnClock(Oid function) {
    switch (function) {
        case F_NOW:
        case F_STATEMENT_TIMESTAMP:
        case F_TRANSACTION_TIMESTAMP:
        case F_AGE_TIMESTAMP:
        case F_AGE_TIMESTAMPTZ:
            return true;
        default:
            return false;
    }
}

/// Whether a literal of a date or a time, at `literal` in the text, says when by the clock: 'now', 'tomorrow 12:00'.
bool SaysNow(const char* literal) {
    if (*literal != '\'') return false;
    do ++literal;
    while (isspace(static_cast<unsigned char>(*literal)));
    for (const char* word : {"now", "today", "tomorrow", "yesterday"}) {
        const size_t length = strlen(word);
        if (pg_strncasecmp(literal, word, length) == 0 && !isalnum(static_cast<unsigned char>(literal[length]))) return true;
    }
    return false;
}

bool IsVolatile(Oid function, void*) { return func_volatile(function) == PROVOLATILE_VOLATILE; }

bool Inspect(Node* node, Walk* walk) {
    if (node == nullptr) return false;
    const auto refuse = [&](const char* why) {
        if (walk->refused == nullptr) {
            walk->refused = why;
            walk->refused_at = exprLocation(node);
        }
        return true;
    };
    if (IsA(node, Var)) {
        auto* var = reinterpret_cast<Var*>(node);
        walk->columns = bms_add_member(walk->columns, var->varattno - FirstLowInvalidHeapAttributeNumber);
        return var->varattno < 0 ? refuse("reads a system column") : false;
    }
    if (IsA(node, SubLink)) return refuse("has a subquery");
    if (IsA(node, Const)) {
        const auto* literal = reinterpret_cast<const Const*>(node);
        switch (literal->consttype) {
            case DATEOID:
            case TIMEOID:
            case TIMETZOID:
            case TIMESTAMPOID:
            case TIMESTAMPTZOID:
                if (literal->location >= 0 && SaysNow(walk->text + literal->location)) return refuse("depends on the clock");
                break;
            default: break;
        }
    }
    if (IsA(node, SQLValueFunction)) return refuse("depends on the clock or the session");
    if (IsA(node, FuncExpr)) {
        auto* call = reinterpret_cast<FuncExpr*>(node);
        for (int i = 0; i < walk->special_count; ++i)
            if (call->funcid == walk->special_oids[i]) {
                walk->calls = lappend(walk->calls, call);
                return false;
            }
        if (DependsOnClock(call->funcid)) return refuse("depends on the clock");
    }
    if (!IsA(node, List) && check_functions_in_node(node, IsVolatile, nullptr))
        return refuse("calls a volatile function");
    return expression_tree_walker(node, CDP_TREE_FUNCTION(Inspect), walk);
}

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

struct Replacement {
    List* calls;    // FuncExpr, one for each input, in order
    int* inputs;    // which input each call is
};

/// Special calls become columns of the inner row, the row's columns stay.
Node* Replace(Node* node, Replacement* replacement) {
    if (node == nullptr) return nullptr;
    if (IsA(node, FuncExpr)) {
        int i = 0;
        ListCell* cell;
        foreach (cell, replacement->calls) {
            if (lfirst(cell) == node)
                return reinterpret_cast<Node*>(makeVar(INNER_VAR, static_cast<AttrNumber>(replacement->inputs[i] + 1),
                                                       exprType(node), -1, exprCollation(node), 0));
            ++i;
        }
    }
    return expression_tree_mutator(node, CDP_TREE_FUNCTION(Replace), replacement);
}

void CollectLeaves(Node* node, List** leaves) {
    if (!IsA(node, BoolExpr)) {
        *leaves = lappend(*leaves, node);
        return;
    }
    ListCell* cell;
    foreach (cell, reinterpret_cast<BoolExpr*>(node)->args) CollectLeaves(static_cast<Node*>(lfirst(cell)), leaves);
}

/// Where the call that begins at `begin` ends: behind its closing parenthesis.
int EndOfCall(const char* text, int begin) {
    core_yy_extra_type extra;
    core_YYSTYPE value;
    YYLTYPE at;
    core_yyscan_t scanner = scanner_init(text + begin, &extra, &ScanKeywords, ScanKeywordTokens);
    int depth = 0, end = begin;
    for (int token; (token = core_yylex(&value, &at, scanner)) != 0;) {
        if (token == '(') ++depth;
        if (token == ')' && --depth == 0) {
            end = begin + at + 1;
            break;
        }
    }
    scanner_finish(scanner);
    return end;
}

/// The condition as a parse tree: exactly one expression, nothing of a SELECT around it.
Node* RawExpression(const char* text) {
    List* statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
    auto* select = reinterpret_cast<SelectStmt*>(linitial_node(RawStmt, statements)->stmt);
    const bool plain = select->op == SETOP_NONE && list_length(select->targetList) == 1 && select->distinctClause == NIL &&
                       select->intoClause == nullptr && select->fromClause == NIL && select->whereClause == nullptr &&
                       select->groupClause == NIL && select->havingClause == nullptr && select->windowClause == NIL &&
                       select->valuesLists == NIL && select->sortClause == NIL && select->limitOffset == nullptr &&
                       select->limitCount == nullptr && select->lockingClause == NIL && select->withClause == nullptr;
    auto* target = plain ? linitial_node(ResTarget, select->targetList) : nullptr;
    // A * alone is a list of columns; as an expression it would be taken for a name.
    const bool star = target != nullptr && IsA(target->val, ColumnRef) &&
                      IsA(linitial(reinterpret_cast<ColumnRef*>(target->val)->fields), A_Star);
    if (target == nullptr || target->name != nullptr || target->indirection != NIL || star)
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("it is no single SQL expression")));
    return target->val;
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

}  // namespace

Condition::Condition(std::string text, std::string what, Oid relation, const char* alias, Oid owner,
                     std::span<const char* const> specials, Kind kind)
    : text_(std::move(text)), what_(std::move(what)), owner_(owner) {
    memory_ = Call([] { return AllocSetContextCreate(TopMemoryContext, "cdp condition", ALLOCSET_SMALL_SIZES); });
    const MemoryContext outer = MemoryContextSwitchTo(memory_);
    try {
        Parse(relation, alias, specials, kind);
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
    if (data->sqlerrcode == ERRCODE_UNDEFINED_COLUMN) {
        const char* quoted = strchr(data->message, '"');
        const char* end = quoted ? strchr(quoted + 1, '"') : nullptr;
        error.message = what_ + " uses column " + (end ? std::string(quoted, end + 1) : data->message) + ", which does not exist";
        error.hint = alias == "profile" ? "Declare it with cdp.create_trait or cdp.create_computed_trait."
                                        : "Its columns are " + ColumnsOf(relation) + ".";
    } else {
        error.message = what_ + ": " + data->message;
        if (data->hint) error.hint = data->hint;
    }
    if (data->detail) error.detail = data->detail;
    error.source = text_;
    error.position = data->cursorpos;
    throw error;
}

void Condition::Parse(Oid relation, const char* alias, std::span<const char* const> special_names, Kind kind) {
    std::vector<Oid> special_oids;
    for (const char* name : special_names)
        special_oids.push_back(Call([&] {
            const Oid text_type[] = {TEXTOID};
            List* qualified = list_make2(makeString(const_cast<char*>("cdp")), makeString(const_cast<char*>(name)));
            const Oid with_argument = LookupFuncName(qualified, 1, text_type, true);
            return OidIsValid(with_argument) ? with_argument : LookupFuncName(qualified, 0, text_type, true);
        }));

    Walk walk{special_oids.data(), static_cast<int>(special_oids.size()), text_.c_str()};
    ParseState* state = nullptr;
    char* type_name = nullptr;
    Node* tree = Call([&] {
        Node* raw = RawExpression(text_.c_str());
        state = make_parsestate(nullptr);
        state->p_sourcetext = text_.c_str();
        Relation rel = table_open(relation, AccessShareLock);
        ParseNamespaceItem* item =
            addRangeTableEntryForRelation(state, rel, AccessShareLock, makeAlias(alias, NIL), false, true);
        addNSItemToQuery(state, item, false, true, true);
        // A value is what a generated column might be: no aggregates, sets or subqueries.
        const ParseExprKind place = kind == Kind::kValue ? EXPR_KIND_GENERATED_COLUMN : EXPR_KIND_WHERE;
        Node* expression = transformExpr(state, raw, place);
        const Oid type = exprType(expression);
        if (kind == Kind::kCondition) {
            if (type != BOOLOID && type != UNKNOWNOID)
                ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                                errmsg("it must be of type boolean, not %s", format_type_be(type)),
                                parser_errposition(state, exprLocation(expression))));
            expression = coerce_to_boolean(state, expression, "WHERE");
        } else if (type == UNKNOWNOID) {
            expression = coerce_to_target_type(state, expression, UNKNOWNOID, TEXTOID, -1, COERCION_IMPLICIT,
                                               COERCE_IMPLICIT_CAST, -1);
        }
        type_name = format_type_with_typemod(exprType(expression), exprTypmod(expression));
        assign_expr_collations(state, expression);
        Inspect(expression, &walk);
        if (walk.refused != nullptr)
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("it %s", walk.refused),
                            parser_errposition(state, walk.refused_at)));
        for (int column = -1; (column = bms_next_member(walk.columns, column)) >= 0;) {
            const auto number = static_cast<AttrNumber>(column + FirstLowInvalidHeapAttributeNumber);
            const bool allowed =
                pg_class_aclcheck(relation, owner_, ACL_SELECT) == ACLCHECK_OK ||
                (number == 0 ? pg_attribute_aclcheck_all(relation, owner_, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK
                             : pg_attribute_aclcheck(relation, number, owner_, ACL_SELECT) == ACLCHECK_OK);
            if (!allowed)
                ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                                errmsg("role \"%s\" may not read column \"%s\"", GetUserNameFromId(owner_, false),
                                       number == 0 ? "*" : get_attname(relation, number, false))));
        }
        row_ = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(rel)), &TTSOpsVirtual);
        table_close(rel, NoLock);
        return expression;
    });
    type_ = type_name;
    for (int column = -1; (column = bms_next_member(walk.columns, column)) >= 0;)
        columns_.push_back(column + FirstLowInvalidHeapAttributeNumber);

    std::vector<int> inputs;
    std::vector<std::pair<SpecialCall, int>> calls;
    for (int i = 0; i < list_length(walk.calls); ++i) {
        const auto* call = static_cast<FuncExpr*>(list_nth(walk.calls, i));
        const auto* argument = call->args == NIL ? nullptr : static_cast<const Node*>(linitial(call->args));
        if (argument != nullptr && IsA(argument, NamedArgExpr))
            argument = reinterpret_cast<const Node*>(reinterpret_cast<const NamedArgExpr*>(argument)->arg);
        SpecialCall special;
        special.function = Call([&] { return get_func_name(call->funcid); });
        if (argument != nullptr && (!IsA(argument, Const) || reinterpret_cast<const Const*>(argument)->constisnull))
            throw Error(sqlstate::invalid_parameter_value, what_ + ": the argument of cdp." + special.function + " must be a literal")
                .At(pg_mbstrlen_with_len(text_.c_str(), call->location) + 1, text_);
        if (argument != nullptr)
            special.argument = Bytes(reinterpret_cast<const Const*>(argument)->constvalue);
        special.begin = call->location;
        special.end = Call([&] { return EndOfCall(text_.c_str(), call->location); });
        inputs.push_back(i);
        specials_.push_back(std::move(special));
    }

    tree_ = tree;
    relation_ = relation;
    alias_ = alias;
    Node* runnable = Call([&] {
        Replacement replacement{walk.calls, inputs.data()};
        Node* replaced = Replace(tree, &replacement);
        free_parsestate(state);
        TupleDesc descriptor = CreateTemplateTupleDesc(list_length(walk.calls));
        for (int i = 0; i < list_length(walk.calls); ++i)
            TupleDescInitEntry(descriptor, static_cast<AttrNumber>(i + 1), "input",
                               exprType(static_cast<Node*>(list_nth(walk.calls, i))), -1, 0);
        inputs_ = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
        return replaced;
    });

    // The rights to execute functions are checked here.
    const ActAs as_owner(owner_, true);
    Call([&] {
        state_ = ExecInitExpr(expression_planner(reinterpret_cast<Expr*>(runnable)), nullptr);
        context_ = CreateStandaloneExprContext();
        context_->ecxt_scantuple = row_;
        context_->ecxt_innertuple = inputs_;
    });
}

Error Condition::At(size_t call, Error error) const {
    const int before = Call([&] { return pg_mbstrlen_with_len(text_.c_str(), specials_[call].begin); });
    return std::move(error).At(before + 1, text_);
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
            return deparse_expression(static_cast<Node*>(list_nth(leaves, i)), deparse_context_for(alias_.c_str(), relation_), false, false);
        }));
    return parts;
}

void Condition::Evaluate(std::span<const Row> rows, std::span<const char> special_values, std::vector<char>* holds) {
    holds->assign(rows.size(), 0);
    const size_t inputs = specials_.size();
    const ActAs as_owner(owner_, true);
    const MemoryContext outer = CurrentMemoryContext;
    const auto columns = static_cast<AttrNumber>(row_->tts_tupleDescriptor->natts);
    const RowPointers saved(row_);
    char* results = holds->data();
    try {
        Call([&] {
            const int nest = NewGUCNestLevel();
            for (size_t i = 0; i < rows.size(); ++i) {
                if ((i & 1023) == 0) CHECK_FOR_INTERRUPTS();
                row_->tts_values = const_cast<Datum*>(rows[i].values);
                row_->tts_isnull = const_cast<bool*>(rows[i].nulls);
                row_->tts_flags &= ~TTS_FLAG_EMPTY;
                row_->tts_nvalid = columns;
                if (inputs > 0) {
                    ExecClearTuple(inputs_);
                    for (size_t k = 0; k < inputs; ++k) {
                        inputs_->tts_values[k] = BoolGetDatum(special_values[i * inputs + k]);
                        inputs_->tts_isnull[k] = false;
                    }
                    ExecStoreVirtualTuple(inputs_);
                }
                bool null;
                ResetExprContext(context_);
                const Datum result = ExecEvalExprSwitchContext(state_, context_, &null);
                results[i] = !null && DatumGetBool(result);
            }
            AtEOXact_GUC(false, nest);
        });
    } catch (const PgError& error) {
        MemoryContextSwitchTo(outer);
        Prefix(error, what_);
        throw;
    }
}

}  // namespace cdp::pg
