// pipeline/shared_pg.hpp: what the sessions and the worker of each database know of each other: a small table in
// shared memory. Works without shared_preload_libraries too: the first session that needs it makes it.
#pragma once

#include "pg/guard.hpp"
#include "pipeline/retry.hpp"

extern "C" {
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
}

namespace cdp::pipeline {

/// Whether the postmaster knows of a worker for the database.
enum class Presence {
    kNone,        // no
    kRegistered,  // yes: it is to be started, now or after a pause
    kUp,          // it runs
};

/// Whether there shall be a worker. If so, whoever commits messages while there is none registers one.
enum class Wanted {
    kByDefault,  // nobody said: with shared_preload_libraries
    kYes,
    kNo,
};

enum class Activity { kStarting, kIdle, kRunning, kBackingOff };

/// One database's place in the table. All of it is read and written under SharedLock.
struct Slot {
    Oid database;  // InvalidOid: the place is free
    Presence presence;
    Wanted wanted;
    bool retry_now;                 // a worker that backs off from a failure shall try again at once
    TimestampTz refused_at;         // when the postmaster last had no room for a worker

    // While the worker is up.
    int pid;
    Latch* latch;
    Activity activity;
    TimestampTz started_at;

    // Of whoever processes in this database.
    TimestampTz counting_since;
    int64 batches, messages;
    Meter meter;

    TimestampTz last_error_at;
    char last_error[256];

    /// Broadcast when a batch was committed, and when the worker comes, goes or fails.
    ConditionVariable changed;
};

/// Has shared memory reserved. Called when the library is preloaded.
void ReserveShared();
/// Whether it was.
bool Preloaded();

/// Makes or finds the table. False, for good, if there is no shared memory left.
bool AttachShared();
/// The same, but throws.
void RequireShared();

/// Keeps the table for oneself while it lives. Nothing that may fail or wait may be done meanwhile.
class SharedLock {
public:
    explicit SharedLock(LWLockMode mode = LW_EXCLUSIVE);
    ~SharedLock();
    SharedLock(const SharedLock&) = delete;
};

/// The database's slot, or nullptr. Slots never move. Needs SharedLock and a table (AttachShared).
Slot* FindSlot(Oid database);
/// The same, taking a free slot (exclusively locked); nullptr if there is none.
Slot* TakeSlot(Oid database);
/// Gives the slot back.
void FreeSlot(Slot* slot);
/// Those that have a slot. Locks by itself.
std::vector<Oid> DatabasesWithSlots();

}  // namespace cdp::pipeline
