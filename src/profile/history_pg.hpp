// profile/history_pg.hpp: traits from the events that are there already.
#pragma once

#include <bitset>

#include "profile/traits_pg.hpp"

namespace cdp::profile {

/// Which columns of the events are read; the others are NULL.
using EventColumns = std::bitset<kEventColumns>;
/// Those that a trait looks at.
EventColumns ColumnsOf(const Trait& trait);
inline EventColumns AllColumns() { return EventColumns().set(); }

/// Reads events back, person by person, in the order of their ids: calls `person(profile_id, events)` with all
/// events of each, by occurred_at. `people`: what FROM takes that has their profile_id, each once; empty: everybody. `identifiers`: the
/// table that says whose identifier is whose. `condition`: SQL over e (cdp.event). A person's events are in memory together; that
/// memory is current during the call and gone after it.
void ForEachPersonsEvents(const std::string& people, const std::string& identifiers, const std::string& condition, const EventColumns& columns,
                          const std::function<void(int64 profile_id, std::span<const EventRow> events)>& person);

/// What a computed trait or an activity remembers at `clock` of everybody who has anything, from their events; with
/// `nothing_too`, of all who have events that might count.
void ForEachState(const Traits& traits, int trait, const std::string& identifiers, int64 clock,
                  const std::function<void(int64 profile_id, TraitState& state)>& person, bool nothing_too = false);

/// The events of one person that count for an activity at `clock`, by occurred_at; no call if there are none.
void ForEachCountingEvents(const Traits& traits, int trait, int64 profile_id, int64 clock,
                           const std::function<void(std::span<const EventRow> events)>& counting);

/// Fills a trait for everybody from history. `is_new`: nobody has a value yet. Throws what its filter raises.
void FillTrait(const Traits& traits, int trait_id, int64 clock, bool is_new = true);

/// Fills the sequences of these people afresh from their events.
void ReadSequences(const Traits& traits, std::span<Person* const> people);

}  // namespace cdp::profile
