// identity/match_apply_pg.cpp: what somebody decides about matches, and making one of profiles that match.
#include <algorithm>
#include <map>

#include "identity/match_clusters_pg.hpp"
#include "pipeline/batch_pg.hpp"

using namespace cdp;

namespace {

std::string Caller() {
    return pg::Call([] { return GetUserNameFromId(GetUserId(), false); });
}

void Decide(int64 match_id, const char* status, const std::string& by, std::optional<int64> link = std::nullopt) {
    pg::Execute("UPDATE cdp.match SET status = $2, decided_at = now(), decided_by = $3, link_id = $4 WHERE match_id = $1",
                {pg::Int8(match_id), pg::Text(status), pg::Text(by), link ? pg::Int8(*link) : pg::Null(INT8OID)});
}

/// The profile that an id means now; nothing if there is none any more.
std::optional<int64> Living(const std::string& id) {
    const auto rows = pg::Query("SELECT profile_id FROM cdp.profile WHERE profile_id = $1::bigint"
                                " UNION ALL SELECT profile_id FROM cdp.profile_alias WHERE alias_id = $1::bigint", {pg::Text(id)});
    return rows.empty() ? std::nullopt : std::optional(rows.Int8(0, 1));
}

/// Records in cdp.identity_conflict that a match was refused: by the limit of a type, or by a separation.
void NoteRefusal(int64 match_id, int64 a, int64 b, const std::string& column, const pg::Arg& why) {
    pg::Execute(
        "WITH strongest AS (SELECT DISTINCT ON (i.profile_id) i.*, t.priority FROM cdp.identifier i JOIN cdp.identifier_type t ON t.name = i.type"
        "   WHERE i.profile_id IN ($1, $2) ORDER BY i.profile_id, t.priority, i.value),"
        " pair AS (SELECT array_agg(s.identifier_id ORDER BY s.priority, s.value) AS ids FROM strongest s)"
        " INSERT INTO cdp.identity_conflict AS c (identifier_id, type, value, limit_type, message_id, event_id, first_at, last_at" + column + ")"
        " SELECT p.ids[1], i.type, i.value, " + (column.empty() ? "$3" : "NULL") + ", 'match ' || $4, 0, now(), now()" + (column.empty() ? "" : ", $3") +
        " FROM pair p JOIN cdp.identifier i ON i.identifier_id = p.ids[2]"
        " ON CONFLICT (identifier_id, type, value) DO UPDATE SET refusals = c.refusals + 1, last_at = greatest(c.last_at, excluded.last_at)",
        {pg::Int8(a), pg::Int8(b), why, pg::Int8(match_id)});
}

/// Whether two profiles cannot be one, because of a limit or a separation; recorded then.
bool IsRefused(int64 match_id, int64 a, int64 b) {
    const auto limit = pg::Query(
        "SELECT t.name FROM cdp.identifier_type t WHERE t.dropped_at IS NULL AND t.max_per_profile IS NOT NULL"
        " AND EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = $1 AND i.type = t.name)"
        " AND EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = $2 AND i.type = t.name)"
        " AND (SELECT count(*) FROM cdp.identifier i WHERE i.profile_id IN ($1, $2) AND i.type = t.name) > t.max_per_profile"
        " ORDER BY t.priority LIMIT 1", {pg::Int8(a), pg::Int8(b)});
    if (!limit.empty()) {
        NoteRefusal(match_id, a, b, "", pg::Text(limit.Text(0, 1)));
        return true;
    }
    const auto separation = pg::Query(
        "SELECT x.separation_id FROM cdp.identifier i JOIN cdp.identity_separation x USING (identifier_id)"
        " JOIN cdp.identity_separation y ON y.separation_id = x.separation_id AND y.part <> x.part"
        " JOIN cdp.identifier j ON j.identifier_id = y.identifier_id"
        " WHERE i.profile_id = $1 AND j.profile_id = $2 ORDER BY 1 LIMIT 1", {pg::Int8(a), pg::Int8(b)});
    if (separation.empty()) return false;
    NoteRefusal(match_id, a, b, ", separation_id", pg::Int8(separation.Int8(0, 1)));
    return true;
}

/// Makes one of the two profiles of a match, within the limits. Needs the pipeline's lock. What became of it.
const char* Apply(int64 match_id, const std::string& id_a, const std::string& id_b, const std::string& matcher, double probability,
                  const std::string& by) {
    const auto a = Living(id_a), b = Living(id_b);
    const char* status = "applied";
    std::optional<int64> link;
    if (!a || !b) {
        throw Error(sqlstate::undefined_object, "a profile of match " + std::to_string(match_id) + " does not exist any more")
            .Hint("Call cdp.find_matches again.");
    } else if (*a != *b) {
        if (IsRefused(match_id, *a, *b)) {
            status = "refused";
        } else {
            const std::string reason = "match " + std::to_string(match_id);
            pipeline::MergeProfiles(*a, *b, reason, by);
            const auto linked = pg::Query("UPDATE cdp.identity_link SET cause = 'match', matcher = $1, score = $2"
                                          " WHERE link_id = currval('cdp.identity_link_id_seq') AND cause = 'manual' AND reason = $3 RETURNING link_id",
                                          {pg::Text(matcher), pg::Value(FLOAT8OID, Float8GetDatum(probability)), pg::Text(reason)});
            if (!linked.empty()) link = linked.Int8(0, 1);
        }
    }
    Decide(match_id, status, by, link);
    return status;
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

/// Those whose links were taken back since: somebody said that they are wrong.
void NoteRevoked() {
    pg::Execute("UPDATE cdp.match m SET status = 'rejected', decided_at = l.revoked_at, decided_by = l.revoked_by FROM cdp.identity_link l"
                " WHERE l.link_id = m.link_id AND l.revoked_at IS NOT NULL AND m.status = 'applied'");
}

}  // namespace

CDP_FUNCTION(cdp_accept_match)  // cdp.accept_match(match_id) → text
{
    if (PG_ARGISNULL(0)) throw Error("22004", "the match must not be null");
    const std::string caller = Caller();
    const MemoryContext result_memory = CurrentMemoryContext;
    const char* status = "accepted";
    {
        const pg::Spi spi;
        const pg::ActAs owner(pg::ExtensionOwner());
        pipeline::Lock();
        const Match match = Load(PG_GETARG_INT64(0));
        if (match.status == "applied") status = "applied";
        else if (match.profiles) status = Apply(match.match_id, match.id_a, match.id_b, match.matcher, match.probability, caller);
        else Decide(match.match_id, status, caller);
    }
    MemoryContextSwitchTo(result_memory);
    return pg::TextDatum(status);
}

CDP_FUNCTION(cdp_reject_match)  // cdp.reject_match(match_id)
{
    if (PG_ARGISNULL(0)) throw Error("22004", "the match must not be null");
    const std::string caller = Caller();
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    NoteRevoked();
    const Match match = Load(PG_GETARG_INT64(0));
    if (match.status == "applied")
        throw Error(sqlstate::object_not_in_prerequisite_state, "match " + std::to_string(match.match_id) + " is applied already")
            .Hint("Take its link (link_id) back with cdp.revoke_link: that rejects it too.");
    Decide(match.match_id, "rejected", caller);
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_apply_matches)  // cdp.apply_matches(name, threshold) → bigint
{
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) throw Error("22004", "name and threshold must not be null");
    const std::string caller = Caller(), name(pg::Bytes(PG_GETARG_DATUM(0)));
    const double threshold = PG_GETARG_FLOAT8(1);
    if (!(threshold >= 0 && threshold <= 1))
        throw Error(sqlstate::invalid_parameter_value, "a threshold must be between 0 and 1").Hint("It is a probability.");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    NoteRevoked();
    const auto matcher = matching::LoadMatcher(name, true);
    const auto people = matching::ClustersOf(matcher, threshold);
    std::map<std::string, uint32_t, std::less<>> cluster;
    for (size_t i = 0; i < people.ids.size(); ++i)
        if (people.cluster[i] != i) {
            cluster.emplace(people.ids[i], people.cluster[i]);
            cluster.emplace(people.ids[people.cluster[i]], people.cluster[i]);
        }
    const auto of = [&](const std::string& id) {
        const auto found = cluster.find(id);
        return found == cluster.end() ? UINT32_MAX : found->second;
    };
    // The most probable first: they say best why.
    const auto matches = pg::Query("SELECT match_id, id_a, id_b, probability, status FROM cdp.match WHERE matcher = $1"
                                   " AND (status = 'accepted' OR status IN ('pending', 'refused') AND probability >= $2) ORDER BY probability DESC, match_id",
                                   {pg::Text(name), pg::Value(FLOAT8OID, Float8GetDatum(threshold))});
    int64 merged = 0;
    for (uint64 i = 0; i < matches.size(); ++i) {
        if ((i & 63) == 0) poll_stop();
        std::string ids[2] = {matches.Text(i, 2), matches.Text(i, 3)};
        if (matcher.table) {
            if (of(ids[0]) == UINT32_MAX || of(ids[0]) != of(ids[1]) || matches.Text(i, 5) == "accepted") continue;
            Decide(matches.Int8(i, 1), "accepted", caller);
            ++merged;
            continue;
        }
        // Clusters are of profiles as they were before this call.
        for (auto& id : ids)
            if (const auto living = cluster.count(id) ? std::nullopt : Living(id)) id = std::to_string(*living);
        if (of(ids[0]) == UINT32_MAX || of(ids[0]) != of(ids[1])) continue;
        const auto a = Living(ids[0]), b = Living(ids[1]);
        if (!a || !b) continue;
        const bool two = *a != *b;
        const std::string status = Apply(matches.Int8(i, 1), ids[0], ids[1], name, DatumGetFloat8(*matches.Get(i, 4)), caller);
        merged += two && status == "applied";
    }
    PG_RETURN_INT64(merged);
}
