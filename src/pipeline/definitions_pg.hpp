// pipeline/definitions_pg.hpp: everything that is configured, read once and kept until it changes.
#pragma once

#include "activate/destination_pg.hpp"
#include "identity/rules_pg.hpp"
#include "profile/traits_pg.hpp"
#include "segment/segments_pg.hpp"

namespace cdp::pipeline {

struct Definitions {
    identity::Rules rules;
    std::unique_ptr<profile::Traits> traits;
    std::unique_ptr<segment::Segments> segments;
    activate::Destinations destinations;
};

/// The definitions as they are now. Call it with the pipeline locked. Valid until the next call, or until
/// the transaction that it was read in aborts.
Definitions& Current();

/// The identifier types alone, for looking people up; needs no lock.
const identity::Rules& CurrentRules();

/// Forgets all that is kept between batches: after an abort it may never have been.
void ForgetCaches();

/// Says that the configuration changed: every session will read it afresh.
void TouchConfiguration();

}  // namespace cdp::pipeline
