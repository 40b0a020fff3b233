// profile/timers_pg.hpp: when people are to be looked at again though no message comes: the table cdp.timer.
//
// A row says that something about the person may change at that instant by the clock alone: an event grows too old for a
// window, a comparison with now() turns. There is one no later than each such instant; it may be early, or stand for
// nothing any more: then the person is looked at in vain, once. See segment/README.md.
#pragma once

#include "profile/traits_pg.hpp"

namespace cdp::profile {

/// Arms a timer for each of them who needs an earlier one.
void ArmTimers(std::span<Person* const> people);

struct Due {
    int64 profile_id;
    int64 at;
};
/// Writes timers, in the order of their instants.
void WriteTimers(std::vector<Due> timers);

/// Takes the timers that are due until `until`, the first `most` of them: the people who are (still) there, each once, at
/// their first instant. `taken`: how many timers they were.
std::vector<Due> TakeTimers(int64 until, int64 most, int64* taken);

/// The next timer's instant; Person::kNever: there is none.
int64 NextTimer();

}  // namespace cdp::profile
