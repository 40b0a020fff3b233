// identity/match_comparison.cpp: see match_comparison.hpp.
#include "identity/match_comparison.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "identity/match_text.hpp"
#include "pg/error.hpp"

namespace cdp::matching {

namespace {

constexpr std::array<std::string_view, 11> kKinds = {"exact", "jaro_winkler", "levenshtein", "damerau",  "date",    "numeric",
                                                     "email", "phone",        "postcode",    "array",    "phonetic"};
constexpr std::array<std::string_view, 15> kTests = {"equal", "swapped", "jaro_winkler", "levenshtein", "damerau",
                                                     "date_edit", "days", "difference", "ratio", "user",
                                                     "user_alike", "tail", "head", "sound", "overlap"};

std::string Listed(std::span<const std::string_view> names) {
    std::string list;
    for (const auto name : names) list.append(list.empty() ? "" : ", ").append(name);
    return list;
}

std::string Written(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.10g", number);
    return text;
}

std::string LabelOf(Test test, double at) {
    const std::string number = Written(at);
    switch (test) {
        case Test::kEqual: return "equal";
        case Test::kSwapped: return "in each other's place";
        case Test::kJaroWinkler: return "Jaro-Winkler at least " + number;
        case Test::kLevenshtein: return number + (at == 1 ? " edit" : " edits") + " or fewer";
        case Test::kDamerau: return number + (at == 1 ? " slip" : " slips") + " of the pen or fewer";
        case Test::kDateEdit: return number + (at == 1 ? " wrong digit" : " wrong digits") + ", or day and month exchanged";
        case Test::kDays: return "within " + number + (at == 1 ? " day" : " days");
        case Test::kDifference: return "within " + number;
        case Test::kRatio: return "within " + Written(at * 100) + " %";
        case Test::kUser: return "same before the @";
        case Test::kUserAlike: return "before the @ Jaro-Winkler at least " + number;
        case Test::kTail: return "same last " + number + " characters";
        case Test::kHead: return "same first " + number + " characters";
        case Test::kSound: return "same sound";
        case Test::kOverlap: return number + " or more in common";
    }
    return {};
}

std::vector<Level> Made(std::initializer_list<std::pair<Test, double>> tests) {
    std::vector<Level> levels{MakeLevel(Test::kEqual, 0)};
    for (const auto& [test, at] : tests) levels.push_back(MakeLevel(test, at));
    return levels;
}

Error BadThreshold(const std::string& threshold, Kind kind, const char* hint) {
    return Error(sqlstate::invalid_parameter_value,
                 "invalid level of a comparison of kind " + std::string(NameOf(kind)) + ": \"" + threshold + "\"").Hint(hint);
}

/// `1 day`, `2 months`, `1 year`, or a number of days.
std::optional<double> DaysOf(std::string_view text) {
    const size_t space = text.find(' ');
    const auto number = ParseNumber(text.substr(0, space));
    if (!number || space == std::string_view::npos) return number;
    std::string_view unit = text.substr(space + 1);
    if (unit.ends_with('s')) unit.remove_suffix(1);
    if (unit == "day") return *number;
    if (unit == "week") return *number * 7;
    // A month has up to 31 days, a year up to 366: those who are within one are.
    if (unit == "month") return std::ceil(*number * 30.4375) + 0;
    if (unit == "year") return std::ceil(*number * 365.25);
    return std::nullopt;
}

Level LevelAt(Kind kind, const std::string& threshold) {
    const auto number = ParseNumber(threshold);
    const auto whole = [&](double least) { return number && *number >= least && *number <= 1000 && *number == std::floor(*number); };
    switch (kind) {
        case Kind::kJaroWinkler:
        case Kind::kEmail:
            if (!number || *number <= 0 || *number > 1) throw BadThreshold(threshold, kind, "A similarity over 0, at most 1.");
            return MakeLevel(kind == Kind::kEmail ? Test::kUserAlike : Test::kJaroWinkler, *number);
        case Kind::kLevenshtein:
        case Kind::kDamerau:
            if (!whole(0)) throw BadThreshold(threshold, kind, "A whole number of edits.");
            return MakeLevel(kind == Kind::kDamerau ? Test::kDamerau : Test::kLevenshtein, *number);
        case Kind::kDate: {
            if (threshold == "typo") return MakeLevel(Test::kDateEdit, 1);
            const auto days = DaysOf(threshold);
            if (!days || *days < 0) throw BadThreshold(threshold, kind, "A number of days, \"1 month\", \"2 years\", or \"typo\".");
            return MakeLevel(Test::kDays, *days);
        }
        case Kind::kNumeric: {
            if (threshold.ends_with('%')) {
                const auto percent = ParseNumber(std::string_view(threshold).substr(0, threshold.size() - 1));
                if (percent && *percent >= 0 && *percent <= 100) return MakeLevel(Test::kRatio, *percent / 100);
            }
            if (!number || *number < 0) throw BadThreshold(threshold, kind, "A difference, or a percentage as in \"5%\".");
            return MakeLevel(Test::kDifference, *number);
        }
        case Kind::kPhone:
        case Kind::kPostcode:
            if (!whole(1)) throw BadThreshold(threshold, kind, kind == Kind::kPhone ? "How many last digits are the same." : "How many first characters are the same.");
            return MakeLevel(kind == Kind::kPhone ? Test::kTail : Test::kHead, *number);
        case Kind::kArray:
            if (!whole(1)) throw BadThreshold(threshold, kind, "How many elements are in common.");
            return MakeLevel(Test::kOverlap, *number);
        case Kind::kExact:
        case Kind::kPhonetic: break;
    }
    throw BadThreshold(threshold, kind, "This kind has no thresholds.");
}

}  // namespace

Kind KindNamed(std::string_view name) {
    const auto found = std::find(kKinds.begin(), kKinds.end(), name);
    if (found == kKinds.end())
        throw Error(sqlstate::invalid_parameter_value, "comparison kind \"" + std::string(name) + "\" does not exist")
            .Hint("There are " + Listed(kKinds) + ".");
    return static_cast<Kind>(found - kKinds.begin());
}

std::string_view NameOf(Kind kind) { return kKinds[static_cast<size_t>(kind)]; }

Test TestNamed(std::string_view name) {
    const auto found = std::find(kTests.begin(), kTests.end(), name);
    if (found == kTests.end())
        throw Error(sqlstate::invalid_parameter_value, "test \"" + std::string(name) + "\" of a level does not exist")
            .Hint("There are " + Listed(kTests) + ".");
    return static_cast<Test>(found - kTests.begin());
}

std::string_view NameOf(Test test) { return kTests[static_cast<size_t>(test)]; }

Level MakeLevel(Test test, double at) { return {test, at, LabelOf(test, at)}; }

std::string Comparison::Label(LevelNumber level) const {
    return level == kMissing ? "missing" : level <= levels.size() ? levels[level - 1].label : "different";
}

std::vector<Level> UsualLevels(Kind kind) {
    switch (kind) {
        case Kind::kExact: return Made({});
        case Kind::kJaroWinkler: return Made({{Test::kJaroWinkler, 0.92}, {Test::kJaroWinkler, 0.85}, {Test::kJaroWinkler, 0.7}});
        case Kind::kLevenshtein: return Made({{Test::kLevenshtein, 1}, {Test::kLevenshtein, 2}});
        case Kind::kDamerau: return Made({{Test::kDamerau, 1}, {Test::kDamerau, 2}});
        case Kind::kDate: return Made({{Test::kDateEdit, 1}, {Test::kDateEdit, 2}, {Test::kDays, 31}, {Test::kDays, 366}, {Test::kDays, 3653}});
        case Kind::kNumeric: return Made({{Test::kRatio, 0.001}, {Test::kRatio, 0.05}, {Test::kRatio, 0.2}});
        case Kind::kEmail: return Made({{Test::kUser, 0}, {Test::kJaroWinkler, 0.92}, {Test::kUserAlike, 0.88}, {Test::kUserAlike, 0.75}});
        case Kind::kPhone: return Made({{Test::kTail, 7}, {Test::kDamerau, 1}, {Test::kDamerau, 2}});
        case Kind::kPostcode: return Made({{Test::kDamerau, 1}, {Test::kHead, 3}, {Test::kDamerau, 2}});
        case Kind::kArray: return Made({{Test::kOverlap, 2}, {Test::kOverlap, 1}});
        case Kind::kPhonetic: return Made({{Test::kSound, 0}});
    }
    return {};
}

std::vector<Level> LevelsAt(Kind kind, const std::vector<std::string>& thresholds) {
    std::vector<Level> levels{MakeLevel(Test::kEqual, 0)};
    for (const auto& threshold : thresholds) {
        Level level = LevelAt(kind, threshold);
        // That e-mails are the same before the @ comes first of all that they can be but equal.
        if (kind == Kind::kEmail && levels.size() == 1) levels.push_back(MakeLevel(Test::kUser, 0));
        const bool equal = level.at == (level.test == Test::kJaroWinkler ? 1 : 0);
        if (!equal) levels.push_back(std::move(level));
    }
    if (levels.size() > kMostLevels)
        throw Error(sqlstate::program_limit_exceeded, "a comparison has at most " + std::to_string(kMostLevels) + " levels");
    // Whatever the order they came in.
    const auto sign = [](const Level& l) { return l.test == Test::kEqual || l.test == Test::kUser ? 0 : 1; };
    const auto strictness = [](const Level& l) {
        const bool more_is_better = l.test == Test::kJaroWinkler || l.test == Test::kUserAlike || l.test == Test::kTail ||
                                    l.test == Test::kHead || l.test == Test::kOverlap;
        return more_is_better ? -l.at : l.test == Test::kDateEdit ? -1 : l.at;
    };
    std::stable_sort(levels.begin() + 1, levels.end(), [&](const Level& a, const Level& b) {
        return sign(a) != sign(b) ? sign(a) < sign(b) : strictness(a) < strictness(b);
    });
    levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
    return levels;
}

}  // namespace cdp::matching
