// pipeline/launch_pg.cpp: see launch_pg.hpp. Also SQL's doors start_worker and stop_worker.
#include "pipeline/launch_pg.hpp"

#include "pg/background_worker.hpp"
#include "pipeline/primary_pg.hpp"
#include "pipeline/wake_pg.hpp"

extern "C" {
#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "common/relpath.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/wait_event.h"

PGDLLEXPORT void cdp_launcher_main(Datum);
}

#include <csignal>

namespace cdp::pipeline {

namespace {

constexpr int64 kStartTimeout = 30 * USECS_PER_SEC;
constexpr long kRecheckMilliseconds = 100;

ProcessUtility_hook_type next_utility_hook = nullptr;

BackgroundWorker Describe(const char* name, const char* function) {
    return pg::DescribeWorker(name, function, BgWorkerStart_RecoveryFinished, kRestartSeconds);
}

Presence PresenceOf(Oid database) {
    const SharedLock lock(LW_SHARED);
    const Slot* slot = FindSlot(database);
    return slot == nullptr ? Presence::kNone : slot->presence;
}

/// Waits while the worker is registered but not up, for a while.
Presence AwaitStart(Oid database, Slot* slot) {
    const TimestampTz deadline = GetCurrentTimestamp() + kStartTimeout;
    Presence presence;
    while ((presence = PresenceOf(database)) == Presence::kRegistered && GetCurrentTimestamp() < deadline)
        pg::Call([&] { ConditionVariableTimedSleep(&slot->changed, kRecheckMilliseconds, PG_WAIT_EXTENSION); });
    ConditionVariableCancelSleep();
    return presence;
}

// The launcher ------------------------------------------------------------------------------------------------------

struct Database {
    Oid id;
    std::string directory;
};

/// The databases that may hold the extension: those one can connect to, but not the templates, which CREATE
/// DATABASE wants for itself.
std::vector<Database> Databases() {
    struct Found { Oid id, tablespace; };
    std::vector<Database> databases;
    pg::Call([] { StartTransactionCommand(); });
    const Relation relation = pg::Call([] { return table_open(DatabaseRelationId, AccessShareLock); });
    const TableScanDesc scan = pg::Call([&] { return table_beginscan_catalog(relation, 0, nullptr); });
    while (HeapTuple tuple = pg::Call([&] { return heap_getnext(scan, ForwardScanDirection); })) {
        const auto* row = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        if (row->datallowconn && !row->datistemplate)
            databases.push_back({row->oid, pg::Call([&] { return GetDatabasePath(row->oid, row->dattablespace); })});
    }
    pg::Call([&] {
        table_endscan(scan);
        table_close(relation, AccessShareLock);
        CommitTransactionCommand();
    });
    return databases;
}

/// Starts the workers one after the other: where the extension is absent the worker ends at once, and its place
/// among max_worker_processes is free for the next.
void Launch() {
    pg::Call([] {
        BackgroundWorkerUnblockSignals();
        BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    });
    RequireShared();
    for (const Database& database : Databases()) {
        if (!RegisterWorker(database.id, database.directory.c_str())) continue;
        Slot* slot;
        {
            const SharedLock lock(LW_SHARED);
            slot = FindSlot(database.id);
        }
        if (slot != nullptr) AwaitStart(database.id, slot);
    }
}

// DROP DATABASE -----------------------------------------------------------------------------------------------------

/// Asks the worker of the database to stop what it does and end. It comes back if the database is still there.
void SendAway(Oid database) {
    const SharedLock lock(LW_SHARED);
    const Slot* slot = FindSlot(database);
    if (slot != nullptr && slot->presence == Presence::kUp) kill(slot->pid, SIGTERM);
}

/// May ereport. An idle worker notices within a second that its database is to go; this saves that second, and
/// DROP DATABASE … WITH (FORCE) the end of a batch.
void before_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                    ParamListInfo params, QueryEnvironment* environment, DestReceiver* destination,
                    QueryCompletion* completion) {
    if (IsA(statement->utilityStmt, DropdbStmt) && context == PROCESS_UTILITY_TOPLEVEL && AttachShared()) {
        const auto* drop = reinterpret_cast<DropdbStmt*>(statement->utilityStmt);
        const Oid database = get_database_oid(drop->dbname, true);
        if (OidIsValid(database) && pg_database_ownercheck(database, GetUserId())) SendAway(database);
    }
    const auto next = next_utility_hook != nullptr ? next_utility_hook : standard_ProcessUtility;
    next(statement, text, read_only_tree, context, params, environment, destination, completion);
}

// start_worker and stop_worker --------------------------------------------------------------------------------------

/// Whether the extension was made by the current transaction, so that no worker can see it yet.
bool ExtensionIsUncommitted() {
    return pg::Call([] {
        Relation relation = table_open(ExtensionRelationId, AccessShareLock);
        ScanKeyData key;
        ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("cdp"));
        SysScanDesc scan = systable_beginscan(relation, ExtensionNameIndexId, true, nullptr, 1, &key);
        HeapTuple tuple = systable_getnext(scan);
        const bool own = HeapTupleIsValid(tuple) && TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
        systable_endscan(scan);
        table_close(relation, AccessShareLock);
        return own;
    });
}

/// The slots of databases that are no more are given back.
void ReclaimSlots() {
    for (const Oid database : DatabasesWithSlots()) {
        const bool exists = pg::Call([&] { return get_database_name(database) != nullptr; });
        const SharedLock lock;
        Slot* slot = FindSlot(database);
        if (!exists && slot != nullptr && slot->presence == Presence::kNone) FreeSlot(slot);
    }
}

/// This database's slot, which wants a worker from now on.
Slot* WantWorker() {
    const SharedLock lock;
    Slot* slot = TakeSlot(MyDatabaseId);
    if (slot == nullptr) return nullptr;
    slot->wanted = Wanted::kYes;
    return slot;
}

void StartWorker() {
    RequireShared();
    Slot* slot = WantWorker();
    if (slot == nullptr) {
        ReclaimSlots();
        slot = WantWorker();
    }
    if (slot == nullptr) throw Error(sqlstate::program_limit_exceeded, "too many databases use extension \"cdp\"");
    if (ExtensionIsUncommitted()) return WakeAtCommit();
    WakeWorker();
    if (!RegisterWorker(MyDatabaseId, DatabasePath))
        throw Error(sqlstate::configuration_limit_exceeded, "could not start the worker: no background worker is free")
            .Hint("Raise max_worker_processes and restart the server.");
    if (AwaitStart(MyDatabaseId, slot) != Presence::kUp)
        throw Error(sqlstate::object_not_in_prerequisite_state, "the worker did not start")
            .Hint("The server's log says why.");
}

/// Says that no worker is wanted, and ends the one that runs. Whether there was one, and its process, if it runs.
bool TellToStop(Slot** slot, int* pid) {
    const SharedLock lock;
    // With shared_preload_libraries a database without a slot is one that wants a worker.
    *slot = TakeSlot(MyDatabaseId);
    if (*slot == nullptr) return false;
    const bool wanted = std::exchange((*slot)->wanted, Wanted::kNo) == Wanted::kYes;
    if ((*slot)->presence == Presence::kUp) {
        *pid = (*slot)->pid;
        kill(*pid, SIGTERM);
    }
    return wanted && (*slot)->presence != Presence::kNone;
}

bool StillUp(const Slot* slot, int pid) {
    const SharedLock lock(LW_SHARED);
    return slot->database == MyDatabaseId && slot->presence == Presence::kUp && slot->pid == pid;
}

bool StopWorker() {
    RequireShared();
    Slot* slot;
    int pid = 0;
    const bool had_one = TellToStop(&slot, &pid);
    if (pid == 0) return had_one;
    while (StillUp(slot, pid))
        pg::Call([&] { ConditionVariableTimedSleep(&slot->changed, kRecheckMilliseconds, PG_WAIT_EXTENSION); });
    ConditionVariableCancelSleep();
    // It has said goodbye; now until the server has forgotten it too, so that DROP DATABASE finds nobody.
    while (BackendPidGetProc(pid) != nullptr) {
        pg_usleep(1000);
        poll_stop();
    }
    return had_one;
}

}  // namespace

bool RegisterWorker(Oid database, const char* directory) {
    if (IsBinaryUpgrade) return false;
    {
        const SharedLock lock;
        Slot* slot = TakeSlot(database);
        if (slot == nullptr) return false;
        if (slot->presence != Presence::kNone) return true;
        slot->presence = Presence::kRegistered;
        slot->wanted = Wanted::kYes;
    }
    BackgroundWorker worker = Describe("cdp worker", "cdp_worker_main");
    worker.bgw_main_arg = ObjectIdGetDatum(database);
    strlcpy(worker.bgw_extra, directory, sizeof worker.bgw_extra);
    if (RegisterDynamicBackgroundWorker(&worker, nullptr)) return true;

    const SharedLock lock;
    Slot* slot = FindSlot(database);
    slot->presence = Presence::kNone;
    slot->refused_at = slot->last_error_at = GetCurrentTimestamp();
    strlcpy(slot->last_error, "could not start the worker: raise max_worker_processes", sizeof slot->last_error);
    return false;
}

void RegisterLauncher() {
    next_utility_hook = std::exchange(ProcessUtility_hook, before_utility);
    if (IsBinaryUpgrade) return;
    BackgroundWorker launcher = Describe("cdp launcher", "cdp_launcher_main");
    RegisterBackgroundWorker(&launcher);
}

}  // namespace cdp::pipeline

using namespace cdp;

void cdp_launcher_main(Datum) {
    pg::Enter(pipeline::Launch);
    proc_exit(pipeline::kStayDown);
}

CDP_FUNCTION(cdp_start_worker)  // cdp.start_worker() → boolean
{
    pipeline::RequirePrimary("start the worker");
    pipeline::StartWorker();
    PG_RETURN_BOOL(true);
}

CDP_FUNCTION(cdp_stop_worker)  // cdp.stop_worker() → boolean
{
    PG_RETURN_BOOL(pipeline::StopWorker());
}
