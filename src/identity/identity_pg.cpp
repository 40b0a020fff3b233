// identity/identity_pg.cpp: SQL's doors to identity/.
#include "identity/find_pg.hpp"
#include "pg/arguments.hpp"
#include "pg/names.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "pipeline/merge_pg.hpp"

using namespace cdp;

namespace {

/// The profile that an id means now. Throws if there is none.
int64 Existing(int64 profile_id) {
    if (const auto living = identity::Living(profile_id)) return *living;
    throw Error(sqlstate::undefined_object, "profile " + std::to_string(profile_id) + " does not exist")
        .Hint("cdp.resolve(type, value) finds the profile of an identifier.");
}

}  // namespace

CDP_FUNCTION(cdp_resolve)  // cdp.resolve(type text, value text) → bigint
{
    static pg::Statement find("SELECT profile_id FROM cdp.identifier WHERE value = $1 AND type = $2", {TEXTOID, TEXTOID});
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto& rules = pipeline::CurrentRules();
    const auto type_name = pg::Bytes(PG_GETARG_DATUM(0));
    const int type = rules.TypeNamed(type_name);
    if (type < 0) throw identity::NoType(type_name);
    const auto value = rules.Normalise(type, pg::Bytes(PG_GETARG_DATUM(1)));
    if (!value) PG_RETURN_NULL();
    const auto rows = find.Query({pg::Text(*value), pg::Text(type_name)}, 1, true);
    if (rows.empty()) PG_RETURN_NULL();
    PG_RETURN_INT64(rows.Int8(0, 1));
}

CDP_FUNCTION(cdp_merge_profiles)  // cdp.merge_profiles(a bigint, b bigint, reason text) → bigint
{
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) throw Error(sqlstate::null_value_not_allowed, "profile ids must not be null");
    const std::string actor = pg::RoleName(GetUserId());
    const std::string reason = pg::TextArgument(fcinfo, 2).value_or("");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const int64 a = Existing(PG_GETARG_INT64(0)), b = Existing(PG_GETARG_INT64(1));
    PG_RETURN_INT64(a == b ? a : pipeline::MergeProfiles(a, b, reason, actor));
}
