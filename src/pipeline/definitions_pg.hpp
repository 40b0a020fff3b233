// pipeline/definitions_pg.hpp: everything that is configured, read once and kept until it changes.
#pragma once

#include "activate/destination_pg.hpp"
#include "govern/consent_pg.hpp"
#include "identity/rules_pg.hpp"
#include "profile/traits_pg.hpp"
#include "segment/segments_pg.hpp"

namespace cdp::pipeline {

struct Definitions {
    identity::Rules rules;
    std::unique_ptr<profile::Traits> traits;
    std::unique_ptr<segment::Segments> segments;
    govern::Purposes purposes;
    activate::Destinations destinations;
};

/// The definitions as they are now. Call it with the pipeline locked. Valid until the next call, or until
/// the transaction that it was read in aborts.
Definitions& Current();

/// The identifier types alone, for looking people up; needs no lock.
const identity::Rules& CurrentRules();

/// Forgets what was read by the subtransaction `from` or since: after an abort it may never have been.
void ForgetCaches(SubTransactionId from);
/// The transaction ended, and what is kept by now stays.
void KeepCaches();
/// Forgets all of it.
void ForgetAllCaches();

/// Says that the configuration changed: every session will read it afresh.
void TouchConfiguration();

}  // namespace cdp::pipeline
