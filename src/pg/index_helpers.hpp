// pg/index_helpers.hpp: processes that enter rows into indexes while this one goes on.
//
// A third of the time of a large batch goes into index entries. Here the rows are written, and where they are is handed to
// background workers, an index at a time; what they have not begun when their work is needed, this process does itself.
//
// A helper is in no part of our transaction: it enters places of rows, as index_insert does, and these mean nothing until the
// rows are committed. It is a member of our lock group, so that it never waits for a lock behind somebody who waits for us.
// It never waits for a transaction either: where a key may be there already it says so, and we look again. And it has always
// stopped before our transaction ends, also when that fails: a VACUUM might give away the place of a row that was taken back.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "executor/spi.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
}

namespace cdp::pg {

struct HelpersBoard;

/// While one lives, TableWriter leaves the index entries of many rows to helpers. Statements that read or write such a
/// table wait until all of it is done. Needs a transaction and a resource owner that outlive it.
class IndexHelpers {
public:
    /// For work of so many rows. Few are not worth it: then this does nothing. Neither does it inside of another one.
    explicit IndexHelpers(size_t rows);
    /// What is not finished is given up, so the transaction must fail then.
    ~IndexHelpers();
    IndexHelpers(const IndexHelpers&) = delete;

    /// Returns once every entry is there. Throws if a key was there already, or a helper failed.
    void Finish();

    /// The one that takes rows, if any does.
    static IndexHelpers* current();
    /// Whether so many rows of a table can be handed over, with entries for all of its indexes. Not in a subtransaction that began since:
    /// it may be rolled back, and its rows be vacuumed away, before a helper has come to them.
    bool Takes(Relation table, std::span<const Relation> indexes, size_t rows) const;
    /// Hands over rows of `table`, which is `root` or a partition of it, at `places`, for these indexes. `moved`: by an update
    /// that has changed nothing that is in the indexes.
    void Enter(Oid root, Relation table, std::span<const Relation> indexes, std::span<const ItemPointerData> places, bool moved);

private:
    void Start();
    void WorkAlong();
    void CheckSuspects() const;
    void Stop();
    bool Concerns(SPIPlanPtr plan) const;

    static void BeforeStatement(SPIPlanPtr plan);
    static void StopAtExit(int code, Datum);

    int level_;
    dsm_segment* segment_ = nullptr;
    HelpersBoard* board_ = nullptr;  // in `segment_`
    std::vector<BackgroundWorkerHandle*> helpers_;
    std::vector<Oid> roots_;  // the tables of which rows were handed over
};

}  // namespace cdp::pg
