// pipeline/wake_pg.cpp: see wake_pg.hpp.
#include "pipeline/wake_pg.hpp"

#include "pipeline/definitions_pg.hpp"
#include "pipeline/launch_pg.hpp"

extern "C" {
#include "utils/xid8.h"
}

namespace cdp::pipeline {

namespace {

constexpr int64 kRegisterAgainAfter = USECS_PER_SEC;

// Of the current transaction.
bool wake_at_commit = false;
int64 processed = 0;

/// Whether somebody should register a worker for this database, which has none. Needs SharedLock.
bool IsMissing(const Slot* slot) {
    if (slot == nullptr) return Preloaded();
    const bool wanted = slot->wanted == Wanted::kYes || (slot->wanted == Wanted::kByDefault && Preloaded());
    return wanted && slot->presence == Presence::kNone &&
           GetCurrentTimestamp() > slot->refused_at + kRegisterAgainAfter;
}

// What runs after the commit must not fail: it would be a PANIC.

void CountProcessed() {
    if (!AttachShared()) return;
    Slot* slot;
    {
        const SharedLock lock;
        slot = TakeSlot(MyDatabaseId);
        if (slot == nullptr) return;
        slot->batches += 1;
        slot->messages += processed;
        slot->meter.Add(GetCurrentTimestamp(), processed);
    }
    ConditionVariableBroadcast(&slot->changed);
}

void WakeOrRegister() {
    if (!AttachShared()) return;
    Latch* latch = nullptr;
    bool missing = false;
    {
        const SharedLock lock(LW_SHARED);
        const Slot* slot = FindSlot(MyDatabaseId);
        if (slot != nullptr && slot->presence == Presence::kUp) latch = slot->latch;
        else missing = IsMissing(slot);
    }
    // If the worker has just gone, this wakes whoever has its latch now, for nothing.
    if (latch != nullptr) SetLatch(latch);
    if (missing) RegisterWorker(MyDatabaseId, DatabasePath);
}

void AtTransactionEnd(XactEvent event, void*) {
    switch (event) {
        case XACT_EVENT_COMMIT:
            if (processed > 0) CountProcessed();
            if (wake_at_commit) WakeOrRegister();
            break;
        case XACT_EVENT_ABORT:
            ForgetCaches(TopSubTransactionId);
            break;
        case XACT_EVENT_PREPARE:
            break;  // the worker finds it within a second of COMMIT PREPARED
        default:
            return;
    }
    KeepCaches();
    wake_at_commit = false;
    processed = 0;
}

void AtSubtransactionEnd(SubXactEvent event, SubTransactionId own, SubTransactionId, void*) {
    if (event == SUBXACT_EVENT_ABORT_SUB) ForgetCaches(own);
}

}  // namespace

void WatchTransactions() {
    RegisterXactCallback(AtTransactionEnd, nullptr);
    RegisterSubXactCallback(AtSubtransactionEnd, nullptr);
}

// Both attach to shared memory now, where that may fail.

void WakeAtCommit() {
    if (wake_at_commit) return;
    AttachShared();
    wake_at_commit = true;
}

void CountAtCommit(int64 messages) {
    AttachShared();
    processed += messages;
}

void WakeWorker() {
    if (!AttachShared()) return;
    Latch* latch = nullptr;
    {
        const SharedLock lock;
        Slot* slot = FindSlot(MyDatabaseId);
        if (slot == nullptr || slot->presence != Presence::kUp) return;
        slot->retry_now = true;
        latch = slot->latch;
    }
    SetLatch(latch);
}

}  // namespace cdp::pipeline

extern "C" {
PG_FUNCTION_INFO_V1(cdp_inbox_mark);
// cdp.inbox_mark() → xid8. Called for each row of the inbox, so without the guard: nothing here has a destructor.
Datum cdp_inbox_mark(PG_FUNCTION_ARGS) {
    cdp::pipeline::WakeAtCommit();
    return UInt64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId()));
}
}
