// pg/read_ahead.cpp: see read_ahead.hpp.
#include "pg/read_ahead.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace cdp::pg {

namespace {

constexpr int kMostKeys = 2;
constexpr size_t kFewestLookups = 1'000;
constexpr size_t kBetweenResets = 256;

/// Whether a relation is too large to be all in shared buffers beside others. May ereport.
bool large(Relation relation) { return RelationGetNumberOfBlocks(relation) > static_cast<BlockNumber>(NBuffers) / 16; }

/// Asks for the places that an index has under a key. May ereport.
void want_rows(Relation table, IndexScanDesc scan, const ScanKeyData* keys) {
    index_rescan(scan, const_cast<ScanKeyData*>(keys), scan->numberOfKeys, nullptr, 0);
    while (ItemPointer place = index_getnext_tid(scan, ForwardScanDirection))
        PrefetchBuffer(table, MAIN_FORKNUM, ItemPointerGetBlockNumber(place));
}

}  // namespace

LeavesAhead::LeavesAhead(Relation index)
    : index_(index), worth_(effective_io_concurrency > 0 && index->rd_rel->relam == BTREE_AM_OID && Call([&] { return large(index); })) {}

void LeavesAhead::want(const Datum* values, const bool* nulls) {
    BTScanInsert key = _bt_mkscankey(index_, index_form_tuple(RelationGetDescr(index_), const_cast<Datum*>(values), const_cast<bool*>(nulls)));
    Buffer buffer = CDP_BT_GETROOT(index_);
    while (BufferIsValid(buffer)) {
        Page page = BufferGetPage(buffer);
        const auto* opaque = BTPageGetOpaque(page);
        if (P_ISLEAF(opaque)) break;
        // The last item whose key is less; the first one counts as less than everything.
        OffsetNumber low = P_FIRSTDATAKEY(opaque), high = OffsetNumberNext(PageGetMaxOffsetNumber(page));
        while (low < high) {
            const auto middle = static_cast<OffsetNumber>(low + (high - low) / 2);
            if (_bt_compare(index_, key, page, middle) > 0)
                low = OffsetNumberNext(middle);
            else
                high = middle;
        }
        auto* item = reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, OffsetNumberPrev(low))));
        const BlockNumber child = BTreeTupleGetDownLink(item);
        if (opaque->btpo_level == 1) {
            if (child != last_) PrefetchBuffer(index_, MAIN_FORKNUM, child);
            last_ = child;
            break;
        }
        buffer = _bt_relandgetbuf(index_, buffer, child, BT_READ);
    }
    if (BufferIsValid(buffer)) _bt_relbuf(index_, buffer);
}

void ReadAhead(const char* index_name, size_t count, const std::function<void(size_t, Datum*)>& key) {
    if (count < kFewestLookups) return;
    Relation index = Call([&] {
        const Oid id = get_relname_relid(index_name, get_namespace_oid("cdp", false));
        return OidIsValid(id) ? index_open(id, AccessShareLock) : nullptr;
    });
    if (index == nullptr) return;
    Relation table = Call([&] { return table_open(index->rd_index->indrelid, AccessShareLock); });
    LeavesAhead leaves(index);
    const int width = IndexRelationGetNumberOfKeyAttributes(index);
    if (leaves.worth() && width <= kMostKeys && IndexRelationGetNumberOfAttributes(index) == width) {
        ScanKeyData keys[kMostKeys];
        IndexScanDesc scan = Call([&] {
            for (int k = 0; k < width; ++k) {
                const bool text = index->rd_opcintype[k] == TEXTOID;
                ScanKeyEntryInitialize(&keys[k], 0, static_cast<AttrNumber>(k + 1), BTEqualStrategyNumber, InvalidOid,
                                       index->rd_indcollation[k], text ? F_TEXTEQ : F_INT8EQ, Datum(0));
            }
            return CDP_INDEX_BEGINSCAN(table, index, GetActiveSnapshot(), width);
        });
        Datum values[kMostKeys];
        const bool nulls[kMostKeys] = {};
        Scratch memory;
        const auto for_each = [&](const auto& want) {
            const Scratch::Use use(memory);
            for (size_t i = 0; i < count; ++i) {
                if (i % kBetweenResets == 0) {
                    memory.Reset();
                    poll_stop();
                }
                key(i, values);
                Call(want);
            }
        };
        for_each([&] { leaves.want(values, nulls); });
        for_each([&] {
            for (int k = 0; k < width; ++k) keys[k].sk_argument = values[k];
            want_rows(table, scan, keys);
        });
        Call([&] { index_endscan(scan); });
    }
    Call([&] {
        table_close(table, AccessShareLock);
        index_close(index, AccessShareLock);
    });
}

}  // namespace cdp::pg
