// pg/contradiction.cpp: see contradiction.hpp.
#include "pg/contradiction.hpp"

#include "pg/expression.hpp"

extern "C" {
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "utils/ruleutils.h"
}

namespace cdp::pg {

namespace {

// C from here on: it may be longjmped over.

/// A condition as the planner sees it, and why it cannot hold.
struct Search {
    List* context;  // for deparsing
    const char* why;
};

bool is_false(Node* node) {
    if (node == nullptr || !IsA(node, Const)) return false;
    const auto* value = reinterpret_cast<const Const*>(node);
    return value->constisnull || !DatumGetBool(value->constvalue);
}

const char* text_of(Search* search, void* clause) {
    return deparse_expression(static_cast<Node*>(clause), search->context, false, false);
}

/// Weakly: no row makes all of them true, though they may be NULL. All are of one row at one instant, so that stable
/// functions give the same in each.
bool exclude_each_other(List* a, List* b) { return predicate_refuted_by(a, b, true); }

/// Which of the clauses exclude each other.
const char* name_the_parts(Search* search, List* clauses) {
    for (int i = 0; i < list_length(clauses); ++i)
        for (int j = i + 1; j < list_length(clauses); ++j) {
            void* a = list_nth(clauses, i);
            void* b = list_nth(clauses, j);
            if (exclude_each_other(list_make1(a), list_make1(b)))
                return psprintf("%s excludes %s.", text_of(search, a), text_of(search, b));
        }
    return "Its parts exclude each other.";
}

bool can_hold(Search* search, Node* node) {
    check_stack_depth();
    if (is_false(node)) return false;
    if (is_orclause(node)) {
        ListCell* arm;
        foreach (arm, reinterpret_cast<BoolExpr*>(node)->args)
            if (can_hold(search, static_cast<Node*>(lfirst(arm)))) return true;
        return false;
    }
    if (!is_andclause(node)) return true;
    List* clauses = NIL;
    ListCell* part;
    foreach (part, reinterpret_cast<BoolExpr*>(node)->args) {
        if (!can_hold(search, static_cast<Node*>(lfirst(part)))) return false;
        if (!contain_subplans(static_cast<Node*>(lfirst(part)))) clauses = lappend(clauses, lfirst(part));
    }
    if (!exclude_each_other(clauses, clauses)) return true;
    if (search->why == nullptr) search->why = name_the_parts(search, clauses);
    return false;
}

const char* contradiction(const Node* tree, const char* alias, Oid relation) {
    Node* folded = eval_const_expressions(nullptr, static_cast<Node*>(copyObjectImpl(tree)));
    folded = reinterpret_cast<Node*>(canonicalize_qual(reinterpret_cast<Expr*>(folded), false));
    Search search{deparse_context_for(alias, relation), nullptr};
    if (can_hold(&search, folded)) return nullptr;
    return search.why != nullptr ? search.why : "It is false, or NULL, for everybody.";
}

/// Why no row can ever meet a condition, as far as PostgreSQL's planner sees by itself: it folds to false, or its parts
/// exclude each other (plan = 'a' AND plan = 'b'). Nothing if one may. Throws what folding its constants raises.
std::optional<std::string> Contradiction(const Condition& condition) {
    // Folding runs functions that the owner may have written.
    const ActAs as_owner(condition.owner(), true);
    const char* why = Call([&] { return contradiction(condition.tree(), condition.alias(), condition.relation()); });
    return why != nullptr ? std::optional<std::string>(why) : std::nullopt;
}

}  // namespace

void WarnOfContradiction(const Condition& condition, const std::string& message) {
    const auto why = Contradiction(condition);
    if (!why) return;
    const char* primary = message.c_str();
    const char* detail = why->c_str();
    Call([&] {
        ereport(WARNING, (errmsg("%s", primary), errdetail("%s", detail),
                          errhint("Everybody must meet all parts that are joined by AND at once; join alternatives by OR.")));
    });
}

}  // namespace cdp::pg
