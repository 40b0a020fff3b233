// identity/phone.cpp: see phone.hpp.
#include "identity/phone.hpp"

#include <phonenumbers/phonenumberutil.h>

namespace cdp::identity {

// libphonenumber's own limit, which it looks at only after work that is quadratic in the length.
constexpr size_t kLongest = 250;

std::optional<std::string> NormalisePhone(std::string_view written, std::string_view region) {
    if (written.size() > kLongest) return std::nullopt;
    using i18n::phonenumbers::PhoneNumber;
    using i18n::phonenumbers::PhoneNumberUtil;
    const PhoneNumberUtil& util = *PhoneNumberUtil::GetInstance();
    PhoneNumber number;
    const std::string from(region.empty() ? std::string_view("ZZ") : region);
    if (util.Parse(std::string(written), from, &number) != PhoneNumberUtil::NO_PARSING_ERROR ||
        !util.IsValidNumber(number))
        return std::nullopt;
    std::string e164;
    util.Format(number, PhoneNumberUtil::E164, &e164);
    return e164;
}

}  // namespace cdp::identity
