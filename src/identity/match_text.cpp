// identity/match_text.cpp: see match_text.hpp.
#include "identity/match_text.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace cdp::matching {

namespace {

constexpr char32_t kInvalid = 0x110000;  // and above: bytes that are no UTF-8, each a character of its own

/// Takes the first character off `text`.
char32_t TakeCharacter(std::string_view& text) {
    const auto first = static_cast<unsigned char>(text.front());
    const int length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 1) {
        text.remove_prefix(1);
        return first;
    }
    char32_t character = length == 2 ? first & 0x1Fu : length == 3 ? first & 0x0Fu : first & 0x07u;
    bool valid = length > 0 && text.size() >= static_cast<size_t>(length);
    for (int i = 1; valid && i < length; ++i) {
        const auto next = static_cast<unsigned char>(text[i]);
        valid = (next & 0xC0) == 0x80;
        character = character << 6 | (next & 0x3Fu);
    }
    // Spelt longer than need be, or beyond Unicode: no character either.
    valid = valid && character < kInvalid && character >= (length == 4 ? 0x10000u : length == 3 ? 0x800u : 0x80u);
    text.remove_prefix(valid ? length : 1);
    return valid ? character : kInvalid + first;
}

void Append(std::string& text, char32_t c) {
    if (c >= kInvalid) {
        text += static_cast<char>(c - kInvalid);
    } else if (c < 0x80) {
        text += static_cast<char>(c);
    } else if (c < 0x800) {
        text += static_cast<char>(0xC0 | c >> 6);
        text += static_cast<char>(0x80 | (c & 0x3F));
    } else {
        if (c < 0x10000) {
            text += static_cast<char>(0xE0 | c >> 12);
        } else {
            text += static_cast<char>(0xF0 | c >> 18);
            text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
        }
        text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
        text += static_cast<char>(0x80 | (c & 0x3F));
    }
}

// U+00C0 … U+017F without accents; a space where the letter is spelt with two, or is none.
constexpr std::string_view kBaseLetters =
    "aaaaaa ceeeeiiiidnooooo ouuuuy  aaaaaa ceeeeiiiidnooooo ouuuuy yaaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii  jjkkk"
    "llllllllllnnnnnnnnnoooooo  rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
static_assert(kBaseLetters.size() == 0x180 - 0xC0);

void AppendPlain(std::string& text, char32_t c) {
    if (c >= 0xC0 && c < 0x180) {
        if (const char base = kBaseLetters[c - 0xC0]; base != ' ') {
            text += base;
            return;
        }
        switch (c) {
            case 0xC6: case 0xE6: text += "ae"; return;
            case 0xDE: case 0xFE: text += "th"; return;
            case 0xDF: text += "ss"; return;
            case 0x132: case 0x133: text += "ij"; return;
            case 0x152: case 0x153: text += "oe"; return;
            default: break;  // × and ÷
        }
    }
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
    else if ((c >= 0x391 && c <= 0x3A9) || (c >= 0x410 && c <= 0x42F)) c += 0x20;  // Greek, Cyrillic
    else if (c >= 0x400 && c <= 0x40F) c += 0x50;
    Append(text, c);
}

bool IsSpace(char32_t c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xA0 || c == 0x3000; }

/// The characters of a text, as many as are compared.
class Characters {
public:
    explicit Characters(std::string_view text) {
        while (!text.empty() && size_ < kComparedCharacters) characters_[size_++] = TakeCharacter(text);
    }
    std::span<const char32_t> span() const { return {characters_.data(), size_}; }

private:
    std::array<char32_t, kComparedCharacters> characters_;
    size_t size_ = 0;
};

bool IsAscii(std::string_view text) {
    uint64_t all = 0;
    for (; text.size() >= sizeof all; text.remove_prefix(sizeof all)) {
        uint64_t eight;
        std::memcpy(&eight, text.data(), sizeof eight);
        all |= eight;
    }
    for (const char c : text) all |= static_cast<unsigned char>(c);
    return (all & 0x8080808080808080u) == 0;
}

std::span<const char> Compared(std::string_view text) {
    return {text.data(), std::min(text.size(), kComparedCharacters)};
}

/// `function` of both texts' characters: of their bytes, where a character is one.
template <class F>
auto OfCharacters(std::string_view a, std::string_view b, F&& function) {
    if (IsAscii(a) && IsAscii(b)) return function(Compared(a), Compared(b));
    const Characters x(a), y(b);
    return function(x.span(), y.span());
}

template <class C>
double Jaro(std::span<const C> a, std::span<const C> b) {
    if (a.empty() || b.empty()) return a.empty() && b.empty() ? 1 : 0;
    const size_t longest = std::max(a.size(), b.size());
    const size_t window = longest / 2 > 0 ? longest / 2 - 1 : 0;
    std::array<bool, kComparedCharacters> taken{};
    std::array<C, kComparedCharacters> matched;
    size_t matches = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const size_t end = std::min(i + window + 1, b.size());
        for (size_t j = i > window ? i - window : 0; j < end; ++j)
            if (!taken[j] && a[i] == b[j]) {
                taken[j] = true;
                matched[matches++] = a[i];
                break;
            }
    }
    if (matches == 0) return 0;
    size_t out_of_order = 0, k = 0;
    for (size_t j = 0; j < b.size(); ++j)
        if (taken[j]) out_of_order += matched[k++] != b[j];
    const size_t exchanged = out_of_order / 2;
    const double m = static_cast<double>(matches);
    return (m / static_cast<double>(a.size()) + m / static_cast<double>(b.size()) + (m - static_cast<double>(exchanged)) / m) / 3;
}

/// The same for ASCII of up to 64 characters, a bit each: where in `b` each letter is, as a set of places.
double ShortJaro(std::span<const char> a, std::span<const char> b) {
    if (a.empty() || b.empty()) return a.empty() && b.empty() ? 1 : 0;
    const size_t longest = std::max(a.size(), b.size());
    const size_t window = longest / 2 > 0 ? longest / 2 - 1 : 0;
    std::array<uint64_t, 128> places{};
    for (size_t j = 0; j < b.size(); ++j) places[static_cast<unsigned char>(b[j])] |= uint64_t{1} << j;
    uint64_t taken_a = 0, taken_b = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const uint64_t from = i > window ? ~uint64_t{0} << (i - window) : ~uint64_t{0};
        const uint64_t to = i + window < 63 ? (uint64_t{1} << (i + window + 1)) - 1 : ~uint64_t{0};
        const uint64_t free = places[static_cast<unsigned char>(a[i])] & from & to & ~taken_b;
        taken_b |= free & (~free + 1);  // the first of them
        taken_a |= uint64_t{free != 0} << i;
    }
    if (taken_a == 0) return 0;
    const double m = std::popcount(taken_a);
    int out_of_order = 0;
    for (; taken_a != 0; taken_a &= taken_a - 1, taken_b &= taken_b - 1)
        out_of_order += a[std::countr_zero(taken_a)] != b[std::countr_zero(taken_b)];
    const int exchanged = out_of_order / 2;
    return (m / static_cast<double>(a.size()) + m / static_cast<double>(b.size()) + (m - exchanged) / m) / 3;
}

/// Leaves out what both begin and end with.
template <class C>
void Trim(std::span<const C>& a, std::span<const C>& b) {
    while (!a.empty() && !b.empty() && a.front() == b.front()) {
        a = a.subspan(1);
        b = b.subspan(1);
    }
    while (!a.empty() && !b.empty() && a.back() == b.back()) {
        a = a.first(a.size() - 1);
        b = b.first(b.size() - 1);
    }
}

/// The well-known table of ASCII of up to 64 characters, a column a step, its differences a bit each: H. Hyyrö, "A Bit-Vector
/// Algorithm for Computing Levenshtein and Damerau Edit Distances", 2003. `a` is not empty.
template <bool kExchange>
int ShortEdits(std::span<const char> a, std::span<const char> b) {
    std::array<uint64_t, 128> places{};
    for (size_t i = 0; i < a.size(); ++i) places[static_cast<unsigned char>(a[i])] |= uint64_t{1} << i;
    const uint64_t last = uint64_t{1} << (a.size() - 1);
    uint64_t up = ~uint64_t{0}, down = 0, diagonal = 0, before = 0;  // where a cell is one more or less than that above; where no more than that before both
    int edits = static_cast<int>(a.size());
    for (const char c : b) {
        const uint64_t here = places[static_cast<unsigned char>(c)];
        const uint64_t exchanged = kExchange ? ((~diagonal & here) << 1) & before : 0;
        diagonal = (((here & up) + up) ^ up) | here | down | exchanged;
        uint64_t more = down | ~(diagonal | up), less = diagonal & up;
        edits += (more & last) != 0;
        edits -= (less & last) != 0;
        more = more << 1 | 1;
        less <<= 1;
        up = less | ~(diagonal | more);
        down = more & diagonal;
        before = here;
    }
    return edits;
}

/// Three rows of the table, each cell from its neighbours; stops when a whole row is over the limit.
template <bool kExchange, class C>
int Edits(std::span<const C> a, std::span<const C> b, int limit) {
    Trim(a, b);
    if (a.size() > b.size()) std::swap(a, b);
    const int rows = static_cast<int>(b.size()), columns = static_cast<int>(a.size());
    if (rows - columns > limit) return limit + 1;
    if constexpr (std::is_same_v<C, char>)
        if (columns > 0 && columns <= 64) return std::min(ShortEdits<kExchange>(a, b), limit + 1);
    int table[3][kComparedCharacters + 1];
    int *before = table[0], *above = table[1], *row = table[2];
    for (int j = 0; j <= columns; ++j) above[j] = j;
    for (int i = 1; i <= rows; ++i) {
        int least = row[0] = i;
        for (int j = 1; j <= columns; ++j) {
            int cost = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (b[i - 1] != a[j - 1])});
            if constexpr (kExchange)
                if (i > 1 && j > 1 && b[i - 1] == a[j - 2] && b[i - 2] == a[j - 1]) cost = std::min(cost, before[j - 2] + 1);
            row[j] = cost;
            least = std::min(least, cost);
        }
        // An exchange may come back from the row before the last, so that one counts too.
        if (least > limit && (!kExchange || *std::min_element(above, above + columns + 1) > limit)) return limit + 1;
        std::swap(before, above);
        std::swap(above, row);
    }
    return std::min(above[columns], limit + 1);
}

}  // namespace

std::string PlainText(std::string_view text) {
    std::string plain;
    plain.reserve(text.size());
    bool space = false;
    while (!text.empty()) {
        const char32_t c = TakeCharacter(text);
        if (IsSpace(c)) {
            space = !plain.empty();
            continue;
        }
        if (space) plain += ' ';
        space = false;
        AppendPlain(plain, c);
    }
    return plain;
}

double JaroWinkler(std::string_view a, std::string_view b) {
    return OfCharacters(a, b, [](auto x, auto y) {
        double jaro;
        if constexpr (std::is_same_v<decltype(x), std::span<const char>>)
            jaro = x.size() <= 64 && y.size() <= 64 ? ShortJaro(x, y) : Jaro(x, y);
        else
            jaro = Jaro(x, y);
        if (jaro <= 0.7) return jaro;
        const size_t longest = std::min<size_t>({4, x.size(), y.size()});
        size_t common = 0;
        while (common < longest && x[common] == y[common]) ++common;
        return jaro + 0.1 * static_cast<double>(common) * (1 - jaro);
    });
}

int Levenshtein(std::string_view a, std::string_view b, int limit) {
    return OfCharacters(a, b, [&](auto x, auto y) { return Edits<false>(x, y, limit); });
}

int Damerau(std::string_view a, std::string_view b, int limit) {
    return OfCharacters(a, b, [&](auto x, auto y) { return Edits<true>(x, y, limit); });
}

std::string Soundex(std::string_view text) {
    constexpr std::string_view kCodes = "01230120022455012623010202";  // of a … z; h and w are skipped, as vowels divide
    std::string code;
    char last = 0;
    for (const char raw : text) {
        const char c = raw >= 'A' && raw <= 'Z' ? static_cast<char>(raw - 'A' + 'a') : raw;
        if (c < 'a' || c > 'z') {
            if (c == ' ' && !code.empty()) break;
            continue;
        }
        const char digit = kCodes[c - 'a'];
        if (code.empty()) code += static_cast<char>(c - 'a' + 'A');
        else if (digit != '0' && digit != last) code += digit;
        if (c != 'h' && c != 'w') last = digit;
        if (code.size() == 4) break;
    }
    if (!code.empty()) code.resize(4, '0');
    return code;
}

namespace {

/// Days since 1970-01-01: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms". Nothing where it is no date.
std::optional<int> Days(int year, int month, int day) {
    constexpr int kLengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1000 || year > 2999 || month < 1 || month > 12 || day < 1 || day > kLengths[month - 1]) return std::nullopt;
    if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0))) return std::nullopt;
    const int y = month <= 2 ? year - 1 : year, era = y / 400, year_of_era = y - era * 400;
    const int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

int Number(std::string_view digits) {
    int number = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return number;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Year, month and day in digits, as they are written: of a calendar or not. Nothing where it is not in three parts.
struct DateParts {
    std::string_view year, month, day;
};

std::optional<DateParts> PartsOfDate(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    const auto time_follows = [&] { return text.empty() || text.front() == ' ' || text.front() == 'T' || text.front() == 't'; };
    std::string_view part[3];
    char separator = 0;
    for (int k = 0; k < 3; ++k) {
        size_t length = 0;
        while (length < text.size() && IsDigit(text[length])) ++length;
        part[k] = text.substr(0, length);
        text.remove_prefix(length);
        if (k == 0 && length == 8 && time_follows()) return DateParts{part[0].substr(0, 4), part[0].substr(4, 2), part[0].substr(6)};
        if (k == 2) break;
        if (text.empty() || (text.front() != '-' && text.front() != '/' && text.front() != '.')) return std::nullopt;
        if (k == 1 && text.front() != separator) return std::nullopt;
        separator = text.front();
        text.remove_prefix(1);
    }
    const auto sizes = [&](size_t a, size_t b, size_t c) { return part[0].size() <= a && part[1].size() <= b && part[2].size() <= c; };
    if (!time_follows() || part[0].empty() || part[1].empty() || part[2].empty()) return std::nullopt;
    if (part[0].size() == 4 && sizes(4, 2, 2)) return DateParts{part[0], part[1], part[2]};
    if (part[2].size() != 4 || !sizes(2, 2, 4)) return std::nullopt;
    // Day before month, unless only the other way is a date.
    const int year = Number(part[2]), first = Number(part[0]), second = Number(part[1]);
    if (!Days(year, second, first) && Days(year, first, second)) return DateParts{part[2], part[0], part[1]};
    return DateParts{part[2], part[1], part[0]};
}

}  // namespace

std::optional<int> ParseDate(std::string_view text) {
    const auto parts = PartsOfDate(text);
    return parts ? Days(Number(parts->year), Number(parts->month), Number(parts->day)) : std::nullopt;
}

std::string DateDigits(std::string_view text) {
    const auto parts = PartsOfDate(text);
    if (!parts) return Digits(text);
    std::string digits(parts->year);
    for (const auto part : {parts->month, parts->day}) digits.append(2 - part.size(), '0').append(part);
    return digits;
}

std::optional<double> ParseNumber(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    if (!text.empty() && text.front() == '+') text.remove_prefix(1);
    double number;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number)) return std::nullopt;
    return number;
}

std::string Digits(std::string_view text) {
    std::string digits;
    for (const char c : text)
        if (IsDigit(c)) digits += c;
    return digits;
}

}  // namespace cdp::matching
