// identity/match_looks.cpp: choosing how a column is compared by what is in it. See match_comparison.hpp.
#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "identity/match_comparison.hpp"
#include "identity/match_text.hpp"

namespace cdp::matching {

namespace {

constexpr uint32_t kLooked = 20'000;       // distinct values are enough to see what they are
constexpr double kMost = 0.8;              // of them must look like it
constexpr double kLongText = 80;           // characters on average: no field of a form
constexpr uint32_t kFew = 30;              // distinct values: codes

bool IsOneOf(std::string_view type, std::initializer_list<std::string_view> types) {
    return std::find(types.begin(), types.end(), type) != types.end();
}

/// Whether the name has one of the words in it, however it is written.
bool Says(const std::string& name, std::initializer_list<std::string_view> words) {
    const std::string plain = PlainText(name);
    return std::any_of(words.begin(), words.end(), [&](auto word) { return plain.find(word) != std::string::npos; });
}

bool LooksLikeEmail(std::string_view text) {
    const size_t at = text.find('@');
    return at != std::string_view::npos && at > 0 && text.find('@', at + 1) == std::string_view::npos &&
           text.find('.', at) != std::string_view::npos && text.find(' ') == std::string_view::npos;
}

/// Letters and digits of a British kind, such as SW1A 1AA.
bool LooksLikePostcode(std::string_view text) {
    if (text.size() < 5 || text.size() > 8) return false;
    const auto letter = [&](size_t i) { return std::isalpha(static_cast<unsigned char>(text[i])) != 0; };
    const auto digit = [&](size_t i) { return text[i] >= '0' && text[i] <= '9'; };
    const size_t end = text.size();
    return letter(0) && digit(end - 3) && letter(end - 2) && letter(end - 1) &&
           std::any_of(text.begin() + 1, text.end() - 3, [](char c) { return c >= '0' && c <= '9'; });
}

/// Year, month and day in digits, of whatever calendar: what typing errors make of dates.
bool LooksLikeDate(std::string_view text) {
    if (text.size() < 8 || text.size() > 10) return false;
    const auto marks = std::count_if(text.begin(), text.end(), [](char c) { return c == '-' || c == '/' || c == '.'; });
    return marks == 2 && Digits(text).size() + 2 == text.size();
}

/// What the values are like; shares of those looked at, each distinct one once.
struct Shares {
    double email = 0, date = 0, date_shape = 0, digits = 0, phone = 0, plus = 0, number = 0, postcode = 0, mixed = 0, spaces = 0;
    double length = 0;
};

Shares SharesOf(const Texts& texts) {
    Shares s;
    const uint32_t looked = std::min(texts.size(), kLooked);
    for (uint32_t i = 1; i <= looked; ++i) {
        const std::string text = PlainText(texts[i]);
        const std::string digits = Digits(text);
        const size_t letters = static_cast<size_t>(std::count_if(text.begin(), text.end(), [](unsigned char c) { return c >= 0x80 || std::isalpha(c); }));
        const auto year = ParseNumber(std::string_view(text).substr(0, 4));
        s.email += LooksLikeEmail(text);
        const bool date = ParseDate(text) && (digits.size() != text.size() || (year && *year >= 1850 && *year <= 2150));
        s.date += date;
        s.date_shape += date || LooksLikeDate(text);
        s.digits += !text.empty() && digits.size() == text.size();
        s.phone += letters == 0 && digits.size() >= 7 && digits.size() <= 15;
        s.plus += text.starts_with('+') || text.starts_with('(') || text.starts_with('0');
        s.number += ParseNumber(text).has_value();
        s.postcode += LooksLikePostcode(text);
        s.mixed += letters > 0 && !digits.empty();
        s.spaces += text.find(' ') != std::string::npos;
        s.length += static_cast<double>(text.size());
    }
    if (looked > 0)
        for (double* share : {&s.email, &s.date, &s.date_shape, &s.digits, &s.phone, &s.plus, &s.number, &s.postcode, &s.mixed, &s.spaces, &s.length})
            *share /= looked;
    return s;
}

Kind KindOf(const RecordColumn& column, const Shares& s) {
    const auto& type = column.type;
    if (type.ends_with("[]")) return Kind::kArray;
    if (type == "date" || type.starts_with("timestamp")) return Kind::kDate;
    if (type == "boolean" || type == "uuid") return Kind::kExact;
    if (s.email >= kMost) return Kind::kEmail;
    if (s.date >= kMost || (s.date >= 0.4 && s.date_shape >= kMost)) return Kind::kDate;
    if (Says(column.name, {"phone", "mobile", "telefon", "tel_", "cell", "fax"}) && s.phone >= 0.5) return Kind::kPhone;
    if (s.phone >= kMost && s.plus >= kMost && s.date < 0.1 && !type.starts_with("int") && type != "bigint") return Kind::kPhone;
    if (s.postcode >= kMost || (Says(column.name, {"postcode", "postal", "post_code", "zip", "plz"}) && s.spaces < 0.9 && s.length < 12))
        return Kind::kPostcode;
    if (IsOneOf(type, {"real", "double precision"})) return Kind::kNumeric;
    if (s.number >= kMost && s.digits < 0.5) return Kind::kNumeric;  // amounts and measures
    if (column.texts.size() <= kFew) return Kind::kExact;
    if (s.digits >= kMost || s.mixed >= kMost) return s.spaces >= 0.5 ? Kind::kJaroWinkler : Kind::kDamerau;
    return Kind::kJaroWinkler;
}

}  // namespace

Looks LookAt(const RecordColumn& column) {
    const Shares shares = SharesOf(column.texts);
    Looks looks;
    looks.kind = KindOf(column, shares);
    looks.levels = UsualLevels(looks.kind);
    // Two edits make any short number of any other.
    if (looks.kind == Kind::kDamerau && shares.length < 5) looks.levels.pop_back();
    looks.term_frequency = looks.kind != Kind::kArray;
    const auto filled = std::count_if(column.values.begin(), column.values.end(), [](uint32_t v) { return v != 0; });
    looks.worth_comparing = column.texts.size() > 1 && filled * 50 >= static_cast<int64_t>(column.values.size()) && shares.length <= kLongText;
    looks.names = looks.kind == Kind::kJaroWinkler && shares.digits < 0.2;
    return looks;
}

void FindPartners(const Records& records, std::span<const Looks> looks, const std::vector<bool>& usual, std::span<Comparison> comparisons) {
    struct Couple {
        uint64_t shared;
        size_t x, y;
    };
    std::vector<Couple> couples;
    const auto of = [&](size_t c) -> const RecordColumn& { return records.columns()[records.Find(comparisons[c].column)]; };
    // How many records have a value that the other column has too.
    const auto shared = [&](const RecordColumn& column, const RecordColumn& other) {
        std::vector<bool> known(column.texts.size() + 1);
        for (uint32_t i = 1; i <= column.texts.size(); ++i) known[i] = other.texts.Find(column.texts[i]) != 0;
        return static_cast<uint64_t>(std::count_if(column.values.begin(), column.values.end(), [&](uint32_t v) { return known[v]; }));
    };
    for (size_t x = 0; x < comparisons.size(); ++x)
        for (size_t y = x + 1; y < comparisons.size(); ++y) {
            if (!looks[x].names || !looks[y].names || !usual[x] || !usual[y]) continue;
            const uint64_t both = shared(of(x), of(y)) + shared(of(y), of(x));
            if (both >= std::max<uint64_t>(4, records.size() / 200)) couples.push_back({both, x, y});
        }
    std::stable_sort(couples.begin(), couples.end(), [](const Couple& a, const Couple& b) { return a.shared > b.shared; });
    std::vector<bool> taken(comparisons.size());
    for (const Couple& couple : couples) {
        if (taken[couple.x] || taken[couple.y]) continue;
        taken[couple.x] = taken[couple.y] = true;
        comparisons[couple.x].partner = comparisons[couple.y].column;
        auto& levels = comparisons[couple.x].levels;
        levels.insert(levels.begin() + 1, MakeLevel(Test::kSwapped, 0));
    }
}

}  // namespace cdp::matching
