// identity/match_clusters_pg.cpp: see match_clusters_pg.hpp.
#include "identity/match_clusters_pg.hpp"

namespace cdp::matching {

namespace {

constexpr long kMatchesAFetch = 20'000;

/// What stands in cdp.match, of records as they are called now.
const char* EdgesQuery(bool profiles) {
    return profiles
        ? "SELECT coalesce(a.profile_id::text, m.id_a), coalesce(b.profile_id::text, m.id_b), m.weight, m.status"
          " FROM cdp.match m LEFT JOIN cdp.profile_alias a ON a.alias_id = m.id_a::bigint LEFT JOIN cdp.profile_alias b ON b.alias_id = m.id_b::bigint"
          " WHERE m.matcher = $1 ORDER BY m.match_id"
        : "SELECT m.id_a, m.id_b, m.weight, m.status FROM cdp.match m WHERE m.matcher = $1 ORDER BY m.match_id";
}

Edge::Said SaidBy(const std::string& status) {
    if (status == "rejected") return Edge::Said::kDifferent;
    return status == "accepted" || status == "applied" ? Edge::Said::kSame : Edge::Said::kNothing;
}

}  // namespace

People ClustersOf(const Matcher& matcher, double threshold) {
    const Source source(matcher.table, matcher.owner);
    People people;
    people.ids = source.Ids();
    Texts numbers;
    for (const auto& id : people.ids) numbers.Add(id);
    std::vector<Edge> edges;
    {
        pg::Cursor cursor(EdgesQuery(source.profiles()), {pg::Text(matcher.name)}, true);
        for (pg::Rows rows; !(rows = cursor.Fetch(kMatchesAFetch)).empty();)
            for (uint64 i = 0; i < rows.size(); ++i) {
                const uint32_t a = numbers.Find(pg::Bytes(*rows.Get(i, 1))), b = numbers.Find(pg::Bytes(*rows.Get(i, 2)));
                if (a != 0 && b != 0 && a != b) edges.push_back({a - 1, b - 1, DatumGetFloat8(*rows.Get(i, 3)), SaidBy(rows.Text(i, 4))});
            }
    }
    // A pair that is not kept weighs less than what is worth reviewing.
    people.cluster = Cluster(static_cast<uint32_t>(people.ids.size()), edges, {WeightOf(threshold), std::min(WeightOf(matcher.review), -1.0)});
    return people;
}

}  // namespace cdp::matching
