// pg/names.cpp: see names.hpp.
#include "pg/names.hpp"

namespace cdp::pg {

std::string Identifier(std::string_view name) {
    const std::string terminated(name);
    return Call([&] { return quote_identifier(terminated.c_str()); });
}

std::string Literal(std::string_view text) {
    const std::string terminated(text);
    return Call([&] { return quote_literal_cstr(terminated.c_str()); });
}

std::string RoleName(Oid role) {
    return Call([&] { return GetUserNameFromId(role, false); });
}

}  // namespace cdp::pg
