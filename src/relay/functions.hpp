// relay/functions.hpp: the functions of expressions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "relay/expression.hpp"

namespace cdp::relay {

struct Function {
    std::string_view name;
    size_t fewest, most;  // arguments
    bool takes_null;      // otherwise a null as first argument gives null
    Json (*call)(std::span<const Json> arguments, const Scope& scope);
};

/// Nothing if there is no function of that name.
const Function* FindFunction(std::string_view name);

/// A value as text: numbers and truth values as JSON writes them, lists and objects as JSON; null is nothing.
std::optional<std::string> Text(const Json& value);
/// False are: false, null, 0, and what is empty.
bool Truth(const Json& value);

/// With everything but letters, digits and -._~ as %XX.
std::string PercentEncoded(std::string_view text);

/// JSON as networks answer it; null where it is none, or nested deeper than kDeepest.
Json ParseJson(std::string_view text);


}  // namespace cdp::relay
