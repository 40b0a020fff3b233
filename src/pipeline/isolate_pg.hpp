// pipeline/isolate_pg.hpp: processing that a bad message does not stop.
#pragma once

#include <chrono>

#include "collect/inbox_pg.hpp"

namespace cdp::pipeline {

/// Processing in one transaction. How far it is is kept in memory and written once, by Store(): a row that is updated
/// for each of thousands of bad messages would have thousands of versions, all of them looked at each time.
/// Needs an open Spi and the lock (batch_pg.hpp) as long as it lives. Acts as the extension's owner.
class Processing {
public:
    Processing();

    /// Takes the next batch, at most `max_messages`, through all stages. If it fails and a message may be to blame,
    /// smaller ones are tried, down to one; that one is kept in cdp.rejected_message. Returns as soon as something was
    /// done: how many rows of the inbox were taken, changes() of them no messages; 0: nothing is pending. Throws what no message is to blame for.
    int64 Next(int64 max_messages);
    /// Writes down how far it is, if it got on. Call it when done: what is not written is done again.
    void Store();

    int64 changes() const { return changes_; }

    const collect::Progress& progress() const { return progress_; }

private:
    int64 NextBatchSize(int64 max_messages) const;
    int64 TakeWhole(int64 max_messages);
    void Reject(const pg::Failure& failure);

    collect::Progress progress_, written_;
    int64 taken_ = 0;    // messages
    int64 changes_ = 0;  // of the last Next()
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace cdp::pipeline
