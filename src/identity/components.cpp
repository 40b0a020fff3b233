// identity/components.cpp: see components.hpp.
#include "identity/components.hpp"

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/breadth_first_search.hpp>
#include <boost/graph/connected_components.hpp>

namespace cdp::identity {

namespace {

using Graph = boost::adjacency_list<boost::vecS, boost::vecS, boost::undirectedS, boost::no_property,
                                    boost::property<boost::edge_index_t, int>>;

Graph Connected(size_t identifiers, std::span<const Edge> links) {
    Graph graph(identifiers);
    for (size_t i = 0; i < links.size(); ++i)
        boost::add_edge(static_cast<size_t>(links[i].first), static_cast<size_t>(links[i].second), static_cast<int>(i), graph);
    return graph;
}

/// By which link each identifier was reached first, and from where.
struct Arrivals : boost::default_bfs_visitor {
    std::vector<std::pair<int, int>>* arrival;  // link, identifier
    template <class E>
    void tree_edge(const E& edge, const Graph& graph) const {
        (*arrival)[target(edge, graph)] = {boost::get(boost::edge_index, graph, edge), static_cast<int>(source(edge, graph))};
    }
};

}  // namespace

std::vector<int> Components(size_t identifiers, std::span<const Edge> links) {
    std::vector<int> component(identifiers);
    if (identifiers > 0) boost::connected_components(Connected(identifiers, links), component.data());
    return component;
}

std::optional<std::vector<int>> ShortestChain(size_t identifiers, std::span<const Edge> links, int from, int to) {
    const Graph graph = Connected(identifiers, links);
    std::vector<std::pair<int, int>> arrival(identifiers, {-1, -1});
    Arrivals visitor;
    visitor.arrival = &arrival;
    std::vector<boost::default_color_type> colors(identifiers);
    const auto color_map = boost::make_iterator_property_map(colors.begin(), boost::get(boost::vertex_index, graph));
    boost::breadth_first_search(graph, static_cast<size_t>(from), boost::visitor(visitor).color_map(color_map));
    std::vector<int> chain;
    for (int at = to; at != from; at = arrival[at].second) {
        if (arrival[at].first < 0) return std::nullopt;
        chain.push_back(arrival[at].first);
    }
    std::reverse(chain.begin(), chain.end());
    return chain;
}

}  // namespace cdp::identity
