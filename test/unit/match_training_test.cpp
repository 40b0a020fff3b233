// A model learnt without labels finds the people who were made up, and gives what it should.
#include "identity/match_training.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "identity/match_blocking.hpp"
#include "identity/match_report.hpp"
#include "match_people.hpp"

using namespace cdp::matching;

namespace {

struct Learnt {
    std::vector<Comparison> comparisons;
    std::unique_ptr<PairComparer> comparer;
    Model model;
};

Learnt Learn(const Records& records) {
    Learnt learnt;
    std::vector<Looks> looks;
    for (const auto& column : records.columns()) {
        looks.push_back(LookAt(column));
        learnt.comparisons.push_back({column.name, looks.back().kind, looks.back().levels, looks.back().term_frequency, ""});
    }
    FindPartners(records, looks, std::vector<bool>(looks.size(), true), learnt.comparisons);
    learnt.comparer = std::make_unique<PairComparer>(records, learnt.comparisons, "");
    Sample sample(*learnt.comparer, learnt.comparisons);
    std::vector<int> all;
    for (size_t c = 0; c < records.columns().size(); ++c) all.push_back(static_cast<int>(c));
    const Blocks blocks(records, ChooseRules(records, all));
    for (size_t r = 0; r < blocks.rules(); ++r) blocks.ForEach(r, {}, [&](Pair pair) { sample.AddCandidate(pair); });
    sample.Draw();
    learnt.model = Training(*learnt.comparer, learnt.comparisons, sample, 1).Run();
    return learnt;
}

TEST(MatchTraining, FindsThePeople) {
    const MadeUp made = MakeUp(700, 0.4, 1);
    Learnt learnt = Learn(made.records);
    Scorer scorer(*learnt.comparer, learnt.model);
    double right = 0, wrong = 0, missed = 0;
    for (uint32_t a = 0; a < made.records.size(); ++a)
        for (uint32_t b = a + 1; b < made.records.size(); ++b) {
            const bool found = ProbabilityOf(scorer.Weight({a, b})) >= 0.9, same = made.person[a] == made.person[b];
            right += found && same;
            wrong += found && !same;
            missed += !found && same;
        }
    EXPECT_GT(right / (right + wrong), 0.99);
    EXPECT_GT(right / (right + missed), 0.97);
    EXPECT_NEAR(learnt.model.expected_matches, right + missed, 0.05 * (right + missed));
}

TEST(MatchTraining, FindsNobodyWhereNobodyIsThereTwice) {
    const MadeUp made = MakeUp(900, 0, 2);
    Learnt learnt = Learn(made.records);
    Scorer scorer(*learnt.comparer, learnt.model);
    int found = 0;
    for (uint32_t a = 0; a < made.records.size(); ++a)
        for (uint32_t b = a + 1; b < made.records.size(); ++b) found += ProbabilityOf(scorer.Weight({a, b})) >= 0.9;
    EXPECT_LE(found, 2);
}

TEST(MatchTraining, IsTheSameEveryTime) {
    const MadeUp made = MakeUp(300, 0.4, 3);
    EXPECT_EQ(ModelJson(Learn(made.records).model, {}), ModelJson(Learn(made.records).model, {}));
}

TEST(MatchTraining, ProbabilitiesSumToOneAndBetterLevelsSayMore) {
    const MadeUp made = MakeUp(500, 0.4, 4);
    const Learnt learnt = Learn(made.records);
    for (const auto& c : learnt.model.comparisons) {
        double m = 0, u = 0;
        for (size_t level = 0; level < c.m.size(); ++level) {
            m += c.m[level];
            u += c.u[level];
            if (level > 0) {
                EXPECT_LE(c.Weight(static_cast<LevelNumber>(level + 1)), c.Weight(static_cast<LevelNumber>(level)) + 1e-6) << c.comparison.column;
            }
        }
        EXPECT_NEAR(m, 1, 1e-6);
        EXPECT_NEAR(u, 1, 1e-6);
    }
}

TEST(MatchTraining, WhatAPairWeighsIsTheSumOfItsParts) {
    const MadeUp made = MakeUp(200, 0.5, 5);
    Learnt learnt = Learn(made.records);
    Scorer scorer(*learnt.comparer, learnt.model);
    std::vector<Scorer::Part> parts;
    for (uint32_t a = 0; a < 100; ++a) {
        double related;
        scorer.Explain({a, a + 1}, &parts, &related);
        double sum = scorer.prior() + related;
        for (const auto& part : parts) sum += part.weight + part.frequency;
        EXPECT_NEAR(sum, scorer.Weight({a, a + 1}), 1e-4);
        EXPECT_EQ(scorer.Weight({a, a + 1}), scorer.Weight({a + 1, a}));
    }
}

TEST(MatchTraining, NeedsTwoRecords) {
    Records one(std::vector<std::pair<std::string, std::string>>{{"name", "text"}});
    const std::optional<std::string_view> name[] = {"ann"};
    one.Add("1", name);
    EXPECT_THROW(Learn(one), cdp::Error);
}

TEST(MatchTraining, MoreRecordsOfAValueMakeItSayLess) {
    ModelComparison c;
    c.strangers.assign(kBuckets, 1);
    EXPECT_LT(c.FrequencyOf(2, 1000), c.FrequencyOf(50, 1000));
    c.strangers.assign(kBuckets, 0.1);  // its records are mostly of one person
    EXPECT_LT(c.FrequencyOf(50, 1000), 0.01);
}

}  // namespace
