// segment/fill_pg.cpp: see fill_pg.hpp.
#include "segment/fill_pg.hpp"

namespace cdp::segment {

namespace {

std::string Quoted(const std::string& text) {
    return pg::Call([&] { return quote_literal_cstr(text.c_str()); });
}

constexpr long kIdsAFetch = 50'000;

}  // namespace

std::string MembersQuery(const pg::Condition& condition, const std::string& profiles, const std::string& members,
                         const std::string& identifiers) {
    const std::string where = condition.Rewritten([&](const pg::SpecialCall& call) {
        if (call.function == "in_segment")
            return "EXISTS (SELECT FROM " + members + " m JOIN cdp.segment s USING (segment_id)"
                   " WHERE m.profile_id = profile.profile_id AND s.name = " + Quoted(*call.arguments[0]) + ")";
        return "EXISTS (SELECT FROM " + identifiers + " i WHERE i.profile_id = profile.profile_id AND i.type = " + Quoted(*call.arguments[0]) + ")";
    });
    return "SELECT profile.profile_id FROM " + profiles + " AS profile WHERE (\n" + where + "\n)";
}

Difference Fill(const Segment& segment, bool is_new, const char* cause) {
    const std::string members = MembersQuery(*segment.condition);
    pg::StagedRows fresh("cdp_fresh_member", {{"profile_id", INT8OID}}, pg::StagedRows::kMany);
    {
        // The owner's rights for what the owner wrote; ours for writing.
        const pg::ActAs owner(segment.owner, true);
        pg::Cursor cursor(members);
        for (pg::Rows rows; !(rows = cursor.Fetch(kIdsAFetch)).empty();) {
            poll_stop();
            for (uint64 i = 0; i < rows.size(); ++i) fresh.Add({*rows.Get(i, 1)});
        }
    }
    const auto id = pg::Int8(segment.segment_id);
    Difference difference;
    if (!is_new) {
        difference.left = pg::Execute(
            "WITH gone AS (DELETE FROM cdp.segment_member m WHERE segment_id = $1"
            "   AND NOT EXISTS (SELECT FROM cdp_fresh_member f WHERE f.profile_id = m.profile_id) RETURNING profile_id)"
            " INSERT INTO cdp.segment_transition (profile_id, segment_id, entered, at, cause)"
            " SELECT profile_id, $1, false, now(), $2 FROM gone", {id, pg::Text(cause)});
    }
    const std::string only_new = is_new ? "" : " WHERE NOT EXISTS (SELECT FROM cdp.segment_member m"
                                               " WHERE m.profile_id = f.profile_id AND m.segment_id = $1)";
    difference.entered = pg::Execute(
        "WITH come AS (INSERT INTO cdp.segment_member (profile_id, segment_id, entered_at)"
        "   SELECT f.profile_id, $1, now() FROM cdp_fresh_member f" + only_new + " ORDER BY f.profile_id RETURNING profile_id)"
        " INSERT INTO cdp.segment_transition (profile_id, segment_id, entered, at, cause)"
        " SELECT profile_id, $1, true, now(), $2 FROM come", {id, pg::Text(cause)});
    pg::Execute("UPDATE cdp.segment SET size = size + $2, filled_epoch = nextval('cdp.segment_epoch_seq') WHERE segment_id = $1",
                {id, pg::Int8(difference.entered - difference.left)});
    return difference;
}

}  // namespace cdp::segment
