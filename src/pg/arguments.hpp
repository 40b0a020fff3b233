// pg/arguments.hpp: an SQL function's arguments that may be NULL.
#pragma once

#include "pg/spi.hpp"

namespace cdp::pg {

/// A text argument; nothing where NULL. Throws.
inline std::optional<std::string> TextArgument(FunctionCallInfo fcinfo, int n) {
    if (PG_ARGISNULL(n)) return std::nullopt;
    return std::string(Bytes(PG_GETARG_DATUM(n)));
}

/// An argument as it is passed on to a statement.
inline Arg Passed(FunctionCallInfo fcinfo, int n, Oid type) { return {type, PG_GETARG_DATUM(n), PG_ARGISNULL(n)}; }

}  // namespace cdp::pg
