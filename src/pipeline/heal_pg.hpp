// pipeline/heal_pg.hpp: what stood still because its definition could not be read, and can be read again.
#pragma once

namespace cdp::pipeline {

/// Reads the definitions. Writes down which traits and segments cannot be read from here on: they miss what comes. Those that could
/// not be read before and now can are computed afresh, with what depends on them, and said to go on. Needs an open Spi and the lock.
void Heal();

}  // namespace cdp::pipeline
