// relay/normalise.hpp: people's data as networks want it before they hash it. Which network wants what: docs/connectors.md.
// Every function takes any bytes; where they are no such thing (no e-mail address, no date, …), it gives nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cdp::relay {

/// In lower case by Unicode's rules, whatever the language. What is no UTF-8 becomes U+FFFD.
std::string LowerCase(std::string_view text);
std::string UpperCase(std::string_view text);

/// Without any white space, Unicode's included.
std::string WithoutSpace(std::string_view text);

/// An e-mail address without white space, in lower case.
std::optional<std::string> NormaliseEmail(std::string_view text);
/// An e-mail address (normalised) as Google delivers it: of gmail.com and googlemail.com without the dots before the @
/// and without what a + begins; any other as it is.
std::optional<std::string> PlainGmail(std::string_view email);

/// A person's name in lower case, without punctuation, symbols and digits, words one blank apart.
std::optional<std::string> NormaliseName(std::string_view text);
/// Likewise without blanks: a city's or a state's.
std::optional<std::string> NormalisePlace(std::string_view text);
/// m or f.
std::optional<std::string> NormaliseGender(std::string_view text);
/// A country's two letters in lower case.
std::optional<std::string> NormaliseCountry(std::string_view text);
/// A postal code in lower case without white space and without what a dash begins.
std::optional<std::string> NormalisePostalCode(std::string_view text);

struct DateParts {
    std::string year, month, day;  // YYYY, MM, DD
};
/// A date as matching::ParseDate knows them.
std::optional<DateParts> PartsOfDate(std::string_view text);

/// The text as UTF-8 that PostgreSQL and JSON take: U+FFFD for what is none, nothing for U+0000; at most `characters`.
std::string CleanText(std::string_view text, size_t characters);

}  // namespace cdp::relay
