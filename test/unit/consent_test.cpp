// consent_test.cpp: of what somebody said the latest holds, at the same instant the no, and silence is as the mode says.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "govern/consent.hpp"

namespace cdp::govern {
namespace {

constexpr bool kOptIn = false, kOptOut = true;

TEST(Consent, TheLatestOutweighs) {
    EXPECT_TRUE(Outweighs({2, true}, {1, false}));
    EXPECT_TRUE(Outweighs({2, false}, {1, true}));
    EXPECT_FALSE(Outweighs({1, false}, {2, true}));
}

TEST(Consent, AtTheSameInstantTheRefusalOutweighs) {
    EXPECT_TRUE(Outweighs({1, false}, {1, true}));
    EXPECT_FALSE(Outweighs({1, true}, {1, false}));
    EXPECT_FALSE(Outweighs({1, true}, {1, true}));
    EXPECT_FALSE(Outweighs({1, false}, {1, false}));
}

TEST(Consent, SilenceIsAsTheModeSays) {
    const Answers nothing;
    EXPECT_FALSE(nothing.Covers({}, kOptIn));
    EXPECT_FALSE(nothing.Covers("email", kOptIn));
    EXPECT_TRUE(nothing.Covers({}, kOptOut));
    EXPECT_TRUE(nothing.Covers("email", kOptOut));
}

TEST(Consent, YesToOneChannelIsNotYesToAll) {
    Answers answers;
    answers.Say("email", {1, true});
    EXPECT_TRUE(answers.Covers("email", kOptIn));
    EXPECT_FALSE(answers.Covers("sms", kOptIn));
    EXPECT_FALSE(answers.Covers({}, kOptIn));
}

TEST(Consent, NoToOneChannelIsNoToAll) {
    for (const bool mode : {kOptIn, kOptOut}) {
        Answers answers;
        answers.Say({}, {1, true});
        answers.Say("email", {2, false});
        EXPECT_FALSE(answers.Covers("email", mode));
        EXPECT_TRUE(answers.Covers("sms", mode));
        EXPECT_FALSE(answers.Covers({}, mode));
        answers.Say({}, {3, true});
        EXPECT_TRUE(answers.Covers({}, mode));
    }
}

TEST(Consent, ALaterNoToAllIsNoToEachChannel) {
    for (const bool mode : {kOptIn, kOptOut}) {
        Answers answers;
        answers.Say("email", {1, true});
        answers.Say({}, {2, false});
        EXPECT_FALSE(answers.Covers("email", mode));
        EXPECT_FALSE(answers.Covers({}, mode));
        answers.Say("email", {3, true});
        EXPECT_TRUE(answers.Covers("email", mode));
        EXPECT_FALSE(answers.Covers({}, mode));
    }
}

RC_GTEST_PROP(Consent, TheOrderOfStatementsDoesNotMatter, ()) {
    using Said = std::tuple<int, int, bool>;  // channel (0: all), when, what
    const auto said = *rc::gen::container<std::vector<Said>>(rc::gen::tuple(rc::gen::inRange(0, 4), rc::gen::inRange(0, 5), rc::gen::arbitrary<bool>()));
    const auto channel = [](int c) { return c == 0 ? std::nullopt : std::optional<std::string>(std::to_string(c)); };
    const auto answers = [&](const std::vector<Said>& in_order) {
        Answers result;
        for (const auto& [c, at, granted] : in_order) result.Say(channel(c), {at, granted});
        return result;
    };
    auto shuffled = said;
    for (size_t i = shuffled.size(); i > 1; --i) std::swap(shuffled[i - 1], shuffled[*rc::gen::inRange<size_t>(0, i)]);
    const Answers one = answers(said), other = answers(shuffled);
    for (const bool mode : {kOptIn, kOptOut}) {
        bool every = true;
        for (int c = 0; c < 5; ++c) {
            RC_ASSERT(one.Covers(channel(c), mode) == other.Covers(channel(c), mode));
            if (c > 0) every = every && one.Covers(channel(c), mode);  // 4: of which nothing is said
        }
        RC_ASSERT(one.Covers({}, mode) == every);
    }
}

}  // namespace
}  // namespace cdp::govern
