// identity/stitch_pg.hpp: who is who by the ledger alone.
#pragma once

#include <functional>
#include <string>

#include "pg/spi.hpp"

namespace cdp::identity {

/// Stitches all identifiers by the links in force: one pass over each table. Makes the temporary table `table`
/// (identifier_id, profile_id). Throws.
void StitchLinks(const std::string& table);

}  // namespace cdp::identity
