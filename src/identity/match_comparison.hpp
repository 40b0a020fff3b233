// identity/match_comparison.hpp: how a column is compared: its kind, and the levels of agreement that a pair of
// values can reach. Knows no PostgreSQL. What the kinds do: docs/matching.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "identity/match_records.hpp"

namespace cdp::matching {

enum class Kind { kExact, kJaroWinkler, kLevenshtein, kDamerau, kDate, kNumeric, kEmail, kPhone, kPostcode, kArray, kPhonetic };

/// By the names that users write. Throws Error(invalid_parameter_value) for an unknown one.
Kind KindNamed(std::string_view name);
std::string_view NameOf(Kind kind);

/// What a pair of values must be for a level. The number that goes with it is `at`.
enum class Test {
    kEqual,
    kSwapped,       // each equals, or all but equals, what the other record has in the partner column
    kJaroWinkler,   // at least as alike as that
    kLevenshtein,   // at most so many edits
    kDamerau,       // at most so many edits, neighbours exchanged being one
    kDateEdit,      // dates: at most so many edits of the digits, or day and month exchanged
    kDays,          // at most so many days apart
    kDifference,    // numbers: at most so far apart
    kRatio,         // numbers: at most that part of the greater one apart
    kUser,          // e-mail: the same before the @
    kUserAlike,     // e-mail: before the @ at least as alike as that (Jaro-Winkler)
    kTail,          // the same last so many characters
    kHead,          // the same first so many characters
    kSound,         // the same Soundex
    kOverlap,       // arrays: at least so many elements in common
};

struct Level {
    Test test;
    double at = 0;
    std::string label;
    bool operator==(const Level& o) const { return test == o.test && at == o.at; }
};

/// The number of a level in a pair's comparison: 0 where a value is missing, 1 for the first level, the best, …,
/// levels.size() + 1 where none is reached.
using LevelNumber = uint8_t;
inline constexpr LevelNumber kMissing = 0;
inline constexpr size_t kMostLevels = 14;
inline constexpr size_t kMostComparisons = 64;

struct Comparison {
    std::string column;
    Kind kind = Kind::kExact;
    std::vector<Level> levels;       // the best first, which is kEqual
    bool term_frequency = false;     // whether agreeing on a rare value says more
    std::string partner;             // the column that its values change places with; empty: none

    LevelNumber otherwise() const { return static_cast<LevelNumber>(levels.size() + 1); }
    std::string Label(LevelNumber level) const;
};

/// The test by the name that a model in JSON has for it. Throws Error(invalid_parameter_value).
Test TestNamed(std::string_view name);
std::string_view NameOf(Test test);

/// A level with the label that belongs to it.
Level MakeLevel(Test test, double at);

/// The levels of `kind` where the user gave none.
std::vector<Level> UsualLevels(Kind kind);
/// The levels where the user gave thresholds: one each, of the test that is the kind's, the best first.
/// Throws Error(invalid_parameter_value) if one makes no sense.
std::vector<Level> LevelsAt(Kind kind, const std::vector<std::string>& thresholds);

/// What the values of a column look like: by them, the column's type and its name the kind is chosen.
struct Looks {
    Kind kind = Kind::kExact;
    std::vector<Level> levels;
    bool term_frequency = true;
    bool worth_comparing = true;     // else every value is the same, or there are hardly any, or they are long texts
    bool names = false;              // words that could stand in another column by mistake
};
Looks LookAt(const RecordColumn& column);

/// Gives columns of names in which the same values occur each other as partners: some of their values will have changed
/// places. Only those that have the levels of their kind yet, as `usual` says.
void FindPartners(const Records& records, std::span<const Looks> looks, const std::vector<bool>& usual, std::span<Comparison> comparisons);

}  // namespace cdp::matching
