// identity/match_comparer.cpp: see match_comparer.hpp.
#include "identity/match_comparer.hpp"

#include <algorithm>
#include <cmath>

#include "identity/match_text.hpp"
#include "identity/phone.hpp"
#include "pg/error.hpp"

namespace cdp::matching {

namespace {

constexpr double kSwapAlike = 0.9;  // Jaro-Winkler of what was swapped, and mistyped

std::string WithoutSpaces(std::string text) {
    std::erase(text, ' ');
    return text;
}

std::string_view User(std::string_view email) { return email.substr(0, email.rfind('@')); }

/// A value as it is compared; empty: there is none.
std::string Normal(Kind kind, std::string_view raw, const std::string& region) {
    std::string plain = PlainText(raw);
    switch (kind) {
        case Kind::kPostcode: return WithoutSpaces(std::move(plain));
        case Kind::kPhone: {
            // Without a region only numbers that name theirs can be told.
            if (!region.empty() || plain.starts_with('+'))
                if (auto phone = identity::NormalisePhone(plain, region)) return *phone;
            return Digits(plain);
        }
        case Kind::kDate: {
            // However it is written, and whether it is of a calendar or not.
            const std::string digits = DateDigits(plain);
            return digits.empty() ? plain : digits;
        }
        case Kind::kNumeric:
            if (const auto number = ParseNumber(plain)) return std::to_string(*number);
            return plain;
        default: return plain;
    }
}

/// Day and month the other way round, of eight digits.
bool DayAndMonthExchanged(const std::string& a, const std::string& b) {
    return a.size() == 8 && b.size() == 8 && a.compare(0, 4, b, 0, 4) == 0 && a.compare(4, 2, b, 6, 2) == 0 && a.compare(6, 2, b, 4, 2) == 0;
}

std::vector<std::string_view> Split(std::string_view text) {
    std::vector<std::string_view> elements;
    for (size_t from = 0; from <= text.size();) {
        const size_t end = std::min(text.find(kElementSeparator, from), text.size());
        if (end > from) elements.push_back(text.substr(from, end - from));
        from = end + 1;
    }
    return elements;
}

}  // namespace

/// What of a pair of values was measured already.
struct Measures {
    double jaro_winkler = -1, user_alike = -1;
    int levenshtein = -1, damerau = -1, date_edits = -1;
};

Comparer::Comparer(const Records& records, const Comparison& comparison, const std::string& region)
    : comparison_(comparison), levels_(comparison.levels), otherwise_(comparison.otherwise()) {
    const int place = records.Find(comparison.column);
    if (place < 0) throw Error(sqlstate::undefined_column, "column \"" + comparison.column + "\" does not exist");
    const RecordColumn& column = records.columns()[place];

    std::vector<uint32_t> number(column.texts.size() + 1);
    for (uint32_t i = 1; i <= column.texts.size(); ++i) {
        const std::string normal = comparison.kind == Kind::kArray ? std::string(column.texts[i]) : Normal(comparison.kind, column.texts[i], region);
        if (!normal.empty()) number[i] = texts_.Add(normal);
    }
    counts_.resize(texts_.size() + 1);
    values_.reserve(column.values.size());
    for (const uint32_t raw : column.values) {
        const uint32_t value = number[raw];
        values_.push_back(value);
        ++counts_[value];
        filled_ += value != 0;
    }
    counts_[0] = 0;
    for (size_t i = 0; i < levels_.size(); ++i) {
        if (levels_[i].test == Test::kSwapped) swapped_ = static_cast<LevelNumber>(i + 1);
        if (levels_[i].test == Test::kLevenshtein || levels_[i].test == Test::kDamerau)
            most_edits_ = std::max(most_edits_, static_cast<int>(levels_[i].at));
        if (levels_[i].test == Test::kJaroWinkler) least_alike_ = std::min(least_alike_, levels_[i].at);
    }
    if (swapped_ != 0) {
        const int partner = records.Find(comparison.partner);
        if (partner < 0) throw Error(sqlstate::undefined_column, "column \"" + comparison.partner + "\" does not exist");
        JoinPartner(records.columns()[partner]);
    }
    Prepare();
    if (levels_.size() > 1) cache_.resize(size_t{1} << kCacheBits);
}

void Comparer::JoinPartner(const RecordColumn& partner) {
    std::vector<uint32_t> number(partner.texts.size() + 1);
    for (uint32_t i = 1; i <= partner.texts.size(); ++i) {
        const std::string normal = PlainText(partner.texts[i]);
        if (!normal.empty()) number[i] = texts_.Add(normal);
    }
    counts_.resize(texts_.size() + 1);
    partner_counts_.resize(texts_.size() + 1);
    for (const uint32_t raw : partner.values) {
        partners_.push_back(number[raw]);
        ++partner_counts_[number[raw]];
        partner_filled_ += number[raw] != 0;
    }
    partner_counts_[0] = 0;
}

void Comparer::Prepare() {
    const uint32_t count = texts_.size();
    const auto asks = [&](std::initializer_list<Test> tests) {
        return std::any_of(levels_.begin(), levels_.end(), [&](const auto& level) {
            return std::find(tests.begin(), tests.end(), level.test) != tests.end();
        });
    };
    const auto prepare = [&](auto& prepared, auto&& make) {
        prepared.resize(count + 1);
        for (uint32_t i = 1; i <= count; ++i) prepared[i] = make(texts_[i]);
    };
    Texts parts;
    if (asks({Test::kDays})) prepare(days_, [](auto text) { return ParseDate(text); });
    if (asks({Test::kDifference, Test::kRatio})) prepare(numbers_, [](auto text) { return ParseNumber(text); });
    if (asks({Test::kJaroWinkler, Test::kLevenshtein, Test::kDamerau}))
        prepare(letters_, [](auto text) {
            Letters letters{};
            const bool counted = text.size() <= kComparedCharacters && std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80; });
            for (size_t i = 0; counted && i < text.size(); ++i) ++letters[static_cast<size_t>(text[i]) % letters.size()];
            return letters;
        });
    told_by_letters_ = std::all_of(levels_.begin() + 1, levels_.end(), [](const auto& level) {
        return level.test == Test::kJaroWinkler || level.test == Test::kLevenshtein || level.test == Test::kDamerau || level.test == Test::kSwapped;
    });
    if (asks({Test::kDateEdit})) prepare(digits_, [](auto text) { return Digits(text); });
    if (asks({Test::kUser, Test::kUserAlike})) prepare(users_, [&](auto text) { return User(text).empty() ? 0 : parts.Add(User(text)); });
    if (asks({Test::kSound})) prepare(sounds_, [&](auto text) { const auto code = Soundex(text); return code.empty() ? 0 : parts.Add(code); });
    if (asks({Test::kOverlap}))
        prepare(elements_, [&](auto text) {
            std::vector<uint32_t> elements;
            for (const auto element : Split(text)) elements.push_back(parts.Add(PlainText(element)));
            std::sort(elements.begin(), elements.end());
            elements.erase(std::unique(elements.begin(), elements.end()), elements.end());
            return elements;
        });
}

bool Comparer::Like(uint32_t x, uint32_t other) const {
    return x == other || JaroWinkler(texts_[x], texts_[other]) >= kSwapAlike;
}

bool Comparer::Swapped(uint32_t x, uint32_t y, uint32_t other_x, uint32_t other_y) const {
    // One of the two is as it was, which is cheap to see and keeps chance away.
    return other_x != other_y && (x == other_y ? Like(other_x, y) : Like(other_y, x));
}

double Comparer::SwappedByChance() const {
    if (filled_ == 0 || partner_filled_ == 0) return 0;
    double same = 0;
    for (size_t v = 1; v < counts_.size(); ++v) same += static_cast<double>(counts_[v]) * partner_counts_[v];
    same /= static_cast<double>(filled_) * static_cast<double>(partner_filled_);
    return same * same;
}

bool Comparer::Reaches(const struct Level& level, uint32_t x, uint32_t y, Measures& m) const {
    const auto measured = [](auto& kept, auto&& measure) {
        if (kept < 0) kept = measure();
        return kept;
    };
    const int limit = static_cast<int>(level.at);
    switch (level.test) {
        case Test::kEqual:
        case Test::kSwapped: return false;
        case Test::kJaroWinkler: return measured(m.jaro_winkler, [&] { return JaroWinkler(texts_[x], texts_[y]); }) >= level.at;
        case Test::kLevenshtein: return measured(m.levenshtein, [&] { return Levenshtein(texts_[x], texts_[y], most_edits_); }) <= limit;
        case Test::kDamerau: return measured(m.damerau, [&] { return Damerau(texts_[x], texts_[y], most_edits_); }) <= limit;
        case Test::kDateEdit:
            return (limit >= 1 && DayAndMonthExchanged(digits_[x], digits_[y])) ||
                   measured(m.date_edits, [&] { return Damerau(digits_[x], digits_[y], 8); }) <= limit;
        case Test::kDays: return days_[x] && days_[y] && std::abs(*days_[x] - *days_[y]) <= level.at;
        case Test::kDifference: return numbers_[x] && numbers_[y] && std::abs(*numbers_[x] - *numbers_[y]) <= level.at;
        case Test::kRatio:
            return numbers_[x] && numbers_[y] &&
                   std::abs(*numbers_[x] - *numbers_[y]) <= level.at * std::max(std::abs(*numbers_[x]), std::abs(*numbers_[y]));
        case Test::kUser: return users_[x] != 0 && users_[x] == users_[y];
        case Test::kUserAlike: return measured(m.user_alike, [&] { return JaroWinkler(User(texts_[x]), User(texts_[y])); }) >= level.at;
        case Test::kTail:
        case Test::kHead: {
            const std::string_view a = texts_[x], b = texts_[y];
            const auto length = static_cast<size_t>(level.at);
            if (a.size() < length || b.size() < length) return false;
            return level.test == Test::kHead ? a.substr(0, length) == b.substr(0, length)
                                             : a.substr(a.size() - length) == b.substr(b.size() - length);
        }
        case Test::kSound: return sounds_[x] != 0 && sounds_[x] == sounds_[y];
        case Test::kOverlap: {
            size_t common = 0;
            auto a = elements_[x].begin(), b = elements_[y].begin();
            while (a != elements_[x].end() && b != elements_[y].end())
                if (*a == *b) ++common, ++a, ++b;
                else ++(*a < *b ? a : b);
            return static_cast<double>(common) >= level.at;
        }
    }
    return false;
}

bool Comparer::Unlike(uint32_t x, uint32_t y) const {
    if (letters_.empty()) return false;
    const Letters &a = letters_[x], &b = letters_[y];
    int in_a = 0, in_b = 0, apart = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        in_a += a[i];
        in_b += b[i];
        apart += std::abs(a[i] - b[i]);
    }
    if (in_a == 0 || in_b == 0) return false;
    // An edit takes out a letter and puts in another, at most.
    if (apart <= 2 * most_edits_ && std::abs(in_a - in_b) <= most_edits_) return false;
    if (least_alike_ > 1) return true;
    // Jaro's similarity is at most that of all common letters in order, and up to 0.7 Winkler adds nothing.
    const double common = 0.5 * (in_a + in_b - apart);
    return (common / in_a + common / in_b + 1) / 3 < std::min(0.7, least_alike_) - 1e-9;
}

LevelNumber Comparer::Compare(uint32_t x, uint32_t y) const {
    Measures measures;
    if (!told_by_letters_ && Unlike(x, y)) {
        measures.jaro_winkler = 0;
        measures.levenshtein = measures.damerau = most_edits_ + 1;
    }
    for (size_t i = 1; i < levels_.size(); ++i)
        if (Reaches(levels_[i], x, y, measures)) return static_cast<LevelNumber>(i + 1);
    return otherwise_;
}

}  // namespace cdp::matching
