// pg/background_worker.hpp: what all our background workers have in common.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "postmaster/bgworker.h"
}

namespace cdp::pg {

/// One that runs `function` of this library, connected to a database.
inline BackgroundWorker DescribeWorker(const char* name, const char* function, BgWorkerStartTime start, int restart_seconds) {
    BackgroundWorker worker{};
    strlcpy(worker.bgw_name, name, sizeof worker.bgw_name);
    strlcpy(worker.bgw_type, name, sizeof worker.bgw_type);
    strlcpy(worker.bgw_library_name, "cdp", sizeof worker.bgw_library_name);
    strlcpy(worker.bgw_function_name, function, sizeof worker.bgw_function_name);
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = start;
    worker.bgw_restart_time = restart_seconds;
    return worker;
}

}  // namespace cdp::pg
