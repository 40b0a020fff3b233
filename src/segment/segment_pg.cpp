// segment/segment_pg.cpp: SQL's doors to segment/.
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "profile/people_pg.hpp"
#include "segment/fill_pg.hpp"

extern "C" {
#include "utils/acl.h"
}

using namespace cdp;

namespace {

std::string TextArg(FunctionCallInfo fcinfo, int i) {
    return PG_ARGISNULL(i) ? std::string() : std::string(pg::Bytes(PG_GETARG_DATUM(i)));
}

/// The segment of that name. Throws if there is none, or if `caller` may not change it.
const segment::Segment& Owned(const pipeline::Definitions& definitions, const std::string& name, Oid caller) {
    const auto* segment = definitions.segments->Named(name);
    if (segment == nullptr) throw Error(sqlstate::undefined_object, "segment \"" + name + "\" does not exist");
    const bool allowed = pg::Call([&] {
        return (OidIsValid(segment->owner) && has_privs_of_role(caller, segment->owner)) ||
               has_privs_of_role(caller, get_role_oid("cdp_admin", false));
    });
    if (!allowed)
        throw Error(sqlstate::insufficient_privilege, "must be owner of segment \"" + name + "\"");
    return *segment;
}

/// Reads the definitions afresh once what keeps the activities of a condition is there.
const segment::Segment& Prepare(const std::string& name, const pg::Condition& condition) {
    segment::KeepActivities(condition, *pipeline::Current().traits);
    pipeline::TouchConfiguration();
    const auto& definitions = pipeline::Current();
    const auto& segment = definitions.segments->Sound(name);
    segment::FillActivities(segment, *definitions.traits);
    return segment;
}

void DropUnusedActivities() {
    const auto& definitions = pipeline::Current();
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
    const std::string name = TextArg(fcinfo, 0), definition = TextArg(fcinfo, 1);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    if (name.empty() || name.size() >= NAMEDATALEN)
        throw Error(sqlstate::invalid_parameter_value, "invalid name of a segment: \"" + name + "\"")
            .Hint("It is the name of a view: 1 to 63 bytes.");
    if (PG_ARGISNULL(1)) throw Error("22004", "the definition of a segment must not be null");
    if (!PG_ARGISNULL(3)) CheckRefresh(PG_GETARG_INTERVAL_P(3));
    const auto& traits = *pipeline::Current().traits;
    if (pipeline::Current().segments->Named(name) != nullptr)
        throw Error(sqlstate::duplicate_object, "segment \"" + name + "\" already exists").Hint("Change it with cdp.alter_segment.");
    const auto condition = segment::ReadCondition(definition, "segment \"" + name + "\"", traits, caller, !PG_ARGISNULL(3));
    pg::Execute("INSERT INTO cdp.segment (segment_id, name, definition, description, owner, filled_epoch, refresh)"
                " VALUES (nextval('cdp.segment_id_seq'), $1, $2, $3, $4, 0, $5)",
                {pg::Text(name), pg::Text(definition),
                 PG_ARGISNULL(2) ? pg::Null(TEXTOID) : pg::Value(TEXTOID, PG_GETARG_DATUM(2)),
                 pg::Text(pg::Call([&] { return GetUserNameFromId(caller, false); })),
                 PG_ARGISNULL(3) ? pg::Null(INTERVALOID) : pg::Value(INTERVALOID, PG_GETARG_DATUM(3))});
    const auto& segment = Prepare(name, *condition);
    const auto& definitions = pipeline::Current();
    const auto size = segment::Fill(*definitions.segments, segment, *definitions.traits, true, "create").entered;
    pipeline::Current().destinations.Refill({&name, 1});
    pipeline::TouchConfiguration();
    pg::Query("SELECT cdp.refresh_views()");
    PG_RETURN_INT64(size);
}

CDP_FUNCTION(cdp_alter_segment)  // cdp.alter_segment(name, definition) → TABLE(entered, left_)
{
    const Oid caller = GetUserId();
    const std::string name = TextArg(fcinfo, 0);
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& old = Owned(pipeline::Current(), name, caller);
    pg::Execute("UPDATE cdp.segment SET definition = $2, owner = $3, altered_at = now(), problem = NULL WHERE segment_id = $1",
                {pg::Int8(old.segment_id), pg::Value(TEXTOID, PG_GETARG_DATUM(1)),
                 pg::Text(pg::Call([&] { return GetUserNameFromId(caller, false); }))});
    const auto condition = segment::ReadCondition(TextArg(fcinfo, 1), "segment \"" + name + "\"", *pipeline::Current().traits, caller, old.refreshed);
    const auto& segment = Prepare(name, *condition);
    const auto& definitions = pipeline::Current();
    const auto difference = segment::Fill(*definitions.segments, segment, *definitions.traits, false, "alter");
    const auto changed = segment::FillDependents(*definitions.segments, *definitions.traits, name, "alter");
    pipeline::Current().destinations.Refill(changed);
    pipeline::TouchConfiguration();
    DropUnusedActivities();
    result.Add({Int64GetDatum(difference.entered), Int64GetDatum(difference.left)});
    return result.Done();
}

CDP_FUNCTION(cdp_drop_segment)  // cdp.drop_segment(name) → void
{
    const Oid caller = GetUserId();
    const std::string name = TextArg(fcinfo, 0);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& definitions = pipeline::Current();
    const auto& segment = Owned(definitions, name, caller);
    if (!segment.read_by.empty())
        throw Error(sqlstate::dependent_objects_still_exist, "segment \"" + name + "\" is in use")
            .Detail("Segment \"" + definitions.segments->all()[static_cast<size_t>(segment.read_by.front())].name + "\" refers to it.")
            .Hint("Drop or alter that first.");
    const auto destination = pg::Query("SELECT name FROM cdp.destination WHERE segment = $1 ORDER BY 1 LIMIT 1", {pg::Text(name)});
    if (!destination.empty())
        throw Error(sqlstate::dependent_objects_still_exist, "segment \"" + name + "\" is in use")
            .Detail("Destination \"" + destination.Text(0, 1) + "\" sends it.").Hint("Drop that first.");
    const auto id = pg::Int8(segment.segment_id);
    pg::Execute("DROP VIEW IF EXISTS cdp_segment." + std::string(pg::Call([&] { return quote_identifier(name.c_str()); })));
    pg::Execute("DELETE FROM cdp.segment_member WHERE segment_id = $1", {id});
    pg::Execute("DELETE FROM cdp.segment_transition WHERE segment_id = $1", {id});
    pg::Execute("DELETE FROM cdp.segment WHERE segment_id = $1", {id});
    pipeline::TouchConfiguration();
    activate::Destinations::Load().Refill({&name, 1});
    DropUnusedActivities();
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_preview_segment)  // cdp.preview_segment(definition) → TABLE(size, sample)
{
    const Oid caller = GetUserId();
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    auto traits = profile::Traits::Load();
    const auto condition = segment::ReadCondition(TextArg(fcinfo, 0), "the definition", *traits, caller, true);
    std::vector<segment::Source> sources;
    for (size_t k = 0; k < condition->specials().size(); ++k) {
        const auto& special = condition->specials()[k];
        auto& source = sources.emplace_back();
        if (profile::AsksForActivity(special)) {
            source = {segment::Source::Kind::kActivity, 0, segment::QuestionAt(*condition, k)};
            source.of = traits->Keep(source.question.activity);
            continue;
        }
        if (special.function == "consented") {
            source = {segment::Source::Kind::kConsent, 0, {}, govern::ConsentAt(*condition, k, govern::Purposes::Load())};
            continue;
        }
        source.kind = special.function == "in_segment" ? segment::Source::Kind::kSegment : segment::Source::Kind::kIdentifierType;
        const char* known = special.function == "in_segment" ? "SELECT FROM cdp.segment WHERE name = $1"
                                                             : "SELECT FROM cdp.identifier_type WHERE name = $1";
        if (pg::Query(known, {pg::TextOrNull(special.arguments[0])}).empty()) throw segment::Unknown(*condition, k);
    }
    const segment::MembersQuery members(*condition, sources, *traits, pg::Now());
    const pg::ActAs as_caller(caller, true);
    const auto rows = pg::Query("WITH member AS (" + members.sql() + ") SELECT (SELECT count(*) FROM member),"
                                " coalesce((SELECT array_agg(profile_id) FROM (SELECT profile_id FROM member ORDER BY profile_id LIMIT 10) s), '{}')",
                                {}, true);
    result.Add({*rows.Get(0, 1), *rows.Get(0, 2)});
    return result.Done();
}
