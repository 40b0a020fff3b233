// identity/blocked.cpp: see blocked.hpp.
#include "identity/blocked.hpp"

#include <algorithm>
#include <array>

namespace cdp::identity {

namespace {

constexpr std::array<std::string_view, 15> kBlocked{
    "null", "none", "nil", "nan", "undefined", "unknown", "anonymous", "guest", "not_authenticated",
    "[object object]", "true", "false", "id", "distinct_id", "-1"};

bool EqualIgnoringCase(std::string_view value, std::string_view lower) {
    return std::equal(value.begin(), value.end(), lower.begin(), lower.end(),
                      [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

}  // namespace

bool IsBlockedEverywhere(std::string_view value) {
    if (value.find_first_not_of("0-") == std::string_view::npos) return true;
    return std::any_of(kBlocked.begin(), kBlocked.end(),
                       [&](std::string_view blocked) { return EqualIgnoringCase(value, blocked); });
}

}  // namespace cdp::identity
