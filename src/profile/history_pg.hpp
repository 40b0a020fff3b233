// profile/history_pg.hpp: traits from the events that are there already.
#pragma once

#include "profile/traits_pg.hpp"

namespace cdp::profile {

/// Reads events back, person by person, in the order of their ids: calls `person(profile_id, events)` with all
/// events of each. `identifiers`: the table that says whose identifier is whose. `condition`: SQL over e (cdp.event).
/// A person's events are in memory together; that memory is current during the call and gone after it.
void ForEachPersonsEvents(const std::string& identifiers, const std::string& condition,
                          const std::function<void(int64 profile_id, std::span<const EventRow> events)>& person);

/// Fills a trait for everybody from history. `is_new`: nobody has a value yet. Throws what its filter raises.
void FillTrait(const Traits& traits, int trait_id, bool is_new = true);

}  // namespace cdp::profile
