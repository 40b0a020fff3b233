// pipeline/pipeline_pg.cpp: SQL's doors to the pipeline.
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/clock_pg.hpp"
#include "pipeline/isolate_pg.hpp"
#include "pipeline/primary_pg.hpp"

using namespace cdp;

CDP_FUNCTION(cdp_lock_pipeline)  // cdp.lock_pipeline() → void
{
    pipeline::Lock();
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_process)  // cdp.process(max_messages bigint) → bigint
{
    pipeline::RequirePrimary("process messages");
    const int64 limit = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT64(0);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    pipeline::Processing processing;
    int64 processed = 0, rows = 0;
    while (processed < limit) {
        const int64 taken = processing.Next(std::min<int64>(pg::batch_size, limit - processed));
        if (taken == 0) break;
        rows += taken;
        processed += taken - processing.changes();
    }
    processing.Store();
    pipeline::CatchUp(pg::Now());
    if (rows > 0) pipeline::Rotate();
    PG_RETURN_INT64(processed);
}
