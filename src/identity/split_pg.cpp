// identity/split_pg.cpp: SQL's doors to taking back: cdp.split_identifier and cdp.revoke_link.
#include <set>

#include "collect/events_pg.hpp"
#include "identity/find_pg.hpp"
#include "identity/person_links_pg.hpp"
#include "identity/separations_pg.hpp"
#include "pg/arguments.hpp"
#include "pg/names.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/regroup_pg.hpp"

using namespace cdp;
using identity::PersonLinks;

namespace {

/// Separates part `alone` of the person from all the rest; and of the rest, those whom a link that was taken back
/// earlier joined. Everything else that comes apart may come together again.
void KeepApart(const PersonLinks& person, const std::vector<int>& part, int alone, int64 act) {
    std::set<std::pair<int, int>> pairs;
    for (const auto& [a, b] : person.revoked())
        if (part[a] != part[b] && part[a] != alone && part[b] != alone) pairs.insert(std::minmax(part[a], part[b]));
    std::vector<identity::Parted> sides;
    for (size_t i = 0; i < part.size(); ++i) sides.push_back({person.identifiers()[i], part[i] == alone ? 0 : 1});
    identity::Separate(sides, act);
    for (const auto& [a, b] : pairs) {
        sides.clear();
        for (size_t i = 0; i < part.size(); ++i)
            if (part[i] == a || part[i] == b) sides.push_back({person.identifiers()[i], part[i] == a ? 0 : 1});
        identity::Separate(sides, act);
    }
}

/// What messages carried beside the identifier when it was their strongest, they carry without it, too: makes the links
/// that they then would have made, of the strongest of the others with the rest. Returns them.
std::vector<identity::Edge> LinkWithout(const PersonLinks& person, int64 identifier_id, int64 act) {
    const auto others = pg::Query(
        "SELECT i.identifier_id FROM cdp.identity_link l"
        " JOIN cdp.identifier i ON i.identifier_id = l.identifier_a + l.identifier_b - $1 JOIN cdp.identifier_type t ON t.name = i.type"
        " WHERE (l.identifier_a = $1 OR l.identifier_b = $1) AND l.revoked_at IS NULL AND l.cause IN ('message', 'rule')"
        " GROUP BY i.identifier_id, t.priority, i.value, t.type_id ORDER BY t.priority, i.value, t.type_id", {pg::Int8(identifier_id)});
    // The planner must know how many: there may be millions.
    pg::StagedRows beside("cdp_beside", {{"identifier_id", INT8OID}, {"place", INT8OID}}, static_cast<double>(others.size()));
    for (uint64 i = 0; i < others.size(); ++i) beside.Add({Int64GetDatum(others.Int8(i, 1)), Int64GetDatum(static_cast<int64>(i))});
    const auto rows = pg::Query(
        // Its own messages, and those whose strongest was taken away from it before.
        "WITH strongest AS MATERIALIZED (SELECT $1 AS identifier_id UNION"
        "   SELECT l.identifier_a FROM cdp.identity_link l WHERE l.identifier_b = $1 AND l.revoked_by IS NOT NULL),"
        " carried AS (SELECT e.event_id, e.message_id, e.occurred_at, b.identifier_id AS b,"
        "   first_value(b.identifier_id) OVER (PARTITION BY e.event_id ORDER BY b.place) AS a"
        "   FROM strongest s JOIN cdp.event e ON e.identifier_id = s.identifier_id CROSS JOIN unnest(e.linked_ids) AS c(identifier_id)"
        "   JOIN cdp_beside b ON b.identifier_id = c.identifier_id WHERE e.identifier_id = $1 OR $1 = ANY (e.linked_ids)),"
        " known AS NOT MATERIALIZED (SELECT identifier_a, identifier_b FROM cdp.identity_link"
        "   WHERE cause IN ('message', 'rule') AND (revoked_at IS NULL OR revoked_by IS NOT NULL)),"
        " pair AS (SELECT DISTINCT ON (a, b) * FROM carried c WHERE a <> b"
        "   AND NOT EXISTS (SELECT FROM known k WHERE k.identifier_a = c.a AND k.identifier_b = c.b)"
        "   AND NOT EXISTS (SELECT FROM known k WHERE k.identifier_a = c.b AND k.identifier_b = c.a) ORDER BY a, b, event_id)"
        " INSERT INTO cdp.identity_link (link_id, identifier_a, identifier_b, cause, message_id, event_id, linked_at, after_event_id)"
        " SELECT nextval('cdp.identity_link_id_seq'), p.*, $2 FROM (SELECT a, b, 'message', message_id, event_id, occurred_at FROM pair ORDER BY event_id, b) p"
        " RETURNING identifier_a, identifier_b", {pg::Int8(identifier_id), pg::Int8(act)});
    std::vector<identity::Edge> links;
    for (uint64 i = 0; i < rows.size(); ++i) links.push_back({person.PlaceOf(rows.Int8(i, 1)), person.PlaceOf(rows.Int8(i, 2))});
    return links;
}

/// Makes every part but `keeper` a new profile. Returns whose each part is now.
std::vector<int64> ComeApart(const PersonLinks& person, const std::vector<int>& part, int keeper) {
    const int parts = *std::max_element(part.begin(), part.end()) + 1;
    int64 next = collect::TakeIds("cdp.profile_id_seq", parts - 1);
    pipeline::Regrouping regrouping;
    regrouping.cause = segment::Cause::kSplit;
    regrouping.staying.push_back(person.profile_id());
    std::vector<int64> profile_of(static_cast<size_t>(parts), person.profile_id());
    for (int p = 0; p < parts; ++p) {
        if (p == keeper) continue;
        profile_of[p] = next++;
        regrouping.made.push_back(profile_of[p]);
    }
    for (size_t i = 0; i < part.size(); ++i)
        if (part[i] != keeper) regrouping.moves.push_back({person.identifiers()[i], profile_of[part[i]]});
    pipeline::Regroup(pipeline::Current(), regrouping);
    return profile_of;
}

}  // namespace

CDP_FUNCTION(cdp_split_identifier)  // cdp.split_identifier(type text, value text, reason text) → bigint
{
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) throw Error(sqlstate::null_value_not_allowed, "type and value must not be null");
    const auto actor = pg::RoleName(GetUserId());
    const auto reason = pg::TextArgument(fcinfo, 2);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto found = identity::Find(pg::Bytes(PG_GETARG_DATUM(0)), pg::Bytes(PG_GETARG_DATUM(1)));
    const PersonLinks person(found.profile_id);
    if (person.identifiers().size() == 1) {
        pg::Call([] { ereport(NOTICE, (errmsg("the identifier is its profile's only one"), errdetail("Nothing was changed."))); });
        PG_RETURN_INT64(found.profile_id);
    }

    const int place = person.PlaceOf(found.identifier_id);
    const int64 act = collect::NumberAct();
    std::vector<identity::Edge> rest = LinkWithout(person, found.identifier_id, act);
    for (const auto& link : person.links())
        if (link.first != place && link.second != place) rest.push_back(link);
    const auto part = identity::Components(person.identifiers().size(), rest);
    KeepApart(person, part, part[place], act);
    pg::Execute("UPDATE cdp.identity_link SET revoked_at = now(), revoked_by = $2, revoked_reason = $3, revoked_after_event_id = $4"
                " WHERE (identifier_a = $1 OR identifier_b = $1) AND revoked_at IS NULL",
                {pg::Int8(found.identifier_id), pg::Text(actor), pg::TextOrNull(reason), pg::Int8(act)});
    // Of what remains the part with the strongest identifier goes on as the old profile.
    const auto profile_of = ComeApart(person, part, part[place] == 0 ? 1 : 0);
    PG_RETURN_INT64(profile_of[part[place]]);
}

CDP_FUNCTION(cdp_revoke_link)  // cdp.revoke_link(link_id bigint, reason text) → void
{
    if (PG_ARGISNULL(0)) throw Error(sqlstate::null_value_not_allowed, "link_id must not be null");
    const int64 link_id = PG_GETARG_INT64(0);
    const auto actor = pg::RoleName(GetUserId());
    const auto reason = pg::TextArgument(fcinfo, 1);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto link = pg::Query("SELECT l.identifier_a, l.identifier_b, l.revoked_at IS NOT NULL, i.profile_id FROM cdp.identity_link l"
                                " JOIN cdp.identifier i ON i.identifier_id = l.identifier_a WHERE l.link_id = $1", {pg::Int8(link_id)});
    if (link.empty()) throw Error(sqlstate::undefined_object, "link " + std::to_string(link_id) + " does not exist")
                                .Hint("cdp.explain_identity(profile_id) shows a profile's links.");
    if (link.Bool(0, 3))
        throw Error(sqlstate::object_not_in_prerequisite_state, "link " + std::to_string(link_id) + " was already revoked");

    const PersonLinks person(link.Int8(0, 4));
    std::vector<identity::Edge> rest;
    for (size_t i = 0; i < person.links().size(); ++i)
        if (person.LinkId(i) != link_id) rest.push_back(person.links()[i]);
    const auto part = identity::Components(person.identifiers().size(), rest);
    const int64 act = collect::NumberAct();
    pg::Execute("UPDATE cdp.identity_link SET revoked_at = now(), revoked_by = $2, revoked_reason = $3, revoked_after_event_id = $4 WHERE link_id = $1",
                {pg::Int8(link_id), pg::Text(actor), pg::TextOrNull(reason), pg::Int8(act)});
    const int a = part[person.PlaceOf(link.Int8(0, 1))], b = part[person.PlaceOf(link.Int8(0, 2))];
    if (a != b) {
        KeepApart(person, part, b, act);
        ComeApart(person, part, 0);
    }
    PG_RETURN_VOID();
}
