// identity/find_pg.hpp: an identifier or a profile that somebody names.
#pragma once

#include "pg/spi.hpp"

namespace cdp::identity {

struct Found {
    int64 identifier_id;
    int64 profile_id;
};

/// The identifier of that type and value, which is normalised as its type says; one that was blocked since it became
/// known is found as it stands. Throws Error(undefined_object) if there is none. Needs an open Spi, as the owner.
Found Find(std::string_view type, std::string_view value, bool read_only = false);

/// The profile that an id means now: itself, or what it was merged into; nothing if there is no such profile.
std::optional<int64> Living(int64 profile_id);

}  // namespace cdp::identity
