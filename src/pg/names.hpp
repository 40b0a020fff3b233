// pg/names.hpp: names and texts as SQL writes them, and roles by name.
#pragma once

#include "pg/guard.hpp"

namespace cdp::pg {

/// The identifier, with quotes where it needs them. Throws.
std::string Identifier(std::string_view name);
/// The string constant that means `text`. Throws.
std::string Literal(std::string_view text);

/// Throws if there is no such role.
std::string RoleName(Oid role);

}  // namespace cdp::pg
