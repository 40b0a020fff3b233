// pg/module.cpp: what happens when the library is loaded.
#include "pg/settings.hpp"
#include "pipeline/launch_pg.hpp"
#include "pipeline/wake_pg.hpp"

extern "C" {
PG_MODULE_MAGIC;
void _PG_init(void);
}

void _PG_init(void) {
    cdp::pg::DefineSettings();
    cdp::pipeline::WatchTransactions();
    if (!process_shared_preload_libraries_in_progress) return;
    cdp::pipeline::ReserveShared();
    cdp::pipeline::RegisterLauncher();
}
