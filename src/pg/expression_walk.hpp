// pg/expression_walk.hpp: what is in an expression that a user wrote.
#pragma once

#include "pg/expression.hpp"

namespace cdp::pg {

/// What a walk through an analysed expression finds. A C structure, which PostgreSQL may longjmp through.
struct ExpressionWalk {
    const Oid* specials;             // functions whose calls become inputs
    int special_count;
    const char* text;                // that is walked through
    ConditionOptions options;
    int depth = 0;                   // of queries
    bool in_subquery = false;        // or in what its rows are compared with
    Bitmapset* columns = nullptr;    // of the row; from FirstLowInvalidHeapAttributeNumber
    List* calls = nullptr;           // FuncExpr of special functions, in the order of the walk
    List* clocks = nullptr;          // FuncExpr or SQLValueFunction: now() and its like
    List* subqueries = nullptr;      // SubLink: the outermost, if they are to be followed
    List* inputs = nullptr;          // calls and subqueries: what with_inputs() replaces
    List* relations = nullptr;       // OIDs of what subqueries read
    bool has_subquery = false;
    const char* refused = nullptr;   // "it …"
    const char* hint = nullptr;
    int refused_at = -1;
};

/// Notes what is in `node`, until something is refused.
bool inspect_expression(Node* node, ExpressionWalk* walk);
/// What stands where the clock is read, of type timestamptz, date or timestamp; null if `node` is something else.
const char* clock_type(const Node* node);
/// Whether the clock is read anywhere in `node`, a planned expression. Functions of SQL may have brought it along.
bool reads_clock(Node* node);
/// Whether `node` may run code that users wrote: a function of theirs, or a domain's condition.
bool runs_code_of_users(Node* node, void*);
/// The columns of the row that a subquery at the outermost level reads, added to `columns`, from FirstLowInvalidHeapAttributeNumber.
Bitmapset* columns_of_row(Node* subquery, const Bitmapset* columns);
/// `node` with its special calls, its subqueries and the clock as columns of the inner row, in the order of `inputs`, the clock behind them.
Node* with_inputs(Node* node, ExpressionWalk* walk);

}  // namespace cdp::pg
