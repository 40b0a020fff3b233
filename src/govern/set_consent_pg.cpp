// govern/set_consent_pg.cpp: SQL's doors to consent: cdp.set_consent, cdp.suppress and cdp.unsuppress.
#include "govern/consent_pg.hpp"
#include "pg/arguments.hpp"
#include "pg/names.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/follow_consents_pg.hpp"
#include "segment/fill_pg.hpp"

extern "C" {
#include "utils/timestamp.h"
}

using namespace cdp;

namespace {

/// The contact point of the first two arguments. Call it with the pipeline locked.
govern::Contact ContactArg(FunctionCallInfo fcinfo) {
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) throw Error(sqlstate::null_value_not_allowed, "type and value must not be null");
    return govern::ContactNamed(pipeline::Current().rules, pg::Bytes(PG_GETARG_DATUM(0)), pg::Bytes(PG_GETARG_DATUM(1)));
}

TimestampTz OccurredAt(FunctionCallInfo fcinfo, int i) {
    const TimestampTz now = GetCurrentTimestamp();
    if (PG_ARGISNULL(i)) return GetCurrentTransactionStartTimestamp();
    const TimestampTz at = PG_GETARG_TIMESTAMPTZ(i);
    // It would outweigh whatever is said until then.
    if (TIMESTAMP_NOT_FINITE(at) || at > now + USECS_PER_DAY)
        throw Error(sqlstate::invalid_parameter_value, "occurred_at must be a moment no more than a day ahead")
            .Detail("It is " + pg::OutputText(TIMESTAMPTZOID, TimestampTzGetDatum(at)) + ".");
    return at;
}

/// Whoever has the contact point follows what was just written of it.
void FollowSuppression(const govern::Contact& contact) {
    if (!contact.profile_id) return;
    govern::ComputeConsents({&*contact.profile_id, 1});
    pipeline::FollowConsents(pipeline::Current(), {&*contact.profile_id, 1});
}

}  // namespace

// cdp.set_consent(type, value, purpose, granted, channel, source, proof, occurred_at) → bigint
CDP_FUNCTION(cdp_set_consent)
{
    const auto purpose = pg::TextArgument(fcinfo, 2), channel = pg::TextArgument(fcinfo, 4), source = pg::TextArgument(fcinfo, 5);
    if (!purpose) throw Error(sqlstate::null_value_not_allowed, "purpose must not be null");
    if (PG_ARGISNULL(3)) throw Error(sqlstate::null_value_not_allowed, "granted must not be null").Hint("It is true for a yes and false for a no.");
    if (channel && (collect::IsBlank(*channel) || collect::Characters(*channel) > collect::kLongestIdentifier))
        throw Error(sqlstate::invalid_parameter_value, "invalid channel: \"" + *channel + "\"")
            .Hint("It has 1 to 200 characters; NULL is all channels.");
    const TimestampTz at = OccurredAt(fcinfo, 7);
    const std::string actor = pg::RoleName(GetUserId());
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    if (pipeline::Current().purposes.Named(*purpose) == nullptr) throw govern::NoPurpose(*purpose);
    const auto contact = ContactArg(fcinfo);
    static pg::Statement record(
        "INSERT INTO cdp.consent_record (record_id, type, value, purpose, channel, granted, occurred_at, source, proof, actor)"
        " VALUES (nextval('cdp.consent_record_id_seq'), $1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING record_id",
        {TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, TIMESTAMPTZOID, TEXTOID, JSONBOID, TEXTOID});
    const int64 record_id = record.Query({pg::Text(contact.type), pg::Text(contact.value), pg::Text(*purpose), pg::TextOrNull(channel),
                                          pg::Bool(PG_GETARG_BOOL(3)), pg::Time(at), pg::TextOrNull(source),
                                          pg::Passed(fcinfo, 6, JSONBOID), pg::Text(actor)})
                                .Int8(0, 1);
    if (contact.profile_id && govern::TakeAnswer(*contact.profile_id, *purpose, channel, {at, PG_GETARG_BOOL(3)}, record_id))
        pipeline::FollowConsents(pipeline::Current(), {&*contact.profile_id, 1});
    PG_RETURN_INT64(record_id);
}

CDP_FUNCTION(cdp_suppress)  // cdp.suppress(type, value, reason) → boolean
{
    const auto reason = pg::TextArgument(fcinfo, 2);
    const std::string actor = pg::RoleName(GetUserId());
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto contact = ContactArg(fcinfo);
    const bool is_new = pg::Execute("INSERT INTO cdp.suppression (type, value, reason, actor) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                                    {pg::Text(contact.type), pg::Text(contact.value), pg::TextOrNull(reason), pg::Text(actor)}) > 0;
    if (is_new) FollowSuppression(contact);
    PG_RETURN_BOOL(is_new);
}

CDP_FUNCTION(cdp_unsuppress)  // cdp.unsuppress(type, value) → boolean
{
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto contact = ContactArg(fcinfo);
    const bool was = pg::Execute("DELETE FROM cdp.suppression WHERE type = $1 AND value = $2", {pg::Text(contact.type), pg::Text(contact.value)}) > 0;
    if (was) FollowSuppression(contact);
    PG_RETURN_BOOL(was);
}

CDP_FUNCTION(cdp_refresh_consented)  // cdp.refresh_consented(purpose) → void
{
    const std::string purpose(pg::Bytes(PG_GETARG_DATUM(0)));
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& definitions = pipeline::Current();
    std::vector<std::string> changed;
    for (const auto& segment : definitions.segments->all()) {
        const bool asks = std::any_of(segment.sources.begin(), segment.sources.end(), [&](const segment::Source& source) {
            return source.kind == segment::Source::Kind::kConsent && source.consent.purpose.name == purpose;
        });
        if (!asks || segment.standing.Still()) continue;
        segment::Fill(*definitions.segments, segment, *definitions.traits, false, segment::Cause::kConsent);
        for (auto& name : segment::FillDependents(*definitions.segments, *definitions.traits, segment.name, segment::Cause::kConsent)) changed.push_back(std::move(name));
    }
    pipeline::Current().destinations.Refill(changed);
    pipeline::Current().destinations.RefillOf(purpose);
    pipeline::TouchConfiguration();
    PG_RETURN_VOID();
}
