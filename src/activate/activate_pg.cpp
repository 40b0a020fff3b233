// activate/activate_pg.cpp: SQL's doors to activate/.
#include "activate/create_destination_pg.hpp"
#include "pg/arguments.hpp"
#include "pipeline/batch_pg.hpp"

extern "C" {
#include "commands/event_trigger.h"
#include "nodes/parsenodes.h"
}

using namespace cdp;

CDP_FUNCTION(cdp_create_destination)  // cdp.create_destination(name, segment, key, columns, purpose, table_name, channel) → regclass
{
    const auto name = pg::TextArgument(fcinfo, 0), segment = pg::TextArgument(fcinfo, 1), key = pg::TextArgument(fcinfo, 2),
               purpose = pg::TextArgument(fcinfo, 4), table_name = pg::TextArgument(fcinfo, 5), channel = pg::TextArgument(fcinfo, 6);
    if (!name) throw Error(sqlstate::invalid_parameter_value, "destination name must not be null");
    if (!key) throw Error(sqlstate::invalid_parameter_value, "key must not be null")
        .Hint("It is profile_id or an identifier type.");
    std::optional<Datum> columns;
    if (!PG_ARGISNULL(3)) columns = pg::Unpacked(PG_GETARG_DATUM(3));

    const Oid caller = GetUserId();
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::Spi spi;
    pipeline::Lock();
    const Oid table = activate::CreateDestination({*name, segment, *key, columns, table_name, purpose, channel}, caller);
    pipeline::TouchConfiguration();
    return ObjectIdGetDatum(table);
}

CDP_FUNCTION(cdp_drop_destination)  // cdp.drop_destination(name)
{
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::Spi spi;
    pipeline::Lock();
    activate::DropDestination(*pg::TextArgument(fcinfo, 0));
    pipeline::TouchConfiguration();
    return Datum(0);
}

CDP_FUNCTION(cdp_suppressed_count)  // cdp.suppressed_count(destination) → bigint
{
    const std::string name = *pg::TextArgument(fcinfo, 0);
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::Spi spi;
    PG_RETURN_INT64(activate::Destinations::Load().Named(name).CountKeptOut());
}

CDP_FUNCTION(cdp_segment_names)  // cdp.segment_names() → text[]
{
    throw Error(sqlstate::feature_not_supported, "cdp.segment_names() can only stand in the columns of a destination");
}

CDP_FUNCTION(cdp_destination_difference)  // cdp.destination_difference(repair) → TABLE (table_name, differing)
{
    pg::TableResult result(fcinfo);
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::Spi spi;
    pipeline::Lock();
    for (const auto& difference : activate::Destinations::Load().Compare(PG_GETARG_BOOL(0))) {
        const Datum values[] = {pg::TextDatum(difference.table), Int64GetDatum(difference.differing.value_or(0))};
        const bool nulls[] = {false, !difference.differing};
        result.Add(values, nulls);
    }
    return result.Done();
}

CDP_FUNCTION(cdp_refresh_destinations)  // cdp.refresh_destinations(segment)
{
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::Spi spi;
    pipeline::Lock();
    const std::string segment = *pg::TextArgument(fcinfo, 0);
    activate::Destinations::Load().Refill({&segment, 1});
    return Datum(0);
}

CDP_FUNCTION(cdp_drop_destinations_first)  // event trigger, before DROP EXTENSION
{
    if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
        throw Error(sqlstate::feature_not_supported, "cdp.drop_destinations_first() is an event trigger's function");
    const auto* event = reinterpret_cast<EventTriggerData*>(fcinfo->context);
    const auto* drop = reinterpret_cast<DropStmt*>(event->parsetree);
    if (!IsA(drop, DropStmt) || drop->removeType != OBJECT_EXTENSION || drop->behavior != DROP_CASCADE) return Datum(0);
    bool ours = false;
    ListCell* cell;
    foreach (cell, drop->objects) ours |= strcmp(strVal(lfirst(cell)), "cdp") == 0;
    if (!ours) return Datum(0);
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::Spi spi;
    pipeline::Lock();
    activate::DropEverything();
    return Datum(0);
}
