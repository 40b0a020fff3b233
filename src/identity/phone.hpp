// identity/phone.hpp: phone numbers in E.164, by libphonenumber.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cdp::identity {

/// The number as people write it, in E.164 (+442079460000); nothing if it is no valid number.
/// `region`: where numbers without a country code are from (ISO 3166, e.g. GB); empty: they are not valid.
std::optional<std::string> NormalisePhone(std::string_view written, std::string_view region);

}  // namespace cdp::identity
