// pipeline/isolate_pg.hpp: processing that a bad message does not stop.
#pragma once

#include "pg/spi.hpp"

namespace cdp::pipeline {

/// Takes the next batch, at most `max_messages`, through all stages. If it fails and a message may be to blame,
/// smaller ones are tried, down to one; that one is kept in cdp.rejected_message. Returns as soon as something was
/// done: how many messages were taken; 0: nothing is pending. Throws what no message is to blame for.
/// Needs an open Spi and the lock (batch_pg.hpp). Acts as the extension's owner.
int64 ProcessIsolating(int64 max_messages);

}  // namespace cdp::pipeline
