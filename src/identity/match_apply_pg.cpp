// identity/match_apply_pg.cpp: what somebody decides about matches, and making one of profiles that match.
#include <algorithm>
#include <chrono>
#include <map>
#include <unordered_map>

#include "identity/find_pg.hpp"
#include "identity/match_clusters_pg.hpp"
#include "pg/names.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/merge_pg.hpp"

using namespace cdp;

namespace {

constexpr long kMatchesAFetch = 20'000;
constexpr size_t kPairsAtATime = 10'000;

/// What became of a match.
struct Decision {
    int64 match_id;
    const char* status;
    int64 link_id = 0;  // 0: none
};

void Decide(std::span<const Decision> decisions, const std::string& by) {
    pg::StagedRows staged("cdp_decided", {{"match_id", INT8OID}, {"status", TEXTOID}, {"link_id", INT8OID}});
    std::map<const char*, Datum> statuses;
    for (const Decision& decision : decisions) {
        Datum& status = statuses[decision.status];
        if (status == 0) status = pg::TextDatum(decision.status);
        const Datum values[] = {Int64GetDatum(decision.match_id), status, Int64GetDatum(decision.link_id)};
        const bool nulls[] = {false, false, decision.link_id == 0};
        staged.Add(values, nulls);
    }
    static pg::Statement decide("UPDATE cdp.match m SET status = d.status, decided_at = now(), decided_by = $1, link_id = d.link_id"
                                " FROM cdp_decided d WHERE m.match_id = d.match_id", {TEXTOID});
    decide.Execute({pg::Text(by)});
}
void Decide(const Decision& decision, const std::string& by) { Decide(std::span(&decision, 1), by); }

/// Two profiles that match.
struct Pair {
    int64 match_id;
    int64 a, b;
    double probability;
    uint32_t cluster = 0;
};

/// Makes the profiles of matches one, in their order, within the limits, at once. Needs the pipeline's lock. What became
/// of each.
std::vector<Decision> Apply(std::span<const Pair> pairs, const std::string& matcher, const std::string& by) {
    std::vector<identity::Joining> joinings;
    for (const Pair& pair : pairs)
        if (pair.a != pair.b) joinings.push_back({pair.a, pair.b, "match", "match " + std::to_string(pair.match_id), by, matcher, pair.probability});
    pipeline::MergeMatches(joinings);
    std::vector<Decision> decisions;
    size_t next = 0;
    for (const Pair& pair : pairs) {
        const auto* joining = pair.a != pair.b ? &joinings[next++] : nullptr;
        decisions.push_back({pair.match_id, joining != nullptr && joining->refusal ? "refused" : "applied", joining != nullptr ? joining->link_id : 0});
    }
    Decide(decisions, by);
    return decisions;
}

struct Match {
    int64 match_id;
    std::string matcher, id_a, id_b, status;
    double probability;
    bool profiles;
};

Match Load(int64 match_id) {
    const auto rows = pg::Query("SELECT m.matcher, m.id_a, m.id_b, m.status, m.probability, r.source IS NULL FROM cdp.match m"
                                " JOIN cdp.matcher r ON r.name = m.matcher WHERE m.match_id = $1 FOR UPDATE", {pg::Int8(match_id)});
    if (rows.empty()) throw Error(sqlstate::undefined_object, "match " + std::to_string(match_id) + " does not exist");
    return {match_id, rows.Text(0, 1), rows.Text(0, 2), rows.Text(0, 3), rows.Text(0, 4), DatumGetFloat8(*rows.Get(0, 5)), rows.Bool(0, 6)};
}

const char* Accept(const Match& match, const std::string& by) {
    const auto a = identity::Living(std::stoll(match.id_a)), b = identity::Living(std::stoll(match.id_b));
    if (!a || !b)
        throw Error(sqlstate::undefined_object, "a profile of match " + std::to_string(match.match_id) + " does not exist any more")
            .Hint("Call cdp.find_matches again.");
    const Pair pair{match.match_id, *a, *b, match.probability};
    return Apply({&pair, 1}, match.matcher, by).front().status;
}

/// Those whose links were taken back since: somebody said that they are wrong.
void NoteRevoked() {
    pg::Execute("UPDATE cdp.match m SET status = 'rejected', decided_at = l.revoked_at, decided_by = l.revoked_by FROM cdp.identity_link l"
                " WHERE l.link_id = m.link_id AND l.revoked_at IS NOT NULL AND m.status = 'applied'");
}

using ClusterOf = std::unordered_map<std::string, uint32_t>;

/// Of those who are not alone.
ClusterOf Clusters(const matching::People& people) {
    ClusterOf cluster;
    for (size_t i = 0; i < people.ids.size(); ++i)
        if (people.cluster[i] != i) {
            cluster.emplace(people.ids[i], people.cluster[i]);
            cluster.emplace(people.ids[people.cluster[i]], people.cluster[i]);
        }
    return cluster;
}

/// The cluster that both are in, if it is one.
std::optional<uint32_t> Common(const ClusterOf& clusters, const std::string& a, const std::string& b) {
    const auto x = clusters.find(a), y = clusters.find(b);
    return x == clusters.end() || y == clusters.end() || x->second != y->second ? std::nullopt : std::optional(x->second);
}

/// Where the records are those of a table: accepts the matches within each person. How many.
int64 AcceptWithin(const ClusterOf& clusters, const std::string& matcher, double threshold, const std::string& by) {
    std::vector<Decision> decisions;
    {
        pg::Cursor cursor("SELECT match_id, id_a, id_b FROM cdp.match WHERE matcher = $1 AND status IN ('pending', 'refused') AND probability >= $2",
                          {pg::Text(matcher), pg::Value(FLOAT8OID, Float8GetDatum(threshold))});
        for (pg::Rows rows; !(rows = cursor.Fetch(kMatchesAFetch)).empty();)
            for (uint64 i = 0; i < rows.size(); ++i)
                if (Common(clusters, rows.Text(i, 2), rows.Text(i, 3))) decisions.push_back({rows.Int8(i, 1), "accepted"});
    }
    Decide(decisions, by);
    return static_cast<int64>(decisions.size());
}

/// The matches within each person, of profiles as they are now: one person after the other, of each the most probable first,
/// for they say best why.
std::vector<Pair> PairsWithin(const ClusterOf& clusters, const std::string& matcher, double threshold) {
    std::vector<Pair> pairs;
    pg::Cursor cursor(
        "SELECT m.match_id, x.id, y.id, m.probability FROM cdp.match m"
        " LEFT JOIN cdp.profile_alias a ON a.alias_id = m.id_a::bigint LEFT JOIN cdp.profile_alias b ON b.alias_id = m.id_b::bigint"
        " CROSS JOIN LATERAL (SELECT coalesce(a.profile_id, m.id_a::bigint)) x (id) CROSS JOIN LATERAL (SELECT coalesce(b.profile_id, m.id_b::bigint)) y (id)"
        " WHERE m.matcher = $1 AND (m.status = 'accepted' OR m.status IN ('pending', 'refused') AND m.probability >= $2)"
        " ORDER BY m.probability DESC, m.match_id",
        {pg::Text(matcher), pg::Value(FLOAT8OID, Float8GetDatum(threshold))});
    for (pg::Rows rows; !(rows = cursor.Fetch(kMatchesAFetch)).empty();)
        for (uint64 i = 0; i < rows.size(); ++i) {
            const int64 a = rows.Int8(i, 2), b = rows.Int8(i, 3);
            // Clusters are of profiles that exist.
            if (const auto cluster = Common(clusters, std::to_string(a), std::to_string(b)))
                pairs.push_back({rows.Int8(i, 1), a, b, DatumGetFloat8(*rows.Get(i, 4)), *cluster});
        }
    std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& x, const Pair& y) { return x.cluster < y.cluster; });
    return pairs;
}

/// Makes profiles one, many people at a time. How many went into others.
int64 ApplyWithin(const ClusterOf& clusters, const std::string& matcher, double threshold, const std::string& by) {
    const auto pairs = PairsWithin(clusters, matcher, threshold);
    int64 merged = 0;
    auto told = std::chrono::steady_clock::now();
    pg::Scratch memory;
    for (size_t begin = 0, end; begin < pairs.size(); begin = end) {
        poll_stop();
        for (end = std::min(pairs.size(), begin + kPairsAtATime); end < pairs.size() && pairs[end].cluster == pairs[end - 1].cluster;) ++end;
        {
            const pg::Scratch::Use use(memory);
            for (const Decision& decision : Apply(std::span(pairs).subspan(begin, end - begin), matcher, by)) merged += decision.link_id != 0;
        }
        memory.Reset();
        if (const auto now = std::chrono::steady_clock::now(); now - told > std::chrono::seconds(5)) {
            matching::Tell(std::to_string(end) + " of " + std::to_string(pairs.size()) + " matches are applied");
            told = now;
        }
    }
    return merged;
}

}  // namespace

CDP_FUNCTION(cdp_accept_match)  // cdp.accept_match(match_id) → text
{
    if (PG_ARGISNULL(0)) throw Error(sqlstate::null_value_not_allowed, "the match must not be null");
    const std::string caller = pg::RoleName(GetUserId());
    const MemoryContext result_memory = CurrentMemoryContext;
    const char* status = "accepted";
    {
        const pg::Spi spi;
        const pg::ActAs owner(pg::ExtensionOwner());
        pipeline::Lock();
        const Match match = Load(PG_GETARG_INT64(0));
        if (match.status == "applied") status = "applied";
        else if (match.profiles) status = Accept(match, caller);
        else Decide({match.match_id, status}, caller);
    }
    MemoryContextSwitchTo(result_memory);
    return pg::TextDatum(status);
}

CDP_FUNCTION(cdp_reject_match)  // cdp.reject_match(match_id)
{
    if (PG_ARGISNULL(0)) throw Error(sqlstate::null_value_not_allowed, "the match must not be null");
    const std::string caller = pg::RoleName(GetUserId());
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    NoteRevoked();
    const Match match = Load(PG_GETARG_INT64(0));
    if (match.status == "applied")
        throw Error(sqlstate::object_not_in_prerequisite_state, "match " + std::to_string(match.match_id) + " is applied already")
            .Hint("Take its link (link_id) back with cdp.revoke_link: that rejects it too.");
    Decide({match.match_id, "rejected"}, caller);
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_apply_matches)  // cdp.apply_matches(name, threshold) → bigint
{
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) throw Error(sqlstate::null_value_not_allowed, "name and threshold must not be null");
    const std::string caller = pg::RoleName(GetUserId()), name(pg::Bytes(PG_GETARG_DATUM(0)));
    const double threshold = PG_GETARG_FLOAT8(1);
    if (!(threshold >= 0 && threshold <= 1))
        throw Error(sqlstate::invalid_parameter_value, "a threshold must be between 0 and 1").Hint("It is a probability.");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    NoteRevoked();
    const auto matcher = matching::LoadMatcher(name, true);
    const auto clusters = Clusters(matching::ClustersOf(matcher, threshold));
    PG_RETURN_INT64(matcher.table ? AcceptWithin(clusters, name, threshold, caller) : ApplyWithin(clusters, name, threshold, caller));
}
