// segment/estimate.hpp: how many people meet a condition, from some of them.
// Knows no PostgreSQL.
#pragma once

#include <cstdint>
#include <vector>

namespace cdp::segment {

/// `count` ids from 1 to `highest`, ascending: one from each of as many equal stretches, always the same for the same
/// arguments. `count` is at most `highest`.
std::vector<int64_t> SampleIds(int64_t highest, int64_t count);

struct Estimate {
    int64_t size;   // of all ids up to the highest, so many are estimated to be members
    int64_t error;  // it is not further off than that, in 95 of 100 cases (Wilson's interval)
};

/// From `hits` members among `count` sampled ids, of which not all need be somebody.
Estimate EstimateSize(int64_t highest, int64_t count, int64_t hits);

}  // namespace cdp::segment
