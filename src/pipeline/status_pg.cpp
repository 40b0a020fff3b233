// pipeline/status_pg.cpp: SQL's door to what shared memory knows of this database's worker.
#include "pipeline/shared_pg.hpp"

extern "C" {
#include "access/xlog.h"
}

namespace cdp::pipeline {

namespace {

const char* StateName(const Slot& slot) {
    if (RecoveryInProgress()) return "standby";
    if (slot.presence == Presence::kNone || slot.wanted == Wanted::kNo) return "stopped";
    if (slot.presence == Presence::kRegistered) return "starting";
    switch (slot.activity) {
        case Activity::kStarting: return "starting";
        case Activity::kIdle: return "idle";
        case Activity::kRunning: return "running";
        case Activity::kBackingOff: return "backing off";
    }
    return "unknown";
}

Slot CopyOfSlot() {
    Slot copy{};
    if (!AttachShared()) return copy;
    const SharedLock lock(LW_SHARED);
    if (const Slot* slot = FindSlot(MyDatabaseId)) memcpy(static_cast<void*>(&copy), slot, sizeof copy);
    return copy;
}

}  // namespace

}  // namespace cdp::pipeline

using namespace cdp;

// cdp.worker_status() → (pid, state, started_at, batches, messages, messages_per_second, last_error, last_error_at)
CDP_FUNCTION(cdp_worker_status)
{
    const pipeline::Slot slot = pipeline::CopyOfSlot();
    const bool up = slot.presence == pipeline::Presence::kUp;
    const Datum values[] = {Int32GetDatum(slot.pid),
                            pg::Call([&] { return CStringGetTextDatum(pipeline::StateName(slot)); }),
                            TimestampTzGetDatum(slot.started_at),
                            Int64GetDatum(slot.batches),
                            Int64GetDatum(slot.messages),
                            Float8GetDatum(slot.meter.PerSecond(GetCurrentTimestamp(), slot.counting_since)),
                            pg::Call([&] { return CStringGetTextDatum(slot.last_error); }),
                            TimestampTzGetDatum(slot.last_error_at)};
    const bool no_error = slot.last_error_at == 0;
    const bool nulls[] = {!up, false, !up, false, false, false, no_error, no_error};
    return pg::Call([&] {
        TupleDesc descriptor;
        if (get_call_result_type(fcinfo, nullptr, &descriptor) != TYPEFUNC_COMPOSITE) elog(ERROR, "return type must be a row type");
        return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), const_cast<Datum*>(values), const_cast<bool*>(nulls)));
    });
}
