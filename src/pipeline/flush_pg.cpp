// pipeline/flush_pg.cpp: SQL's door flush: waiting until all is processed.
#include <climits>

#include "collect/inbox_pg.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/clock_pg.hpp"
#include "pipeline/isolate_pg.hpp"
#include "pipeline/launch_pg.hpp"
#include "pipeline/primary_pg.hpp"
#include "pipeline/wake_pg.hpp"

extern "C" {
#include "utils/guc.h"
#include "utils/wait_event.h"
}

namespace cdp::pipeline {

namespace {

// The worker says when it has committed a batch; this is for what it does not say.
constexpr long kRecheckMilliseconds = 50;
constexpr int kMostMonths = 12'000;

/// The point in time until which to wait.
class Deadline {
public:
    explicit Deadline(const Interval& timeout)
        : end_(pg::Call([&] {
              // Beyond the end of time is as good as its end.
              const bool for_ever = timeout.month > kMostMonths || timeout.day > kMostMonths * 30;
              return for_ever ? DT_NOEND
                              : DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
                                                                        TimestampTzGetDatum(GetCurrentTimestamp()),
                                                                        IntervalPGetDatum(&timeout)));
          })) {}
    bool Passed() const { return GetCurrentTimestamp() >= end_; }
    /// Milliseconds until then, 1 to `most`.
    long Left(long most) const {
        return TIMESTAMP_IS_NOEND(end_) ? most : std::clamp<int64>((end_ - GetCurrentTimestamp()) / 1000, 1, most);
    }

private:
    TimestampTz end_;
};

/// The slot of this database if a worker is up.
Slot* WorkersSlot() {
    if (!AttachShared()) return nullptr;
    const SharedLock lock(LW_SHARED);
    Slot* slot = FindSlot(MyDatabaseId);
    return slot != nullptr && slot->presence == Presence::kUp ? slot : nullptr;
}

/// Locks the pipeline. False if that takes too long.
bool LockUntil(const Deadline& deadline) {
    pg::Subtransaction attempt;
    const std::string limit = std::to_string(deadline.Left(INT_MAX));
    const int level = pg::Call([&] {
        const int nest = NewGUCNestLevel();
        set_config_option("lock_timeout", limit.c_str(), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
        return nest;
    });
    try {
        Lock();
    } catch (const pg::PgError& error) {
        if (error.data->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE) return false;
        throw;
    }
    pg::Call([&] { AtEOXact_GUC(true, level); });
    attempt.Commit();
    return true;
}

/// How far the pipeline is by now, whatever the isolation level.
collect::Progress LatestProgress() {
    const pg::LatestSnapshot now;
    return collect::Progress::Load(true);
}

/// Whether the clock has something to change that fell due before the flush.
bool AnythingDueBefore(int64 began) {
    const pg::LatestSnapshot now;
    return AnythingDue(began);
}

/// Processes what `wanted` sees, and what fell due. False if that takes too long.
bool ProcessUntil(const Deadline& deadline, const collect::TransactionSnapshot& wanted, int64 began) {
    Processing processing;
    bool pending = collect::AnyPending(wanted, processing.progress());
    while (pending) {
        processing.Next(pg::batch_size);
        pending = collect::AnyPending(wanted, processing.progress());
        if (deadline.Passed()) break;
    }
    processing.Store();
    if (pending) return false;
    CatchUp(began);
    return true;
}

bool Flush(const Deadline& deadline) {
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto wanted = [] {
        const pg::LatestSnapshot now;
        return collect::CurrentSnapshot(true);
    }();
    const int64 began = pg::Now();
    const bool own_lock = LockHeld();
    bool first = true;
    while (collect::AnyPending(wanted, LatestProgress()) || AnythingDueBefore(began)) {
        if (!first && deadline.Passed()) return false;
        Slot* slot = own_lock ? nullptr : WorkersSlot();
        if (slot == nullptr) return LockUntil(deadline) && ProcessUntil(deadline, wanted, began);
        if (first) WakeWorker();
        pg::Call([&] {
            ConditionVariableTimedSleep(&slot->changed, deadline.Left(kRecheckMilliseconds), PG_WAIT_EXTENSION);
        });
        first = false;
    }
    ConditionVariableCancelSleep();
    return true;
}

}  // namespace

}  // namespace cdp::pipeline

using namespace cdp;

CDP_FUNCTION(cdp_flush)  // cdp.flush(timeout interval) → boolean
{
    if (PG_ARGISNULL(0)) throw Error(sqlstate::null_value_not_allowed, "timeout must not be null");
    pipeline::RequirePrimary("process messages");
    PG_RETURN_BOOL(pipeline::Flush(pipeline::Deadline(*PG_GETARG_INTERVAL_P(0))));
}
