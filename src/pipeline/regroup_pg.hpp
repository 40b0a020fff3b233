// pipeline/regroup_pg.hpp: people made anew from their events, when identifiers have changed hands otherwise than by
// a merge: what was taken apart, and rules that changed.
#pragma once

#include <functional>

#include "pipeline/definitions_pg.hpp"

namespace cdp::pipeline {

/// An identifier that belongs to somebody else from now on.
struct Move {
    int64 identifier_id;
    int64 profile_id;
};

/// What becomes of people. All ids ascending; each list has each once.
struct Regrouping {
    std::vector<Move> moves;
    std::vector<int64> staying;                          // who was there before, and is another than before
    std::vector<int64> made;                             // who is new
    std::vector<std::pair<int64, int64>> gone;           // who is nobody any more, and whom that id means now
    segment::Cause cause;                                // of segment transitions
};

/// Moves the identifiers, and works out everybody concerned afresh: profiles, accounts' members, segments,
/// destinations, what old ids mean. Reads their events and nobody else's. Needs an open Spi and the lock.
void Regroup(Definitions& definitions, const Regrouping& regrouping);

/// Makes people of whom nothing is known but their identifiers: `people` are ids, ascending, `count(i, type)` how many
/// identifiers of each type the i-th has.
void Introduce(Definitions& definitions, const std::vector<int64>& people, const std::function<int64(size_t i, size_t type)>& count, segment::Cause cause);

}  // namespace cdp::pipeline
