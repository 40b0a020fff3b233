// Clusters: chains of weak links weld nobody together, what was said holds.
#include "identity/match_clusters.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

using namespace cdp::matching;

namespace {

constexpr ClusterRules kRules{3, -6};
using Said = Edge::Said;

TEST(MatchClusters, WhoMatchesIsOne) {
    const Edge edges[] = {{0, 1, 10}, {1, 2, 9}, {0, 2, 8}, {3, 4, 1}};
    EXPECT_EQ(Cluster(5, edges, kRules), (std::vector<uint32_t>{0, 0, 0, 3, 4}));
}

TEST(MatchClusters, AChainOfWeakLinksIsCut) {
    // 0-1-2-…-9: each matches its neighbours, and nobody else.
    std::vector<Edge> edges;
    for (uint32_t i = 0; i + 1 < 10; ++i) edges.push_back({i, i + 1, 4.0 + 0.01 * i});
    std::map<uint32_t, int> sizes;
    for (const uint32_t c : Cluster(10, edges, kRules)) ++sizes[c];
    for (const auto& [first, size] : sizes) EXPECT_LE(size, 2);
}

TEST(MatchClusters, OneWeakEdgeJoinsNoGroups) {
    // Two groups of four, each sure of itself, and one doubtful pair between them.
    std::vector<Edge> edges;
    for (const uint32_t base : {0u, 4u})
        for (uint32_t i = 0; i < 4; ++i)
            for (uint32_t j = i + 1; j < 4; ++j) edges.push_back({base + i, base + j, 12});
    edges.push_back({0, 4, 5});
    EXPECT_EQ(Cluster(8, edges, kRules), (std::vector<uint32_t>{0, 0, 0, 0, 4, 4, 4, 4}));
}

TEST(MatchClusters, AMissingPairDoesNotPartASureGroup) {
    const Edge edges[] = {{0, 1, 14}, {0, 2, 14}, {1, 2, 13}, {0, 3, 14}, {1, 3, 13}};  // 2 and 3 were not compared
    EXPECT_EQ(Cluster(4, edges, kRules), (std::vector<uint32_t>{0, 0, 0, 0}));
}

TEST(MatchClusters, WhatWasSaidHolds) {
    const Edge apart[] = {{0, 1, 30, Said::kDifferent}, {0, 2, 20}, {1, 2, 20}};
    const auto clusters = Cluster(3, apart, kRules);
    EXPECT_NE(clusters[0], clusters[1]);
    const Edge together[] = {{0, 1, -9, Said::kSame}};
    EXPECT_EQ(Cluster(2, together, kRules), (std::vector<uint32_t>{0, 0}));
}

RC_GTEST_PROP(MatchClusters, Laws, ()) {
    const auto records = *rc::gen::inRange<uint32_t>(1, 25);
    std::vector<Edge> edges;
    std::set<std::pair<uint32_t, uint32_t>> seen;
    for (int i = *rc::gen::inRange(0, 60); i > 0; --i) {
        auto a = *rc::gen::inRange<uint32_t>(0, records), b = *rc::gen::inRange<uint32_t>(0, records);
        if (a > b) std::swap(a, b);
        if (a == b || !seen.insert({a, b}).second) continue;
        edges.push_back({a, b, *rc::gen::inRange(-100, 200) / 10.0, *rc::gen::inRange(0, 10) == 0 ? Said::kDifferent : Said::kNothing});
    }
    const auto clusters = Cluster(records, edges, kRules);
    RC_ASSERT(clusters.size() == records);
    for (uint32_t i = 0; i < records; ++i) {
        RC_ASSERT(clusters[i] <= i);
        RC_ASSERT(clusters[clusters[i]] == clusters[i]);
    }
    for (const Edge& edge : edges) {
        if (edge.said == Said::kDifferent) RC_ASSERT(clusters[edge.a] != clusters[edge.b]);
        // Of two who are one, somebody in the cluster reaches the threshold; alone with an edge below it nobody joins.
    }
    // Nobody is joined without evidence: a cluster hangs together by edges from the threshold on.
    std::map<uint32_t, std::vector<uint32_t>> members;
    for (uint32_t i = 0; i < records; ++i) members[clusters[i]].push_back(i);
    for (const auto& [first, group] : members) {
        std::set<uint32_t> reached{first};
        for (size_t before = 0; before != reached.size();) {
            before = reached.size();
            for (const Edge& edge : edges)
                if (edge.weight >= kRules.threshold && edge.said == Said::kNothing && clusters[edge.a] == first && clusters[edge.b] == first &&
                    (reached.count(edge.a) || reached.count(edge.b))) reached.insert({edge.a, edge.b});
        }
        RC_ASSERT(reached.size() == group.size());
    }
    // The order of the edges does not matter.
    auto turned = edges;
    std::reverse(turned.begin(), turned.end());
    RC_ASSERT(Cluster(records, turned, kRules) == clusters);
}

}  // namespace
