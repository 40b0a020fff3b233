// segment/share.hpp: which share of a random split somebody falls in, for ever.
// Knows no PostgreSQL.
#pragma once

#include <cstdint>
#include <string_view>

namespace cdp::segment {

/// A number from 0 up to, but not including, 100 that is spread evenly over profiles and does not depend on those of other
/// splits: 100 × h / 2⁵³, where h are the upper 53 bits of XXH3-64 (seed 0) of `split` in UTF-8 followed by `profile_id` as
/// eight bytes, the least significant first. The same on every platform and in every version.
double ShareOf(std::string_view split, int64_t profile_id);

}  // namespace cdp::segment
