// segment/groups_pg.cpp: SQL's doors to random splits and priority lists; see groups_pg.hpp.
#include "segment/groups_pg.hpp"

#include <set>

#include "pg/names.hpp"
#include "pipeline/batch_pg.hpp"
#include "segment/share.hpp"

extern "C" {
#include "mb/pg_wchar.h"
}

using namespace cdp;

namespace {

/// The condition of the last of `segments`: in it, and in none before it.
std::string ConditionOf(std::span<const std::string> segments) {
    std::string condition = "cdp.in_segment(" + pg::Literal(segments.back()) + ")";
    for (const auto& earlier : segments.first(segments.size() - 1)) condition += " AND NOT cdp.in_segment(" + pg::Literal(earlier) + ")";
    return condition;
}

void CheckSegments(const std::vector<std::string>& segments, Datum array) {
    if (segments.empty() || static_cast<int>(segments.size()) != pg::Call([&] { return ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(array)), ARR_DIMS(DatumGetArrayTypeP(array))); }))
        throw Error(sqlstate::invalid_parameter_value, "a priority list needs the names of segments").Hint("For example '{vip, loyal, new}'.");
    std::set<std::string> known;
    for (const auto& segment : segments) {
        if (pipeline::Current().segments->Named(segment) == nullptr)
            throw segment::NoSegment(segment);
        if (!known.insert(segment).second)
            throw Error(sqlstate::invalid_parameter_value, "segment \"" + segment + "\" stands in the list twice");
    }
}

}  // namespace

void segment::RefuseIfOfPriorityList(const std::string& name) {
    const auto list = pg::Query("SELECT list FROM cdp.priority_list WHERE list || '_' || segment = $1", {pg::Text(name)});
    if (list.empty()) return;
    throw Error(sqlstate::dependent_objects_still_exist, "segment \"" + name + "\" belongs to priority list \"" + list.Text(0, 1) + "\"")
        .Hint("Drop the list with cdp.drop_priority_list, and make it anew.");
}

CDP_FUNCTION(cdp_split_share)  // cdp.split_share(split text, profile_id bigint) → double precision
{
    const auto split = pg::Bytes(PG_GETARG_DATUM(0));
    const char* utf8 = pg::Call([&] { return pg_server_to_any(split.data(), static_cast<int>(split.size()), PG_UTF8); });
    const std::string_view name = utf8 == split.data() ? split : std::string_view(utf8);
    PG_RETURN_FLOAT8(segment::ShareOf(name, PG_GETARG_INT64(1)));
}

CDP_FUNCTION(cdp_create_priority_list)  // cdp.create_priority_list(name, segments text[]) → TABLE(segment, size)
{
    const Oid caller = GetUserId();
    const std::string name(pg::Bytes(PG_GETARG_DATUM(0)));
    const auto segments = pg::TextArray(PG_GETARG_DATUM(1));
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    CheckSegments(segments, PG_GETARG_DATUM(1));
    if (name.empty()) throw Error(sqlstate::invalid_parameter_value, "the name of a priority list must not be empty");
    if (!pg::Query("SELECT FROM cdp.priority_list WHERE list = $1", {pg::Text(name)}).empty())
        throw Error(sqlstate::duplicate_object, "priority list \"" + name + "\" already exists")
            .Hint("Drop it with cdp.drop_priority_list, and make it anew.");
    for (size_t i = 0; i < segments.size(); ++i) {
        const std::string made = name + "_" + segments[i];
        int64 size;
        {
            const pg::ActAs as_caller(caller);
            size = pg::Query("SELECT cdp.create_segment($1, $2, $3)",
                             {pg::Text(made), pg::Text(ConditionOf(std::span(segments).first(i + 1))),
                              pg::Text("number " + std::to_string(i + 1) + " of priority list " + name)}).Int8(0, 1);
        }
        pg::Execute("INSERT INTO cdp.priority_list (list, place, segment) VALUES ($1, $2, $3)",
                    {pg::Text(name), pg::Int4(static_cast<int32>(i + 1)), pg::Text(segments[i])});
        result.Add({pg::TextDatum(made), Int64GetDatum(size)});
    }
    return result.Done();
}

CDP_FUNCTION(cdp_drop_priority_list)  // cdp.drop_priority_list(name) → void
{
    const Oid caller = GetUserId();
    const std::string name(pg::Bytes(PG_GETARG_DATUM(0)));
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto segments = pg::Query("WITH gone AS (DELETE FROM cdp.priority_list WHERE list = $1 RETURNING *)"
                                    " SELECT list || '_' || segment FROM gone ORDER BY place", {pg::Text(name)});
    if (segments.empty()) throw Error(sqlstate::undefined_object, "priority list \"" + name + "\" does not exist");
    const pg::ActAs as_caller(caller);
    for (uint64 i = 0; i < segments.size(); ++i) pg::Query("SELECT cdp.drop_segment($1)", {pg::Text(segments.Text(i, 1))});
    PG_RETURN_VOID();
}
