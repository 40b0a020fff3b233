// profile/profile_pg.cpp: SQL's doors to profile/.
#include "pg/arguments.hpp"
#include "pg/names.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "profile/history_pg.hpp"
#include "segment/fill_pg.hpp"

extern "C" {
#include "utils/acl.h"
#include "utils/lsyscache.h"
}

using namespace cdp;

namespace {

void CheckName(const std::string& name) {
    if (name.empty() || name.size() >= NAMEDATALEN)
        throw Error(sqlstate::invalid_parameter_value, "invalid name of a trait: \"" + name + "\"")
            .Hint("It is the name of a column: 1 to 63 bytes.");
    const auto taken = pg::Query("SELECT FROM pg_attribute WHERE attrelid = 'cdp.profile'::regclass AND attname = $1 AND NOT attisdropped",
                                 {pg::Text(name)});
    if (!taken.empty())
        throw Error(sqlstate::duplicate_column, "column \"" + name + "\" of cdp.profile already exists").Hint("Drop a trait with cdp.drop_trait.");
}

/// Segments that read rows of cdp.profile as a whole follow another shape of them.
void FollowRow() {
    if (!segment::FillReaders(*pipeline::Current().segments, *pipeline::Current().traits, std::nullopt)) return;
    pipeline::Current().destinations.RefillAll();
    pipeline::TouchConfiguration();
}

/// Adds the trait's row and column, checks all of it, and fills it from history.
void AddTrait(const std::string& name, const std::string& type, bool count, const std::string& insert, std::initializer_list<pg::Arg> args) {
    const int trait_id = DatumGetInt32(*pg::Query(insert, args).Get(0, 1));
    pg::Execute("ALTER TABLE cdp.profile ADD COLUMN " + pg::Identifier(name) + " " + type + (count ? " NOT NULL DEFAULT 0" : ""));
    pg::Execute("SELECT cdp.refresh_views()");
    pipeline::TouchConfiguration();
    const auto& traits = *pipeline::Current().traits;
    if (const auto& failure = traits.Find(trait_id)->standing.failure) throw *failure;
    profile::FillTrait(traits, trait_id, pg::Now());
    FollowRow();
}

}  // namespace

CDP_FUNCTION(cdp_create_trait)  // cdp.create_trait(name, type regtype, path, survivorship, sources text[]) → void
{
    const std::string caller = pg::RoleName(GetUserId());
    const std::string name = pg::TextArgument(fcinfo, 0).value_or(""), survivorship = pg::TextArgument(fcinfo, 3).value_or("");
    const std::string path = pg::TextArgument(fcinfo, 2).value_or(name);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    CheckName(name);
    if (PG_ARGISNULL(1)) throw Error(sqlstate::null_value_not_allowed, "the type of a trait must not be null");
    const Oid type = PG_GETARG_OID(1);
    profile::KindOf(type);
    constexpr std::string_view known[] = {"last", "first", "most_frequent", "min", "max", "source_priority"};
    if (std::find(std::begin(known), std::end(known), survivorship) == std::end(known))
        throw Error(sqlstate::invalid_parameter_value, "survivorship \"" + survivorship + "\" does not exist")
            .Hint("There are last, first, most_frequent, min, max and source_priority.");
    if ((survivorship == "source_priority") == PG_ARGISNULL(4))
        throw Error(sqlstate::invalid_parameter_value, survivorship == "source_priority" ? "survivorship source_priority needs sources"
                                                                                          : "sources go with survivorship source_priority only")
            .Hint("sources is the list of source names, best first.");
    if (!PG_ARGISNULL(4) && pg::Query("SELECT cardinality($1) = 0 OR array_position($1, NULL) IS NOT NULL", {pg::Passed(fcinfo, 4, TEXTARRAYOID)}).Bool(0, 1))
        throw Error(sqlstate::invalid_parameter_value, "sources must name at least one source, and no nulls")
            .Hint("sources is the list of source names, best first.");
    const std::string type_name = pg::Call([&] { return format_type_be_qualified(type); });
    AddTrait(name, type_name, false,
             "INSERT INTO cdp.trait (trait_id, name, kind, aggregate, type, path, sources, owner)"
             " VALUES (nextval('cdp.trait_id_seq'), $1, 'declared', $2, $3, $4, $5, $6) RETURNING trait_id",
             {pg::Text(name), pg::Text(survivorship), pg::Value(REGTYPEOID, ObjectIdGetDatum(type)), pg::Text(path),
              pg::Passed(fcinfo, 4, TEXTARRAYOID), pg::Text(caller)});
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_create_computed_trait)  // cdp.create_computed_trait(name, aggregate, event, property, filter, window, type) → void
{
    using profile::Aggregate;
    const Oid caller_id = GetUserId();
    const std::string caller = pg::RoleName(caller_id);
    const std::string name = pg::TextArgument(fcinfo, 0).value_or(""), aggregate_name = pg::TextArgument(fcinfo, 1).value_or("");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    CheckName(name);
    const auto aggregate = profile::AggregateNamed(aggregate_name);
    if (!aggregate || *aggregate == Aggregate::kSourcePriority)
        throw Error(sqlstate::invalid_parameter_value, "aggregate \"" + aggregate_name + "\" does not exist")
            .Hint("There are count, sum, avg, min, max, first, last, distinct_count, most_frequent and unique_list.");
    if (pg::TextArgument(fcinfo, 2) == "")
        throw Error(sqlstate::invalid_parameter_value, "the name of the event must not be empty").Hint("NULL is every event.");
    if (PG_ARGISNULL(3) && *aggregate != Aggregate::kCount)
        throw Error(sqlstate::invalid_parameter_value, "aggregate " + aggregate_name + " needs a property")
            .Hint("Name the property of the events that it reads, such as total.");
    if (!PG_ARGISNULL(5)) {
        if (!profile::Window(profile::SpanOf(*PG_GETARG_INTERVAL_P(5))).Positive())
            throw Error(sqlstate::invalid_parameter_value, "a window must be longer than nothing").Hint("It is an interval such as '30 days'.");
    }

    Oid type = TEXTOID;
    const bool chosen = *aggregate == Aggregate::kFirst || *aggregate == Aggregate::kLast || *aggregate == Aggregate::kMostFrequent;
    if (*aggregate == Aggregate::kCount || *aggregate == Aggregate::kDistinctCount) type = INT8OID;
    if (*aggregate == Aggregate::kSum || *aggregate == Aggregate::kAvg || *aggregate == Aggregate::kMin || *aggregate == Aggregate::kMax) type = NUMERICOID;
    if (*aggregate == Aggregate::kUniqueList) type = TEXTARRAYOID;
    if (!PG_ARGISNULL(6)) {
        if (!chosen && PG_GETARG_OID(6) != type)
            throw Error(sqlstate::datatype_mismatch, "a computed trait of aggregate " + aggregate_name + " is of type " +
                                                         pg::Call([&] { return format_type_be(type); }))
                .Hint("A type can be given for first, last and most_frequent.");
        type = PG_GETARG_OID(6);
    }
    if (chosen) profile::KindOf(type);
    const std::string type_name = pg::Call([&] { return format_type_be_qualified(type); });
    AddTrait(name, type_name, type == INT8OID && !chosen,
             "INSERT INTO cdp.trait (trait_id, name, kind, aggregate, type, event, path, filter, owner, \"window\")"
             " VALUES (nextval('cdp.trait_id_seq'), $1, 'computed', $2, $3, $4, $5, $6, $7, $8) RETURNING trait_id",
             {pg::Text(name), pg::Text(aggregate_name), pg::Value(REGTYPEOID, ObjectIdGetDatum(type)),
              pg::Passed(fcinfo, 2, TEXTOID), pg::Passed(fcinfo, 3, TEXTOID), pg::Passed(fcinfo, 4, TEXTOID), pg::Text(caller), pg::Passed(fcinfo, 5, INTERVALOID)});
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_drop_trait)  // cdp.drop_trait(name text) → void
{
    const std::string name = pg::TextArgument(fcinfo, 0).value_or("");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& definitions = pipeline::Current();
    const auto* trait = definitions.traits->Named(name);
    if (trait == nullptr) throw Error(sqlstate::undefined_object, "trait \"" + name + "\" does not exist").Hint("cdp.trait lists them.");
    for (const auto& segment : definitions.segments->all()) {
        // What a definition reads that cannot be read itself, nobody knows: it does if it holds the name.
        const auto columns = segment.condition ? segment.condition->columns() : std::vector<int>();
        if (std::find(columns.begin(), columns.end(), trait->column + 1) != columns.end() ||
            (!segment.condition && segment.definition.find(name) != std::string::npos))
            throw Error(sqlstate::dependent_objects_still_exist, "trait \"" + name + "\" is in use")
                .Detail("Segment \"" + segment.name + "\" reads it.").Hint("Drop or alter that first.");
    }
    const auto destinations = pg::Query("SELECT destination FROM cdp.destination_columns_used() WHERE column_name = $1 ORDER BY 1 LIMIT 1", {pg::Text(name)});
    if (!destinations.empty())
        throw Error(sqlstate::dependent_objects_still_exist, "trait \"" + name + "\" is in use")
            .Detail("Destination \"" + destinations.Text(0, 1) + "\" sends it.").Hint("Drop that first.");
    pg::Execute("DELETE FROM cdp.trait WHERE name = $1", {pg::Text(name)});
    pg::Execute("SELECT cdp.drop_views()");
    pg::Execute("ALTER TABLE cdp.profile DROP COLUMN " + pg::Identifier(name));
    pg::Execute("SELECT cdp.refresh_views()");
    pipeline::TouchConfiguration();
    FollowRow();
    PG_RETURN_VOID();
}
