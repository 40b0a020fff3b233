// segment/fill_pg.hpp: a segment's members computed in bulk, from all profiles.
#pragma once

#include "segment/segments_pg.hpp"

namespace cdp::segment {

struct Difference {
    int64 entered = 0, left = 0;
};

/// SQL for the ids of the profiles that meet the condition: a SELECT of one column profile_id.
/// `profiles`, `members`, `identifiers`: the tables to read (rebuild reads fresh ones).
std::string MembersQuery(const pg::Condition& condition, const std::string& profiles = "cdp.profile",
                         const std::string& members = "cdp.segment_member", const std::string& identifiers = "cdp.identifier");

/// Computes the members afresh with the rights of the condition's owner and writes what differs, with its
/// transitions. `is_new`: it has no members yet.
Difference Fill(const Segment& segment, bool is_new, const char* cause);

}  // namespace cdp::segment
