// segment/fill_pg.hpp: a segment's members computed in bulk, from all profiles.
#pragma once

#include <deque>

#include "profile/timers_pg.hpp"
#include "segment/segments_pg.hpp"

namespace cdp::segment {

struct Difference {
    int64 entered = 0, left = 0;
};

/// The tables that people and what belongs to them are read from (rebuild reads fresh ones).
struct Tables {
    std::string profiles = "cdp.profile", members = "cdp.segment_member", identifiers = "cdp.identifier", consents = "cdp.consent";
};

/// Where the values of a condition's special calls come from, as far as SQL needs it: segments and types of identifiers stay
/// names. Throws if one is not there. `keeper`: the place of what keeps an activity in Traits::all().
std::vector<Source> SourcesByName(const pg::Condition& condition, const std::function<int(const profile::Activity&)>& keeper);

/// The ids of those who meet a condition at an instant, by SQL. What it asks of people's events is computed from these,
/// and staged, when this is made.
class MembersQuery {
public:
    MembersQuery(const pg::Condition& condition, std::span<const Source> sources, const profile::Traits& traits, int64 clock,
                 const Tables& tables = {});
    /// A SELECT of one column profile_id, to be run in this Spi, with the rights of the condition's owner.
    const std::string& sql() const { return sql_; }

private:
    std::string Stage(size_t call, const profile::Traits& traits, const Source& source, int64 clock, const std::string& identifiers);

    std::string sql_;
    std::deque<std::string> names_;
    std::deque<pg::StagedRows> staged_;
};

/// Computes the members afresh with the rights of the condition's owner and writes what differs, with its
/// transitions. `is_new`: it has no members yet. Arms the timers that it needs.
Difference Fill(const Segments& segments, const Segment& segment, const profile::Traits& traits, bool is_new, Cause cause);

/// The same for those that refer to `name`, and those that refer to them, in order. The names of all, with `name`.
std::vector<std::string> FillDependents(const Segments& segments, const profile::Traits& traits, const std::string& name, Cause cause);

/// Computes afresh who is in the segments that read a column of cdp.profile (its place; none: only those that read the row as a
/// whole), whose values have changed at once, and in those that refer to them. Whether there are any.
bool FillReaders(const Segments& segments, const profile::Traits& traits, std::optional<int> column);

/// The next instant after `clock` at which the clock alone may change something about each person of whom there is one:
/// `only` about being in a segment, else about all segments and traits.
void ForEachDue(const Segments& segments, const Segment* only, const profile::Traits& traits, int64 clock, const Tables& tables,
                const std::function<void(profile::Due)>& person);

/// Makes what keeps the activities that a condition asks for, where nothing does. Whether any was made: then the
/// configuration has changed, and FillActivities() must follow once it is read afresh.
bool KeepActivities(const pg::Condition& condition, const profile::Traits& traits);
/// Fills those of the segment's activities from history that were never filled, or stand still.
void FillActivities(const Segment& segment, const profile::Traits& traits);
/// Removes the activities that no segment asks for. Whether there were any.
bool DropUnusedActivities(const Segments& segments, const profile::Traits& traits);

}  // namespace cdp::segment
