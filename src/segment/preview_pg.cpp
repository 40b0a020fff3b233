// segment/preview_pg.cpp: SQL's door preview_segment: who would be in a segment.
#include "pg/contradiction.hpp"
#include "pg/settings.hpp"
#include "pg/standing.hpp"
#include "pipeline/definitions_pg.hpp"
#include "segment/estimate.hpp"
#include "segment/fill_pg.hpp"

using namespace cdp;

namespace {

constexpr int64 kIdsLookedAt = 20'000;
constexpr size_t kIdsShown = 10;

Datum IdArray(const std::vector<int64>& ids) {
    std::vector<Datum> values;
    for (const int64 id : ids) values.push_back(Int64GetDatum(id));
    return pg::Call([&] { return PointerGetDatum(construct_array(values.data(), static_cast<int>(values.size()), INT8OID, 8, true, TYPALIGN_DOUBLE)); });
}

/// The highest id that a profile has.
int64 HighestId() {
    const auto rows = pg::Query("SELECT coalesce(max(profile_id), 0) FROM cdp.profile");
    return rows.Int8(0, 1);
}

/// Says why nobody can be kept in a segment of this definition message by message, if that is so.
void NoteIfNotLive(const std::string& definition, const profile::Traits& traits, Oid caller) {
    const auto failure = pg::Attempts::One([&] { segment::ReadCondition(definition, "the definition", traits, caller, false); });
    if (!failure) return;
    const char* why = failure->message.c_str();
    pg::Call([&] {
        ereport(NOTICE, (errmsg("a segment of this definition needs a refresh interval"), errdetail("Otherwise cdp.create_segment says: %s", why)));
    });
}

}  // namespace

CDP_FUNCTION(cdp_preview_segment)  // cdp.preview_segment(definition, exact) → TABLE(size, sample, error)
{
    const Oid caller = GetUserId();
    const bool exact = PG_GETARG_BOOL(1);
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    auto traits = profile::Traits::Load();
    const std::string definition(pg::Bytes(PG_GETARG_DATUM(0)));
    const auto condition = segment::ReadCondition(definition, "the definition", *traits, caller, true);
    NoteIfNotLive(definition, *traits, caller);
    const auto sources = segment::SourcesByName(*condition, [&](const profile::Activity& activity) { return traits->Keep(activity); });
    pg::WarnOfContradiction(*condition, "nobody can ever meet the definition");
    const segment::MembersQuery members(*condition, sources, *traits, pg::Now());
    const int64 highest = exact ? 0 : HighestId();

    const pg::ActAs as_caller(caller, true);
    if (highest <= 2 * kIdsLookedAt) {
        const auto rows = pg::Query("WITH member AS (" + members.sql() + ") SELECT (SELECT count(*) FROM member),"
                                    " coalesce((SELECT array_agg(profile_id) FROM (SELECT profile_id FROM member ORDER BY profile_id LIMIT 10) s), '{}')",
                                    {}, true);
        result.Add({*rows.Get(0, 1), *rows.Get(0, 2), Int64GetDatum(0)});
        return result.Done();
    }
    const Datum looked_at = IdArray(segment::SampleIds(highest, kIdsLookedAt));
    auto found = pg::Ids(members.sql() + " AND profile.profile_id = ANY ($1)", {pg::Value(INT8ARRAYOID, looked_at)});
    std::sort(found.begin(), found.end());
    const auto estimate = segment::EstimateSize(highest, kIdsLookedAt, static_cast<int64>(found.size()));
    found.resize(std::min(found.size(), kIdsShown));
    result.Add({Int64GetDatum(estimate.size), IdArray(found), Int64GetDatum(estimate.error)});
    return result.Done();
}
