// message_keys_test.cpp: which messages have been seen: never a wrong no, hardly a wrong yes, and few rewrites.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "collect/message_keys.hpp"
#include "pg/error.hpp"

namespace cdp::collect {
namespace {

std::vector<MessageKey> Keys(size_t count, const std::string& prefix = "m") {
    std::vector<MessageKey> keys;
    for (size_t i = 0; i < count; ++i) keys.push_back(KeyOf(prefix + std::to_string(i), static_cast<int64_t>(i)));
    std::sort(keys.begin(), keys.end());
    return keys;
}

TEST(MessageKeys, TellIdsApart) {
    EXPECT_TRUE(KeyOf("a", 1).SameId(KeyOf("a", 2)));
    EXPECT_FALSE(KeyOf("a", 1).SameId(KeyOf("b", 1)));
    EXPECT_FALSE(KeyOf("", 1).SameId(KeyOf(std::string_view("\0", 1), 1)));
    auto keys = Keys(200'000);
    EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end(), [](auto& a, auto& b) { return a.SameId(b); }), keys.end());
}

TEST(MessageKeys, HoldWithinTheWindowAlone) {
    const std::vector<MessageKey> sorted{KeyOf("a", 100)};
    EXPECT_TRUE(Holds(sorted, KeyOf("a", 100), 0));
    EXPECT_FALSE(Holds(sorted, KeyOf("a", 101), 0));
    EXPECT_TRUE(Holds(sorted, KeyOf("a", 110), 10));
    EXPECT_TRUE(Holds(sorted, KeyOf("a", 90), 10));
    EXPECT_FALSE(Holds(sorted, KeyOf("a", 111), 10));
    EXPECT_FALSE(Holds(sorted, KeyOf("b", 100), 10));
    EXPECT_FALSE(Holds({}, KeyOf("a", 100), INT64_MAX));
}

TEST(MessageKeys, SurviveTheEndsOfTime) {  // '-infinity' and 'infinity' are times too
    const std::vector<MessageKey> sorted{KeyOf("a", INT64_MIN)};
    EXPECT_TRUE(Holds(sorted, KeyOf("a", INT64_MIN), 0));
    EXPECT_FALSE(Holds(sorted, KeyOf("a", INT64_MAX), 1'000'000));
    EXPECT_FALSE(Holds(sorted, KeyOf("a", 1), 1'000'000));
}

RC_GTEST_PROP(MessageKeysLaw, HoldsIsALookThroughAll, ()) {
    std::vector<MessageKey> keys;
    for (int left = *rc::gen::inRange(0, 30); left > 0; --left)
        keys.push_back(KeyOf(std::string(1, static_cast<char>('a' + *rc::gen::inRange(0, 4))), *rc::gen::inRange(-20, 20)));
    std::sort(keys.begin(), keys.end());
    const MessageKey asked = KeyOf(std::string(1, static_cast<char>('a' + *rc::gen::inRange(0, 5))), *rc::gen::inRange(-30, 30));
    const int64_t window = *rc::gen::inRange(0, 15);
    RC_ASSERT(Holds(keys, asked, window) == std::any_of(keys.begin(), keys.end(), [&](const MessageKey& key) {
                  return key.SameId(asked) && std::abs(key.received_at - asked.received_at) <= window;
              }));
}

TEST(KeyFilter, NeverForgetsAndSeldomInvents) {
    for (const size_t count : {1, 100, 5'000, 300'000}) {
        const auto keys = Keys(count);
        const KeyFilter filter(keys);
        const KeyFilter stored(filter.bytes());
        for (const MessageKey& key : keys) {
            ASSERT_TRUE(filter.MayHold(key));
            ASSERT_TRUE(stored.MayHold(key));
        }
        const auto others = Keys(300'000, "other");
        const auto wrong = std::count_if(others.begin(), others.end(), [&](const MessageKey& key) { return stored.MayHold(key); });
        const double rate = static_cast<double>(wrong) / static_cast<double>(others.size());
        RecordProperty("false_positives_of_" + std::to_string(count), std::to_string(rate));
        EXPECT_LT(rate, 0.0075) << count << " keys";  // some 0.5 %, as the header says
        EXPECT_LE(filter.bytes().size(), count * 12 / 8 + 64);
    }
}

TEST(KeyFilter, OfNothingHoldsNothing) {
    const KeyFilter filter(std::span<const MessageKey>{});
    EXPECT_FALSE(filter.MayHold(KeyOf("a", 1)));
    EXPECT_TRUE(KeyFilter().empty());
    EXPECT_TRUE(KeyFilter(std::string_view()).empty());
}

TEST(KeyFilter, RefusesDamagedBytes) { EXPECT_THROW(KeyFilter(std::string_view("12345678")), Error); }

/// Appends batches and merges as told; what was written in all, and the most runs there ever were.
struct Merged {
    std::vector<int64_t> sizes;
    int64_t appended = 0, rewritten = 0;
    size_t most_runs = 0;

    void Append(int64_t size, int64_t largest) {
        sizes.push_back(size);
        appended += size;
        if (const size_t count = RunsToMerge(sizes, largest); count > 0) {
            ASSERT_GE(count, 2u);
            ASSERT_LE(count, sizes.size());
            const auto total = std::accumulate(sizes.end() - static_cast<std::ptrdiff_t>(count), sizes.end(), int64_t{0});
            ASSERT_LE(total, largest);
            sizes.resize(sizes.size() - count);
            sizes.push_back(total);
            rewritten += total;
        }
        most_runs = std::max(most_runs, sizes.size());
    }
};

void CheckLogarithmic(const Merged& merged, int64_t least, int64_t largest) {
    const double levels = std::log(static_cast<double>(largest) / static_cast<double>(least)) / std::log(4.0) + 1;
    // Runs that have reached the largest size are not counted: they are as many as there are such loads.
    const double full = 8.0 * static_cast<double>(merged.appended) / static_cast<double>(largest);
    EXPECT_LE(static_cast<double>(merged.most_runs), 4 * levels + full + 4);
    EXPECT_LE(static_cast<double>(merged.rewritten), static_cast<double>(merged.appended) * (levels + 1));
}

TEST(RunsToMerge, KeepsRunsOfEqualBatchesLogarithmic) {
    Merged merged;
    for (int i = 0; i < 20'000; ++i) merged.Append(100, 1 << 20);
    CheckLogarithmic(merged, 100, 1 << 20);
}

TEST(RunsToMerge, KeepsRunsOfUnequalBatchesLogarithmic) {
    std::mt19937_64 random(1);
    Merged merged;
    for (int i = 0; i < 20'000; ++i) merged.Append(int64_t{1} << random() % 14, 1 << 20);
    CheckLogarithmic(merged, 1, 1 << 20);
}

TEST(RunsToMerge, SurvivesATrickleBetweenFloods) {
    Merged merged;
    for (int i = 0; i < 5'000; ++i) merged.Append(i % 100 == 0 ? 50'000 : 1, 1 << 20);
    CheckLogarithmic(merged, 1, 1 << 20);
}

TEST(RunsToMerge, LeavesFewRunsAlone) {
    EXPECT_EQ(RunsToMerge({}, 1000), 0u);
    EXPECT_EQ(RunsToMerge(std::vector<int64_t>{1, 1, 1}, 1000), 0u);
    EXPECT_EQ(RunsToMerge(std::vector<int64_t>{1, 1, 1, 1}, 1000), 4u);
    EXPECT_EQ(RunsToMerge(std::vector<int64_t>{900, 900, 900, 900}, 1000), 0u);
}

}  // namespace
}  // namespace cdp::collect
