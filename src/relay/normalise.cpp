// relay/normalise.cpp: see normalise.hpp.
#include "relay/normalise.hpp"

#include <algorithm>
#include <charconv>

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "identity/match_text.hpp"

namespace cdp::relay {
namespace {

icu::UnicodeString Unicode(std::string_view text) {
    return icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}

std::string Utf8(const icu::UnicodeString& text) {
    std::string utf8;
    text.toUTF8String(utf8);
    return utf8;
}

// White space, and what is as invisible: joiners, marks of direction, the byte order mark.
bool IsSpace(UChar32 c) { return u_isUWhiteSpace(c) || u_charType(c) == U_FORMAT_CHAR || u_iscntrl(c); }

bool IsLetterOrMark(UChar32 c) { return u_isalpha(c) || (U_GET_GC_MASK(c) & U_GC_M_MASK) != 0; }

std::optional<std::string> UnlessEmpty(std::string text) {
    if (text.empty()) return std::nullopt;
    return text;
}

// In lower case; of the characters that are no letters, only white space counts: as one `between` words.
std::string Words(std::string_view text, std::string_view between) {
    const icu::UnicodeString lower = Unicode(text).toLower(icu::Locale::getRoot());
    icu::UnicodeString words;
    bool gap = false;
    for (int32_t i = 0; i < lower.length(); i = lower.moveIndex32(i, 1)) {
        const UChar32 c = lower.char32At(i);
        if (u_isUWhiteSpace(c)) gap = true;
        if (!IsLetterOrMark(c)) continue;
        if (gap && !words.isEmpty()) words.append(Unicode(between));
        gap = false;
        words.append(c);
    }
    return Utf8(words);
}

}  // namespace

std::string LowerCase(std::string_view text) { return Utf8(Unicode(text).toLower(icu::Locale::getRoot())); }
std::string UpperCase(std::string_view text) { return Utf8(Unicode(text).toUpper(icu::Locale::getRoot())); }

std::string WithoutSpace(std::string_view text) {
    const icu::UnicodeString all = Unicode(text);
    icu::UnicodeString rest;
    for (int32_t i = 0; i < all.length(); i = all.moveIndex32(i, 1))
        if (!IsSpace(all.char32At(i))) rest.append(all.char32At(i));
    return Utf8(rest);
}

std::optional<std::string> NormaliseEmail(std::string_view text) {
    std::string email = LowerCase(WithoutSpace(text));
    const size_t at = email.find('@');
    if (at == std::string::npos || at == 0 || at + 1 == email.size() || email.find('@', at + 1) != std::string::npos)
        return std::nullopt;
    return email;
}

std::optional<std::string> PlainGmail(std::string_view email) {
    const size_t at = email.find('@');
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view domain = email.substr(at + 1);
    if (domain != "gmail.com" && domain != "googlemail.com") return std::string(email);
    std::string name(email.substr(0, std::min(at, email.find('+'))));
    std::erase(name, '.');
    if (name.empty()) return std::nullopt;
    return name.append("@").append(domain);
}

std::optional<std::string> NormaliseName(std::string_view text) { return UnlessEmpty(Words(text, " ")); }
std::optional<std::string> NormalisePlace(std::string_view text) { return UnlessEmpty(Words(text, "")); }

std::optional<std::string> NormaliseGender(std::string_view text) {
    const std::string gender = Words(text, "");
    if (gender == "m" || gender == "male") return "m";
    if (gender == "f" || gender == "female") return "f";
    return std::nullopt;
}

std::optional<std::string> NormaliseCountry(std::string_view text) {
    std::string country = LowerCase(WithoutSpace(text));
    const auto latin = [](char c) { return c >= 'a' && c <= 'z'; };
    if (country.size() != 2 || !std::all_of(country.begin(), country.end(), latin)) return std::nullopt;
    return country;
}

std::optional<std::string> NormalisePostalCode(std::string_view text) {
    const std::string code = LowerCase(WithoutSpace(text));
    return UnlessEmpty(code.substr(0, code.find('-')));
}

std::optional<DateParts> PartsOfDate(std::string_view text) {
    if (!matching::ParseDate(text)) return std::nullopt;
    std::string digits = matching::DateDigits(text);
    if (digits.size() != 8) return std::nullopt;
    return DateParts{digits.substr(0, 4), digits.substr(4, 2), digits.substr(6, 2)};
}

std::string CleanText(std::string_view text, size_t characters) {
    // Four bytes are the most that a character has, and a broken character is no longer than its replacement.
    icu::UnicodeString clean = Unicode(text.substr(0, characters * 4 + 4));
    clean.findAndReplace(icu::UnicodeString(UChar32{0}), icu::UnicodeString());
    if (clean.countChar32() > static_cast<int32_t>(characters)) clean.truncate(clean.moveIndex32(0, static_cast<int32_t>(characters)));
    return Utf8(clean);
}

}  // namespace cdp::relay
