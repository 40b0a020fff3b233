// pipeline/wake_pg.hpp: what the end of a transaction tells the others.
#pragma once

#include "pipeline/shared_pg.hpp"

namespace cdp::pipeline {

/// Installs the callbacks for the end of transactions. Once a process.
void WatchTransactions();

/// When this transaction commits, the worker of the database is woken, and registered anew if it is wanted
/// and not there.
void WakeAtCommit();

/// This transaction processed so many messages: its commit counts them and tells who waits for them.
void CountAtCommit(int64 messages);

/// Wakes the worker of this database now, from a pause after a failure too. Does nothing if there is none.
void WakeWorker();

}  // namespace cdp::pipeline
