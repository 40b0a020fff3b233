// sequence_test.cpp: whether a sequence came to pass is known exactly, or known to be unknown, in any order of arrival.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "profile/sequence.hpp"

namespace cdp::profile {
namespace {

struct Event {
    int64_t at;
    int name;
    std::string same;
};

constexpr int64_t kQuarter = int64_t{6} * 3'600'000'000, kDay = 4 * kQuarter;
constexpr int64_t kJanuary29 = (366 + 28) * kDay, kFebruary27 = kJanuary29 + 29 * kDay;  // of 2001

const std::vector<std::string> kNames{"a", "b", "c"};

/// By trying every chain.
bool CameToPass(const std::vector<int>& steps, const std::optional<Span>& within, bool same, const std::vector<Event>& events, size_t step = 0,
                const Event* first = nullptr, const Event* last = nullptr) {
    if (step == steps.size()) return true;
    for (const Event& event : events) {
        if (event.name != steps[step] || (last && event.at <= last->at) || (first && same && event.same != first->same)) continue;
        if (first && within && event.at > Later(first->at, *within)) continue;
        if (CameToPass(steps, within, same, events, step + 1, first ? first : &event, &event)) return true;
    }
    return false;
}

SequenceState Again(const SequenceState& state) {
    Writer out;
    state.Write(out);
    return SequenceState::Read(out.bytes());
}

RC_GTEST_PROP(SequenceLaw, IsKnownInAnyOrderAndHoweverPeopleAreJoined, ()) {
    std::vector<int> steps;
    for (int i = *rc::gen::inRange(1, 5); i > 0; --i) steps.push_back(*rc::gen::inRange(0, 3));
    // Microseconds, or quarters of days that a month brings from January's last ones to February's last one, in another order.
    const bool months = *rc::gen::arbitrary<bool>();
    std::optional<Span> within;
    if (const int64_t length = *rc::gen::element<int64_t>(0, 2, 5, 12)) within = months ? Span{1, 0, 0} : Span{0, 0, length};
    const auto any_time = [&] {
        const int64_t time = *rc::gen::inRange<int64_t>(0, 20);
        return months ? (time < 10 ? kJanuary29 + 6 * kQuarter : kFebruary27 + kDay) + time % 4 * kQuarter : time;
    };
    const bool same = *rc::gen::arbitrary<bool>();
    std::vector<std::string> names;
    for (const int step : steps) names.push_back(kNames[static_cast<size_t>(step)]);
    const Sequence sequence(names, within, same);

    std::vector<Event> events;
    for (int i = *rc::gen::inRange(0, 16); i > 0; --i)
        events.push_back({any_time(), *rc::gen::inRange(0, 3), *rc::gen::element<std::string>("x", "y")});
    const bool expected = CameToPass(steps, within, same, events);
    const auto add = [&](SequenceState& state, const Event& event) {
        state.Add(sequence, event.at, sequence.Steps(kNames[static_cast<size_t>(event.name)]), event.same);
    };

    const auto most = static_cast<size_t>(*rc::gen::element(2, 3, 5, 100));
    SequenceState a(most), b(most);
    for (const Event& event : events) add(*rc::gen::arbitrary<bool>() ? a : b, event);
    a.Merge(sequence, b);
    if (!a.MustRecompute()) RC_ASSERT(a.Done() == expected);
    if (most == 100) RC_ASSERT(!a.MustRecompute());
    RC_ASSERT(Again(a).Done() == a.Done());
    RC_ASSERT(Again(a).MustRecompute() == a.MustRecompute());

    // In order nothing has to be recomputed, unless there are too many values; and unbounded it is always known.
    std::sort(events.begin(), events.end(), [](const Event& x, const Event& y) { return x.at < y.at; });
    SequenceState in_order(most), unbounded = SequenceState::Unbounded();
    for (const Event& event : events) {
        if (most == 100) in_order = Again(in_order);
        add(in_order, event);
        add(unbounded, event);
    }
    if (!same) RC_ASSERT(!in_order.MustRecompute());
    if (!in_order.MustRecompute()) RC_ASSERT(in_order.Done() == expected);
    RC_ASSERT(unbounded.Done() == expected);
    unbounded.Bound(sequence);
    RC_ASSERT(unbounded.Done() == expected);
}

std::string Bytes(const SequenceState& state) {
    Writer out;
    state.Write(out);
    return out.Take();
}

TEST(SequenceState, IsTheSameInAnyOrderUntilItFolds) {
    const Sequence sequence({"a", "b"}, std::nullopt, true);
    SequenceState forwards, backwards, left, right;
    for (int i = 0; i < 200; ++i) {
        const auto add = [&](SequenceState& state, int n) {
            state.Add(sequence, n / 3, sequence.Steps(n % 3 == 0 ? "b" : "a"), n % 2 == 0 ? "even" : std::to_string(n));
        };
        // b is never after an a of the same value.
        if (i % 3 != 0 || i % 2 != 0) add(forwards, i), add(i % 7 < 3 ? left : right, i);
        if (const int n = 199 - i; n % 3 != 0 || n % 2 != 0) add(backwards, n);
    }
    left.Merge(sequence, right);
    ASSERT_FALSE(forwards.Done());
    EXPECT_EQ(Bytes(backwards), Bytes(forwards));
    EXPECT_EQ(Bytes(left), Bytes(forwards));
}

TEST(SequenceState, LetsAnEarlierBeginningEndLater) {
    const Sequence sequence({"a", "b"}, Span{1, 0, 0}, false);
    for (const size_t most : {size_t{2}, SequenceState::kMost}) {
        SequenceState state(most);
        state.Add(sequence, kJanuary29 + kDay + 2 * kQuarter, 1);  // January 30th at noon, so until noon of February 28th
        state.Add(sequence, kJanuary29 + 2 * kDay, 1);             // the 31st, so until its midnight
        state.Add(sequence, kJanuary29 + 3 * kDay, 0b100);         // (something else, for folding)
        state.Add(sequence, kFebruary27 + kDay + kQuarter, 2);
        EXPECT_TRUE(state.Done());
    }
}

TEST(SequenceState, JoinsPeopleWhoTogetherDidMuch) {
    const Sequence sequence({"a", "b"}, std::nullopt, false);
    SequenceState one, other;
    for (int64_t i = 0; i < 200; ++i) {
        one.Add(sequence, 2 * i + 3, 2);
        other.Add(sequence, 2 * i + 2, 2);
    }
    SequenceState both = one;
    both.Merge(sequence, other);
    EXPECT_FALSE(both.MustRecompute());
    EXPECT_FALSE(both.Done());
    other.Add(sequence, 1, 1);
    one.Merge(sequence, other);
    EXPECT_TRUE(one.Done());
}

TEST(SequenceState, StaysSmall) {
    const Sequence sequence({"a", "b"}, std::nullopt, false);
    SequenceState state;
    for (int64_t i = 1; i <= 100'000; ++i) state.Add(sequence, i, sequence.Steps("a"));
    Writer out;
    state.Write(out);
    EXPECT_LT(out.bytes().size(), 2'000U);
    EXPECT_FALSE(state.Done());
    state.Add(sequence, 100'001, sequence.Steps("b"));
    EXPECT_TRUE(state.Done());
}

TEST(SequenceState, SaysWhatItCannotTell) {
    const Sequence sequence({"a", "b"}, std::nullopt, false);
    SequenceState state(4);
    for (int64_t i = 10; i <= 20; ++i) state.Add(sequence, i, sequence.Steps("b"));
    EXPECT_FALSE(state.MustRecompute());
    state.Add(sequence, 11, sequence.Steps("a"));
    EXPECT_TRUE(state.MustRecompute());
}

TEST(Sequence, KnowsWhichStepsAnEventCanBe) {
    const Sequence sequence({"a", "b", "a"}, std::nullopt, false);
    EXPECT_EQ(sequence.Steps("a"), 5U);
    EXPECT_EQ(sequence.Steps("b"), 2U);
    EXPECT_EQ(sequence.Steps("c"), 0U);
}

}  // namespace
}  // namespace cdp::profile
