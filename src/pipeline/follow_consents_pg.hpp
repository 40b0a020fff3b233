// pipeline/follow_consents_pg.hpp: what follows when somebody says yes or no outside of a batch.
#pragma once

#include "pipeline/definitions_pg.hpp"

namespace cdp::pipeline {

/// Brings segments and destinations in line with what holds for people now: cdp.consent and cdp.suppressed_profile are
/// written already. `people`: ids, ascending, each once. Needs an open Spi and the lock, and acts as the extension's owner.
void FollowConsents(Definitions& definitions, std::span<const int64> people);

}  // namespace cdp::pipeline
