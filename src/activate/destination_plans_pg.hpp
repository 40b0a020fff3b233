// activate/destination_plans_pg.hpp: what one destination keeps from batch to batch, and works out in one. Of destination_members_pg.cpp
// and destination_rows_pg.cpp alone.
#pragma once

#include "activate/destination_pg.hpp"
#include "pg/expression.hpp"

namespace cdp::activate {

/// A column of a destination's table.
struct TableColumn {
    std::string name;
    Oid type;
    int32 typmod;
    bool by_value;
    int16 length;
    bool operator==(const TableColumn&) const = default;
};

/// What is worked out about a candidate.
struct Destination::Member {
    const Candidate* candidate;
    bool wanted;                              // is to be in it
    std::optional<std::string_view> held{};   // under which key they are until now, and
    std::string_view key{};                   //   are to be; by profile_id neither is used
    pg::Condition::Row profile{};             // of who is wanted: their row of cdp.profile

    int64 profile_id() const { return candidate->profile_id; }
    /// Is to be held under another key than now, or was not in it.
    bool Moves() const { return wanted && held != key; }
    /// Nothing new was said of who is in it.
    bool StaysPermitted() const { return candidate->same_consents && held; }
};

// Statements read people as cdp_candidate (profile_id, place: among the members), who leaves as cdp_left.
struct Destination::Plans {
    int gate = -1;               // the question whom they must consent to; -1: none
    pg::Statement visible{""};   // place of candidates; runs as the destination's owner
    pg::Statement held{""};      // place and key of candidates
    pg::Statement keys{""};      // place and the key that is to be
    pg::Statement forget{""};    // takes cdp_left out of cdp.destination_member
    pg::Statement remember{""};  // enters cdp_moved there
    pg::Statement leave{""};     // takes cdp_left, by profile_id cdp_candidate, out of the table
    pg::Statement announce{""};  // to cdp-relay: those who are there under another key than they were
    pg::Statement look_up{""};   // of each in cdp_followed: whether they are there and in the segment
    pg::Statement people{""};    // the same of who is or may be in the table, by profile_id, after $1
    pg::Statement orphans{""};   // DELETE of rows that are nobody's

    // What is missing until PrepareValues.
    std::vector<TableColumn> columns;
    struct Value {
        std::unique_ptr<pg::Condition> expression;
        std::vector<int> questions;  // what its special calls ask of consent; -1: one asks for the names of segments
    };
    std::vector<Value> values;     // of the columns behind the key
    std::vector<int> reads;        // columns of cdp.profile, by number
    bool from_memory = false;      // people in memory will do
    int profile_width = 0;         // how many columns cdp.profile has
    pg::Statement profiles{""};    // place and those columns of candidates; runs as the destination's owner
    pg::Statement segments{""};    // place and segments' names of candidates
    pg::Statement existing{""};    // place, ctid and columns of the rows of cdp_key
};

/// The columns of cdp_candidate.
inline std::vector<pg::Column> CandidateColumns() { return {{"profile_id", INT8OID}, {"place", INT4OID}}; }

/// Stages as cdp_candidate those of the members whom `chosen` takes. How many they are.
template <class Members, class F>
uint64 StageCandidates(pg::StagedRows* staged, const Members& members, F&& chosen) {
    for (size_t i = 0; i < members.size(); ++i)
        if (chosen(members[i])) staged->Add({Int64GetDatum(members[i].profile_id()), Int32GetDatum(static_cast<int32>(i))});
    return staged->size();
}

/// The place in row `i` of what statements over cdp_candidate return.
inline size_t PlaceIn(const pg::Rows& rows, uint64 i) { return static_cast<size_t>(DatumGetInt32(*rows.Get(i, 1))); }

}  // namespace cdp::activate
