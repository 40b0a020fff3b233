// segment/followed_pg.hpp: the tables of the users' whose changed rows live segments follow, and their triggers.
//
// What is followed of a table is the argument of its triggers, as JSON: so it is dumped with the table, dropped with it, and
// renamed with it.
#pragma once

#include <map>
#include <set>

#include "pg/expression.hpp"

namespace cdp::segment {

class Segments;

/// What is followed of a table: whom a row concerns, as SQL over its columns, and which columns matter.
struct Followed {
    std::set<std::string> identifiers;           // people who have an identifier of that value
    std::set<std::string> profiles;              // people whose profile_id it is
    std::map<std::string, std::string> columns;  // name and type

    bool operator==(const Followed&) const = default;
    bool Covers(const Followed& other) const;
    void Add(const Followed& other);
    /// From JSON, the argument of the triggers. Throws.
    static Followed Parse(const char* json);
    static Followed Of(const pg::TiedTable& table);
    std::string ToJson() const;
};

/// schema.table, as it is written in SQL where need be.
std::string NameOfTable(Oid relation);

/// Puts triggers on the tables that a condition's subqueries read, or adds to what they follow. Locks out their writers
/// until the transaction ends, where there is something to add. Throws if `caller` may not put triggers there. As the extension's owner.
void Follow(const pg::Condition& condition, Oid caller);
/// Throws unless all that a condition's subqueries read is followed.
void CheckFollowed(const pg::Condition& condition);
/// Triggers that fire, but not whenever they should, do so again, unless somebody writes to their table just now: ENABLE TRIGGER
/// ALL is no ENABLE ALWAYS. As the extension's owner.
void EnableTriggers();
/// Follows no more than the segments need. As the extension's owner.
void FollowOnly(const Segments& segments);

}  // namespace cdp::segment
