// estimate_test.cpp: a size from a sample, and how far it may be off.
#include "segment/estimate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <cmath>

#include "segment/share.hpp"

namespace cdp::segment {
namespace {

TEST(SampleIds, AreAscendingAndWithinBounds) {
    for (const auto& [highest, count] : {std::pair<int64_t, int64_t>(1, 1), {10, 10}, {1'000'003, 20'000}, {4'000'000'000, 1'000}}) {
        const auto ids = SampleIds(highest, count);
        EXPECT_EQ(ids.size(), static_cast<size_t>(count));
        EXPECT_GE(ids.front(), 1);
        EXPECT_LE(ids.back(), highest);
        EXPECT_TRUE(std::adjacent_find(ids.begin(), ids.end(), [](int64_t a, int64_t b) { return a >= b; }) == ids.end());
    }
}

TEST(SampleIds, TakeOneOfEachStretch) {
    const auto ids = SampleIds(1'000'000, 1'000);
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ((ids[i] - 1) / 1'000, static_cast<int64_t>(i));
    // And not always the same place in it.
    double sum = 0;
    for (const int64_t id : ids) sum += static_cast<double>((id - 1) % 1'000);
    EXPECT_NEAR(sum / 1'000, 500, 30);
}

TEST(EstimateSize, NobodyFoundIsNotNobodyForSure) {
    const auto estimate = EstimateSize(1'000'000, 20'000, 0);
    EXPECT_EQ(estimate.size, 0);
    EXPECT_EQ(estimate.error, 193);  // z² / (n + z²) of a million
}

TEST(EstimateSize, ErrorIsTwiceTheStandardError) {
    const auto estimate = EstimateSize(1'000'000, 20'000, 10'000);
    EXPECT_EQ(estimate.size, 500'000);
    EXPECT_NEAR(static_cast<double>(estimate.error), 1.96 * std::sqrt(0.25 / 20'000) * 1e6, 10);
}

// 95 of 100 intervals hold the truth: of 400 independent properties 20 are expected to fall outside, more than 38 once in 10,000.
TEST(EstimateSize, HoldsTheTruthAsOftenAsItSays) {
    constexpr int64_t people = 100'000, count = 2'000;
    const auto ids = SampleIds(people, count);
    int outside = 0;
    for (int property = 0; property < 400; ++property) {
        const std::string name = "property " + std::to_string(property);
        const double share = 0.2 + property * 0.24;
        int64_t truth = 0, hits = 0;
        for (int64_t id = 1; id <= people; ++id) truth += ShareOf(name, id) < share;
        for (const int64_t id : ids) hits += ShareOf(name, id) < share;
        const auto estimate = EstimateSize(people, count, hits);
        outside += std::abs(estimate.size - truth) > estimate.error;
    }
    EXPECT_LE(outside, 38);
    EXPECT_GT(outside, 2);
}

}  // namespace
}  // namespace cdp::segment
