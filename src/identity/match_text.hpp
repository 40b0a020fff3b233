// identity/match_text.hpp: how alike two texts are.
// Knows no PostgreSQL. Debian has no kept C++ library of these distances (rapidfuzz-cpp came later; what
// postgresql-similarity has are SQL functions), so they are ours, tested against rapidfuzz's and jellyfish's answers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cdp::matching {

/// A text as it is compared: without spaces around it and with single ones inside, in lower case, Latin letters
/// without their accents. Bytes that are no UTF-8 stay as they are.
std::string PlainText(std::string_view text);

// All of these count characters, not bytes, of at most the first kComparedCharacters, and take any bytes.
inline constexpr size_t kComparedCharacters = 128;

/// Jaro's similarity with Winkler's bonus for a common beginning (0.1 a character, at most 4), 0 … 1:
/// W. E. Winkler, "String Comparator Metrics and Enhanced Decision Rules in the Fellegi-Sunter Model of Record
/// Linkage", 1990. As there, the bonus is given where Jaro's similarity exceeds 0.7.
double JaroWinkler(std::string_view a, std::string_view b);

/// How many characters must be put in, taken out or replaced to make one of the other (Levenshtein 1966);
/// limit + 1 if it is more than `limit`.
int Levenshtein(std::string_view a, std::string_view b, int limit);

/// The same where exchanging two neighbours counts as one, each part being edited once (Damerau 1964, "optimal
/// string alignment").
int Damerau(std::string_view a, std::string_view b, int limit);

/// American Soundex of a text's first word: a letter and three digits; empty where it has no Latin letter.
std::string Soundex(std::string_view text);

/// A date in one of the ways people and systems write it: 2021-03-04, 2021/3/4, 20210304, 04.03.2021, 04/03/2021,
/// each with a time behind it or without; in days since 1970-01-01. Day before month in the last ones, unless
/// only the other way is a date. Nothing where it is none.
std::optional<int> ParseDate(std::string_view text);

/// A date's year, month and day in eight digits, of a calendar or not; of what is not written as a date all digits.
std::string DateDigits(std::string_view text);

/// A number with an optional sign, decimal point, exponent. Nothing where it is none, or infinite.
std::optional<double> ParseNumber(std::string_view text);

/// The digits of a text.
std::string Digits(std::string_view text);

}  // namespace cdp::matching
