// identity/separations_pg.cpp: see separations_pg.hpp.
#include "identity/separations_pg.hpp"

#include "pg/probes.hpp"

namespace cdp::identity {

void ReadMarks(std::span<const int64> profile_ids, const std::function<void(int64, Mark)>& visit) {
    static pg::Statement read(
        "SELECT i.profile_id, s.separation_id, s.part FROM cdp_batch_marked b JOIN cdp.identifier i ON i.profile_id = b.profile_id"
        " JOIN cdp.identity_separation s ON s.identifier_id = i.identifier_id");
    pg::StagedRows staged("cdp_batch_marked", {{"profile_id", INT8OID}});
    for (const int64 profile_id : profile_ids) staged.Add({Int64GetDatum(profile_id)});
    const pg::Probes probes;
    const auto rows = read.Query();
    for (uint64 i = 0; i < rows.size(); ++i) visit(rows.Int8(i, 1), {rows.Int8(i, 2), rows.Int8(i, 3)});
}

void Separate(std::span<const Parted> identifiers, int64 act) {
    pg::StagedRows staged("cdp_parted", {{"identifier_id", INT8OID}, {"part", INT8OID}});
    for (const Parted& identifier : identifiers)
        staged.Add({Int64GetDatum(identifier.identifier_id), Int64GetDatum(identifier.part)});
    pg::Execute("INSERT INTO cdp.identity_separation (identifier_id, separation_id, part, first_part, after_event_id)"
                " SELECT p.identifier_id, s.id, p.part, p.part, $1 FROM (SELECT nextval('cdp.identity_separation_id_seq') AS id) s, cdp_parted p",
                {pg::Int8(act)});
}

void LiftSeparations(int64 profile_a, int64 profile_b) {
    // The part that they come to be is a new one: a number that none has. The sequence has given at least one before.
    static pg::Statement lift(
        "WITH mark AS MATERIALIZED (SELECT s.* FROM cdp.identifier i JOIN cdp.identity_separation s USING (identifier_id)"
        "              WHERE i.profile_id IN ($1, $2)),"
        " lifted AS MATERIALIZED (SELECT separation_id, nextval('cdp.identity_separation_id_seq') AS part FROM"
        "            (SELECT separation_id FROM mark GROUP BY separation_id HAVING count(DISTINCT part) > 1) b)"
        " UPDATE cdp.identity_separation s SET part = l.part FROM mark m JOIN lifted l USING (separation_id)"
        " WHERE s.identifier_id = m.identifier_id AND s.separation_id = m.separation_id", {INT8OID, INT8OID});
    lift.Execute({pg::Int8(profile_a), pg::Int8(profile_b)});
}

}  // namespace cdp::identity
