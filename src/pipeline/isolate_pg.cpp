// pipeline/isolate_pg.cpp: see isolate_pg.hpp.
#include "pipeline/isolate_pg.hpp"

#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/heal_pg.hpp"
#include "pipeline/isolation.hpp"
#include "pipeline/wake_pg.hpp"

namespace cdp::pipeline {

namespace {

/// What happened, freed: a bad batch of many errors shall not fill the memory of the call.
pg::Failure Settle(const std::exception& error) {
    const pg::Failure failure = pg::Describe(error);
    if (const auto* of_server = dynamic_cast<const pg::PgError*>(&error))
        pg::Call([&] { FreeErrorData(of_server->data); });
    return failure;
}

}  // namespace

/// How many messages a batch of at most `max_messages` holds.
int64 Processing::NextBatchSize(int64 max_messages) const {
    if (max_messages == 1) return 1;
    const pg::Subtransaction look;
    try {
        collect::InboxBatch batch(progress_, max_messages, int64{pg::batch_memory} * 1024);
        if (!batch.Empty()) return batch.size();
    } catch (const std::exception&) {
        // Reading them is what fails; then it takes some more halvings.
    }
    return max_messages;
}

int64 Processing::TakeWhole(int64 max_messages) {
    pg::Subtransaction attempt;
    collect::Progress after = progress_;
    int64 changes = 0;
    const int64 taken = ProcessBatch(&after, max_messages, &changes);
    attempt.Commit();
    progress_ = std::move(after);
    changes_ = changes;
    return taken;
}

void Processing::Reject(const pg::Failure& failure) {
    pg::Subtransaction attempt;
    collect::Progress after = progress_;
    changes_ = RejectNext(&after, failure) ? 0 : 1;
    attempt.Commit();
    progress_ = std::move(after);
}

Processing::Processing() {
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::LatestSnapshot snapshot;
    progress_ = written_ = collect::Progress::Load();
}

void Processing::Store() {
    if (progress_ == written_) return;
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::LatestSnapshot snapshot;
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin_;
    progress_.Store(taken_, taken_ > 0 ? took.count() : 0);
    written_ = progress_;
}

int64 Processing::Next(int64 max_messages) {
    static Isolation isolation;
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::LatestSnapshot snapshot;
    for (;;) {
        const int64 size = std::min(max_messages, isolation.Size());
        Heal();  // a definition that cannot be read is no message's fault
        pg::Failure failure;
        try {
            const int64 taken = TakeWhole(size);
            isolation.Succeeded(taken);
            CountAtCommit(taken - changes_);
            taken_ += taken - changes_;
            return taken;
        } catch (const std::exception& error) {
            if (!MayBlameMessage(pg::Describe(error).sqlstate)) {
                isolation.Shrink(size);
                throw;
            }
            failure = Settle(error);
        }
        if (isolation.Failed(NextBatchSize(size))) {
            Reject(failure);
            CountAtCommit(1 - changes_);
            taken_ += 1 - changes_;
            return 1;
        }
    }
}

}  // namespace cdp::pipeline
