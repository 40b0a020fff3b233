// pg/ties_tables.cpp: see ties_tables.hpp. C: it may be longjmped over.
#include "pg/ties_tables.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/table.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"
}

namespace cdp::pg {

namespace {

bool is_not_builtin(Oid function, void*) { return function >= FirstUnpinnedObjectId; }

bool has_foreign_part(Node* node, void*) {
    if (node == nullptr) return false;
    if (check_functions_in_node(node, is_not_builtin, nullptr)) return true;
    if (IsA(node, Param) || IsA(node, SubLink) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc)) return true;
    if (IsA(node, Var) && reinterpret_cast<Var*>(node)->varattno <= 0) return true;
    return expression_tree_walker(node, CDP_TREE_FUNCTION(has_foreign_part), nullptr);
}

bool is_of_ours(Oid relation) {
    const char* schema = get_namespace_name(get_rel_namespace(relation));
    if (schema == nullptr) return false;
    for (const char* ours : {"cdp", "cdp_segment", "cdp_out"})
        if (strcmp(schema, ours) == 0) return true;
    return false;
}

}  // namespace

TableTrouble trouble_of_table(Oid relation, Oid owner) {
    const char* name = get_rel_name(relation);
    const auto trouble = [&](const char* format, const char* hint) { return TableTrouble{psprintf(format, name), hint}; };
    const char* refresh = "Give the segment a refresh interval.";
    if (is_of_ours(relation))
        return trouble("reads \"%s\" of cdp itself in a subquery", "Of its tables only cdp.identifier can be followed. Ask by cdp.did, cdp.in_segment and their like, or give the segment a refresh interval.");
    switch (get_rel_relkind(relation)) {
        case RELKIND_RELATION: break;
        case RELKIND_VIEW: return trouble("reads the view \"%s\" in a subquery, which cannot be followed", "Name the tables beneath it, or give the segment a refresh interval.");
        case RELKIND_PARTITIONED_TABLE: return trouble("reads the partitioned table \"%s\" in a subquery, which cannot be followed: partitions come and go unseen", refresh);
        default: return trouble("reads \"%s\" in a subquery, which is no ordinary table and cannot be followed", refresh);
    }
    Relation rel = table_open(relation, AccessShareLock);
    const bool temporary = RelationUsesLocalBuffers(rel), system = IsCatalogRelation(rel), inherits = rel->rd_rel->relispartition || rel->rd_rel->relhassubclass;
    table_close(rel, NoLock);
    if (system || temporary) return trouble("reads \"%s\" in a subquery, which is no table of your own that lasts", refresh);
    if (inherits || has_superclass(relation)) return trouble("reads \"%s\" in a subquery, which inherits or is a partition, and cannot be followed", refresh);
    if (check_enable_rls(relation, owner, true) == RLS_ENABLED)
        return trouble("reads table \"%s\" in a subquery, of which you see only some rows by a policy", refresh);
    return {nullptr, nullptr};
}

bool is_computed_from_row(Node* node) { return !contain_mutable_functions(node) && !has_foreign_part(node, nullptr); }

bool column_is_not_null(Oid relation, AttrNumber column) {
    const HeapTuple tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation), Int16GetDatum(column));
    if (!HeapTupleIsValid(tuple)) return false;
    const bool not_null = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple))->attnotnull;
    ReleaseSysCache(tuple);
    return not_null;
}

bool is_lasting_identifier_column(Oid identifiers, int column) {
    const char* name = get_attname(identifiers, static_cast<AttrNumber>(column), false);
    for (const char* lasting : {"identifier_id", "type", "value", "profile_id"})
        if (strcmp(name, lasting) == 0) return true;
    return false;
}

Node* by_own_collations(Node* node, void*) {
    if (node == nullptr) return nullptr;
    if (IsA(node, Query)) return reinterpret_cast<Node*>(query_tree_mutator(reinterpret_cast<Query*>(node), CDP_TREE_FUNCTION(by_own_collations), nullptr, 0));
    Node* copy = expression_tree_mutator(node, CDP_TREE_FUNCTION(by_own_collations), nullptr);
    if (!IsA(copy, OpExpr)) return copy;
    const auto* op = reinterpret_cast<OpExpr*>(copy);
    if (list_length(op->args) != 2 || get_opcode(op->opno) != F_TEXTEQ || op->inputcollid != C_COLLATION_OID) return copy;
    for (int i = 0; i < 2; ++i) {
        auto* side = static_cast<Node*>(list_nth(op->args, i));
        const Oid other = exprCollation(static_cast<Node*>(list_nth(op->args, 1 - i)));
        if (exprCollation(side) != C_COLLATION_OID || other == C_COLLATION_OID || !OidIsValid(other) || IsA(side, Param)) continue;
        if (!get_collation_isdeterministic(other)) return copy;
        auto* collate = makeNode(CollateExpr);
        collate->arg = reinterpret_cast<Expr*>(side);
        collate->collOid = other;
        collate->location = -1;
        lfirst(list_nth_cell(op->args, i)) = collate;
        return copy;
    }
    return copy;
}

List* names_and_types(Oid relation, const Bitmapset* columns) {
    List* names = NIL;
    Relation rel = table_open(relation, AccessShareLock);
    for (int i = 1; i <= RelationGetDescr(rel)->natts; ++i) {
        const FormData_pg_attribute* column = TupleDescAttr(RelationGetDescr(rel), i - 1);
        if (!column->attisdropped && (bms_is_member(0, columns) || bms_is_member(i, columns)))
            names = lappend(lappend(names, makeString(pstrdup(NameStr(column->attname)))), makeString(format_type_with_typemod(column->atttypid, column->atttypmod)));
    }
    table_close(rel, NoLock);
    return names;
}

}  // namespace cdp::pg
