// segment/groups_pg.hpp: segments that belong to a priority list.
#pragma once

#include <string>

#include "pg/error.hpp"

namespace cdp::segment {

/// Throws if a segment is one that a priority list made: that keeps them exclusive, and complete.
void RefuseIfOfPriorityList(const std::string& name);

}  // namespace cdp::segment
