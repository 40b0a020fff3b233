// pipeline/primary_pg.hpp: what a standby cannot do.
#pragma once

#include "pg/error.hpp"
#include "pg/postgres.hpp"

namespace cdp::pipeline {

/// Throws unless this server can write. `what` cannot be done on a standby.
inline void RequirePrimary(const char* what) {
    if (RecoveryInProgress())
        throw Error(sqlstate::read_only_sql_transaction, std::string("cannot ") + what + " during recovery")
            .Hint("This server is a standby: it shows what the primary has processed.");
}

}  // namespace cdp::pipeline
