// pipeline/worker_pg.cpp: the background worker of a database. Its life is drawn in README.md.
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/clock_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "pipeline/isolate_pg.hpp"
#include "pipeline/launch_pg.hpp"

extern "C" {
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/ps_status.h"
#include "utils/syscache.h"

PGDLLEXPORT void cdp_worker_main(Datum);
}

#include <malloc.h>

#include <csignal>
#include <unistd.h>

namespace cdp::pipeline {

namespace {

constexpr long kLookAroundMilliseconds = 1000;
constexpr int64 kRotateEvery = USECS_PER_SEC;
constexpr int64 kLargeBatch = 10'000;  // whose memory is given back when idle
// As many timers are run in one transaction as take so long: a message that comes meanwhile waits for them.
constexpr int64 kTickMicroseconds = 10'000;
constexpr int64 kFewestTimers = 100, kMostTimers = 10'000;

/// Thrown to end the worker, once everything on the way is cleaned up.
struct Leave {
    int code;
};

/// Thrown when the extension is gone, or another one than before.
struct ExtensionChanged {};

volatile sig_atomic_t stop_requested = false;

/// SIGTERM. What runs is cancelled, and will be done again; the loop then sees why.
void HandleTermination(int) {
    const int saved_errno = errno;
    stop_requested = true;
    InterruptPending = true;
    QueryCancelPending = true;
    SetLatch(MyLatch);
    errno = saved_errno;
}

class Transaction {
public:
    Transaction() : context_(CurrentMemoryContext) {
        pg::Call([] {
            SetCurrentStatementStartTimestamp();
            StartTransactionCommand();
        });
    }
    ~Transaction() {
        if (open_) AbortCurrentTransaction();
        MemoryContextSwitchTo(context_);
    }
    Transaction(const Transaction&) = delete;
    void Commit() {
        pg::Call([] { CommitTransactionCommand(); });
        open_ = false;
    }

private:
    MemoryContext context_;
    bool open_ = true;
};

/// Does it in a transaction, and returns why it failed, if it did. What is no std::exception passes through.
template <class F>
std::optional<pg::Failure> Try(F&& work) {
    try {
        Transaction transaction;
        work();
        transaction.Commit();
        return std::nullopt;
    } catch (const std::exception& error) {
        return pg::Describe(error);
    }
}

/// Changes the database's slot, and tells those who wait for it.
template <class F>
void Publish(Oid database, F&& change) {
    Slot* slot;
    {
        const SharedLock lock;
        slot = FindSlot(database);
        if (slot == nullptr) return;
        change(slot);
    }
    ConditionVariableBroadcast(&slot->changed);
}
template <class F>
void Publish(F&& change) {
    Publish(MyDatabaseId, std::forward<F>(change));
}

// Coming and going --------------------------------------------------------------------------------------------------

/// Whatever ends the process: says that it is gone, and whether the postmaster will bring it back.
void AtExit(int code, Datum) {
    Publish([&](Slot* slot) {
        if (slot->pid != MyProcPid) return;
        slot->presence = code == kStayDown ? Presence::kNone : Presence::kRegistered;
        slot->pid = 0;
        slot->latch = nullptr;
    });
}

/// Says that this worker is up. Not if another one is already, as may be after the server came back from a crash,
/// or if it was stopped before it was up.
void TakePlace() {
    {
        const SharedLock lock;
        Slot* slot = TakeSlot(MyDatabaseId);
        if (slot == nullptr || (slot->presence == Presence::kUp && slot->pid != MyProcPid)) throw Leave{kStayDown};
        if (slot->wanted == Wanted::kNo) {
            slot->presence = Presence::kNone;
            throw Leave{kStayDown};
        }
        slot->wanted = Wanted::kYes;
        slot->presence = Presence::kUp;
        slot->pid = MyProcPid;
        slot->latch = MyLatch;
        slot->activity = Activity::kStarting;
        slot->started_at = GetCurrentTimestamp();
    }
    Publish([](Slot*) {});
}

/// Says that no worker is here or on its way. One that was never up was not called for: its slot is free.
void LeavePlace(Oid database) {
    Publish(database, [](Slot* slot) {
        if (slot->presence == Presence::kUp && slot->pid != MyProcPid) return;
        if (slot->presence == Presence::kRegistered) return FreeSlot(slot);
        slot->presence = Presence::kNone;
        slot->pid = 0;
        slot->latch = nullptr;
    });
}

bool AllowsConnections() {
    return pg::Call([] {
        HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
        const bool allows = HeapTupleIsValid(tuple) && reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datallowconn;
        if (HeapTupleIsValid(tuple)) ReleaseSysCache(tuple);
        return allows;
    });
}

/// Settings of the session that are not the administrator's to choose: those that cdp.process() has too, and
/// those that would end or forbid a batch. synchronous_commit: a batch that a crash loses is still in the inbox,
/// whose truncation waits for the disk.
void Configure() {
    static constexpr std::pair<const char*, const char*> kSettings[] = {
        {"search_path", "pg_catalog, pg_temp"},
        {"enable_seqscan", "off"},
        {"enable_bitmapscan", "off"},
        {"enable_hashjoin", "off"},
        {"enable_mergejoin", "off"},
        {"enable_material", "off"},
        {"jit", "off"},
        {"max_parallel_workers_per_gather", "0"},
        {"plan_cache_mode", "force_generic_plan"},
        {"synchronous_commit", "off"},
        {"default_transaction_isolation", "read committed"},
        {"default_transaction_read_only", "off"},
        {"default_transaction_deferrable", "off"},
        {"statement_timeout", "0"},
        {"lock_timeout", "0"},
        {"idle_in_transaction_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
        {"transaction_timeout", "0"},
#endif
    };
    pg::Call([] {
        for (const auto& [name, value] : kSettings) SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
    });
}

// The worker --------------------------------------------------------------------------------------------------------

class Worker {
public:
    /// Connects, unless there is nothing to connect to.
    explicit Worker(Oid database);
    /// Until Leave.
    [[noreturn]] void Run();

private:
    void TakeUp();
    Oid Installed() const;
    bool Step();
    int64 Batch();
    bool Tick();
    void Rotate();
    void LookAround() const;
    void Failed(pg::Failure failure, const char* doing);
    void GiveMemoryBack();
    void Sleep();
    void Show(Activity activity);
    void CheckStop() const;

    MemoryContext memory_ = CurrentMemoryContext;
    Oid extension_ = InvalidOid;
    BackOff back_off_;
    Repeats repeats_;
    bool rotation_due_ = false;
    int64 largest_batch_ = 0;  // since memory was given back
    int64 next_due_ = 0;       // when the clock has something to change
    int64 timers_at_once_ = kFewestTimers;
    TimestampTz rotated_at_ = 0;
    std::optional<Activity> shown_;
};

Worker::Worker(Oid database) {
    pg::Call([] {
        pqsignal(SIGTERM, HandleTermination);
        pqsignal(SIGHUP, SignalHandlerForConfigReload);
        BackgroundWorkerUnblockSignals();
    });
    RequireShared();
    if (access(MyBgworkerEntry->bgw_extra, F_OK) != 0) {  // dropped while no worker was up
        LeavePlace(database);
        throw Leave{kStayDown};
    }
    pg::Call([&] { BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, BGWORKER_BYPASS_ALLOWCONN); });
    on_shmem_exit(AtExit, 0);
    Configure();
}

void Worker::Run() {
    for (;;) {
        TakeUp();
        try {
            for (;;) {
                MemoryContextReset(memory_);  // what errors left
                const bool busy = Step();
                CheckStop();
                if (busy) continue;
                GiveMemoryBack();
                Sleep();
            }
        } catch (const ExtensionChanged&) {
            ForgetAllCaches();
        }
    }
}

/// Begins to serve the extension, if it is there. Otherwise leaves the place before the last look, so that a
/// CREATE EXTENSION that commits just now is not missed: we see it, or its commit sees that nobody is here.
void Worker::TakeUp() {
    extension_ = Installed();
    if (!OidIsValid(extension_)) {
        LeavePlace(MyDatabaseId);
        extension_ = Installed();
    }
    if (!OidIsValid(extension_)) throw Leave{kStayDown};
    TakePlace();
}

Oid Worker::Installed() const {
    Transaction transaction;
    const Oid extension = AllowsConnections() ? pg::ExtensionId() : InvalidOid;
    transaction.Commit();
    return extension;
}

/// One batch. Whether there may be more to do at once.
bool Worker::Step() {
    if (GetCurrentTimestamp() < back_off_.until()) {
        Try([&] { LookAround(); });
        return false;
    }
    int64 taken = 0;
    Show(Activity::kRunning);
    if (auto failure = Try([&] { taken = Batch(); })) {
        // What only waits for somebody to be done, such as pg_restore, is asked for every second.
        if (failure->sqlstate == sqlstate::object_not_in_prerequisite_state) back_off_.Succeeded();
        back_off_.Failed(GetCurrentTimestamp());
        Failed(std::move(*failure), "processing messages");
        return false;
    }
    back_off_.Succeeded();
    pg::Call([] { pgstat_report_stat(false); });
    if (taken > 0) rotation_due_ = true;
    largest_batch_ = std::max(largest_batch_, taken);
    Rotate();
    return Tick() || taken > 0;
}

/// What the clock changes, some of it: messages that came meanwhile are next. Whether there may be more.
bool Worker::Tick() {
    if (pg::Now() < next_due_) return false;
    const TimestampTz began = GetCurrentTimestamp();
    int64 ran = 0;
    auto failure = Try([&] {
        LookAround();
        const pg::Spi spi;
        Lock();
        const pg::ActAs owner(pg::ExtensionOwner());
        const pg::LatestSnapshot snapshot;
        const int64 now = pg::Now();
        ran = RunTimers(now, timers_at_once_);
        if (ran < timers_at_once_) RefreshSegment(now);
        next_due_ = NextDue();
    });
    if (!failure) {
        if (ran == timers_at_once_)
            timers_at_once_ = std::clamp(ran * kTickMicroseconds / std::max<int64>(GetCurrentTimestamp() - began, 1), kFewestTimers, kMostTimers);
        return true;
    }
    back_off_.Failed(GetCurrentTimestamp());
    Failed(std::move(*failure), "following the clock");
    return false;
}

int64 Worker::Batch() {
    LookAround();
    const pg::Spi spi;
    Lock();
    if (pg::ExtensionId() != extension_) throw ExtensionChanged();  // while we waited
    Processing processing;
    const int64 taken = processing.Next(pg::batch_size);
    processing.Store();
    const pg::LatestSnapshot snapshot;
    next_due_ = NextDue();
    return taken;
}

/// Empties what is processed of the inbox, if something was since the last time.
void Worker::Rotate() {
    const TimestampTz now = GetCurrentTimestamp();
    if (!rotation_due_ || now < rotated_at_ + kRotateEvery) return;
    rotation_due_ = false;
    rotated_at_ = now;
    auto failure = Try([&] {
        LookAround();
        const pg::Spi spi;
        Lock();
        const pg::LatestSnapshot snapshot;
        pipeline::Rotate();
    });
    if (failure) Failed(std::move(*failure), "emptying the inbox");
}

/// What a large batch has taken goes back to the system once there is nothing more to do.
void Worker::GiveMemoryBack() {
    if (std::exchange(largest_batch_, 0) < kLargeBatch) return;
    malloc_trim(0);
}

/// Leaves if somebody wants to drop, copy, rename or move the database, who waits for us; holds him off
/// until the transaction ends otherwise.
void Worker::LookAround() const {
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
    if (pg::Call([&] { return LockAcquire(&tag, RowExclusiveLock, false, true); }) == LOCKACQUIRE_NOT_AVAIL)
        throw Leave{kComeBack};
    if (pg::ExtensionId() != extension_) throw ExtensionChanged();
}

/// Keeps the failure where people look: in the log, in the slot, in cdp.pipeline; each once, then once a minute.
void Worker::Failed(pg::Failure failure, const char* doing) {
    CheckStop();
    Try([&] { LookAround(); });
    const TimestampTz now = GetCurrentTimestamp();
    const std::string text = failure.message + " (SQLSTATE " + failure.sqlstate + ")";
    Publish([&](Slot* slot) {
        slot->last_error_at = now;
        strlcpy(slot->last_error, text.c_str(), sizeof slot->last_error);
    });
    const int64 times = repeats_.Report(text, now);
    if (times == 0) return;
    pg::Call([&] {
        ereport(LOG, (errmsg("%s failed: %s", doing, text.c_str()),
                      failure.detail.empty() ? 0 : errdetail_internal("%s", failure.detail.c_str()),
                      times > 1 ? errcontext("%lld failures since the last report", static_cast<long long>(times)) : 0));
    });
    Try([&] {
        const pg::Spi spi;
        pg::Execute("UPDATE cdp.pipeline SET last_error = $1, last_error_at = $2", {pg::Text(text), pg::Time(now)});
    });
}

/// Waits for the next commit or the next timer, a second at most. Holds no transaction, snapshot or lock.
void Worker::Sleep() {
    const bool backing_off = GetCurrentTimestamp() < back_off_.until();
    Show(backing_off ? Activity::kBackingOff : Activity::kIdle);
    const int64 until_due = next_due_ == PG_INT64_MAX || backing_off ? kLookAroundMilliseconds : (next_due_ - pg::Now()) / 1000 + 1;
    const long wait = static_cast<long>(std::clamp<int64>(until_due, 1, kLookAroundMilliseconds));
    pg::Call([&] {
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
    });
    CheckStop();
    pg::Call([] {
        QueryCancelPending = false;  // pg_cancel_backend came too late
        CHECK_FOR_INTERRUPTS();
    });
    bool retry_now = std::exchange(ConfigReloadPending, false) != 0;
    if (retry_now) pg::Call([] { ProcessConfigFile(PGC_SIGHUP); });
    {
        const SharedLock lock;
        Slot* slot = FindSlot(MyDatabaseId);
        if (std::exchange(slot->retry_now, false)) retry_now = true;
    }
    if (retry_now) back_off_.Cut();
}

void Worker::Show(Activity activity) {
    if (shown_ == activity) return;
    shown_ = activity;
    const bool runs = activity == Activity::kRunning;
    const char* text = runs ? "processing messages" : activity == Activity::kIdle ? "waiting for messages" : "backing off";
    pg::Call([&] {
        pgstat_report_activity(runs ? STATE_RUNNING : STATE_IDLE, text);
        set_ps_display(text);
    });
    const SharedLock lock;
    if (Slot* slot = FindSlot(MyDatabaseId)) slot->activity = activity;
}

/// After SIGTERM: if the worker is still wanted, somebody only wants it out of the way for now.
void Worker::CheckStop() const {
    if (!stop_requested) return;
    const SharedLock lock(LW_SHARED);
    const Slot* slot = FindSlot(MyDatabaseId);
    throw Leave{slot != nullptr && slot->wanted == Wanted::kYes ? kComeBack : kStayDown};
}

void Live() {
    int code;
    try {
        Worker(DatumGetObjectId(MyBgworkerEntry->bgw_main_arg)).Run();
    } catch (const Leave& leave) {
        code = leave.code;
    }
    proc_exit(code);
}

}  // namespace

}  // namespace cdp::pipeline

void cdp_worker_main(Datum) {
    MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "cdp worker", ALLOCSET_DEFAULT_SIZES));
    cdp::pg::Enter(cdp::pipeline::Live);
}
