// identity/components.hpp: what hangs together by links, and how.
// Knows no PostgreSQL. Identifiers are their places in a list, links pairs of those.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace cdp::identity {

using Edge = std::pair<int, int>;

/// Of each identifier, which component it is in. Components are numbered in the order of their first identifiers.
std::vector<int> Components(size_t identifiers, std::span<const Edge> links);

/// The places of the links that lead from one identifier to another, the fewest possible, in order; of several such
/// ways always the same. Empty if both are the same; nothing if there is none.
std::optional<std::vector<int>> ShortestChain(size_t identifiers, std::span<const Edge> links, int from, int to);

}  // namespace cdp::identity
