// pipeline/isolate_pg.cpp: see isolate_pg.hpp.
#include "pipeline/isolate_pg.hpp"

#include "collect/inbox_pg.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "pipeline/isolation.hpp"
#include "pipeline/wake_pg.hpp"

namespace cdp::pipeline {

namespace {

/// How many messages a batch of at most `max_messages` holds.
int64 NextBatchSize(int64 max_messages) {
    if (max_messages == 1) return 1;
    const pg::Subtransaction look;
    try {
        collect::InboxBatch batch(collect::Progress::Load(), max_messages, int64{pg::batch_memory} * 1024);
        if (!batch.Empty()) return static_cast<int64>(batch.messages().size());
    } catch (const std::exception&) {
        // Reading them is what fails; then it takes some more halvings.
    }
    return max_messages;
}

int64 ProcessWhole(int64 max_messages) {
    pg::Subtransaction attempt;
    const int64 taken = ProcessBatch(max_messages);
    attempt.Commit();
    return taken;
}

void Reject(const pg::Failure& failure) {
    pg::Subtransaction attempt;
    RejectNext(failure);
    attempt.Commit();
}

/// What happened, freed: a bad batch of many errors shall not fill the memory of the call.
pg::Failure Settle(const std::exception& error) {
    const pg::Failure failure = pg::Describe(error);
    if (const auto* of_server = dynamic_cast<const pg::PgError*>(&error))
        pg::Call([&] { FreeErrorData(of_server->data); });
    return failure;
}

}  // namespace

int64 ProcessIsolating(int64 max_messages) {
    static Isolation isolation;
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::LatestSnapshot snapshot;
    for (;;) {
        const int64 size = std::min(max_messages, isolation.Size());
        Current();  // a definition that cannot be read is no message's fault
        pg::Failure failure;
        try {
            const int64 taken = ProcessWhole(size);
            isolation.Succeeded(taken);
            CountAtCommit(taken);
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
            CountAtCommit(1);
            return 1;
        }
    }
}

}  // namespace cdp::pipeline
