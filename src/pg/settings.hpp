// pg/settings.hpp: the settings cdp.*, documented in README.
#pragma once

#include "pg/postgres.hpp"

namespace cdp::pg {

extern char* default_region;         // cdp.default_region
extern int64 dedupe_window;          // cdp.dedupe_window, microseconds
extern int batch_size;               // cdp.batch_size, messages
extern int batch_memory;             // cdp.batch_memory, kB
extern int index_helpers;            // cdp.index_helpers

/// The clock that windows, timers and now() in conditions go by: cdp.mock_time if it is set, else the real one.
TimestampTz Now();

void DefineSettings();

}  // namespace cdp::pg
