// Blocking: rules are read as PostgreSQL reads them, each pair comes once, and what is chosen finds people who differ.
#include "identity/match_blocking.hpp"

#include <gtest/gtest.h>

#include <set>

#include "match_people.hpp"

using namespace cdp::matching;

namespace {

using Names = std::vector<std::string>;

TEST(MatchBlocking, RulesThatAskForEqualColumns) {
    EXPECT_EQ(EqualColumnsOf("l.dob = r.dob"), Names{"dob"});
    EXPECT_EQ(EqualColumnsOf(" R.Dob=L.DOB and l.\"First Name\" = r.\"First Name\" "), (Names{"dob", "First Name"}));
    EXPECT_EQ(EqualColumnsOf("l.\"a\"\"b\" = r.\"a\"\"b\""), Names{"a\"b"});
    EXPECT_EQ(EqualColumnsOf("TRUE"), Names{});
    for (const char* other : {"", "l.a = r.b", "l.a = l.a", "l.a = r.a or l.b = r.b", "l.a = r.a and", "l.a = r.a; drop table x", "lower(l.a) = lower(r.a)",
                              "l.a <> r.a", "l.a = r.a::text", "l.a = r.\"a", "left(l.a, 1) = left(r.a, 1)", "l.a = r.a -- x", "truely", "l.1 = r.1", "l.été = r.été"})
        EXPECT_FALSE(EqualColumnsOf(other)) << other;
}

TEST(MatchBlocking, RulesAreWrittenAsTheyAreRead) {
    for (const Names& names : {Names{"a"}, Names{"First Name", "b_1"}, Names{"x\"y", "été"}, Names{}})
        EXPECT_EQ(EqualColumnsOf(RuleOf(names)), names);
    EXPECT_EQ(RuleOf(Names{"été"}), "l.\"été\" = r.\"été\"");
    EXPECT_EQ(EqualColumnsOf("l.\"été\" = r.\"été\""), Names{"été"});
}

TEST(MatchBlocking, EachPairOnce) {
    const MadeUp made = MakeUp(150, 0.5, 7);
    const Blocks blocks(made.records, {{0}, {1, 3}, {2}});
    const auto& columns = made.records.columns();
    const auto holds = [&](int c, uint32_t a, uint32_t b) { return columns[c].values[a] != 0 && columns[c].values[a] == columns[c].values[b]; };
    std::set<std::pair<uint32_t, uint32_t>> expected, found, fresh_found;
    std::vector<bool> fresh(made.records.size());
    for (size_t i = 0; i < fresh.size(); i += 7) fresh[i] = true;
    for (uint32_t a = 0; a < made.records.size(); ++a)
        for (uint32_t b = a + 1; b < made.records.size(); ++b)
            if (holds(0, a, b) || (holds(1, a, b) && holds(3, a, b)) || holds(2, a, b)) expected.insert({a, b});
    size_t visits = 0;
    for (size_t rule = 0; rule < 3; ++rule) {
        blocks.ForEach(rule, {}, [&](Pair p) { found.insert({p.a, p.b}); ++visits; });
        blocks.ForEach(rule, fresh, [&](Pair p) {
            EXPECT_TRUE(fresh[p.a] || fresh[p.b]);
            EXPECT_TRUE(fresh_found.insert({p.a, p.b}).second);
        });
    }
    EXPECT_EQ(found, expected);
    EXPECT_EQ(visits, expected.size());
    std::erase_if(expected, [&](const auto& p) { return !fresh[p.first] && !fresh[p.second]; });
    EXPECT_EQ(fresh_found, expected);
}

TEST(MatchBlocking, AllPairsOfFewRecordsAndFewOfMany) {
    std::vector<int> all{0, 1, 2, 3, 4};
    EXPECT_EQ(ChooseRules(MakeUp(300, 0.4, 8).records, all), std::vector<std::vector<int>>{{}});
    const MadeUp made = MakeUp(6000, 0.4, 9);
    const auto rules = ChooseRules(made.records, all);
    ASSERT_FALSE(rules.empty());
    const Blocks blocks(made.records, rules);
    std::set<std::pair<uint32_t, uint32_t>> pairs;
    for (size_t rule = 0; rule < blocks.rules(); ++rule) blocks.ForEach(rule, {}, [&](Pair p) { pairs.insert({p.a, p.b}); });
    EXPECT_LT(pairs.size(), 8e6);
    double same = 0, found = 0;
    for (uint32_t a = 0; a < made.records.size(); ++a)
        for (uint32_t b = a + 1; b < std::min(a + 4, made.records.size()); ++b)
            if (made.person[a] == made.person[b]) {
                ++same;
                found += pairs.count({a, b});
            }
    EXPECT_GT(found / same, 0.99);
}

}  // namespace
