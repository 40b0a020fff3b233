// pipeline/follow_rows_pg.hpp: rows of the users' own tables have changed that live segments follow.
#pragma once

#include "collect/inbox_pg.hpp"

namespace cdp::pipeline {

/// Looks at the people whom changed rows concern. Once the batch's messages are written. Needs the lock.
void FollowRows(std::span<const collect::RowChange> changes);

/// The same could not be done, which is no row's fault: the segments concerned stand still, and are computed afresh by the next batch.
void LeaveRows(std::span<const collect::RowChange> changes, const pg::Failure& why);

}  // namespace cdp::pipeline
