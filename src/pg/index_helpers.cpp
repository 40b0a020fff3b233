// pg/index_helpers.cpp: see index_helpers.hpp. Also the helpers' own main function.
#include "pg/index_helpers.hpp"

#include <new>

#include "pg/background_worker.hpp"
#include "pg/compat.hpp"
#include "pg/index_entries.hpp"
#include "pg/settings.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/datum.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

PGDLLEXPORT void cdp_index_helper_main(Datum);
}

namespace cdp::pg {

namespace {

constexpr size_t kFewestRows = 20'000;  // for which a process is started: some 0.2 s of entries
constexpr size_t kFewestHanded = 2'000;
constexpr int kMostItems = 256, kMostRuns = 128 * 1024, kMostSuspects = 1024;

/// Rows side by side on a page. New rows are, mostly, so that runs take a hundredth of the room of places.
struct Run {
    BlockNumber block;
    OffsetNumber first, last;
};

}  // namespace

/// What is to be done, in shared memory.
struct HelpersBoard {
    struct Item {
        Oid table, index;
        int first_run, runs;
        size_t rows;
        bool moved;
    };
    struct Suspect {  // a row whose key may be there already
        Oid table, index;
        ItemPointerData place;
    };
    Oid database;
    PGPROC* leader;
    int leader_pid;

    slock_t lock;  // of all that follows
    ConditionVariable changed;
    int items, next, busy;  // of the items, those before `next` were begun; how many processes are at one
    int runs, suspects;     // how many there are
    bool closed, failed;
    char sqlstate[6];
    char message[512];
    Item item[kMostItems];
    Suspect suspect[kMostSuspects];
    Run run[kMostRuns];
};

namespace {

using Item = HelpersBoard::Item;

IndexHelpers* innermost = nullptr;

template <class F>
auto Locked(HelpersBoard* board, F&& f) {
    SpinLockAcquire(&board->lock);
    if constexpr (std::is_void_v<decltype(f())>) {
        f();
        SpinLockRelease(&board->lock);
    } else {
        const auto result = f();
        SpinLockRelease(&board->lock);
        return result;
    }
}

/// Waits while `condition`, which is asked with the board locked.
template <class F>
void WaitWhile(HelpersBoard* board, F&& condition) {
    Call([&] {
        while (Locked(board, condition)) ConditionVariableSleep(&board->changed, PG_WAIT_EXTENSION);
        ConditionVariableCancelSleep();
    });
}

/// The next item, which the caller is busy with then.
bool Take(HelpersBoard* board, Item* item) {
    return Locked(board, [&] {
        if (board->next == board->items || board->failed || board->closed) return false;
        *item = board->item[board->next++];
        ++board->busy;
        return true;
    });
}

void Done(HelpersBoard* board) {
    Locked(board, [&] { --board->busy; });
    ConditionVariableBroadcast(&board->changed);
}

/// A table and one of its indexes, to be written to.
struct Target {
    Relation table, index;
    IndexInfo* info;
    Target(Oid table_id, Oid index_id) {
        Call([&] {
            table = table_open(table_id, RowExclusiveLock);
            index = index_open(index_id, RowExclusiveLock);
            info = BuildIndexInfo(index);
        });
    }
    void Close() const {
        Call([&] {
            index_close(index, NoLock);
            table_close(table, NoLock);
        });
    }
};

/// Reads the row at `place`, whichever transaction wrote it. May ereport.
void fetch(Relation table, ItemPointerData place, TupleTableSlot* slot) {
    if (!table_tuple_fetch_row_version(table, &place, SnapshotAny, slot))
        elog(ERROR, "a row of \"%s\" that was just written is gone", RelationGetRelationName(table));
}

std::span<const Run> RunsOf(const HelpersBoard* board, const Item& item) { return {board->run + item.first_run, static_cast<size_t>(item.runs)}; }

template <class F>
void ForEachPlace(std::span<const Run> runs, F&& f) {
    for (const Run& run : runs)
        for (int offset = run.first; offset <= run.last; ++offset) {
            ItemPointerData place;
            ItemPointerSet(&place, run.block, static_cast<OffsetNumber>(offset));
            f(place);
        }
}

/// Adds the entries of the rows of `runs` to `entries`. `values` and `nulls`: room for a row. May ereport.
void add_entries(Relation table, std::span<const Run> runs, bool moved, IndexEntries* entries, Datum* values, bool* nulls) {
    TupleTableSlot* slot = table_slot_create(table, nullptr);
    ForEachPlace(runs, [&](const ItemPointerData& place) {
        CHECK_FOR_INTERRUPTS();
        fetch(table, place, slot);
        for (int k = 0; k < entries->width(); ++k) {
            const int column = entries->attributes()[k] - 1;
            const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table), column);
            const Datum value = slot_getattr(slot, column + 1, &nulls[column]);
            values[column] = nulls[column] ? Datum(0) : datumCopy(value, attribute->attbyval, attribute->attlen);
        }
        entries->Add(values, nulls, place, moved);
    });
    ExecDropSingleTupleTableSlot(slot);
}

/// Raises if the key of one of these rows, which are in the index, is there twice. Waits for who may have it too. May ereport.
void check_unique(const Target& target, std::span<const ItemPointerData> places) {
    TupleTableSlot* slot = table_slot_create(target.table, nullptr);
    for (ItemPointerData place : places) {
        fetch(target.table, place, slot);
        Datum values[INDEX_MAX_KEYS];
        bool nulls[INDEX_MAX_KEYS];
        FormIndexDatum(target.info, slot, nullptr, values, nulls);
        const bool any_null = std::any_of(nulls, nulls + target.info->ii_NumIndexKeyAttrs, [](bool null) { return null; });
        if (any_null && !target.info->ii_NullsNotDistinct) continue;  // differs from every other
        index_insert(target.index, values, nulls, &place, target.table, UNIQUE_CHECK_EXISTING, false, target.info);
    }
    ExecDropSingleTupleTableSlot(slot);
}

/// Enters the rows of an item into its index, and notes whose keys may be there already. Waits for nobody's transaction.
void Complete(HelpersBoard* board, const Item& item) {
    Target target(item.table, item.index);
    Scratch copies, scratch;
    IndexEntries entries(target.index, target.info, item.rows);
    std::vector<Datum> values(static_cast<size_t>(RelationGetDescr(target.table)->natts));
    const std::unique_ptr<bool[]> nulls(new bool[values.size()]);
    {
        const Scratch::Use use(copies);
        Call([&] { add_entries(target.table, RunsOf(board, item), item.moved, &entries, values.data(), nulls.get()); });
    }
    std::vector<char> duplicate(entries.unique() ? item.rows : 0);
    entries.Write(target.table, scratch.context(), &duplicate, item.moved ? UNIQUE_CHECK_NO : UNIQUE_CHECK_PARTIAL);
    for (size_t i = 0; i < duplicate.size(); ++i) {
        if (!duplicate[i]) continue;
        Locked(board, [&] {
            if (board->suspects < kMostSuspects) board->suspect[board->suspects] = {item.table, item.index, entries.places()[i]};
            ++board->suspects;  // also those that find no room
        });
    }
    target.Close();
}

}  // namespace

IndexHelpers::IndexHelpers(size_t rows) : level_(GetCurrentTransactionNestLevel()) {
    if (rows < kFewestRows || index_helpers == 0 || innermost != nullptr) return;
    Start();
    innermost = this;
    before_statement = BeforeStatement;
}

IndexHelpers::~IndexHelpers() {
    if (board_ == nullptr) return;
    Stop();
    innermost = nullptr;
    dsm_detach(segment_);
}

IndexHelpers* IndexHelpers::current() { return innermost; }

/// Makes the board, and asks the server for helpers. Those that it has no place for are not there.
void IndexHelpers::Start() {
    static bool stops_at_exit = false;
    if (!stops_at_exit) Call([] { before_shmem_exit(StopAtExit, Datum(0)); });
    stops_at_exit = true;
    segment_ = Call([] { return dsm_create(sizeof(HelpersBoard), 0); });
    board_ = new (dsm_segment_address(segment_)) HelpersBoard{};
    board_->database = MyDatabaseId;
    board_->leader = MyProc;
    board_->leader_pid = MyProcPid;
    SpinLockInit(&board_->lock);
    ConditionVariableInit(&board_->changed);
    Call([] { BecomeLockGroupLeader(); });

    BackgroundWorker worker = DescribeWorker("cdp index helper", "cdp_index_helper_main", BgWorkerStart_ConsistentState, BGW_NEVER_RESTART);
    worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment_));
    worker.bgw_notify_pid = MyProcPid;
    helpers_.reserve(static_cast<size_t>(index_helpers));
    try {
        for (int i = 0; i < index_helpers; ++i) {
            BackgroundWorkerHandle* handle;
            if (Call([&] { return RegisterDynamicBackgroundWorker(&worker, &handle); })) helpers_.push_back(handle);
        }
    } catch (...) {
        Stop();
        throw;
    }
}

bool IndexHelpers::Takes(Relation table, std::span<const Relation> indexes, size_t rows) const {
    const auto known_to_all = [](Relation relation) {  // also to who cannot see what our transaction has done
        return !RelationUsesLocalBuffers(relation) && relation->rd_createSubid == InvalidSubTransactionId &&
               relation->rd_newRelfilenodeSubid == InvalidSubTransactionId && relation->rd_firstRelfilenodeSubid == InvalidSubTransactionId;
    };
    return !helpers_.empty() && rows >= kFewestHanded && GetCurrentTransactionNestLevel() == level_ && board_->items + indexes.size() <= kMostItems && known_to_all(table) &&
           std::all_of(indexes.begin(), indexes.end(), known_to_all);
}

void IndexHelpers::Enter(Oid root, Relation table, std::span<const Relation> indexes, std::span<const ItemPointerData> places, bool moved) {
    int runs = board_->runs;  // nobody reads those behind it, yet
    size_t rows = 0;
    for (; rows < places.size(); ++rows) {
        const BlockNumber block = ItemPointerGetBlockNumber(&places[rows]);
        const OffsetNumber offset = ItemPointerGetOffsetNumber(&places[rows]);
        if (runs > board_->runs && board_->run[runs - 1].block == block && board_->run[runs - 1].last + 1 == offset)
            ++board_->run[runs - 1].last;
        else if (runs < kMostRuns)
            board_->run[runs++] = {block, offset, offset};
        else
            break;
    }
    roots_.push_back(root);
    Locked(board_, [&] {
        for (Relation index : indexes)
            board_->item[board_->items++] = {RelationGetRelid(table), RelationGetRelid(index), board_->runs, runs - board_->runs, rows, moved};
        board_->runs = runs;
    });
    ConditionVariableBroadcast(&board_->changed);
    if (rows == places.size()) return;
    Finish();  // then there is room for more
    Enter(root, table, indexes, places.subspan(rows), moved);
}

/// Does what nobody has begun, then waits for the rest.
void IndexHelpers::WorkAlong() {
    for (Item item; Take(board_, &item);) {
        Complete(board_, item);
        Done(board_);
    }
    WaitWhile(board_, [&] { return board_->busy > 0; });
    if (board_->failed) throw Error(board_->sqlstate, "a helper could not enter rows into an index").Detail(board_->message);
}

void IndexHelpers::Finish() {
    if (roots_.empty()) return;
    WorkAlong();
    CheckSuspects();
    Locked(board_, [&] { board_->items = board_->next = board_->runs = board_->suspects = 0; });
    roots_.clear();
}

/// Looks again, as a transaction may that can wait for others. All entries are there by now, as with a deferrable constraint.
void IndexHelpers::CheckSuspects() const {
    if (board_->suspects <= kMostSuspects) {
        for (const auto& suspect : std::span(board_->suspect, static_cast<size_t>(board_->suspects))) {
            const Target target(suspect.table, suspect.index);
            Call([&] { check_unique(target, {&suspect.place, 1}); });
            target.Close();
        }
        return;
    }
    for (const Item& item : std::span(board_->item, static_cast<size_t>(board_->items))) {
        const Target target(item.table, item.index);
        if (target.info->ii_Unique && !item.moved) {
            std::vector<ItemPointerData> places;
            ForEachPlace(RunsOf(board_, item), [&](const ItemPointerData& place) { places.push_back(place); });
            Call([&] { check_unique(target, places); });
        }
        target.Close();
    }
}

/// Sees to it that no helper is at work any more. Does not throw: where something is left to do, the transaction is lost.
void IndexHelpers::Stop() {
    Locked(board_, [&] { board_->closed = true; });
    ConditionVariableBroadcast(&board_->changed);
    const uint32 held = InterruptHoldoffCount;
    InterruptHoldoffCount = held + 1;
    for (BackgroundWorkerHandle* helper : helpers_) {
        if (!roots_.empty()) {
            TerminateBackgroundWorker(helper);
            WaitForBackgroundWorkerShutdown(helper);
        }
        pfree(helper);
    }
    InterruptHoldoffCount = held;
    helpers_.clear();
}

void IndexHelpers::StopAtExit(int, Datum) {
    if (innermost != nullptr) innermost->Stop();
}

/// Whether a plan (null: of whatever) may see that entries are missing. May ereport.
bool IndexHelpers::Concerns(SPIPlanPtr plan) const {
    if (plan == nullptr) return true;
    ListCell *source_cell, *cell;
    foreach (source_cell, SPI_plan_get_plan_sources(plan)) {
        const auto* source = static_cast<CachedPlanSource*>(lfirst(source_cell));
        for (const Oid root : roots_)
            if (list_member_oid(source->relationOids, root)) return true;
        foreach (cell, source->query_list) {
            const auto* query = static_cast<::Query*>(lfirst(cell));
            if (query->commandType == CMD_UTILITY) return true;
            if (query->resultRelation == 0) continue;
            Relation written = table_open(rt_fetch(query->resultRelation, query->rtable)->relid, AccessShareLock);
            const bool fires = written->trigdesc != nullptr;  // nobody knows what a trigger reads
            table_close(written, AccessShareLock);
            if (fires) return true;
        }
    }
    return false;
}

void IndexHelpers::BeforeStatement(SPIPlanPtr plan) {
    if (innermost != nullptr && !innermost->roots_.empty() && Call([&] { return innermost->Concerns(plan); })) innermost->Finish();
}

// The helper ----------------------------------------------------------------------------------------------------------

namespace {

bool at_work = false;

/// However it ends.
void helper_gone(dsm_segment*, Datum address) {
    ConditionVariableCancelSleep();  // which the server would do after the segment is gone
    if (!std::exchange(at_work, false)) return;
    auto* board = reinterpret_cast<HelpersBoard*>(DatumGetPointer(address));
    Locked(board, [&] {
        --board->busy;
        if (std::exchange(board->failed, true)) return;
        strlcpy(board->sqlstate, sqlstate::internal_error, sizeof board->sqlstate);
        strlcpy(board->message, "It ended in the middle.", sizeof board->message);
    });
    ConditionVariableBroadcast(&board->changed);
}

/// Does an item in a transaction of its own.
void Help(HelpersBoard* board, const Item& item) {
    Call([] {
        StartTransactionCommand();
        PushActiveSnapshot(GetTransactionSnapshot());
    });
    try {
        Complete(board, item);
    } catch (const std::exception& error) {
        const Failure failure = Describe(error);
        Locked(board, [&] {
            board->failed = true;
            strlcpy(board->sqlstate, failure.sqlstate.c_str(), sizeof board->sqlstate);
            strlcpy(board->message, failure.message.c_str(), sizeof board->message);
        });
        throw;
    }
    Call([] {
        PopActiveSnapshot();
        CommitTransactionCommand();
    });
}

void Live() {
    dsm_segment* segment = Call([] {
        CurrentResourceOwner = ResourceOwnerCreate(nullptr, "cdp index helper");
        return dsm_attach(DatumGetUInt32(MyBgworkerEntry->bgw_main_arg));
    });
    if (segment == nullptr) return;  // all is done already
    dsm_pin_mapping(segment);
    auto* board = static_cast<HelpersBoard*>(dsm_segment_address(segment));
    Call([&] { on_dsm_detach(segment, helper_gone, PointerGetDatum(board)); });
    if (!Call([&] { return BecomeLockGroupMember(board->leader, board->leader_pid); })) return;
    Call([&] {
        BackgroundWorkerInitializeConnectionByOid(board->database, InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
        pgstat_report_activity(STATE_RUNNING, "entering rows into indexes");
    });
    const auto over = [&] { return board->closed || board->failed; };
    while (!Locked(board, over)) {
        for (Item item; Take(board, &item);) {
            at_work = true;
            Help(board, item);
            at_work = false;
            Done(board);
        }
        WaitWhile(board, [&] { return board->next == board->items && !over(); });
    }
}

}  // namespace

}  // namespace cdp::pg

void cdp_index_helper_main(Datum) {
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "cdp index helper", ALLOCSET_DEFAULT_SIZES));
    cdp::pg::Enter(cdp::pg::Live);
}
