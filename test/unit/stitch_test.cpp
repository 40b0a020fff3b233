// stitch_test.cpp: who is who by links alone.
#include "identity/stitch.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "identity/components.hpp"

namespace cdp::identity {
namespace {

std::vector<int64_t> Stitched(const std::vector<int64_t>& ids, const std::vector<int64_t>& profiles, const std::vector<std::pair<int64_t, int64_t>>& links) {
    Stitch stitch(ids);
    for (const auto& [a, b] : links) stitch.Add(a, b);
    int64_t next = 1000;
    return stitch.Profiles(profiles, [&] { return next++; });
}

TEST(Stitch, KeepsTheLowestIdOfWhatIsOne) { EXPECT_EQ(Stitched({1, 2, 3}, {7, 8, 5}, {{1, 3}}), (std::vector<int64_t>{5, 8, 5})); }

TEST(Stitch, GivesNewIdsToWhatComesApart) {
    EXPECT_EQ(Stitched({1, 2, 3, 4}, {7, 7, 7, 7}, {{1, 3}}), (std::vector<int64_t>{7, 1000, 7, 1001}));
}

TEST(Stitch, IgnoresLinksOfTheUnknown) {
    EXPECT_EQ(Stitched({5, 6, 900'000'000'000}, {1, 2, 3}, {{4, 5}, {6, 7}, {5, 900'000'000'000}}), (std::vector<int64_t>{1, 2, 1}));
    EXPECT_EQ(Stitched({5, 6, 8}, {1, 2, 3}, {{4, 5}, {6, 7}, {9, 8}}), (std::vector<int64_t>{1, 2, 3}));
    EXPECT_TRUE(Stitched({}, {}, {{1, 2}}).empty());
}

RC_GTEST_PROP(StitchLaw, AgreesWithComponents, ()) {
    const int count = *rc::gen::inRange(1, 40);
    const int64_t gap = *rc::gen::element<int64_t>(1, 3, 1'000'000);  // close together, or far apart
    std::vector<int64_t> ids, profiles;
    for (int i = 0; i < count; ++i) {
        ids.push_back(10 + i * gap);
        profiles.push_back(*rc::gen::inRange(1, 20));
    }
    std::vector<Edge> links;
    std::vector<std::pair<int64_t, int64_t>> by_id;
    for (int left = *rc::gen::inRange(0, 40); left > 0; --left) {
        links.emplace_back(*rc::gen::inRange(0, count), *rc::gen::inRange(0, count));
        by_id.emplace_back(ids[links.back().first], ids[links.back().second]);
    }
    const auto component = Components(ids.size(), links);
    const auto profile = Stitched(ids, profiles, by_id);
    std::map<int, int64_t> of_component;
    std::map<int64_t, int> component_of;
    for (int i = 0; i < count; ++i) {
        RC_ASSERT(of_component.try_emplace(component[i], profile[i]).first->second == profile[i]);
        RC_ASSERT(component_of.try_emplace(profile[i], component[i]).first->second == component[i]);
        RC_ASSERT(profile[i] >= 1000 || std::any_of(ids.begin(), ids.end(), [&](int64_t id) {
            const auto k = static_cast<size_t>((id - 10) / gap);
            return component[k] == component[i] && profiles[k] == profile[i];
        }));
    }
}

}  // namespace
}  // namespace cdp::identity
