// components_test.cpp: what hangs together, and the shortest way between two.
#include "identity/components.hpp"

#include <gtest/gtest.h>

namespace cdp::identity {
namespace {

TEST(Components, NobodyWithoutIdentifiers) { EXPECT_TRUE(Components(0, {}).empty()); }

TEST(Components, EachIsAloneWithoutLinks) { EXPECT_EQ(Components(3, {}), (std::vector{0, 1, 2})); }

TEST(Components, AreNumberedByTheirFirstIdentifiers) {
    const std::vector<Edge> links{{3, 1}, {4, 0}, {4, 0}};
    EXPECT_EQ(Components(5, links), (std::vector{0, 1, 2, 1, 0}));
}

TEST(ShortestChain, IsEmptyToOneself) {
    const std::vector<Edge> links{{0, 1}};
    EXPECT_EQ(ShortestChain(2, links, 1, 1), std::vector<int>());
}

TEST(ShortestChain, IsNoneToAStranger) {
    const std::vector<Edge> links{{0, 1}};
    EXPECT_EQ(ShortestChain(3, links, 0, 2), std::nullopt);
}

TEST(ShortestChain, TakesTheFewestLinksWhicheverWayTheyPoint) {
    //                              0       1       2       3       4
    const std::vector<Edge> links{{0, 1}, {1, 2}, {2, 3}, {4, 0}, {3, 4}};
    EXPECT_EQ(ShortestChain(5, links, 0, 3), (std::vector{3, 4}));
    EXPECT_EQ(ShortestChain(5, links, 3, 0), (std::vector{4, 3}));
}

TEST(ShortestChain, OfParallelLinksTakesTheFirst) {
    const std::vector<Edge> links{{1, 0}, {0, 1}};
    EXPECT_EQ(ShortestChain(2, links, 0, 1), std::vector{0});
}

}  // namespace
}  // namespace cdp::identity
