// Kinds and levels: what is chosen for a column, and what pairs of values come to.
#include "identity/match_scorer.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "identity/match_text.hpp"
#include "pg/error.hpp"

using namespace cdp::matching;

namespace {

Records Of(const std::string& name, const std::string& type, const std::vector<std::string>& values) {
    Records records(std::vector<std::pair<std::string, std::string>>{{name, type}});
    for (size_t i = 0; i < values.size(); ++i) {
        std::optional<std::string_view> value;
        if (!values[i].empty()) value = values[i];
        records.Add(std::to_string(i), std::span(&value, 1));
    }
    return records;
}

Kind KindFor(const std::string& name, const std::string& type, const std::vector<std::string>& values) {
    return LookAt(Of(name, type, values).columns()[0]).kind;
}

/// The label of the level that the two come to.
std::string Level(Kind kind, const std::string& a, const std::string& b, std::vector<std::string> thresholds = {}) {
    const Records records = Of("c", "", {a, b});
    Comparison comparison{"c", kind, thresholds.empty() ? UsualLevels(kind) : LevelsAt(kind, thresholds), false, ""};
    Comparer comparer(records, comparison, "GB");
    return comparison.Label(comparer.Level(comparer.Value(0), comparer.Value(1), 0, 0));
}

TEST(MatchComparison, KindsAreChosenByWhatIsThere) {
    EXPECT_EQ(KindFor("x", "text", {"a@b.example", "c@d.example"}), Kind::kEmail);
    EXPECT_EQ(KindFor("x", "text", {"1970-01-02", "1980-13-02", "1999-10-10"}), Kind::kDate);
    EXPECT_EQ(KindFor("x", "text", {"19700102", "19801002", "19991010"}), Kind::kDate);
    EXPECT_EQ(KindFor("x", "date", {"1970-01-02"}), Kind::kDate);
    EXPECT_EQ(KindFor("x", "text", {"+44 20 7946 0018", "+44 20 7946 0019"}), Kind::kPhone);
    EXPECT_EQ(KindFor("mobile", "text", {"7946 0018", "7946 0019"}), Kind::kPhone);
    EXPECT_EQ(KindFor("x", "text", {"SW1A 1AA", "M1 1AE", "B33 8TH"}), Kind::kPostcode);
    EXPECT_EQ(KindFor("ZIP code", "text", {"10115", "20095"}), Kind::kPostcode);
    EXPECT_EQ(KindFor("x", "text[]", {"a", "b"}), Kind::kArray);
    EXPECT_EQ(KindFor("x", "double precision", {"1.5", "2"}), Kind::kNumeric);
    EXPECT_EQ(KindFor("x", "text", {"f", "m"}), Kind::kExact);
    std::vector<std::string> names, numbers;
    for (int i = 0; i < 100; ++i) {
        names.push_back("name" + std::string(1, static_cast<char>('a' + i % 26)) + std::string(1, static_cast<char>('a' + i / 26)));
        numbers.push_back(std::to_string(7000000 + i * 37));
    }
    EXPECT_EQ(KindFor("x", "text", names), Kind::kJaroWinkler);
    EXPECT_EQ(KindFor("x", "text", numbers), Kind::kDamerau);
}

TEST(MatchComparison, NothingIsLearntFromWhatIsTheSameOrMissing) {
    EXPECT_FALSE(LookAt(Of("x", "text", {"a", "a", "a"}).columns()[0]).worth_comparing);
    EXPECT_FALSE(LookAt(Of("x", "text", {"", "", ""}).columns()[0]).worth_comparing);
    EXPECT_FALSE(LookAt(Of("x", "text", {std::string(300, 'a'), std::string(300, 'b')}).columns()[0]).worth_comparing);
}

TEST(MatchComparison, LevelsOfPairs) {
    EXPECT_EQ(Level(Kind::kExact, "a", "A "), "equal");
    EXPECT_EQ(Level(Kind::kExact, "a", "b"), "different");
    EXPECT_EQ(Level(Kind::kExact, "a", ""), "missing");
    EXPECT_EQ(Level(Kind::kJaroWinkler, "martha", "marhta"), "Jaro-Winkler at least 0.92");
    EXPECT_EQ(Level(Kind::kJaroWinkler, "martha", "marhta", {"0.97", "0.9"}), "Jaro-Winkler at least 0.9");
    EXPECT_EQ(Level(Kind::kLevenshtein, "kitten", "sitting", {"3"}), "3 edits or fewer");
    EXPECT_EQ(Level(Kind::kLevenshtein, "ab", "ba", {"1"}), "different");
    EXPECT_EQ(Level(Kind::kDamerau, "ab", "ba", {"1"}), "1 slip of the pen or fewer");
    EXPECT_EQ(Level(Kind::kDate, "2001-02-03", "3.2.2001"), "equal");
    EXPECT_EQ(Level(Kind::kDate, "2001-02-03", "2001-03-02"), "1 wrong digit, or day and month exchanged");
    EXPECT_EQ(Level(Kind::kDate, "2001-02-03", "2001-02-20", {"1 month"}), "within 31 days");
    EXPECT_EQ(Level(Kind::kDate, "2001-02-03", "2001-12-20", {"1 month", "1 year"}), "within 366 days");
    EXPECT_EQ(Level(Kind::kNumeric, "100", "100.0"), "equal");
    EXPECT_EQ(Level(Kind::kNumeric, "100", "104", {"5%"}), "within 5 %");
    EXPECT_EQ(Level(Kind::kNumeric, "100", "104", {"4"}), "within 4");
    EXPECT_EQ(Level(Kind::kEmail, "ann@a.example", "Ann@b.example"), "same before the @");
    EXPECT_EQ(Level(Kind::kEmail, "ann.smith@a.example", "ann.smyth@b.org"), "before the @ Jaro-Winkler at least 0.88");
    EXPECT_EQ(Level(Kind::kPhone, "020 7946 0018", "+44 20 7946 0018"), "equal");
    EXPECT_EQ(Level(Kind::kPhone, "+44 20 7946 0018", "+44 161 946 0018"), "same last 7 characters");
    EXPECT_EQ(Level(Kind::kPostcode, "sw1a1aa", "SW1A 1AA"), "equal");
    EXPECT_EQ(Level(Kind::kPostcode, "SW1A 1AA", "SW1A 9ZZ"), "same first 3 characters");
    EXPECT_EQ(Level(Kind::kArray, "a\x1f" "b\x1f" "c", "c\x1f" "x"), "1 or more in common");
    EXPECT_EQ(Level(Kind::kPhonetic, "Robert", "Rupert"), "same sound");
}

TEST(MatchComparison, SwappedNamesAreSeenOnceAndCountOnce) {
    Records records({{"given", "text"}, {"family", "text"}});
    const auto add = [&](std::string_view given, std::string_view family) {
        const std::optional<std::string_view> values[] = {given, family};
        records.Add(std::to_string(records.size()), values);
    };
    add("thomas", "gabriel");
    add("gabriel", "thomas");
    add("gabriel", "tomas");
    add("john", "gabriel");
    std::vector<Comparison> comparisons = {{"given", Kind::kJaroWinkler, UsualLevels(Kind::kJaroWinkler), true, "family"},
                                           {"family", Kind::kJaroWinkler, UsualLevels(Kind::kJaroWinkler), true, ""}};
    comparisons[0].levels.insert(comparisons[0].levels.begin() + 1, MakeLevel(cdp::matching::Test::kSwapped, 0));
    PairComparer comparer(records, comparisons, "");
    LevelNumber levels[2];
    comparer.Levels({0, 1}, levels);
    EXPECT_EQ(levels[0], 2);
    EXPECT_EQ(levels[1], kMissing);
    comparer.Levels({0, 2}, levels);  // mistyped as well
    EXPECT_EQ(levels[0], 2);
    comparer.Levels({0, 3}, levels);  // the same surname is no swap
    EXPECT_GT(levels[0], 2);
    EXPECT_EQ(levels[1], 1);
}

TEST(MatchComparison, WrongLevelsAreRefused) {
    EXPECT_THROW(KindNamed("soundex"), cdp::Error);
    EXPECT_THROW(TestNamed("x"), cdp::Error);
    EXPECT_THROW(LevelsAt(Kind::kJaroWinkler, {"1.5"}), cdp::Error);
    EXPECT_THROW(LevelsAt(Kind::kLevenshtein, {"0.5"}), cdp::Error);
    EXPECT_THROW(LevelsAt(Kind::kDate, {"1 fortnight"}), cdp::Error);
    EXPECT_THROW(LevelsAt(Kind::kExact, {"1"}), cdp::Error);
    EXPECT_THROW(LevelsAt(Kind::kLevenshtein, std::vector<std::string>{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"}), cdp::Error);
}

TEST(MatchComparison, LevelsComeInTheirOrder) {
    const auto levels = LevelsAt(Kind::kJaroWinkler, {"0.7", "0.92", "0.8", "0.8"});
    ASSERT_EQ(levels.size(), 4u);
    EXPECT_EQ(levels[1].at, 0.92);
    EXPECT_EQ(levels[3].at, 0.7);
}

RC_GTEST_PROP(MatchComparison, LevelsAreThoseOfTheDistances, ()) {
    const auto letters = rc::gen::container<std::vector<std::string>>(rc::gen::element<std::string>("a", "b", "q", "r", "1", "2", "3", "-", "é", "б"));
    std::string texts[2];
    for (std::string& text : texts)
        for (const auto& letter : *letters) text += letter;
    const std::string a = PlainText(texts[0]), b = PlainText(texts[1]);
    RC_PRE(!a.empty() && !b.empty() && a != b);
    const auto number = [&](Kind kind, const std::vector<std::string>& thresholds) {
        const Records records = Of("c", "", {texts[0], texts[1]});
        Comparer comparer(records, {"c", kind, LevelsAt(kind, thresholds), false, ""}, "GB");
        return comparer.Level(comparer.Value(0), comparer.Value(1), 0, 0);
    };
    const double alike = JaroWinkler(a, b);
    RC_ASSERT(number(Kind::kJaroWinkler, {"0.92", "0.85", "0.6"}) == (alike >= 0.92 ? 2 : alike >= 0.85 ? 3 : alike >= 0.6 ? 4 : 5));
    const int edits = Levenshtein(a, b, 9), slips = Damerau(a, b, 9);
    RC_ASSERT(number(Kind::kLevenshtein, {"1", "2", "4"}) == (edits <= 1 ? 2 : edits <= 2 ? 3 : edits <= 4 ? 4 : 5));
    RC_ASSERT(number(Kind::kDamerau, {"1", "2"}) == (slips <= 1 ? 2 : slips <= 2 ? 3 : 4));
}

}  // namespace
