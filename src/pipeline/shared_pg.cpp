// pipeline/shared_pg.cpp: see shared_pg.hpp.
#include "pipeline/shared_pg.hpp"

extern "C" {
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace cdp::pipeline {

namespace {

constexpr int kSlots = 64;

struct Table {
    LWLock lock;
    int tranche;
    Slot slots[kSlots];
};

Table* table = nullptr;
bool preloaded = false;
shmem_request_hook_type next_request_hook = nullptr;
shmem_startup_hook_type next_startup_hook = nullptr;

/// May ereport.
void attach() {
    bool found;
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    auto* shared = static_cast<Table*>(ShmemInitStruct("cdp", sizeof(Table), &found));
    if (!found) {
        memset(shared, 0, sizeof(Table));
        shared->tranche = LWLockNewTrancheId();
        LWLockInitialize(&shared->lock, shared->tranche);
        for (Slot& slot : shared->slots) ConditionVariableInit(&slot.changed);
    }
    LWLockRelease(AddinShmemInitLock);
    LWLockRegisterTranche(shared->tranche, "cdp");
    table = shared;
}

void request() {
    if (next_request_hook != nullptr) next_request_hook();
    RequestAddinShmemSpace(sizeof(Table));
}

void startup() {
    if (next_startup_hook != nullptr) next_startup_hook();
    attach();
}

}  // namespace

void ReserveShared() {
    preloaded = true;
    next_request_hook = std::exchange(shmem_request_hook, request);
    next_startup_hook = std::exchange(shmem_startup_hook, startup);
}

bool Preloaded() { return preloaded; }

void RequireShared() {
    if (table != nullptr) return;
    try {
        pg::Call(attach);
    } catch (const pg::PgError&) {
        // The error has reset the count of held-off interrupts, which releasing the lock decreases.
        if (LWLockHeldByMe(AddinShmemInitLock)) {
            InterruptHoldoffCount = InterruptHoldoffCount + 1;
            LWLockRelease(AddinShmemInitLock);
        }
        throw;
    }
}

bool AttachShared() {
    static bool failed = false;
    if (table != nullptr) return true;
    if (failed) return false;
    try {
        RequireShared();
    } catch (const pg::PgError&) {
        failed = true;
    }
    return !failed;
}

SharedLock::SharedLock(LWLockMode mode) { LWLockAcquire(&table->lock, mode); }

SharedLock::~SharedLock() { LWLockRelease(&table->lock); }

Slot* FindSlot(Oid database) {
    static Slot* last = nullptr;
    if (last != nullptr && last->database == database) return last;
    for (Slot& slot : table->slots)
        if (slot.database == database) return last = &slot;
    return nullptr;
}

Slot* TakeSlot(Oid database) {
    if (Slot* slot = FindSlot(database)) return slot;
    Slot* slot = FindSlot(InvalidOid);
    if (slot != nullptr) {
        slot->database = database;
        slot->counting_since = GetCurrentTimestamp();
    }
    return slot;
}

void FreeSlot(Slot* slot) {
    // All but the condition variable, on which somebody may be asleep.
    memset(static_cast<void*>(slot), 0, offsetof(Slot, changed));
}

std::vector<Oid> DatabasesWithSlots() {
    std::vector<Oid> databases;
    databases.reserve(kSlots);
    const SharedLock lock(LW_SHARED);
    for (const Slot& slot : table->slots)
        if (OidIsValid(slot.database)) databases.push_back(slot.database);
    return databases;
}

}  // namespace cdp::pipeline
