// pg/ties_tables.hpp: which tables, columns and expressions can be followed; for ties.cpp. All may ereport.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
}

namespace cdp::pg {

/// Why the changes of a table cannot be followed: "reads …"; null: they can.
struct TableTrouble {
    const char* why;
    const char* hint;
};
TableTrouble trouble_of_table(Oid relation, Oid owner);

/// Whether an expression is of a row's columns, constants, and built-in functions that give the same at any time.
bool is_computed_from_row(Node* node);
bool column_is_not_null(Oid relation, AttrNumber column);
/// Whether a column of cdp.identifier never changes without the person's identifiers changing.
bool is_lasting_identifier_column(Oid identifiers, int column);
/// `node` with equalities of texts by the collation of the side that is not "C", as the values of identifiers are: they mean the same, and
/// that side's ordinary indexes serve.
Node* by_own_collations(Node* node, void*);
/// Name and type of each of the columns, as String; with 0 among them, of all that the relation has.
List* names_and_types(Oid relation, const Bitmapset* columns);

}  // namespace cdp::pg
