// relay/deliver.hpp: `cdp-relay deliver`: every destination with a delivery, in one thread.
#pragma once

#include "relay/configuration.hpp"

namespace cdp::relay {

/// Runs until SIGTERM or SIGINT; then waits for the requests in flight, as long as configured. A second signal ends it at
/// once: nothing is lost either way. Returns the exit code. Throws Error for what a user can mend before it starts.
int Deliver(const Configuration& configuration, const Environment& environment);

}  // namespace cdp::relay
