// identity/joinings_pg.cpp: see joinings_pg.hpp.
#include "identity/joinings_pg.hpp"

#include "collect/events_pg.hpp"

namespace cdp::identity {

namespace {

/// The strongest identifier of each profile among `a` and `b` of the staged rows cdp_joining.
constexpr const char* kStrongest =
    "strongest AS MATERIALIZED (SELECT DISTINCT ON (i.profile_id) i.profile_id, i.identifier_id, i.type, i.value, t.priority"
    "   FROM (SELECT a FROM cdp_joining UNION SELECT b FROM cdp_joining) p (profile_id) JOIN cdp.identifier i ON i.profile_id = p.profile_id"
    "   JOIN cdp.identifier_type t ON t.name = i.type ORDER BY i.profile_id, t.priority, i.value)";

}  // namespace

void LinkByHand(std::span<Joining* const> joinings) {
    if (joinings.empty()) return;
    int64 link_id = collect::TakeIds("cdp.identity_link_id_seq", static_cast<int64>(joinings.size()));
    pg::StagedRows staged("cdp_joining", {{"link_id", INT8OID}, {"a", INT8OID}, {"b", INT8OID}, {"cause", TEXTOID}, {"reason", TEXTOID}, {"actor", TEXTOID},
                                          {"matcher", TEXTOID}, {"score", FLOAT8OID}});
    for (Joining* joining : joinings) {
        joining->link_id = link_id++;
        const bool by_matcher = joining->matcher.has_value();
        const Datum values[] = {Int64GetDatum(joining->link_id), Int64GetDatum(joining->a), Int64GetDatum(joining->b), pg::TextDatum(joining->cause),
                                pg::TextDatum(joining->reason), pg::TextDatum(joining->actor), by_matcher ? pg::TextDatum(*joining->matcher) : Datum(0),
                                Float8GetDatum(joining->score)};
        const bool nulls[] = {false, false, false, false, false, false, !by_matcher, !by_matcher};
        staged.Add(values, nulls);
    }
    pg::Execute(std::string("WITH ") + kStrongest +
                    " INSERT INTO cdp.identity_link (link_id, identifier_a, identifier_b, cause, reason, actor, matcher, score, linked_at, after_event_id)"
                    " SELECT j.link_id, CASE WHEN x.first THEN a.identifier_id ELSE b.identifier_id END,"
                    "  CASE WHEN x.first THEN b.identifier_id ELSE a.identifier_id END, j.cause, j.reason, j.actor, j.matcher, j.score, now(), $1"
                    " FROM cdp_joining j JOIN strongest a ON a.profile_id = j.a JOIN strongest b ON b.profile_id = j.b"
                    " CROSS JOIN LATERAL (SELECT (a.priority, a.value) <= (b.priority, b.value)) x (first)",
                {pg::Int8(collect::NumberAct())});
}

void NoteRefusals(std::span<const Joining* const> joinings, const std::function<std::string_view(int)>& type_name) {
    if (joinings.empty()) return;
    pg::StagedRows staged("cdp_joining", {{"a", INT8OID}, {"b", INT8OID}, {"place", INT4OID}, {"reason", TEXTOID}, {"limit_type", TEXTOID}, {"separation_id", INT8OID}});
    for (size_t i = 0; i < joinings.size(); ++i) {
        const bool of_limit = joinings[i]->refusal.limit_type >= 0;
        const Datum values[] = {Int64GetDatum(joinings[i]->a), Int64GetDatum(joinings[i]->b), Int32GetDatum(static_cast<int32>(i)), pg::TextDatum(joinings[i]->reason),
                                of_limit ? pg::TextDatum(type_name(joinings[i]->refusal.limit_type)) : Datum(0), Int64GetDatum(joinings[i]->refusal.separation)};
        const bool nulls[] = {false, false, false, false, !of_limit, of_limit};
        staged.Add(values, nulls);
    }
    // The stronger of the two is who the other was left out from, as with messages.
    pg::Execute(std::string("WITH ") + kStrongest +
                ", refused AS (SELECT CASE WHEN x.first THEN a.identifier_id ELSE b.identifier_id END AS identifier_id, CASE WHEN x.first THEN b.type ELSE a.type END AS type,"
                "   CASE WHEN x.first THEN b.value ELSE a.value END AS value, j.*"
                "   FROM cdp_joining j JOIN strongest a ON a.profile_id = j.a JOIN strongest b ON b.profile_id = j.b"
                "   CROSS JOIN LATERAL (SELECT (a.priority, a.value) <= (b.priority, b.value)) x (first)),"
                " once AS (SELECT DISTINCT ON (identifier_id, type, value) *, count(*) OVER (PARTITION BY identifier_id, type, value) AS refusals"
                "   FROM refused ORDER BY identifier_id, type, value, place)"
                " INSERT INTO cdp.identity_conflict AS c (identifier_id, type, value, limit_type, message_id, event_id, refusals, first_at, last_at, separation_id)"
                " SELECT identifier_id, type, value, limit_type, reason, 0, refusals, now(), now(), separation_id FROM once"
                " ON CONFLICT (identifier_id, type, value) DO UPDATE SET refusals = c.refusals + excluded.refusals, last_at = greatest(c.last_at, excluded.last_at)");
}

}  // namespace cdp::identity
