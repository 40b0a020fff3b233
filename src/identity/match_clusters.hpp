// identity/match_clusters.hpp: which records are one person, given what pairs of them weigh.
// Knows no PostgreSQL. The method: docs/matching.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cdp::matching {

/// What is known of two records: their weight, or what a person decided.
struct Edge {
    enum class Said { kNothing, kSame, kDifferent };
    uint32_t a, b;
    double weight;
    Said said = Said::kNothing;
};

struct ClusterRules {
    double threshold;   // the weight from which a pair can join clusters
    double unscored;    // what a pair that has no edge counts for
};

/// The cluster of each of `records`, by its first record. Joins the clusters whose pairs weigh most on average, while
/// that is over zero and one of these pairs reaches the threshold. Whom a person told apart are never in one cluster,
/// whom he said are one always, unless that contradicts. O(e log e) in the edges of a component.
std::vector<uint32_t> Cluster(uint32_t records, std::span<const Edge> edges, const ClusterRules& rules);

}  // namespace cdp::matching
