// pipeline/merge_pg.hpp: people made one otherwise than by messages: by hand, and by matches.
#pragma once

#include "identity/joinings_pg.hpp"

namespace cdp::pipeline {

/// Makes two profiles one because somebody says so, whatever limits and separations say; returns the survivor. Both
/// must exist and differ. Needs the lock.
int64 MergeProfiles(int64 a, int64 b, const std::string& reason, const std::string& actor);

/// Makes profiles one that matches say to be one, in their order, within limits and separations; what is refused is
/// recorded. All must exist. Cost grows with the people named. Needs the lock.
void MergeMatches(std::span<identity::Joining> joinings);

}  // namespace cdp::pipeline
