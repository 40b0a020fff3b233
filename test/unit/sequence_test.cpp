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

const std::vector<std::string> kNames{"a", "b", "c"};

/// By trying every chain.
bool CameToPass(const std::vector<int>& steps, int64_t within, bool same, const std::vector<Event>& events, size_t step = 0,
                const Event* first = nullptr, const Event* last = nullptr) {
    if (step == steps.size()) return true;
    for (const Event& event : events) {
        if (event.name != steps[step] || (last && event.at <= last->at) || (first && same && event.same != first->same)) continue;
        if (first && within >= 0 && event.at > first->at + within) continue;
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
    const int64_t within = *rc::gen::element<int64_t>(-1, 2, 5, 12);
    const bool same = *rc::gen::arbitrary<bool>();
    std::vector<std::string> names;
    for (const int step : steps) names.push_back(kNames[static_cast<size_t>(step)]);
    const Sequence sequence(names, within < 0 ? std::nullopt : std::optional(Span{0, 0, within}), same);

    std::vector<Event> events;
    for (int i = *rc::gen::inRange(0, 16); i > 0; --i)
        events.push_back({*rc::gen::inRange<int64_t>(0, 20), *rc::gen::inRange(0, 3), *rc::gen::element<std::string>("x", "y")});
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
