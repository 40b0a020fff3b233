// window_test.cpp: a rolling window is what its definition says at every instant, whatever the order of adding and merging.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <functional>

#include "profile/window.hpp"

namespace cdp::profile {
namespace {

constexpr int64_t kSecond = 1'000'000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;

/// time - span as PostgreSQL has it at UTC: months first, the day clamped.
int64_t Earlier(int64_t time, const Span& span) { return Later(Later(time, {-span.months, 0, 0}), {0, -span.days, -span.microseconds}); }

int64_t At(int year, unsigned month, unsigned day, int64_t of_day = 0) {
    using namespace std::chrono;
    return (sys_days(std::chrono::year(year) / month / day) - sys_days(std::chrono::year(2000) / 1 / 1)).count() * kDay + of_day;
}

TEST(Later, ClampsTheDayOfTheMonth) {
    EXPECT_EQ(Later(At(2024, 1, 31, kHour), {1, 0, 0}), At(2024, 2, 29, kHour));
    EXPECT_EQ(Later(At(2024, 3, 31), {-1, 0, 0}), At(2024, 2, 29));
    EXPECT_EQ(Later(At(1999, 12, 31), {2, 1, kSecond}), At(2000, 3, 1, kSecond));
    EXPECT_EQ(Later(INT64_MAX, {1, 0, 0}), INT64_MAX);
    EXPECT_EQ(Later(At(2024, 1, 1), {INT32_MAX, 0, 0}), INT64_MAX);
}

TEST(Window, MovesInStepsOfAMinuteOrAnHour) {
    EXPECT_EQ(Window({0, 1, 0}).Leaves(kDay + 1), 2 * kDay + kMinute);
    EXPECT_EQ(Window({0, 0, 24 * kHour}).Leaves(kMinute), kDay + kMinute);
    EXPECT_EQ(Window({0, 1, 1}).Leaves(0), kDay + kHour);
    EXPECT_EQ(Window({0, 30, 0}).Leaves(-1), 30 * kDay);
    EXPECT_EQ(Window({0, 0, 90 * kSecond}).Leaves(0), 2 * kMinute);
    EXPECT_EQ(Window({0, 1, 0}).Leaves(INT64_MIN), INT64_MIN);
    EXPECT_EQ(Window({0, 1, 0}).Leaves(INT64_MAX), INT64_MAX);
    EXPECT_EQ(Window({0, INT32_MAX, 0}).Leaves(INT64_MAX - 1), INT64_MAX);
}

TEST(Window, IsLongerThanNothing) {
    EXPECT_TRUE(Window({0, 0, 1}).Positive());
    EXPECT_FALSE(Window({0, 0, 0}).Positive());
    EXPECT_FALSE(Window({1, -1, 0}).Positive());
}

/// Any window, of months more often than not.
Span AnySpan() {
    return {*rc::gen::inRange(0, 15), *rc::gen::inRange(0, 4), *rc::gen::inRange<int64_t>(0, 30) * kHour + *rc::gen::inRange<int64_t>(0, 3) * kSecond};
}

int64_t Truncated(int64_t clock, const Span& span) {
    const int64_t step = span.months == 0 && span.days * kDay + span.microseconds <= kDay ? kMinute : kHour;
    return clock - (clock % step + step) % step;
}

/// Whether an event counts, by the definition.
bool Counts(int64_t event, const Span& span, int64_t clock) { return event > Earlier(Truncated(clock, span), span); }

RC_GTEST_PROP(WindowLaw, WhatLeavesAfterTheHorizonCounts, ()) {
    const Span span = AnySpan();
    const Window window(span);
    RC_PRE(window.Positive());
    // Around the ends of months.
    const int64_t clock = At(*rc::gen::inRange(1995, 2005), static_cast<unsigned>(*rc::gen::inRange(1, 13)), 1) +
                          *rc::gen::inRange<int64_t>(-96, 48) * kHour + *rc::gen::element<int64_t>(0, 1, kHour - 1, kMinute);
    const int64_t event = Earlier(Truncated(clock, span), span) + *rc::gen::inRange<int64_t>(-96, 96) * kHour + *rc::gen::element<int64_t>(0, 1, -1, kMinute);
    const int64_t leaves = window.Leaves(event);
    RC_ASSERT((leaves > window.Horizon(clock)) == Counts(event, span, clock));
    // For good, and no earlier than that.
    RC_ASSERT(leaves == Truncated(leaves, span));
    RC_ASSERT(Counts(event, span, leaves - 1));
    for (int64_t later = leaves; later < leaves + 5 * kDay; later += kHour / 2) RC_ASSERT(!Counts(event, span, later));
    if (!Counts(event, span, clock)) return;
    const int64_t stops = window.StopsCounting(leaves, clock);
    RC_ASSERT(stops > clock && !Counts(event, span, stops) && Counts(event, span, stops - 1));
    for (int64_t before = stops - 1; before > clock; before -= kHour / 2) RC_ASSERT(Counts(event, span, before));
}

TEST(Window, OfAMonthGoesBackWhereTheMonthBeforeIsShorter) {
    const Window month({1, 0, 0});
    const int64_t leaves = month.Leaves(At(2023, 2, 28, 12 * kHour + 1));
    EXPECT_EQ(leaves, At(2023, 3, 31, 13 * kHour));
    const auto counts = [&](unsigned day, int64_t hour) { return leaves > month.Horizon(At(2023, 3, day, hour * kHour)); };
    for (const unsigned day : {28U, 29U, 30U, 31U}) {
        EXPECT_TRUE(counts(day, 0));
        EXPECT_TRUE(counts(day, 12));
        EXPECT_FALSE(counts(day, 13));
        EXPECT_FALSE(counts(day, 23));
    }
    EXPECT_EQ(month.StopsCounting(leaves, At(2023, 3, 1)), At(2023, 3, 28, 13 * kHour));
    EXPECT_EQ(month.StopsCounting(leaves, At(2023, 3, 31)), leaves);
}

// A state of a window of months, by the hour and through the end of a month, is what the events that count then give.
RC_GTEST_PROP(WindowLaw, AStateFollowsTheEdgeBackAndForth, ()) {
    const Span span{*rc::gen::inRange(1, 4), 0, *rc::gen::element<int64_t>(0, kHour, kHour / 2)};
    const Window window(span);
    const auto aggregate = *rc::gen::element(Aggregate::kCount, Aggregate::kDistinctCount, Aggregate::kMin, Aggregate::kLast);
    const int64_t end = At(*rc::gen::inRange(1995, 2005), static_cast<unsigned>(*rc::gen::inRange(1, 13)), 1);
    const auto events = *rc::gen::container<std::vector<int64_t>>(rc::gen::map(rc::gen::inRange<int64_t>(-96 * 2, 24 * 2), [&](int64_t halves) {
        return Earlier(end, span) + halves * (kHour / 2);
    }));
    const auto value_of = [](int64_t event) { return Value(Decimal(event / kHour % 5, 0)); };
    WindowState state(aggregate);
    for (size_t i = 0; i < events.size(); ++i) state.Add(window.Leaves(events[i]), {events[i], static_cast<int64_t>(i)}, value_of(events[i]));
    const auto plain = [&](int64_t clock) {
        AggregateState counting(aggregate);
        for (size_t i = 0; i < events.size(); ++i)
            if (Counts(events[i], span, clock)) counting.Add({events[i], static_cast<int64_t>(i)}, value_of(events[i]));
        return counting;
    };
    const auto same = [](const AggregateState& a, const AggregateState& b) { return a.Count() == b.Count() && a.Single() == b.Single(); };
    const int64_t from = end - 5 * kDay, until = end + 4 * kDay;
    const int64_t least = *rc::gen::inRange(0, 3), most = least + *rc::gen::inRange(0, 3);
    const auto holds = [&](int64_t count) { return least <= count && count <= most; };
    for (int64_t clock = from; clock < until; clock += kHour) {
        state.Expire(clock - *rc::gen::element<int64_t>(0, kDay));
        RC_ASSERT(same(state.Beyond(window.Horizon(clock)), plain(clock)));
        // Nothing changes before the next change.
        const int64_t next = std::min(state.NextChange(window, clock), until);
        for (int64_t at = clock; at < next; at += kHour) RC_ASSERT(same(plain(at), plain(clock)));
        if (aggregate != Aggregate::kCount && aggregate != Aggregate::kDistinctCount) continue;
        int64_t flips = until;
        for (int64_t at = until - kHour; at > clock; at -= kHour)
            if (holds(plain(at).Count()) != holds(plain(clock).Count())) flips = at;
        RC_ASSERT(std::min(state.WhenCountLeaves(window, clock, least, most), until) == flips);
    }
}

RC_GTEST_PROP(WindowLaw, LaterEventsLeaveNoEarlier, ()) {
    const Window window({*rc::gen::inRange(0, 3), 1, 0});
    const int64_t event = At(2001, static_cast<unsigned>(*rc::gen::inRange(1, 13)), 1) + *rc::gen::inRange<int64_t>(-96, 48) * kHour;
    RC_ASSERT(window.Leaves(event) <= window.Leaves(event + *rc::gen::inRange<int64_t>(0, 5) * kHour));
}

/// Its horizon is the clock, whatever its length.
const Window kAnyDay({0, 1, 0});

struct Event {
    int64_t leaves;
    Stamp stamp;
    Value value;
};

constexpr Aggregate kAggregates[] = {Aggregate::kCount, Aggregate::kSum, Aggregate::kAvg, Aggregate::kMin, Aggregate::kMax, Aggregate::kFirst,
                                     Aggregate::kLast, Aggregate::kDistinctCount, Aggregate::kUniqueList, Aggregate::kMostFrequent};

std::string Bytes(const WindowState& state) {
    Writer out;
    state.Write(out);
    return out.Take();
}

/// What an aggregate without a window makes of the events that count.
AggregateState Plain(Aggregate aggregate, const std::vector<Event>& events, int64_t clock) {
    AggregateState state(aggregate);
    for (const Event& event : events)
        if (event.leaves > clock) state.Add(event.stamp, event.value);
    return state;
}

bool SameAnswer(Aggregate aggregate, const AggregateState& a, const AggregateState& b) {
    const auto single_a = a.Single(), single_b = b.Single();
    if (a.Count() != b.Count() && aggregate != Aggregate::kUniqueList && aggregate != Aggregate::kMostFrequent) return false;
    if (a.Values() != b.Values()) return false;
    return a.Sum() == b.Sum() && single_a.has_value() == single_b.has_value() && (!single_a || Compare(*single_a, *single_b) == 0);
}

/// Among them 1, 1.0 and 1.00.
Value AnyNumber() {
    constexpr int64_t powers[] = {1, 10, 100};
    const int scale = *rc::gen::inRange(0, 3);
    const int64_t whole = *rc::gen::inRange<int64_t>(-2, 3);
    return Decimal(whole * powers[scale], scale);
}

std::vector<Event> AnyEvents() {
    std::vector<Event> events;
    const int count = *rc::gen::inRange(0, 12);
    for (int i = 0; i < count; ++i) {
        const int64_t minute = *rc::gen::inRange<int64_t>(0, 6);
        // Stamps in the order of leaving, as those of events are.
        const Stamp stamp{minute * 100 + *rc::gen::inRange<int64_t>(0, 100), i};
        events.push_back({minute == 5 ? INT64_MAX : minute * kMinute, stamp, AnyNumber()});
    }
    return events;
}

RC_GTEST_PROP(WindowStateLaw, IsTheAggregateOfWhatCounts, ()) {
    const Aggregate aggregate = *rc::gen::elementOf(std::vector<Aggregate>(std::begin(kAggregates), std::end(kAggregates)));
    const auto events = AnyEvents();
    WindowState state(aggregate), other(aggregate), backwards(aggregate);
    for (const Event& event : events) (*rc::gen::arbitrary<bool>() ? state : other).Add(event.leaves, event.stamp, event.value);
    for (auto event = events.rbegin(); event != events.rend(); ++event) backwards.Add(event->leaves, event->stamp, event->value);
    state.Merge(other);
    RC_ASSERT(Bytes(state) == Bytes(backwards));
    RC_ASSERT(Bytes(WindowState::Read(aggregate, Bytes(state))) == Bytes(state));
    for (int64_t clock = -kMinute; clock <= 6 * kMinute; clock += kMinute / 2) {
        const AggregateState plain = Plain(aggregate, events, clock);
        RC_ASSERT(SameAnswer(aggregate, state.Beyond(clock), plain));
        const bool counts = aggregate == Aggregate::kCount || aggregate == Aggregate::kDistinctCount;
        if (counts) RC_ASSERT(state.CountBeyond(clock) == plain.Count());
        WindowState expired = state;
        expired.Expire(clock);
        RC_ASSERT(SameAnswer(aggregate, expired.Beyond(clock), plain));
        RC_ASSERT(expired.NextChange(kAnyDay, clock) == state.NextChange(kAnyDay, clock));
        // Nothing changes before the next change.
        const int64_t next = state.NextChange(kAnyDay, clock);
        if (next != INT64_MAX) RC_ASSERT(SameAnswer(aggregate, state.Beyond(next - 1), plain));
        if (!counts) continue;
        const int64_t least = *rc::gen::inRange(0, 3), most = least + *rc::gen::inRange(0, 3);
        const auto holds = [&](int64_t at) { return state.CountBeyond(at) >= least && state.CountBeyond(at) <= most; };
        int64_t expected = INT64_MAX;
        for (int64_t at = clock + kMinute / 2; at <= 7 * kMinute && expected == INT64_MAX; at += kMinute / 2)
            if (holds(at) != holds(clock)) expected = at;
        RC_ASSERT(state.WhenCountLeaves(kAnyDay, clock, least, most) == expected);
    }
}

// The order of adding does not matter for what was expired in between either.
RC_GTEST_PROP(WindowStateLaw, ForgetsTheSameInAnyOrder, ()) {
    const Aggregate aggregate = *rc::gen::elementOf(std::vector<Aggregate>(std::begin(kAggregates), std::end(kAggregates)));
    const auto events = AnyEvents();
    const int64_t clock = *rc::gen::inRange<int64_t>(0, 6) * kMinute;
    WindowState early(aggregate), late(aggregate);
    for (const Event& event : events) {
        early.Add(event.leaves, event.stamp, event.value);
        early.Expire(*rc::gen::inRange<int64_t>(0, 6) * kMinute <= clock ? clock : 0);
        late.Add(event.leaves, event.stamp, event.value);
    }
    early.Expire(clock);
    late.Expire(clock);
    RC_ASSERT(Bytes(early) == Bytes(late));
}

TEST(Window, TakesAnyTime) {
    for (const Span& span : {Span{0, 0, 1}, Span{0, 1, 1}, Span{1, 0, 0}, Span{INT32_MAX, INT32_MAX, INT64_MAX}})
        for (const int64_t time : {INT64_MIN, INT64_MIN + 1, int64_t{-1}, int64_t{0}, INT64_MAX - 1, INT64_MAX})
            EXPECT_GE(Window(span).Leaves(time), time);
}

TEST(WindowState, CountsEqualNumbersOnceWhateverTheirScale) {
    WindowState state(Aggregate::kDistinctCount);
    state.Add(kHour, {0, 1}, Decimal(1, 0));
    state.Add(2 * kHour, {1, 2}, Decimal(100, 2));
    EXPECT_EQ(state.CountBeyond(0), 1);
    EXPECT_EQ(state.CountBeyond(kHour), 1);
    EXPECT_EQ(state.WhenCountLeaves(kAnyDay, 0, 1, 1), 2 * kHour);
}

TEST(WindowState, StaysAsLargeAsItsWindow) {
    WindowState count(Aggregate::kCount), sum(Aggregate::kSum);
    const Window window({0, 30, 0});
    for (int64_t i = 0; i < 1'000'000; ++i) {  // in half a year
        const int64_t at = i * (180 * kDay / 1'000'000);
        count.Add(window.Leaves(at), {at, i}, {});
        sum.Add(window.Leaves(at), {at, i}, Decimal(i % 10'000, 2));
        if (i % 1000 == 0) count.Expire(at);
        if (i % 1000 == 0) sum.Expire(at);
    }
    count.Expire(180 * kDay);
    sum.Expire(180 * kDay);
    EXPECT_EQ(count.CountBeyond(180 * kDay), 1'000'000 / 6);
    EXPECT_LT(Bytes(count).size(), 30U * 24 * 4);
    EXPECT_LT(Bytes(sum).size(), 30U * 24 * 10);
}

TEST(WindowState, RefusesDamagedBytes) {
    const auto damaged = [](const std::function<void(Writer&)>& write) {
        Writer out;
        write(out);
        EXPECT_THROW(WindowState::Read(Aggregate::kCount, out.bytes()), Error);
    };
    damaged([](Writer& out) { out.Signed(7); });                                   // no count
    damaged([](Writer& out) { out.Signed(7), out.Unsigned(0); });                  // nothing counted
    damaged([](Writer& out) { out.Signed(INT64_MIN), out.Unsigned(1); });          // before all times
    damaged([](Writer& out) { out.Signed(-(INT64_MAX / kMinute + 1)), out.Unsigned(1); });
    damaged([](Writer& out) { out.Signed(7), out.Unsigned(1), out.Signed(-1), out.Unsigned(1); });  // backwards
    damaged([](Writer& out) {                                                      // more than was ever counted
        for (int i = 0; i < 2; ++i) out.Signed(7), out.Unsigned(uint64_t{1} << 60);
    });
}

}  // namespace
}  // namespace cdp::profile
