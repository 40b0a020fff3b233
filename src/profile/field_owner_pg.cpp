// profile/field_owner_pg.cpp: SQL's door cdp.set_field_owner: whose value of a trait wins.
#include "pg/arguments.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "profile/history_pg.hpp"
#include "segment/fill_pg.hpp"

using namespace cdp;

CDP_FUNCTION(cdp_set_field_owner)  // cdp.set_field_owner(field, owner, source) → void
{
    const auto field = pg::TextArgument(fcinfo, 0), owner = pg::TextArgument(fcinfo, 1), source = pg::TextArgument(fcinfo, 2);
    if (!field) throw Error(sqlstate::null_value_not_allowed, "field must not be null");
    if (owner && *owner != "crm" && *owner != "cdp")
        throw Error(sqlstate::invalid_parameter_value, "owner \"" + *owner + "\" does not exist")
            .Hint("It is crm, cdp, or NULL: then the last value holds.");
    if (owner && (!source || source->empty() || *source == profile::kAnyOther))
        throw Error(sqlstate::invalid_parameter_value, "source must name the source of the CRM's messages");
    const pg::Spi spi;
    const pg::ActAs extension(pg::ExtensionOwner());
    pipeline::Lock();
    const auto* trait = pipeline::Current().traits->Named(*field);
    if (trait == nullptr || trait->computed)
        throw Error(sqlstate::undefined_object, "declared trait \"" + *field + "\" does not exist").Hint("Declare it with cdp.create_trait.");
    // What was remembered by the old rule is not what the new one needs: it goes with the old number.
    const int trait_id = DatumGetInt32(*pg::Query(
        "UPDATE cdp.trait SET trait_id = nextval('cdp.trait_id_seq'), aggregate = CASE WHEN $2 IS NULL THEN 'last' ELSE 'source_priority' END,"
        " sources = CASE $2 WHEN 'crm' THEN ARRAY[$3] WHEN 'cdp' THEN ARRAY['*', $3] END WHERE trait_id = $1 RETURNING trait_id",
        {pg::Int4(trait->trait_id), pg::TextOrNull(owner), pg::TextOrNull(source)}).Get(0, 1));
    pipeline::TouchConfiguration();
    const auto& traits = *pipeline::Current().traits;
    profile::FillTrait(traits, trait_id, pg::Now());
    segment::FillReaders(*pipeline::Current().segments, traits, traits.Find(trait_id)->column);
    pipeline::Current().destinations.RefillAll();
    pipeline::TouchConfiguration();
    PG_RETURN_VOID();
}
