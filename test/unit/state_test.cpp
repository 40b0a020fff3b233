// state_test.cpp: what a profile remembers comes back from its bytes, and equal memories are equal bytes.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

#include "profile/state.hpp"

namespace cdp::profile {
namespace {

const auto kKeepAll = [](int) { return true; };

std::string BytesOf(const KeyStamps& stamps) {
    Writer out;
    stamps.Write(out);
    return out.Take();
}

Stamp Of(const KeyStamps& stamps, std::string_view key) {
    for (const auto& [known, stamp] : stamps.all())
        if (known == key) return stamp;
    return {};
}

TEST(KeyStamps, LetsTheNewestWin) {
    KeyStamps stamps;
    EXPECT_TRUE(stamps.Advance("city", {10, 1}));
    EXPECT_FALSE(stamps.Advance("city", {9, 2}));
    EXPECT_TRUE(stamps.Advance("city", {10, 2}));
    EXPECT_FALSE(stamps.Advance("city", {10, 1}));
    EXPECT_TRUE(stamps.Advance("name", {1, 3}));
    EXPECT_EQ(Of(stamps, "city"), (Stamp{10, 2}));
}

RC_GTEST_PROP(KeyStampsLaw, DoesNotDependOnOrderAndComesBack, ()) {
    const auto times = rc::gen::oneOf(rc::gen::inRange<int64_t>(0, 4), rc::gen::element(INT64_MIN, INT64_MAX));
    const auto added = *rc::gen::container<std::vector<std::tuple<std::string, int64_t, int64_t>>>(
        rc::gen::tuple(rc::gen::element<std::string>("", "a", "b", "ü", "a.b"), times, times));
    KeyStamps forwards, backwards;
    for (const auto& [key, time, id] : added) forwards.Advance(key, {time, id});
    for (auto it = added.rbegin(); it != added.rend(); ++it) backwards.Advance(std::get<0>(*it), {std::get<1>(*it), std::get<2>(*it)});
    RC_ASSERT(BytesOf(forwards) == BytesOf(backwards));
    const std::string bytes = BytesOf(forwards);
    Reader in(bytes);
    const KeyStamps again = KeyStamps::Read(in);
    RC_ASSERT(in.AtEnd());
    RC_ASSERT(again.all() == forwards.all());
}

std::string Packed(ProfileState&& state, const std::function<bool(int)>& keep = kKeepAll) {
    state.Pack(keep);
    return state.Write();
}

std::string Packed(ProfileState& state) { return Packed(std::move(state)); }  // which stays as it was, but packed

ProfileState Sample() {
    ProfileState state;
    state.SetIdentifierCount(3, 2);
    state.SetIdentifierCount(1, 1);
    state.key_stamps().Advance("city", {INT64_MAX, 5});
    state.key_stamps().Advance("name", {INT64_MIN, 4});  // '-infinity'
    state.memberships() = {2, 3, 4'000'000'000};
    state.membership_epoch() = 77;
    state.Trait(9, Aggregate::kCount).Add({}, {});
    state.Trait(2, Aggregate::kLast).Add({1, 2}, Value(std::string("x")));
    state.Trait(4, Aggregate::kSum);  // nothing remembered
    return state;
}

TEST(ProfileState, ComesBackFromItsBytes) {
    const std::string bytes = Packed(Sample());
    ProfileState again(bytes);
    EXPECT_EQ(again.IdentifierCount(3), 2);
    EXPECT_EQ(again.IdentifierCount(1), 1);
    EXPECT_EQ(again.IdentifierCount(2), 0);
    EXPECT_EQ(Of(again.key_stamps(), "city"), (Stamp{INT64_MAX, 5}));
    EXPECT_EQ(Of(again.key_stamps(), "name"), (Stamp{INT64_MIN, 4}));
    EXPECT_EQ(again.memberships(), (std::vector<int64_t>{2, 3, 4'000'000'000}));
    EXPECT_EQ(again.membership_epoch(), 77);
    EXPECT_EQ(again.TraitIds(), (std::vector<int>{2, 9}));
    EXPECT_EQ(again.Trait(9, Aggregate::kCount).Count(), 1);
    EXPECT_EQ(std::get<std::string>(*again.Trait(2, Aggregate::kLast).Single()), "x");
    EXPECT_EQ(Packed(again), bytes);
}

TEST(ProfileState, IsTheSameBytesDecodedOrNot) {
    const std::string bytes = Packed(Sample());
    ProfileState touched(bytes);
    touched.Trait(2, Aggregate::kLast);
    EXPECT_EQ(Packed(touched), bytes);
    touched.Trait(9, Aggregate::kCount);
    touched.Trait(30, Aggregate::kUniqueList);
    EXPECT_EQ(Packed(touched), bytes);
}

TEST(ProfileState, GoesOnAfterItWasPacked) {
    ProfileState state = Sample();
    state.Pack(kKeepAll);
    ProfileState moved(std::move(state));
    EXPECT_EQ(moved.TraitIds(), (std::vector<int>{2, 9}));
    moved.Trait(9, Aggregate::kCount).Add({}, {});
    moved.SetTrait(2, AggregateState(Aggregate::kLast));
    EXPECT_FALSE(moved.packed());
    ProfileState expected = Sample();
    expected.Trait(9, Aggregate::kCount).Add({}, {});
    expected.SetTrait(2, AggregateState(Aggregate::kLast));
    EXPECT_EQ(Packed(std::move(moved)), Packed(std::move(expected)));
}

TEST(ProfileState, ForgetsTraitsThatNobodyKeeps) {
    const std::string bytes = Packed(Sample());
    const std::string without = Packed(ProfileState(bytes), [](int trait) { return trait != 2; });
    ProfileState left(without);
    EXPECT_EQ(left.TraitIds(), (std::vector<int>{9}));
}

TEST(ProfileState, ForgetsACountOfZero) {
    ProfileState state = Sample(), other = Sample();
    state.SetIdentifierCount(8, 1);
    state.SetIdentifierCount(8, 0);
    EXPECT_EQ(Packed(state), Packed(other));
}

TEST(ProfileState, RefusesBytesThatEndTooSoon) {
    const std::string bytes = Packed(Sample());
    for (size_t size = 0; size < bytes.size(); ++size) {
        try {
            ProfileState part(std::string_view(bytes).substr(0, size));
            // Where one trait's state ends and the next one's begins, nothing is missing that could be noticed.
            EXPECT_LT(part.TraitIds().size(), 2u);
        } catch (const Error& error) {
            EXPECT_EQ(error.sqlstate, sqlstate::data_corrupted);
            EXPECT_FALSE(error.hint.empty());
        }
    }
}

TEST(ProfileState, RefusesWhatIsNotInOrder) {
    using namespace std::string_view_literals;
    for (const auto bytes : {"\1\2\5\1\3\1\0\0\0"sv,                // identifier types
                             "\1\0\2\1b\0\0\1a\0\0\0\0"sv,          // keys
                             "\1\0\0\0\0\2\1\2\1\1\2"sv,             // traits
                             "\1\0\0\0\2\5\0"sv})                    // segments
        EXPECT_THROW(ProfileState{bytes}, Error) << testing::PrintToString(bytes);
}

TEST(ProfileState, RefusesAnUnknownFormat) { EXPECT_THROW(ProfileState("\x02"), Error); }

RC_GTEST_PROP(ProfileStateLaw, ComesBackFromItsBytes, ()) {
    ProfileState state;
    const auto types = *rc::gen::container<std::map<int, int64_t>>(rc::gen::inRange(0, 1000), rc::gen::inRange<int64_t>(1, 100'000));
    for (const auto& [type, count] : types) state.SetIdentifierCount(type, count);
    const auto segments = *rc::gen::container<std::set<int64_t>>(rc::gen::inRange<int64_t>(1, 1 << 20));
    state.memberships().assign(segments.begin(), segments.end());
    state.membership_epoch() = *rc::gen::arbitrary<int64_t>();
    const auto lists = *rc::gen::container<std::map<int, std::vector<std::string>>>(rc::gen::inRange(0, 500), rc::gen::arbitrary<std::vector<std::string>>());
    for (const auto& [trait, texts] : lists)
        for (const auto& text : texts) state.Trait(trait, Aggregate::kUniqueList).Add({}, Value(text));

    const std::string bytes = Packed(state);
    ProfileState again(bytes);
    for (int type = 0; type < 1000; ++type)
        RC_ASSERT(again.IdentifierCount(type) == (types.contains(type) ? types.at(type) : 0));
    RC_ASSERT(again.memberships() == state.memberships());
    RC_ASSERT(again.membership_epoch() == state.membership_epoch());
    for (const auto& [trait, texts] : lists)
        RC_ASSERT(again.Trait(trait, Aggregate::kUniqueList).Values() == state.Trait(trait, Aggregate::kUniqueList).Values());
    RC_ASSERT(Packed(again) == bytes);
}

RC_GTEST_PROP(CodecLaw, ReadsWhatItWrote, (uint64_t u, int64_t s, const std::string& text)) {
    Writer out;
    out.Unsigned(u);
    out.Signed(s);
    out.Text(text);
    out.Unsigned(UINT64_MAX);
    out.Signed(INT64_MIN);
    Reader in(out.bytes());
    RC_ASSERT(in.Unsigned() == u);
    RC_ASSERT(in.Signed() == s);
    RC_ASSERT(in.Text() == text);
    RC_ASSERT(in.Unsigned() == UINT64_MAX);
    RC_ASSERT(in.Signed() == INT64_MIN);
    RC_ASSERT(in.AtEnd());
}

TEST(Codec, RefusesATextLongerThanTheBytes) {
    Writer out;
    out.Unsigned(UINT64_MAX);
    Reader in(out.bytes());
    EXPECT_THROW(in.Text(), Error);
    Reader endless("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    EXPECT_THROW(endless.Unsigned(), Error);
}

}  // namespace
}  // namespace cdp::profile
