// segment/owned_pg.hpp: who may change which segment, and how it may be named.
#pragma once

#include "pipeline/definitions_pg.hpp"

namespace cdp::segment {

/// Throws if no segment may be named so.
void CheckName(const std::string& name);

/// The segment of that name. Throws if there is none, or if `caller` may not change it.
const Segment& Owned(const pipeline::Definitions& definitions, const std::string& name, Oid caller);

}  // namespace cdp::segment
