// pipeline/clock_pg.hpp: what the clock alone changes: timers that fall due, segments that are computed afresh from time to time.
#pragma once

#include <unordered_map>
#include <vector>

#include "pipeline/definitions_pg.hpp"

namespace cdp::pipeline {

/// Brings people through the instants up to `until` at which the clock may have changed something about them, one after the other;
/// the first of each are `instants`. Their destinations are left as they are.
void PassInstants(Definitions& definitions, std::unordered_map<int64, int64> instants, int64 until);

/// Looks at the people whose timers are due until `until`, the first `most` timers, as of the instant of each. Needs an open
/// Spi and the lock. Returns how many timers they were; 0: none is due. With `followed`, their destinations are left as they are,
/// and they are added there.
int64 RunTimers(int64 until, int64 most, std::vector<int64>* followed = nullptr);

/// Computes one segment afresh whose refresh is due at `now`, if there is one. Needs the same.
bool RefreshSegment(int64 now);

/// Both, until nothing is due at `now`.
void CatchUp(int64 now);

/// Whether anything is due at `now`.
bool AnythingDue(int64 now);

/// The next instant at which anything is due; PG_INT64_MAX: never.
int64 NextDue();

}  // namespace cdp::pipeline
