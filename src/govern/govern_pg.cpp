// govern/govern_pg.cpp: SQL's doors to govern/.
#include "govern/masking_pg.hpp"
#include "govern/personal.hpp"
#include "pg/spi.hpp"
#include "pipeline/definitions_pg.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/event_trigger.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

using namespace cdp;

namespace {

/// What the library was built as; cdp.check() holds it against what the catalog says.
constexpr std::string_view kVersion = "1.0";

pg::Json JsonArg(FunctionCallInfo fcinfo, int i) { return pg::Json(pg::Unpacked(PG_GETARG_DATUM(i))); }

std::vector<std::string> TextsArg(FunctionCallInfo fcinfo, int i) { return pg::TextArray(PG_GETARG_DATUM(i)); }

/// Whether the statement makes a table cdp.profile; and then the one that is there already.
Oid ProfileInTheWayOf(const Node* statement) {
    if (!IsA(statement, CreateStmt)) return InvalidOid;
    const auto* create = reinterpret_cast<const CreateStmt*>(statement);
    const RangeVar* name = create->relation;
    if (name->schemaname == nullptr || strcmp(name->schemaname, "cdp") != 0 || strcmp(name->relname, "profile") != 0 ||
        name->relpersistence != RELPERSISTENCE_PERMANENT || create->if_not_exists)
        return InvalidOid;
    return pg::Call([] {
        const Oid schema = get_namespace_oid("cdp", true);
        return OidIsValid(schema) ? get_relname_relid("profile", schema) : InvalidOid;
    });
}

bool IsOwner(Oid role, Oid relation) {
    return pg::Call([&] {
        HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
        if (!HeapTupleIsValid(tuple)) return false;
        const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
        ReleaseSysCache(tuple);
        return has_privs_of_role(role, owner);
    });
}

}  // namespace

CDP_FUNCTION(cdp_sees_personal)  // cdp.sees_personal() → boolean
{
    PG_RETURN_BOOL(govern::SeesPersonal(GetUserId()));
}

CDP_FUNCTION(cdp_looks_personal)  // cdp.looks_personal(name text) → boolean
{
    PG_RETURN_BOOL(govern::LooksPersonal(pg::Bytes(PG_GETARG_DATUM(0))));
}

CDP_FUNCTION(cdp_mask_traits)  // cdp.mask_traits(traits jsonb, open text[], closed text[]) → jsonb
{
    return govern::MaskTraits(JsonArg(fcinfo, 0), {TextsArg(fcinfo, 1), TextsArg(fcinfo, 2)});
}

CDP_FUNCTION(cdp_mask_properties)  // cdp.mask_properties(properties jsonb, closed text[]) → jsonb
{
    return govern::MaskProperties(JsonArg(fcinfo, 0), {{}, TextsArg(fcinfo, 1)});
}

CDP_FUNCTION(cdp_mask_context)  // cdp.mask_context(context jsonb, closed text[]) → jsonb
{
    return govern::MaskContext(JsonArg(fcinfo, 0), {{}, TextsArg(fcinfo, 1)});
}

CDP_FUNCTION(cdp_library_version)  // cdp.library_version() → text
{
    return pg::TextDatum(kVersion);
}

CDP_FUNCTION(cdp_check_definitions)  // cdp.check_definitions() → void
{
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto& definitions = pipeline::Current();
    const auto check = [](const auto& defined) {
        for (const auto& one : defined)
            if (one.standing.ToBeNoted()) throw *one.standing.failure;
    };
    check(std::as_const(*definitions.traits).all());
    check(definitions.segments->all());
    PG_RETURN_VOID();
}

// Event trigger on ddl_command_start of CREATE TABLE; see govern.sql.
CDP_FUNCTION(cdp_replace_blank_profile)
{
    if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
        throw Error(sqlstate::event_trigger_protocol_violated, "cdp.replace_blank_profile() is called by its event trigger only");
    const Oid profile = ProfileInTheWayOf(reinterpret_cast<EventTriggerData*>(fcinfo->context)->parsetree);
    // Who may not drop it gets CREATE TABLE's own error.
    if (!OidIsValid(profile) || !IsOwner(GetUserId(), profile)) PG_RETURN_NULL();
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pg::Execute("SELECT cdp.drop_blank_profile()");
    PG_RETURN_NULL();
}
