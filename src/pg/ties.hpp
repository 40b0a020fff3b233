// pg/ties.hpp: whom the rows of other tables concern that a condition's subqueries read.
//
// A row concerns nobody but the people who have a certain identifier if whatever the subquery makes of it passes through
// equalities that lead from the row's columns to the value of an identifier of that person's, or to their profile_id.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
}

namespace cdp::pg {

/// How to tell from a row whom it may concern.
struct Tie {
    /// kIdentifier: those who have an identifier of that value, of whatever type; kProfile: whose profile_id it is.
    enum class To { kIdentifier, kProfile } to;
    std::string value;  // SQL over the row's columns, of built-in immutable functions alone
    auto operator<=>(const Tie&) const = default;
};

/// A table that a condition's subqueries read.
struct TiedTable {
    Oid relation;
    std::vector<Tie> ties;  // each once
    std::map<std::string, std::string> columns;  // what is read of a row: name and type
};

/// A subquery whose rows cannot be followed. A C structure.
struct TieRefusal {
    const char* why = nullptr;  // "it …"; null: all can be followed
    const char* hint = nullptr;
    int at = -1;                // in the text, in bytes
};

struct TiesOfTable;  // a TiedTable, as C

/// The tables that the subqueries of `tree` read, a condition analysed over rows of cdp.profile, with the rights of `owner`:
/// a list of TiesOfTable*. Fills in `refusal` where they cannot be followed. May ereport.
List* find_ties(Node* tree, Oid owner, TieRefusal* refusal);
/// The same as C++.
std::vector<TiedTable> Copied(const List* ties);

}  // namespace cdp::pg
