// share_test.cpp: random splits are even, independent of each other, and the same for ever.
#include "segment/share.hpp"

#include <gtest/gtest.h>

#include <array>

namespace cdp::segment {
namespace {

constexpr int kPeople = 100'000;

/// The chi-square statistic of counts against equal expectations.
template <class Counts>
double ChiSquare(const Counts& counts) {
    const double expected = static_cast<double>(kPeople) / static_cast<double>(counts.size());
    double sum = 0;
    for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
    return sum;
}

TEST(ShareOf, IsWhatItWasInThePast) {
    // Whoever changes these moves everybody's customers to other groups.
    EXPECT_EQ(ShareOf("trial", 1), 29.158645429879616);
    EXPECT_EQ(ShareOf("trial", 2), 65.640058185173487);
    EXPECT_EQ(ShareOf("", -1), 31.667756393787361);
    EXPECT_EQ(ShareOf("größe", 9'000'000'000'000'000'000), 17.709585050179133);
}

TEST(ShareOf, IsBelowAHundred) {
    for (int id = 0; id < kPeople; ++id) {
        const double share = ShareOf("trial", id);
        ASSERT_GE(share, 0);
        ASSERT_LT(share, 100);
    }
}

// 99 degrees of freedom: a fair split exceeds 148.2 once in a thousand times, and falls below 61.1 as rarely.
TEST(ShareOf, IsEven) {
    for (const char* split : {"trial", "a", "email test", "2024"}) {
        std::array<int, 100> counts{};
        for (int id = 1; id <= kPeople; ++id) ++counts[static_cast<size_t>(ShareOf(split, id))];
        EXPECT_LT(ChiSquare(counts), 148.2) << split;
        EXPECT_GT(ChiSquare(counts), 61.1) << split;
    }
}

TEST(ShareOf, IsIndependentOfOtherSplits) {
    for (const auto& [one, other] : {std::pair("trial", "trial2"), std::pair("a", "b"), std::pair("welcome", "checkout")}) {
        std::array<int, 100> counts{};
        for (int id = 1; id <= kPeople; ++id)
            ++counts[static_cast<size_t>(ShareOf(one, id) / 10) * 10 + static_cast<size_t>(ShareOf(other, id) / 10)];
        EXPECT_LT(ChiSquare(counts), 148.2) << one << ", " << other;
        EXPECT_GT(ChiSquare(counts), 61.1) << one << ", " << other;
    }
}

TEST(ShareOf, TellsNeighboursAndNamesApart) {
    EXPECT_NE(ShareOf("trial", 1), ShareOf("trial", 256));
    EXPECT_NE(ShareOf("a", 0x62), ShareOf("ab", 0));
}

}  // namespace
}  // namespace cdp::segment
