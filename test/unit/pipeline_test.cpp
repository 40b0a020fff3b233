// test/unit/pipeline_test.cpp: isolating bad messages, backing off, reporting, metering.
#include "pipeline/isolation.hpp"
#include "pipeline/retry.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

using namespace cdp::pipeline;

namespace {

struct Outcome {
    std::vector<int64_t> rejected;
    int attempts = 0;
    int64_t read = 0;  // messages that were tried, all attempts together
};

/// Processes messages 0 to count-1, of which the `bad` ones fail, the way ProcessIsolating() does.
Outcome Process(int64_t count, const std::set<int64_t>& bad, int64_t batch = 1'000'000) {
    Outcome outcome;
    Isolation isolation;
    for (int64_t next = 0; next < count;) {
        const int64_t size = std::min({batch, isolation.Size(), count - next});
        ++outcome.attempts;
        outcome.read += size;
        const auto first_bad = bad.lower_bound(next);
        if (first_bad == bad.end() || *first_bad >= next + size) {
            isolation.Succeeded(size);
            next += size;
        } else if (isolation.Failed(size)) {
            outcome.rejected.push_back(next++);
        }
    }
    return outcome;
}

}  // namespace

TEST(Isolation, WithoutFailuresTakesAllAtOnce) {
    const Outcome outcome = Process(100'000, {});
    EXPECT_EQ(outcome.attempts, 1);
    EXPECT_TRUE(outcome.rejected.empty());
}

TEST(Isolation, RejectsExactlyTheBadOnes) {
    for (const auto& bad : std::vector<std::set<int64_t>>{{0}, {999}, {0, 999}, {499, 500, 501}, {1, 2, 3, 5, 8, 13, 21, 34, 55, 89}})
        EXPECT_EQ(Process(1000, bad).rejected, std::vector<int64_t>(bad.begin(), bad.end()));
}

TEST(Isolation, OneBadMessageAmongManyIsCheap) {
    for (const int64_t bad : {0, 1, 49'999, 50'000, 99'998, 99'999}) {
        const Outcome outcome = Process(100'000, {bad});
        EXPECT_LE(outcome.attempts, 40);
        EXPECT_LE(outcome.read, 400'000);
    }
}

TEST(Isolation, IfAllAreBadEachCostsOneAttempt) {
    std::set<int64_t> all;
    for (int64_t i = 0; i < 10'000; ++i) all.insert(i);
    EXPECT_LE(Process(10'000, all).attempts, 10'000 + 20);
}

TEST(Isolation, AnUnfoundedSuspicionPasses) {
    Isolation isolation;
    EXPECT_FALSE(isolation.Failed(8));
    for (int i = 0; i < 20; ++i) isolation.Succeeded(isolation.Size());
    EXPECT_GT(isolation.Size(), 1000);
}

TEST(Isolation, ShrinksWhenResourcesAreShort) {
    Isolation isolation;
    isolation.Shrink(1000);
    EXPECT_EQ(isolation.Size(), 500);
    isolation.Shrink(1);
    EXPECT_EQ(isolation.Size(), 1);
}

TEST(Isolation, BlamesMessagesOnlyForWhatTheyCanDo) {
    for (const char* state : {"22012", "22P02", "23505", "P0001", "54000", "XX000", "21000"}) EXPECT_TRUE(MayBlameMessage(state)) << state;
    for (const char* state : {"40001", "40P01", "53100", "53200", "57014", "57P01", "58030", "55P03", "42P01", "42501", "25006", "XX001"})
        EXPECT_FALSE(MayBlameMessage(state)) << state;
}

TEST(BackOff, DoublesFromASecondToAMinute) {
    BackOff back_off;
    std::vector<int64_t> seconds;
    for (int i = 0; i < 8; ++i) {
        back_off.Failed(0);
        seconds.push_back(back_off.until() / 1'000'000);
    }
    EXPECT_EQ(seconds, (std::vector<int64_t>{1, 2, 4, 8, 16, 32, 60, 60}));
    back_off.Succeeded();
    EXPECT_EQ(back_off.until(), 0);
    back_off.Failed(0);
    EXPECT_EQ(back_off.until(), 1'000'000);
}

TEST(Repeats, ReportsEachFailureOnceAndThenOnceAMinute) {
    Repeats repeats;
    const int64_t second = 1'000'000, start = 100 * second;
    EXPECT_EQ(repeats.Report("a", start), 1);
    for (int i = 1; i < 60; ++i) EXPECT_EQ(repeats.Report("a", start + i * second), 0);
    EXPECT_EQ(repeats.Report("a", start + 60 * second), 60);
    EXPECT_EQ(repeats.Report("b", start + 61 * second), 1);
}

TEST(Meter, AveragesTheLastMinute) {
    Meter meter{};
    const int64_t second = 1'000'000, start = 1000 * second;
    for (int i = 0; i < 120; ++i) meter.Add(start + i * second, 10);
    EXPECT_DOUBLE_EQ(meter.PerSecond(start + 119 * second, start), 10);
    EXPECT_DOUBLE_EQ(meter.PerSecond(start + 300 * second, start), 0);
    Meter young{};
    young.Add(start + second, 30);
    EXPECT_DOUBLE_EQ(young.PerSecond(start + 3 * second, start), 10);
}
