// identity/match_clusters_pg.hpp: the people that a matcher's matches make of its records.
#pragma once

#include "identity/match_clusters.hpp"
#include "identity/matcher_pg.hpp"

namespace cdp::matching {

/// The records of a matcher, in their order, and for each the first one of its person.
struct People {
    std::vector<std::string> ids;
    std::vector<uint32_t> cluster;
};

/// By the matches kept in cdp.match. Of profiles those that were merged since count as what they were merged into. Throws.
People ClustersOf(const Matcher& matcher, double threshold);

}  // namespace cdp::matching
