// segment/segment_pg.cpp: SQL's doors to segment/.
#include "pg/arguments.hpp"
#include "pg/contradiction.hpp"
#include "pg/names.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "profile/people_pg.hpp"
#include "segment/fill_pg.hpp"
#include "segment/followed_pg.hpp"
#include "segment/groups_pg.hpp"
#include "segment/owned_pg.hpp"

using namespace cdp;

namespace {

/// Fills what keeps the activities of a condition, makes what follows its tables, and returns the definitions with the segment.
/// Look the segment up in these: whatever was read before is gone if a table or a function was changed meanwhile.
const pipeline::Definitions& Prepare(const std::string& name, const pg::Condition& condition) {
    segment::Follow(condition, condition.owner());
    pg::WarnOfContradiction(condition, "segment \"" + name + "\": nobody can ever meet its condition");
    pipeline::TouchConfiguration();
    const auto& definitions = pipeline::Current();
    segment::FillActivities(definitions.segments->Sound(name), *definitions.traits);
    return definitions;
}

/// What no segment needs any more is not kept, and not followed.
void DropUnused() {
    const auto& definitions = pipeline::Current();
    segment::FollowOnly(*definitions.segments);
    if (segment::DropUnusedActivities(*definitions.segments, *definitions.traits)) pipeline::TouchConfiguration();
}

void CheckRefresh(const Interval* refresh) {
    constexpr int64 shortest = USECS_PER_SEC;
    if (refresh->month < 0 || refresh->day < 0 || (refresh->month == 0 && refresh->day == 0 && refresh->time < shortest))
        throw Error(sqlstate::invalid_parameter_value, "refresh must be at least a second").Hint("It is an interval such as '1 hour'.");
}

}  // namespace

CDP_FUNCTION(cdp_only_in_condition)  // cdp.in_segment(name), cdp.has_identifier(type)
{
    throw Error(sqlstate::feature_not_supported, "this function has a value in a segment's condition only")
        .Hint("Query cdp.segment_member, cdp.identifier or the views in schema cdp_segment instead.");
}

CDP_FUNCTION(cdp_create_segment)  // cdp.create_segment(name, definition, description, refresh) → bigint
{
    const Oid caller = GetUserId();
    const std::string name = pg::TextArgument(fcinfo, 0).value_or(""), definition = pg::TextArgument(fcinfo, 1).value_or("");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    segment::CheckName(name);
    if (PG_ARGISNULL(1)) throw Error(sqlstate::null_value_not_allowed, "the definition of a segment must not be null");
    if (!PG_ARGISNULL(3)) CheckRefresh(PG_GETARG_INTERVAL_P(3));
    const auto& before = pipeline::Current();
    if (before.segments->Named(name) != nullptr)
        throw Error(sqlstate::duplicate_object, "segment \"" + name + "\" already exists").Hint("Change it with cdp.alter_segment.");
    const auto condition = segment::ReadCondition(definition, "segment \"" + name + "\"", *before.traits, caller, !PG_ARGISNULL(3));
    // Before the segment: definitions may be read afresh at any time, and it cannot be read without them.
    segment::KeepActivities(*condition, *before.traits);
    pg::Execute("INSERT INTO cdp.segment (segment_id, name, definition, description, owner, filled_epoch, refresh)"
                " VALUES (nextval('cdp.segment_id_seq'), $1, $2, $3, $4, 0, $5)",
                {pg::Text(name), pg::Text(definition),
                 pg::Passed(fcinfo, 2, TEXTOID),
                 pg::Text(pg::RoleName(caller)),
                 pg::Passed(fcinfo, 3, INTERVALOID)});
    const auto& definitions = Prepare(name, *condition);
    const auto size = segment::Fill(*definitions.segments, definitions.segments->Sound(name), *definitions.traits, true, segment::Cause::kCreate).entered;
    pipeline::Current().destinations.Refill({&name, 1});
    pipeline::TouchConfiguration();
    pg::Query("SELECT cdp.refresh_views()");
    PG_RETURN_INT64(size);
}

CDP_FUNCTION(cdp_alter_segment)  // cdp.alter_segment(name, definition, refresh) → TABLE(entered, left_)
{
    const Oid caller = GetUserId();
    const std::string name = pg::TextArgument(fcinfo, 0).value_or("");
    pg::TableResult result(fcinfo);
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) return result.Done();
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& before = pipeline::Current();
    const auto& old = segment::Owned(before, name, caller);
    segment::RefuseIfOfPriorityList(name);
    if (old.definition == segment::ListCondition(name))
        throw Error(sqlstate::wrong_object_type, "segment \"" + name + "\" is a list of identifiers")
            .Hint("Give it another list with cdp.import_segment.");
    const Interval* refresh = PG_ARGISNULL(2) ? nullptr : PG_GETARG_INTERVAL_P(2);
    const bool live = refresh != nullptr && refresh->month == 0 && refresh->day == 0 && refresh->time == 0;
    if (refresh != nullptr && !live) CheckRefresh(refresh);
    const bool refreshed = refresh != nullptr ? !live : old.refreshed;
    const auto condition = segment::ReadCondition(pg::TextArgument(fcinfo, 1).value_or(""), "segment \"" + name + "\"", *before.traits, caller, refreshed);
    segment::KeepActivities(*condition, *before.traits);
    pg::Execute("UPDATE cdp.segment SET definition = $2, owner = $3, altered_at = now(), problem = NULL,"
                " refresh = CASE WHEN NOT $5 THEN NULL ELSE coalesce($4, refresh) END WHERE segment_id = $1",
                {pg::Int8(old.segment_id), pg::Value(TEXTOID, PG_GETARG_DATUM(1)),
                 pg::Text(pg::RoleName(caller)), refresh != nullptr ? pg::Value(INTERVALOID, PG_GETARG_DATUM(2)) : pg::Null(INTERVALOID), pg::Bool(refreshed)});
    const auto& definitions = Prepare(name, *condition);
    const auto difference = segment::Fill(*definitions.segments, definitions.segments->Sound(name), *definitions.traits, false, segment::Cause::kAlter);
    const auto changed = segment::FillDependents(*definitions.segments, *definitions.traits, name, segment::Cause::kAlter);
    pipeline::Current().destinations.Refill(changed);
    pipeline::TouchConfiguration();
    DropUnused();
    result.Add({Int64GetDatum(difference.entered), Int64GetDatum(difference.left)});
    return result.Done();
}

CDP_FUNCTION(cdp_drop_segment)  // cdp.drop_segment(name) → void
{
    const Oid caller = GetUserId();
    const std::string name = pg::TextArgument(fcinfo, 0).value_or("");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& definitions = pipeline::Current();
    const auto& segment = segment::Owned(definitions, name, caller);
    segment::RefuseIfOfPriorityList(name);
    if (!segment.read_by.empty())
        throw Error(sqlstate::dependent_objects_still_exist, "segment \"" + name + "\" is in use")
            .Detail("Segment \"" + definitions.segments->all()[static_cast<size_t>(segment.read_by.front())].name + "\" refers to it.")
            .Hint("Drop or alter that first.");
    const auto destination = pg::Query("SELECT name FROM cdp.destination WHERE segment = $1 ORDER BY 1 LIMIT 1", {pg::Text(name)});
    if (!destination.empty())
        throw Error(sqlstate::dependent_objects_still_exist, "segment \"" + name + "\" is in use")
            .Detail("Destination \"" + destination.Text(0, 1) + "\" sends it.").Hint("Drop that first.");
    const auto id = pg::Int8(segment.segment_id);
    pg::Execute("DROP VIEW IF EXISTS cdp_segment." + pg::Identifier(name));
    pg::Execute("DELETE FROM cdp.segment_member WHERE segment_id = $1", {id});
    pg::Execute("DELETE FROM cdp.segment_transition WHERE segment_id = $1", {id});
    pg::Execute("DELETE FROM cdp.segment_list WHERE segment_id = $1", {id});
    pg::Execute("DELETE FROM cdp.segment WHERE segment_id = $1", {id});
    pipeline::TouchConfiguration();
    activate::Destinations::Load().Refill({&name, 1});
    DropUnused();
    PG_RETURN_VOID();
}
