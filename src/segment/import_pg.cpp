// segment/import_pg.cpp: SQL's door import_segment: segments of people whom somebody names.
#include "pg/names.hpp"
#include "pipeline/batch_pg.hpp"
#include "segment/fill_pg.hpp"
#include "segment/lists_pg.hpp"
#include "segment/owned_pg.hpp"

using namespace cdp;

namespace {

/// Stages the values of a text[] as they identify. How many of them do not.
int64 Stage(const identity::Rules& rules, int type, Datum array, pg::StagedRows* staged) {
    const auto values = pg::TextArray(array);
    const int all = pg::Call([&] {
        const ArrayType* given = DatumGetArrayTypeP(array);
        return ArrayGetNItems(ARR_NDIM(given), ARR_DIMS(given));
    });
    int64 nobody = all - static_cast<int64>(values.size());  // NULLs
    for (const auto& value : values) {
        poll_stop();
        const auto normal = collect::Characters(value) <= collect::kLongestIdentifier ? rules.Normalise(type, value) : std::nullopt;
        if (!normal) {
            ++nobody;
            continue;
        }
        const Datum text = pg::TextDatum(*normal);
        staged->Add({text});
        pfree(DatumGetPointer(text));
    }
    return nobody;
}

/// The segment's row; made if there is none of that name.
int64 SegmentToFill(const pipeline::Definitions& definitions, const std::string& name, Oid caller) {
    const auto* segment = definitions.segments->Named(name);
    if (segment == nullptr) {
        segment::CheckName(name);
        return pg::Query("INSERT INTO cdp.segment (segment_id, name, definition, owner, filled_epoch)"
                         " VALUES (nextval('cdp.segment_id_seq'), $1, $2, $3, 0) RETURNING segment_id",
                         {pg::Text(name), pg::Text(segment::ListCondition(name)),
                          pg::Text(pg::RoleName(caller))}).Int8(0, 1);
    }
    if (segment->definition != segment::ListCondition(name))
        throw Error(sqlstate::duplicate_object, "segment \"" + name + "\" already exists").Detail("It has a condition, not a list.");
    segment::Owned(definitions, name, caller);
    pg::Execute("UPDATE cdp.segment SET altered_at = now(), problem = NULL WHERE segment_id = $1", {pg::Int8(segment->segment_id)});
    return segment->segment_id;
}

void WriteList(int64 segment_id, const std::string& type) {
    pg::Execute("DELETE FROM cdp.segment_list l WHERE segment_id = $1 AND NOT (type = $2 AND EXISTS (SELECT FROM cdp_list n WHERE n.value = l.value))",
                {pg::Int8(segment_id), pg::Text(type)});
    pg::Execute("INSERT INTO cdp.segment_list (segment_id, type, value) SELECT DISTINCT $1, $2, value COLLATE \"C\" FROM cdp_list"
                " ORDER BY 3 ON CONFLICT DO NOTHING", {pg::Int8(segment_id), pg::Text(type)});
}

/// Says which of the values let nobody in.
void NoteStrangers(int64 segment_id, const std::string& type, int64 nobody) {
    const auto counts = pg::Query("SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT FROM cdp.identifier i WHERE i.value = l.value AND i.type = l.type))"
                                  " FROM cdp.segment_list l WHERE segment_id = $1", {pg::Int8(segment_id)});
    const auto all = static_cast<long long>(counts.Int8(0, 1)), unknown = static_cast<long long>(counts.Int8(0, 2)), left_out = static_cast<long long>(nobody);
    const char* name = type.c_str();
    pg::Call([&] {
        if (unknown > 0)
            ereport(NOTICE, (errmsg("%lld of %lld identifiers are not known yet", unknown, all), errdetail("Who gets one of them enters the segment then.")));
        if (left_out > 0)
            ereport(NOTICE, (errmsg("%lld values were left out", left_out), errdetail("They are NULL, blank, blocked, too long, or no valid %s.", name)));
    });
}

}  // namespace

CDP_FUNCTION(cdp_import_segment)  // cdp.import_segment(name text, type text, values text[]) → bigint
{
    const Oid caller = GetUserId();
    const std::string name(pg::Bytes(PG_GETARG_DATUM(0))), type(pg::Bytes(PG_GETARG_DATUM(1)));
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& before = pipeline::Current();
    const int type_place = before.rules.TypeNamed(type);
    if (type_place < 0) throw identity::NoType(type);
    const bool is_new = before.segments->Named(name) == nullptr;
    pg::StagedRows staged("cdp_list", {{"value", TEXTOID}}, pg::StagedRows::kMany);
    const int64 nobody = Stage(before.rules, type_place, PG_GETARG_DATUM(2), &staged);
    const int64 segment_id = SegmentToFill(before, name, caller);
    WriteList(segment_id, type);
    pipeline::TouchConfiguration();

    const auto cause = is_new ? segment::Cause::kCreate : segment::Cause::kAlter;
    const auto& definitions = pipeline::Current();
    segment::Fill(*definitions.segments, definitions.segments->Sound(name), *definitions.traits, is_new, cause);
    const auto changed = segment::FillDependents(*definitions.segments, *definitions.traits, name, cause);
    pipeline::Current().destinations.Refill(changed);
    pipeline::TouchConfiguration();
    if (is_new) pg::Query("SELECT cdp.refresh_views()");
    NoteStrangers(segment_id, type, nobody);
    PG_RETURN_INT64(pg::Query("SELECT size FROM cdp.segment WHERE segment_id = $1", {pg::Int8(segment_id)}).Int8(0, 1));
}
