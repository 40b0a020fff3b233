// pipeline/launch_pg.hpp: getting workers to run.
#pragma once

#include "pipeline/shared_pg.hpp"

namespace cdp::pipeline {

/// What a worker's exit code tells the postmaster.
inline constexpr int kStayDown = 0;
inline constexpr int kComeBack = 1;  // in kRestartSeconds
inline constexpr int kRestartSeconds = 5;

/// Asks the postmaster for a worker for the database, whose files are in `directory`, unless it has been asked
/// already. False if there is no room for one. Raises nothing.
bool RegisterWorker(Oid database, const char* directory);

/// With shared_preload_libraries: has the launcher started with the server, and workers sent away before their
/// database is dropped.
void RegisterLauncher();

}  // namespace cdp::pipeline
