// resolver_test.cpp: which identifiers are one person, told by examples.
#include <gtest/gtest.h>

#include "identity/resolver.hpp"
#include "pg/error.hpp"

namespace cdp::identity {
namespace {

enum Type { kUser, kEmail, kDevice, kAnonymous };
const std::vector<TypeRule> kRules{{1, 1, 1}, {2, 2, 2}, {3, 4, 3}, {4, 5, std::nullopt}};

/// A batch in the words of a test: Message({"u:ann", "d:kiosk"}) and who is who afterwards.
class Batch {
public:
    explicit Batch(std::span<const TypeRule> rules = kRules, ProfileId next = 1) : resolver(rules, 64, next) {}

    Joined Message(std::initializer_list<std::string_view> names) {
        std::vector<Candidate> candidates;
        for (const auto name : names)
            candidates.push_back({Id(name), Type(std::string_view("uedn").find(name[0])), name.substr(2)});
        return resolver.Join(messages_++, candidates);
    }
    int Id(std::string_view name) {
        for (size_t i = 0; i < names_.size(); ++i)
            if (names_[i] == name) return static_cast<int>(i);
        names_.emplace_back(name);
        return static_cast<int>(names_.size()) - 1;
    }
    ProfileId Profile(std::string_view name) {
        const int node = resolver.NodeOf(Id(name));
        return node < 0 ? 0 : resolver.ProfileOf(node);
    }

    Resolver resolver;

private:
    std::vector<std::string> names_;
    size_t messages_ = 0;
};

TEST(Resolver, GivesEachNewPersonTheNextId) {
    Batch batch(kRules, 7);
    batch.Message({"u:ann"});
    batch.Message({"u:ben"});
    batch.Message({"u:ann"});
    EXPECT_EQ(batch.Profile("u:ann"), 7);
    EXPECT_EQ(batch.Profile("u:ben"), 8);
    EXPECT_EQ(batch.resolver.next_profile_id(), 9);
}

TEST(Resolver, JoinsWhatOneMessageCarries) {
    Batch batch;
    batch.Message({"n:cookie"});
    batch.Message({"n:cookie", "u:ann", "e:ann@x.org"});
    EXPECT_EQ(batch.Profile("u:ann"), 1);
    EXPECT_EQ(batch.Profile("e:ann@x.org"), 1);
    EXPECT_TRUE(batch.resolver.merges().empty());
}

TEST(Resolver, LetsTheOlderProfileSurvive) {
    Batch batch;
    batch.Message({"n:cookie"});
    batch.Message({"u:ann"});
    batch.Message({"u:ann", "n:cookie"});
    EXPECT_EQ(batch.Profile("u:ann"), 1);
    ASSERT_EQ(batch.resolver.merges().size(), 1u);
    EXPECT_EQ(batch.resolver.merges()[0].gone, 2);
    EXPECT_EQ(batch.resolver.merges()[0].survivor, 1);
    EXPECT_EQ(batch.resolver.merges()[0].message, 2u);
}

TEST(Resolver, NeverWeldsTwoUsersThatShareADevice) {
    Batch batch;
    batch.Message({"u:ann", "d:kiosk"});
    const Joined second = batch.Message({"u:ben", "d:kiosk"});
    EXPECT_EQ(second.kept, 1);
    EXPECT_EQ(second.limit_type, kUser);
    EXPECT_EQ(batch.Profile("u:ann"), 1);
    EXPECT_EQ(batch.Profile("u:ben"), 2);
    EXPECT_EQ(batch.Profile("d:kiosk"), 1);  // it stays with the first
    EXPECT_EQ(batch.resolver.ProfileOf(second.node), 2);
}

TEST(Resolver, LeavesTheWeakestOutFirst) {
    Batch batch;
    batch.Message({"u:ann", "e:shared@x.org", "d:kiosk"});
    // Without the device the email still welds; without both, ben stands alone; the new cookie is lost on the way.
    const Joined joined = batch.Message({"n:new", "d:kiosk", "e:shared@x.org", "u:ben"});
    EXPECT_EQ(joined.kept, 1);
    EXPECT_EQ(batch.Profile("n:new"), 0);
    // Only the device welds: the email may stay.
    const Joined other = batch.Message({"d:kiosk", "e:cyd@x.org", "u:cyd"});
    EXPECT_EQ(other.kept, 2);
    EXPECT_EQ(batch.Profile("e:cyd@x.org"), batch.Profile("u:cyd"));
}

TEST(Resolver, LeavesTheGreaterOfEqualsOut) {
    Batch batch;
    const Joined joined = batch.Message({"u:b", "u:a"});
    EXPECT_EQ(joined.kept, 1);
    EXPECT_EQ(batch.Profile("u:a"), 1);
    EXPECT_EQ(batch.Profile("u:b"), 0);
}

TEST(Resolver, KeepsTheStrongestWhateverTheLimit) {
    const std::vector<TypeRule> none{{1, 1, 0}};
    Batch batch(none);
    EXPECT_EQ(batch.Message({"u:ann"}).kept, 1);
    EXPECT_EQ(batch.Profile("u:ann"), 1);
}

TEST(Resolver, CountsWhatAProfileHadBefore) {
    Batch batch;
    const std::vector<int64_t> counts{1, 2, 0, 0};
    batch.resolver.Know(batch.Id("u:ann"), batch.resolver.AddProfile(40, counts));
    EXPECT_EQ(batch.Message({"u:ann", "e:third@x.org"}).kept, 1);
    EXPECT_EQ(batch.Message({"u:ann", "d:phone"}).kept, 2);
    EXPECT_EQ(batch.Profile("d:phone"), 40);
}

TEST(Resolver, RefusesOnlyWhatAddsToAProfileOverALoweredLimit) {
    Batch batch;
    const std::vector<int64_t> counts{1, 5, 0, 0};  // five emails, now two are allowed
    batch.resolver.Know(batch.Id("u:ann"), batch.resolver.AddProfile(40, counts));
    EXPECT_EQ(batch.Message({"u:ann", "d:phone"}).kept, 2);
    EXPECT_EQ(batch.Message({"u:ann", "e:sixth@x.org"}).kept, 1);
}

TEST(Resolver, UnitesByHandWhateverTheLimits) {
    Batch batch;
    const int ann = batch.Message({"u:ann"}).node, ben = batch.Message({"u:ben"}).node;
    batch.resolver.Unite(ann, ben, 2);
    EXPECT_EQ(batch.Profile("u:ben"), 1);
    EXPECT_EQ(batch.resolver.Counts(ben)[kUser], 2);
    EXPECT_EQ(batch.resolver.OwnProfile(ben), 2);
}

TEST(Resolver, KeepsApartWhatWasTakenApart) {
    Batch batch(kRules, 3);
    const int ann = batch.resolver.AddProfile(1, std::vector<int64_t>{1, 0, 0, 0});
    const int cookie = batch.resolver.AddProfile(2, std::vector<int64_t>{0, 0, 0, 1});
    batch.resolver.Know(batch.Id("u:ann"), ann);
    batch.resolver.Know(batch.Id("n:c1"), cookie);
    batch.resolver.AddMark(ann, {7, 0});
    batch.resolver.AddMark(cookie, {7, 1});
    const Joined joined = batch.Message({"u:ann", "n:c1"});
    EXPECT_EQ(joined.kept, 1);
    EXPECT_EQ(joined.limit_type, -1);
    EXPECT_EQ(joined.separation, 7);
    // Nor does a third bring them together; it goes with the first that carries it.
    EXPECT_EQ(batch.Message({"e:x", "n:c1"}).kept, 2);
    EXPECT_EQ(batch.Message({"u:ann", "e:x"}).kept, 1);
    EXPECT_EQ(batch.Profile("e:x"), 2);
    EXPECT_EQ(batch.Profile("u:ann"), 1);
}

TEST(Resolver, UnitesByHandWhatWasTakenApart) {
    Batch batch(kRules, 4);
    int nodes[3];
    const char* names[] = {"n:a", "n:b", "n:c"};
    for (int i = 0; i < 3; ++i) {
        nodes[i] = batch.resolver.AddProfile(i + 1, std::vector<int64_t>{0, 0, 0, 1});
        batch.resolver.Know(batch.Id(names[i]), nodes[i]);
        batch.resolver.AddMark(nodes[i], {7, i == 0 ? 0 : 1});
    }
    batch.resolver.Unite(nodes[0], nodes[1], 0);
    EXPECT_EQ(batch.Profile("n:b"), 1);
    // What was separated from one of them is separated from both.
    EXPECT_EQ(batch.Message({"n:b", "n:c"}).kept, 1);
}

TEST(Resolver, SaysWhatForbidsToMakeTwoPersonsOne) {
    Batch batch;
    const int ann = batch.Message({"u:ann", "d:1", "d:2"}).node, ben = batch.Message({"u:ben"}).node;
    const int device = batch.Message({"d:3", "n:c"}).node, more = batch.Message({"d:4"}).node;
    EXPECT_EQ(batch.resolver.WhyApart(ann, ben).limit_type, kUser);
    EXPECT_FALSE(batch.resolver.WhyApart(ann, device));
    batch.resolver.AddMark(ben, {9, 0});
    batch.resolver.AddMark(ben, {7, 0});
    EXPECT_FALSE(batch.resolver.AreSeparated(ben, device));
    batch.resolver.AddMark(device, {7, 1});
    EXPECT_EQ(batch.resolver.WhyApart(ben, device).separation, 7);
    EXPECT_TRUE(batch.resolver.AreSeparated(device, ben));
    batch.resolver.Unite(ann, device, 0);
    EXPECT_EQ(batch.resolver.WhyApart(more, ann).limit_type, kDevice);
    batch.resolver.Unite(ben, device, 0);
    EXPECT_FALSE(batch.resolver.AreSeparated(ben, ann));
}

TEST(Resolver, RefusesAMessageOfNobody) {
    Batch batch;
    EXPECT_THROW(batch.Message({}), Error);
}

}  // namespace
}  // namespace cdp::identity
