// segment/segment_pg.cpp: SQL's doors to segment/.
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

/// Whether `role` may see the column's values. A segment may be of somebody who sees more.
bool MayRead(Oid role, Oid relation, int column) {
    return pg::Call([&] {
        return pg_class_aclcheck(relation, role, ACL_SELECT) == ACLCHECK_OK ||
               pg_attribute_aclcheck(relation, static_cast<AttrNumber>(column), role, ACL_SELECT) == ACLCHECK_OK;
    });
}

/// Fills the segments that refer to `name`, and those that refer to them, in order. Returns the names of all.
std::vector<std::string> FillDependents(const pipeline::Definitions& definitions, const std::string& name) {
    const auto& all = definitions.segments->all();
    std::vector<char> dependent(all.size());
    std::vector<std::string> names{name};
    for (size_t i = 0; i < all.size(); ++i) {
        if (dependent[i] && !all[i].standing.Still()) {
            segment::Fill(all[i], false, "alter");
            names.push_back(all[i].name);
        }
        if (dependent[i] || all[i].name == name)
            for (const int reader : all[i].read_by) dependent[static_cast<size_t>(reader)] = 1;
    }
    return names;
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
    if (!PG_ARGISNULL(3))
        throw Error(sqlstate::feature_not_supported, "segments that are recomputed from time to time are not supported in this version");
    if (pipeline::Current().segments->Named(name) != nullptr)
        throw Error(sqlstate::duplicate_object, "segment \"" + name + "\" already exists").Hint("Change it with cdp.alter_segment.");
    pg::Execute("INSERT INTO cdp.segment (segment_id, name, definition, description, owner, filled_epoch)"
                " VALUES (nextval('cdp.segment_id_seq'), $1, $2, $3, $4, 0)",
                {pg::Text(name), pg::Text(definition),
                 PG_ARGISNULL(2) ? pg::Null(TEXTOID) : pg::Value(TEXTOID, PG_GETARG_DATUM(2)),
                 pg::Text(pg::Call([&] { return GetUserNameFromId(caller, false); }))});
    pipeline::TouchConfiguration();
    const auto size = segment::Fill(pipeline::Current().segments->Sound(name), true, "create").entered;
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
    pipeline::TouchConfiguration();
    const auto& definitions = pipeline::Current();
    const auto difference = segment::Fill(definitions.segments->Sound(name), false, "alter");
    const auto changed = FillDependents(definitions, name);
    pipeline::Current().destinations.Refill(changed);
    pipeline::TouchConfiguration();
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
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_preview_segment)  // cdp.preview_segment(definition) → TABLE(size, sample)
{
    const Oid caller = GetUserId();
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto traits = profile::Traits::Load();
    const pg::Condition condition(TextArg(fcinfo, 0), "the definition", traits->profile_table(), "profile", caller, segment::kSpecialCalls);
    for (size_t k = 0; k < condition.specials().size(); ++k) {
        const auto& special = condition.specials()[k];
        const char* known = special.function == "in_segment" ? "SELECT FROM cdp.segment WHERE name = $1"
                                                             : "SELECT FROM cdp.identifier_type WHERE name = $1";
        if (pg::Query(known, {pg::Text(*special.arguments[0])}).empty()) throw segment::Unknown(condition, k);
    }
    const std::string members = segment::MembersQuery(condition);
    const pg::ActAs as_caller(caller, true);
    const auto rows = pg::Query("WITH member AS (" + members + ") SELECT (SELECT count(*) FROM member),"
                                " coalesce((SELECT array_agg(profile_id) FROM (SELECT profile_id FROM member ORDER BY profile_id LIMIT 10) s), '{}')",
                                {}, true);
    result.Add({*rows.Get(0, 1), *rows.Get(0, 2)});
    return result.Done();
}

CDP_FUNCTION(cdp_explain_segment)  // cdp.explain_segment(name, profile_id) → TABLE(condition, value, holds)
{
    const Oid caller = GetUserId();
    const std::string name = TextArg(fcinfo, 0);
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto& definitions = pipeline::Current();
    const auto* segment = definitions.segments->Named(name);
    if (segment == nullptr) throw Error(sqlstate::undefined_object, "segment \"" + name + "\" does not exist");
    if (!segment->condition) throw *segment->standing.failure;
    const auto& traits = *definitions.traits;
    const auto living = pg::Query(
        "SELECT coalesce((SELECT profile_id FROM cdp.profile_alias WHERE alias_id = $1), $1)", {pg::Int8(PG_GETARG_INT64(1))});
    profile::People people(traits);
    people.Want(living.Int8(0, 1));
    if (pg::Query("SELECT FROM cdp.profile WHERE profile_id = $1", {pg::Int8(living.Int8(0, 1))}).empty())
        throw Error(sqlstate::undefined_object, "profile " + std::to_string(PG_GETARG_INT64(1)) + " does not exist");
    people.Load();
    auto& person = people.loaded().front().second;

    auto parts = segment->condition->Parts();
    if (parts.size() != 1) parts.push_back(segment->condition->text());
    for (const auto& part : parts) {
        pg::Condition condition(part, "the condition", traits.profile_table(), "profile", segment->owner, segment::kSpecialCalls);
        const auto& specials = condition.specials();
        const pg::Condition::Row row{person.values(), person.nulls()};
        std::vector<pg::Condition::Input> inputs;
        std::vector<char> holds;
        for (const auto& special : specials) {
            const char* query = special.function == "in_segment"
                ? "SELECT EXISTS (SELECT FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) WHERE m.profile_id = $1 AND s.name = $2)"
                : "SELECT EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = $1 AND i.type = $2)";
            inputs.push_back({BoolGetDatum(pg::Query(query, {pg::Int8(person.profile_id()), pg::Text(*special.arguments[0])}).Bool(0, 1)), false});
        }
        // A part may fail that the whole does not come to.
        const auto failure = pg::Attempts::One([&] { condition.Evaluate({&row, 1}, inputs, &holds); });
        std::string value;
        for (const int column : condition.columns()) {
            if (column <= 0) continue;
            const auto* attribute = TupleDescAttr(traits.descriptor(), column - 1);
            const auto text = person.nulls()[column - 1] ? std::string("NULL")
                              : MayRead(caller, traits.profile_table(), column) ? pg::OutputText(attribute->atttypid, person.values()[column - 1])
                                                                                : std::string("***");
            value += (value.empty() ? "" : ", ") + std::string(NameStr(attribute->attname)) + " = " + text;
        }
        if (failure) value += (value.empty() ? "" : "; ") + failure->message;
        const Datum values[] = {pg::TextDatum(part), pg::TextDatum(value), BoolGetDatum(!failure && holds[0])};
        const bool nulls[] = {false, value.empty(), failure.has_value()};
        result.Add(values, nulls);
    }
    return result.Done();
}
