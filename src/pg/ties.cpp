// pg/ties.cpp: see ties.hpp.
//
// A subquery's FROM and WHERE are taken as a set of equalities that hold for whatever comes of them, joined with those of
// the queries around it: for a row to matter to anybody, all of them must hold. So a table's row concerns only those whose
// profile_id, or the value of an identifier tied to whose profile_id, its columns are equal to, by any chain of equalities.
#include "pg/ties.hpp"

#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "pg/ties_tables.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
}

namespace cdp::pg {

// C from here to Copied(): it may be longjmped over.

struct TiesOfTable {
    Oid relation;
    List* to_identifiers;  // String: SQL
    List* to_profiles;
    Bitmapset* columns;    // 0: the row as a whole
};

namespace {

constexpr AttrNumber kProfileIdOfProfile = 1;

/// A query, and those around it; that of level 0 is the condition itself, over the profile's row.
struct Scope {
    Query* query;
    int level;
    Scope* outer;
    List* equalities;  // Equality*
};

/// One side of an equality: a column, or an expression over one table's columns, or over none.
struct Term {
    int level;  // of its query; -1: over no table; -2: over several
    int varno;
    AttrNumber column;  // 0: an expression
    Node* node;
};
struct Equality {
    Term a, b;
};

struct Search {
    Oid owner, identifiers;
    List* tables;  // TiesOfTable*
    TieRefusal* refusal;
    int at;        // of the subquery that is looked at
};

/// For visiting the queries beneath one, and the subqueries that may be NULL instead of false there.
struct Visit {
    Search* search;
    Scope* scope;
    List* filters;
};

bool follow_query(Search* search, Query* query, Scope* outer, List* equalities);

bool refuse(Search* search, const char* why, const char* hint) {
    if (search->refusal->why == nullptr) *search->refusal = {why, hint, search->at};
    return true;
}

Scope* scope_at(Scope* scope, int level) {
    while (scope->level > level) scope = scope->outer;
    return scope;
}

struct TableOf {
    int level;
    Term* term;
};

bool note_table(Node* node, TableOf* of) {
    if (node == nullptr) return false;
    if (IsA(node, Var)) {
        const auto* var = reinterpret_cast<const Var*>(node);
        const int level = of->level - static_cast<int>(var->varlevelsup), varno = static_cast<int>(var->varno);
        if (of->term->level == -1) {
            of->term->level = level;
            of->term->varno = varno;
        } else if (of->term->level != level || of->term->varno != varno) {
            of->term->level = -2;
        }
        return false;
    }
    return expression_tree_walker(node, CDP_TREE_FUNCTION(note_table), of);
}

Term term_of(Node* node, Scope* scope) {
    while (IsA(node, RelabelType)) node = reinterpret_cast<Node*>(reinterpret_cast<RelabelType*>(node)->arg);
    if (!IsA(node, Var)) {
        Term term{-1, 0, 0, node};
        TableOf of{scope->level, &term};
        if (contain_subplans(node))
            term.level = -2;
        else
            note_table(node, &of);
        return term;
    }
    const auto* var = reinterpret_cast<const Var*>(node);
    const int level = scope->level - static_cast<int>(var->varlevelsup);
    Scope* own = scope_at(scope, level);
    if (own->query != nullptr) {
        const RangeTblEntry* entry = rt_fetch(var->varno, own->query->rtable);
        if (entry->rtekind == RTE_JOIN && var->varattno > 0) return term_of(static_cast<Node*>(list_nth(entry->joinaliasvars, var->varattno - 1)), own);
    }
    return {level, static_cast<int>(var->varno), var->varattno, node};
}

bool same(const Term& a, const Term& b) {
    if (a.level != b.level || a.level == -2 || a.varno != b.varno || a.column != b.column) return false;
    return a.column != 0 || equal(a.node, b.node);
}

/// Whether two values are equal by it if and only if they are written the same.
bool is_plain_equality(const OpExpr* op) {
    if (list_length(op->args) != 2) return false;
    switch (get_opcode(op->opno)) {
        case F_TEXTEQ: return !OidIsValid(op->inputcollid) || get_collation_isdeterministic(op->inputcollid);
        case F_INT8EQ:
        case F_INT84EQ:
        case F_INT48EQ:
        case F_INT82EQ:
        case F_INT28EQ: return true;
        default: return false;
    }
}

void add_equality(Scope* scope, const Term& a, const Term& b) {
    if (a.level == -2 || b.level == -2) return;
    auto* equality = static_cast<Equality*>(palloc(sizeof(Equality)));
    *equality = {a, b};
    scope->equalities = lappend(scope->equalities, equality);
}

/// What must hold of every row, and the subqueries in it of which NULL is as good as false.
void take_quals(Node* quals, Scope* scope, List** filters) {
    if (quals == nullptr) return;
    ListCell* cell;
    if (is_andclause(quals)) {
        foreach (cell, reinterpret_cast<BoolExpr*>(quals)->args) take_quals(static_cast<Node*>(lfirst(cell)), scope, filters);
    } else if (is_orclause(quals)) {
        // Of its arms none must hold, but they are filters nevertheless.
        Scope none{scope->query, scope->level, scope->outer, NIL};
        foreach (cell, reinterpret_cast<BoolExpr*>(quals)->args) take_quals(static_cast<Node*>(lfirst(cell)), &none, filters);
    } else if (IsA(quals, SubLink)) {
        *filters = lappend(*filters, quals);
    } else if (IsA(quals, OpExpr) && is_plain_equality(reinterpret_cast<OpExpr*>(quals))) {
        List* args = reinterpret_cast<OpExpr*>(quals)->args;
        add_equality(scope, term_of(static_cast<Node*>(linitial(args)), scope), term_of(static_cast<Node*>(lsecond(args)), scope));
    }
}

bool take_joins(Search* search, Node* node, Scope* scope, List** filters) {
    if (node == nullptr || IsA(node, RangeTblRef)) return false;
    if (IsA(node, FromExpr)) {
        auto* from = reinterpret_cast<FromExpr*>(node);
        ListCell* cell;
        foreach (cell, from->fromlist)
            if (take_joins(search, static_cast<Node*>(lfirst(cell)), scope, filters)) return true;
        take_quals(from->quals, scope, filters);
        return false;
    }
    auto* join = castNode(JoinExpr, node);
    if (join->jointype != JOIN_INNER)
        return refuse(search, "has an outer join in a subquery", "Only inner joins can be followed. Write EXISTS or NOT EXISTS instead, or give the segment a refresh interval.");
    if (take_joins(search, join->larg, scope, filters) || take_joins(search, join->rarg, scope, filters)) return true;
    take_quals(join->quals, scope, filters);
    return false;
}

/// All terms that are equal to one, itself among them, as a list.
List* equals_of(const Term& term, Scope* scope) {
    auto* first = static_cast<Term*>(palloc(sizeof(Term)));
    *first = term;
    List* known = list_make1(first);
    for (int i = 0; i < list_length(known); ++i) {
        const Term at = *static_cast<Term*>(list_nth(known, i));
        for (Scope* s = scope; s != nullptr; s = s->outer) {
            ListCell* cell;
            foreach (cell, s->equalities) {
                auto* equality = static_cast<Equality*>(lfirst(cell));
                Term* other = same(equality->a, at) ? &equality->b : same(equality->b, at) ? &equality->a : nullptr;
                if (other == nullptr) continue;
                bool is_new = true;
                ListCell* k;
                foreach (k, known) is_new = is_new && !same(*static_cast<Term*>(lfirst(k)), *other);
                if (is_new) known = lappend(known, other);
            }
        }
    }
    return known;
}

Term column_of(const Scope* scope, int varno, AttrNumber column) { return {scope->level, varno, column, nullptr}; }

Node* as_only_table(Node* node, void*) {
    if (node == nullptr) return nullptr;
    if (IsA(node, Var)) {
        auto* var = static_cast<Var*>(copyObjectImpl(node));
        var->varno = 1;
        var->varnosyn = 1;
        var->varattnosyn = var->varattno;
        var->varlevelsup = 0;
        return reinterpret_cast<Node*>(var);
    }
    return expression_tree_mutator(node, CDP_TREE_FUNCTION(as_only_table), nullptr);
}

/// What the table's own columns say, among terms that are equal: SQL; null: nothing.
const char* value_of_table(List* terms, const Scope* scope, int varno, Oid relation) {
    ListCell* cell;
    foreach (cell, terms) {
        const auto* term = static_cast<const Term*>(lfirst(cell));
        if (term->level != scope->level || term->varno != varno || term->column < 0) continue;
        if (term->column > 0) return quote_identifier(get_attname(relation, term->column, false));
        if (is_computed_from_row(term->node))
            return deparse_expression(as_only_table(term->node, nullptr), deparse_context_for(get_rel_name(relation), relation), false, false);
    }
    return nullptr;
}

struct ColumnSearch {
    const Scope* scope;
    int varno, depth;
    Bitmapset* columns;
    bool system;
};

bool note_column(Node* node, ColumnSearch* search) {
    if (node == nullptr) return false;
    if (IsA(node, Query)) {
        ++search->depth;
        const bool stopped = query_tree_walker(reinterpret_cast<Query*>(node), CDP_TREE_FUNCTION(note_column), search, QTW_IGNORE_JOINALIASES);
        --search->depth;
        return stopped;
    }
    if (!IsA(node, Var)) return expression_tree_walker(node, CDP_TREE_FUNCTION(note_column), search);
    const auto* var = reinterpret_cast<const Var*>(node);
    if (static_cast<int>(var->varlevelsup) != search->depth) return false;
    const RangeTblEntry* entry = rt_fetch(var->varno, search->scope->query->rtable);
    if (entry->rtekind == RTE_JOIN) {
        // The join's columns are those of its tables; as a whole, all of them.
        const int depth = std::exchange(search->depth, 0);
        if (var->varattno > 0)
            note_column(static_cast<Node*>(list_nth(entry->joinaliasvars, var->varattno - 1)), search);
        else
            expression_tree_walker(reinterpret_cast<Node*>(entry->joinaliasvars), CDP_TREE_FUNCTION(note_column), search);
        search->depth = depth;
        return false;
    }
    if (static_cast<int>(var->varno) != search->varno) return false;
    if (var->varattno < 0) return search->system = true;
    search->columns = bms_add_member(search->columns, var->varattno);
    return false;
}

/// The columns of a table of the query's that are read anywhere in it.
ColumnSearch columns_read(const Scope* scope, int varno) {
    ColumnSearch search{scope, varno, 0, nullptr, false};
    query_tree_walker(scope->query, CDP_TREE_FUNCTION(note_column), &search, QTW_IGNORE_JOINALIASES);
    return search;
}

TiesOfTable* ties_of(Search* search, Oid relation) {
    ListCell* cell;
    foreach (cell, search->tables)
        if (auto* table = static_cast<TiesOfTable*>(lfirst(cell)); table->relation == relation) return table;
    auto* table = static_cast<TiesOfTable*>(palloc0(sizeof(TiesOfTable)));
    table->relation = relation;
    search->tables = lappend(search->tables, table);
    return table;
}

Term the_person(Scope* scope) {
    return column_of(scope_at(scope, 0), 1, kProfileIdOfProfile);
}

bool has_column(List* terms, const Term& column) {
    ListCell* cell;
    foreach (cell, terms)
        if (same(*static_cast<Term*>(lfirst(cell)), column)) return true;
    return false;
}

/// cdp.identifier must be of the person alone, and asked for what changes with a person's identifiers alone.
bool follow_identifiers(Search* search, Scope* scope, int varno) {
    const ColumnSearch read = columns_read(scope, varno);
    for (int column = -1; (column = bms_next_member(read.columns, column)) >= 0;)
        if (column == 0 || !is_lasting_identifier_column(search->identifiers, column))
            return refuse(search, "reads more of cdp.identifier than type and value in a subquery", "These can be followed. For others give the segment a refresh interval.");
    if (read.system) return refuse(search, "reads a system column", nullptr);
    const Term owner = column_of(scope, varno, get_attnum(search->identifiers, "profile_id"));
    if (has_column(equals_of(the_person(scope), scope), owner)) return false;
    return refuse(search, "reads identifiers of other people in a subquery", "Compare its profile_id with profile.profile_id, or give the segment a refresh interval.");
}

bool follow_table(Search* search, Scope* scope, int varno, Oid relation) {
    const TableTrouble trouble = trouble_of_table(relation, search->owner);
    if (trouble.why != nullptr) return refuse(search, trouble.why, trouble.hint);
    const ColumnSearch read = columns_read(scope, varno);
    if (read.system) return refuse(search, "reads a system column", nullptr);
    TiesOfTable* table = ties_of(search, relation);
    table->columns = bms_add_members(table->columns, read.columns);
    if (const char* value = value_of_table(equals_of(the_person(scope), scope), scope, varno, relation)) {
        table->to_profiles = list_append_unique(table->to_profiles, makeString(pstrdup(value)));
        return false;
    }
    for (Scope* s = scope; s->query != nullptr; s = s->outer) {
        ListCell* cell;
        foreach (cell, s->query->rtable) {
            const auto* entry = static_cast<const RangeTblEntry*>(lfirst(cell));
            if (entry->rtekind != RTE_RELATION || entry->relid != search->identifiers) continue;
            const Term of_identifier = column_of(s, foreach_current_index(cell) + 1, get_attnum(search->identifiers, "value"));
            const char* value = value_of_table(equals_of(of_identifier, scope), scope, varno, relation);
            if (value == nullptr) continue;
            table->to_identifiers = list_append_unique(table->to_identifiers, makeString(pstrdup(value)));
            return false;
        }
    }
    return refuse(search, psprintf("reads table \"%s\" in a subquery, whose rows are not tied to people's identifiers", get_rel_name(relation)),
                  psprintf("Tie them so: FROM %s t JOIN cdp.identifier i ON i.type = 'email' AND i.value = t.email WHERE i.profile_id = profile.profile_id."
                           " Or give the segment a refresh interval.",
                           quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation))));
}

/// Whether what a query gives for one value of its columns depends on the rows of that value alone.
bool is_plain(const Query* query) {
    return !query->hasAggs && query->groupClause == NIL && !query->hasWindowFuncs && query->limitCount == nullptr && query->limitOffset == nullptr &&
           !query->hasDistinctOn && query->havingQual == nullptr && !query->hasTargetSRFs;
}

/// A column that is never NULL.
bool is_not_null(const Term& term, Scope* scope) {
    if (term.level < 0 || term.column <= 0) return false;
    if (term.level == 0) return term.varno == 1 && term.column == kProfileIdOfProfile;
    const RangeTblEntry* entry = rt_fetch(term.varno, scope_at(scope, term.level)->query->rtable);
    return entry->rtekind == RTE_RELATION && column_is_not_null(entry->relid, term.column);
}

/// `x IN (SELECT y …)`: x = y for whatever of the subquery matters. Where it makes a difference whether it is false or NULL, only
/// if neither can be NULL.
void take_test(Node* test, Query* query, Scope* outer, Scope* inner, bool is_filter) {
    ListCell* cell;
    if (test != nullptr && is_andclause(test))
        foreach (cell, reinterpret_cast<BoolExpr*>(test)->args) take_test(static_cast<Node*>(lfirst(cell)), query, outer, inner, is_filter);
    if (test == nullptr || !IsA(test, OpExpr) || !is_plain_equality(reinterpret_cast<OpExpr*>(test)) || !is_plain(query)) return;
    auto* right = static_cast<Node*>(lsecond(reinterpret_cast<OpExpr*>(test)->args));
    while (IsA(right, RelabelType)) right = reinterpret_cast<Node*>(reinterpret_cast<RelabelType*>(right)->arg);
    if (!IsA(right, Param) || reinterpret_cast<Param*>(right)->paramkind != PARAM_SUBLINK) return;
    auto* target = static_cast<TargetEntry*>(list_nth(query->targetList, reinterpret_cast<Param*>(right)->paramid - 1));
    const Term x = term_of(static_cast<Node*>(linitial(reinterpret_cast<OpExpr*>(test)->args)), outer);
    const Term y = term_of(reinterpret_cast<Node*>(target->expr), inner);
    if (is_filter || (is_not_null(x, outer) && is_not_null(y, inner))) add_equality(inner, x, y);
}

bool visit(Node* node, Visit* visiting) {
    if (node == nullptr || IsA(node, Query)) return false;
    if (!IsA(node, SubLink)) return expression_tree_walker(node, CDP_TREE_FUNCTION(visit), visiting);
    auto* link = reinterpret_cast<SubLink*>(node);
    if (visiting->scope->level == 0) visiting->search->at = exprLocation(node);
    auto* query = castNode(Query, link->subselect);
    Scope inner{query, visiting->scope->level + 1, visiting->scope, NIL};
    if (link->subLinkType == ANY_SUBLINK)
        take_test(link->testexpr, query, visiting->scope, &inner, list_member_ptr(visiting->filters, link));
    return visit(link->testexpr, visiting) || follow_query(visiting->search, query, visiting->scope, inner.equalities);
}

bool is_simple(Search* search, const Query* query) {
    const char* what = query->cteList != NIL                ? "has WITH in a subquery"
                       : query->setOperations != nullptr    ? "has UNION, INTERSECT or EXCEPT in a subquery"
                       : query->groupingSets != NIL         ? "has grouping sets in a subquery"
                       : query->commandType != CMD_SELECT   ? "changes something in a subquery"
                                                            : nullptr;
#if PG_VERSION_NUM >= 180000
    if (query->hasGroupRTE) what = "has GROUP BY in a subquery";
#endif
    return what == nullptr || !refuse(search, what, "That cannot be followed: write it as plain SELECTs, or give the segment a refresh interval.");
}

bool follow_entry(Search* search, Scope* scope, int varno, RangeTblEntry* entry) {
    switch (entry->rtekind) {
        case RTE_RELATION:
            if (entry->tablesample != nullptr) return refuse(search, "has TABLESAMPLE in a subquery", nullptr);
            return entry->relid == search->identifiers ? follow_identifiers(search, scope, varno) : follow_table(search, scope, varno, entry->relid);
        case RTE_SUBQUERY: return follow_query(search, entry->subquery, scope, NIL);
        default: return false;
    }
}

/// A query beneath `outer`. True: it cannot be followed.
bool follow_query(Search* search, Query* query, Scope* outer, List* equalities) {
    check_stack_depth();
    if (!is_simple(search, query)) return true;
    Scope scope{query, outer->level + 1, outer, equalities};
    List* filters = NIL;
    if (take_joins(search, reinterpret_cast<Node*>(query->jointree), &scope, &filters)) return true;
    ListCell* cell;
    foreach (cell, query->rtable)
        if (follow_entry(search, &scope, foreach_current_index(cell) + 1, static_cast<RangeTblEntry*>(lfirst(cell)))) return true;
    Visit visiting{search, &scope, filters};
    return query_tree_walker(query, CDP_TREE_FUNCTION(visit), &visiting, QTW_IGNORE_RT_SUBQUERIES | QTW_IGNORE_JOINALIASES);
}

}  // namespace

List* find_ties(Node* tree, Oid owner, TieRefusal* refusal) {
    Search search{owner, get_relname_relid("identifier", get_namespace_oid("cdp", false)), NIL, refusal, -1};
    Scope scope{nullptr, 0, nullptr, NIL};
    List* filters = NIL;
    Scope ignored{nullptr, 0, nullptr, NIL};
    take_quals(tree, &ignored, &filters);
    Visit visiting{&search, &scope, filters};
    visit(tree, &visiting);
    return search.tables;
}

std::vector<TiedTable> Copied(const List* ties) {
    std::vector<TiedTable> tables;
    for (int i = 0; i < list_length(ties); ++i) {
        const auto* from = static_cast<const TiesOfTable*>(list_nth(ties, i));
        TiedTable table{from->relation, {}, {}};
        for (int k = 0; k < list_length(from->to_identifiers); ++k) table.ties.push_back({Tie::To::kIdentifier, strVal(list_nth(from->to_identifiers, k))});
        for (int k = 0; k < list_length(from->to_profiles); ++k) table.ties.push_back({Tie::To::kProfile, strVal(list_nth(from->to_profiles, k))});
        const List* names = Call([&] { return names_and_types(from->relation, from->columns); });
        for (int k = 0; k < list_length(names); k += 2) table.columns[strVal(list_nth(names, k))] = strVal(list_nth(names, k + 1));
        tables.push_back(std::move(table));
    }
    return tables;
}

}  // namespace cdp::pg
