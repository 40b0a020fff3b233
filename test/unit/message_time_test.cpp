// message_time_test.cpp: times are read alike everywhere, and a wrong clock is put right.
#include <gtest/gtest.h>

#include <cmath>

#include "collect/message_time.hpp"

namespace cdp::collect {
namespace {

constexpr int64_t kSecond = 1'000'000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;
// 2015-02-23 22:28:55 UTC
constexpr int64_t kThen = 5532 * kDay + 22 * kHour + 28 * kMinute + 55 * kSecond;

TEST(IsoTime, ReadsWhatSdksWrite) {
    EXPECT_EQ(ParseIsoTime("2015-02-23T22:28:55.387Z"), kThen + 387'000);         // JavaScript, Go
    EXPECT_EQ(ParseIsoTime("2015-02-23T22:28:55.387123+00:00"), kThen + 387'123);  // Python
    EXPECT_EQ(ParseIsoTime("2015-02-23T22:28:55.387123456Z"), kThen + 387'123);    // Go, with nanoseconds
    EXPECT_EQ(ParseIsoTime("2015-02-23T22:28:55+0000"), kThen);                    // Java, PHP
    EXPECT_EQ(ParseIsoTime("2015-02-23 22:28:55 +0000"), kThen);                   // Ruby
    EXPECT_EQ(ParseIsoTime("20150223T222855Z"), kThen);                            // basic format
    EXPECT_EQ(ParseIsoTime("2015-02-23T22:28:55,5Z"), kThen + 500'000);
}

TEST(IsoTime, MovesByTheZone) {
    EXPECT_EQ(ParseIsoTime("2015-02-24T03:58:55+05:30"), kThen);
    EXPECT_EQ(ParseIsoTime("2015-02-23T14:28:55-08"), kThen);
}

TEST(IsoTime, IsUtcWithoutZone) {
    EXPECT_EQ(ParseIsoTime("2015-02-23T22:28:55"), kThen);
    EXPECT_EQ(ParseIsoTime("2015-02-23T22:28"), kThen - 55 * kSecond);
    EXPECT_EQ(ParseIsoTime("2015-02-23"), 5532 * kDay);
    EXPECT_EQ(ParseIsoTime("20150223"), 5532 * kDay);
}

TEST(IsoTime, KnowsTheCalendar) {
    EXPECT_EQ(ParseIsoTime("2000-01-01"), 0);
    EXPECT_EQ(ParseIsoTime("2000-02-29"), 59 * kDay);
    EXPECT_EQ(ParseIsoTime("1999-12-31T24:00:00Z"), 0);
    EXPECT_EQ(ParseIsoTime("1999-12-31T23:59:60Z"), 0);
    EXPECT_FALSE(ParseIsoTime("1900-02-29"));
    EXPECT_FALSE(ParseIsoTime("2015-04-31"));
    EXPECT_FALSE(ParseIsoTime("2015-00-10"));
    EXPECT_FALSE(ParseIsoTime("2015-13-01"));
    EXPECT_FALSE(ParseIsoTime("2015-02-23T24:00:01Z"));
    EXPECT_FALSE(ParseIsoTime("2015-02-23T22:60:00Z"));
}

TEST(IsoTime, RefusesWhatIsNone) {
    for (const char* text : {"", " ", "now", "yesterday", "infinity", "epoch", "02/23/2015", "2015", "2015-02", "2015-2-3",
                             "2015-02-2322:28:55Z", "2015-02-23T", "2015-02-23T22", "2015-02-23T22:28:55.Z",
                             "2015-02-23T22:28:55Zulu", "2015-02-23T22:28:55 PST", "2015-02-23T22:28:55+5", "2015-0223",
                             "1424730535387", "-2015-02-23", " 2015-02-23", "２015-02-23"})
        EXPECT_FALSE(ParseIsoTime(text)) << text;
}

TEST(EpochMilliseconds, AreJavaScripts) {
    EXPECT_EQ(FromEpochMilliseconds(1'424'730'535'387.0), kThen + 387'000);
    EXPECT_EQ(FromEpochMilliseconds(946'684'800'000.0), 0);
    EXPECT_EQ(FromEpochMilliseconds(946'684'800'000.25), 250);
    EXPECT_EQ(FromEpochMilliseconds(0), -10957 * kDay);
    EXPECT_FALSE(FromEpochMilliseconds(1e17));
    EXPECT_FALSE(FromEpochMilliseconds(-1e17));
    EXPECT_FALSE(FromEpochMilliseconds(HUGE_VAL));
    EXPECT_FALSE(FromEpochMilliseconds(NAN));
}

TEST(OccurredAt, TrustsTheDeviceForTheDelayOnly) {
    // The device's clock is a year slow; it kept the message for two minutes.
    const int64_t year = 365 * kDay;
    EXPECT_EQ(OccurredAt({.original = kThen - year - 2 * kMinute, .sent = kThen - year}, kThen), kThen - 2 * kMinute);
    EXPECT_EQ(OccurredAt({.timestamp = kThen - year - 2 * kMinute, .sent = kThen - year}, kThen), kThen - 2 * kMinute);
}

TEST(OccurredAt, PrefersTheOriginalTimestamp) {
    EXPECT_EQ(OccurredAt({.original = 100, .timestamp = 7, .sent = 150}, 1000), 950);
}

TEST(OccurredAt, TakesTheTimestampAsItIsWhenNothingSaysWhenItWasSent) {
    EXPECT_EQ(OccurredAt({.timestamp = 7}, 1000), 7);
    EXPECT_EQ(OccurredAt({.original = 5, .timestamp = 7}, 1000), 7);
    EXPECT_EQ(OccurredAt({.original = 5}, 1000), 5);
}

TEST(OccurredAt, IsReceivedAtOtherwise) {
    EXPECT_EQ(OccurredAt({}, 1000), 1000);
    EXPECT_EQ(OccurredAt({.sent = 150}, 1000), 1000);
}

TEST(OccurredAt, IsWhatTheMessageSaysOutright) {
    EXPECT_EQ(OccurredAt({.occurred = 3, .original = 100, .timestamp = 7, .sent = 150}, 1000), 3);
}

TEST(OccurredAt, IsNothingThatCannotBeStored) {
    EXPECT_FALSE(OccurredAt({.timestamp = kEndOfTime - 1, .sent = kFirstTime}, 1000));
    EXPECT_FALSE(OccurredAt({.timestamp = kFirstTime, .sent = kEndOfTime - 1}, 1000));
}

}  // namespace
}  // namespace cdp::collect
