// profile/lookup_pg.cpp: cdp.get_profile, the whole person at once.
#include <cmath>
#include <map>
#include <tuple>

#include "govern/masking_pg.hpp"
#include "pg/json_builder.hpp"
#include "pg/scan.hpp"
#include "pg/spi.hpp"
#include "pipeline/definitions_pg.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
}

using namespace cdp;

namespace {

struct TraitColumn {
    std::string name;
    int column;  // its place in a row of cdp.profile
    Oid type;
    bool personal;
};

/// How jsonb orders keys. Objects are made in that order below, since sorting them is what would cost most.
bool KeyOrder(std::string_view a, std::string_view b) { return a.size() != b.size() ? a.size() < b.size() : a < b; }

/// All that a call needs of the configuration, read once for a version of it.
class Lookup {
public:
    static const Lookup& Current();

    Lookup();
    Lookup(const Lookup&) = delete;

    const identity::Rules& rules() const { return rules_; }
    const std::vector<TraitColumn>& traits() const { return traits_; }
    const govern::MaskedKeys& keys() const { return keys_; }
    const std::string* SegmentName(int64 segment_id) const {
        const auto found = segments_.find(segment_id);
        return found == segments_.end() ? nullptr : &found->second;
    }

private:
    identity::Rules rules_;
    std::vector<TraitColumn> traits_;
    govern::MaskedKeys keys_;
    std::map<int64, std::string> segments_;
};

Lookup::Lookup() {
    const pg::Spi spi;
    rules_ = identity::Rules::Load();
    const auto columns = pg::Query(
        "SELECT t.name, a.attnum::int, a.atttypid, c.personal FROM cdp.trait t JOIN cdp.profile_columns() c ON c.name = t.name"
        " JOIN pg_attribute a ON a.attrelid = 'cdp.profile'::regclass AND a.attnum = c.attnum", {}, true);
    for (uint64 i = 0; i < columns.size(); ++i)
        traits_.push_back({columns.Text(i, 1), DatumGetInt32(*columns.Get(i, 2)) - 1, DatumGetObjectId(*columns.Get(i, 3)), columns.Bool(i, 4)});
    std::sort(traits_.begin(), traits_.end(), [](const auto& a, const auto& b) { return KeyOrder(a.name, b.name); });
    const auto keys = pg::Query("SELECT open_traits, closed_traits FROM cdp.masked_keys()", {}, true);
    keys_ = {pg::TextArray(*keys.Get(0, 1)), pg::TextArray(*keys.Get(0, 2))};
    const auto segments = pg::Query("SELECT segment_id, name FROM cdp.segment", {}, true);
    for (uint64 i = 0; i < segments.size(); ++i) segments_[segments.Int8(i, 1)] = segments.Text(i, 2);
}

int64 ConfigurationVersion() {
    int64 version = 0;
    const pg::Table configuration("configuration");
    configuration.ForEach(InvalidOid, {}, [&](HeapTuple row) {
        bool null;
        version = DatumGetInt64(heap_getattr(row, 2, configuration.descriptor(), &null));
    });
    return version;
}

const Lookup& Lookup::Current() {
    static std::unique_ptr<Lookup> current;
    static int64 version;
    const int64 now = ConfigurationVersion();
    if (current == nullptr || version != now) {
        current.reset();
        const pg::ActAs owner(pg::ExtensionOwner());
        current = std::make_unique<Lookup>();
        version = now;
    }
    return *current;
}

/// A value as to_jsonb gives it.
void AddValue(pg::JsonBuilder& json, Oid type, Datum value) {
    switch (type) {
        case BOOLOID: return json.Add(DatumGetBool(value));
        case INT2OID: return json.Add(int64{DatumGetInt16(value)});
        case INT4OID: return json.Add(int64{DatumGetInt32(value)});
        case INT8OID: return json.Add(int64{DatumGetInt64(value)});
        case NUMERICOID: {
            const Numeric number = pg::Call([&] { return DatumGetNumeric(value); });
            if (!numeric_is_nan(number) && !numeric_is_inf(number)) return json.Add(number);
            break;
        }
        case FLOAT4OID:
        case FLOAT8OID: {
            const double real = type == FLOAT4OID ? DatumGetFloat4(value) : DatumGetFloat8(value);
            if (!std::isfinite(real)) break;
            return json.Add(pg::Call([&] {
                return DatumGetNumeric(DirectFunctionCall1(type == FLOAT4OID ? float4_numeric : float8_numeric, value));
            }));
        }
        case DATEOID:
        case TIMESTAMPOID:
        case TIMESTAMPTZOID: {
            const char* text = pg::Call([&] { return JsonEncodeDateTime(static_cast<char*>(palloc(MAXDATELEN + 1)), value, type, nullptr); });
            return json.Add(std::string_view(text));
        }
        case JSONBOID: return json.Add(pg::Json(pg::Unpacked(value)).raw());
        case TEXTOID:
        case VARCHAROID: return json.Add(pg::Bytes(value));
        case TEXTARRAYOID: {
            struct { Datum* values; bool* nulls; int count; } elements;
            pg::Call([&] { deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &elements.values, &elements.nulls, &elements.count); });
            json.BeginArray();
            for (int i = 0; i < elements.count; ++i) elements.nulls[i] ? json.AddNull() : json.Add(pg::Bytes(elements.values[i]));
            return json.EndArray();
        }
        default: break;
    }
    const char* text = pg::Call([&] {
        Oid output;
        bool varlena;
        getTypeOutputInfo(type, &output, &varlena);
        return OidOutputFunctionCall(output, value);
    });
    json.Add(std::string_view(text));
}

struct IdentifierRow {
    int type;  // its place in the rules, strongest first; beyond them: dropped
    std::string type_name, value;
    Datum first_seen_at, last_seen_at;
    auto Order() const { return std::tie(type, type_name, value); }
};

enum IdentifierColumn { kId, kType, kValue, kProfile, kFirstSeen, kLastSeen, kIdentifierColumns };

void AddIdentifiers(pg::JsonBuilder& json, const std::vector<IdentifierRow>& rows, bool masked) {
    json.BeginArray();
    for (const auto& row : rows) {
        json.BeginObject();
        json.Key("type"), json.Add(std::string_view(row.type_name));
        json.Key("value"), json.Add(masked ? govern::kMask : std::string_view(row.value));
        json.Key("last_seen_at"), AddValue(json, TIMESTAMPTZOID, row.last_seen_at);
        json.Key("first_seen_at"), AddValue(json, TIMESTAMPTZOID, row.first_seen_at);
        json.EndObject();
    }
    json.EndArray();
}

std::vector<IdentifierRow> IdentifiersOf(const pg::Table& identifiers, Datum profile_id, const identity::Rules& rules) {
    std::vector<IdentifierRow> rows;
    identifiers.ForEach(pg::Table::IndexNamed("identifier_profile_id"), {{kProfile, profile_id}}, [&](HeapTuple tuple) {
        Datum values[kIdentifierColumns];
        bool nulls[kIdentifierColumns];
        heap_deform_tuple(tuple, identifiers.descriptor(), values, nulls);
        const int type = rules.TypeNamed(pg::Bytes(values[kType]));
        rows.push_back({type < 0 ? INT_MAX : type, std::string(pg::Bytes(values[kType])), std::string(pg::Bytes(values[kValue])),
                        values[kFirstSeen], values[kLastSeen]});
    });
    std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.Order() < b.Order(); });
    return rows;
}

void AddSegments(pg::JsonBuilder& json, Datum profile_id, const Lookup& lookup) {
    enum { kProfile, kSegment };
    std::vector<std::string_view> names;
    const pg::Table members("segment_member");
    members.ForEach(members.PrimaryKey(), {{kProfile, profile_id}}, [&](HeapTuple tuple) {
        bool null;
        const int64 id = DatumGetInt64(heap_getattr(tuple, kSegment + 1, members.descriptor(), &null));
        if (const auto* name = lookup.SegmentName(id)) names.push_back(*name);
    });
    std::sort(names.begin(), names.end());
    json.BeginArray();
    for (const auto name : names) json.Add(name);
    json.EndArray();
}

/// What holds now of what the person said: all channels first.
void AddConsents(pg::JsonBuilder& json, Datum profile_id) {
    enum { kProfile, kPurpose, kChannel, kGranted, kOccurred, kRecord, kColumns };
    std::map<std::pair<std::string, std::optional<std::string>>, std::pair<Datum, Datum>> said;
    const pg::Table consents("consent");
    consents.ForEach(pg::Table::IndexNamed("consent_profile_id_purpose_channel_key"), {{kProfile, profile_id}}, [&](HeapTuple tuple) {
        Datum values[kColumns];
        bool nulls[kColumns];
        heap_deform_tuple(tuple, consents.descriptor(), values, nulls);
        const auto channel = nulls[kChannel] ? std::nullopt : std::optional(std::string(pg::Bytes(values[kChannel])));
        said[{std::string(pg::Bytes(values[kPurpose])), channel}] = {values[kGranted], values[kOccurred]};
    });
    json.BeginArray();
    for (const auto& [what, answer] : said) {
        json.BeginObject();
        json.Key("channel"), what.second ? json.Add(std::string_view(*what.second)) : json.AddNull();
        json.Key("granted"), json.Add(DatumGetBool(answer.first));
        json.Key("purpose"), json.Add(std::string_view(what.first));
        json.Key("occurred_at"), AddValue(json, TIMESTAMPTZOID, answer.second);
        json.EndObject();
    }
    json.EndArray();
}

bool IsSuppressed(Datum profile_id) {
    bool found = false;
    const pg::Table suppressed("suppressed_profile");
    suppressed.ForEach(suppressed.PrimaryKey(), {{0, profile_id}}, [&](HeapTuple) { found = true; });
    return found;
}

std::map<std::string, Datum> AccountsOf(Datum profile_id) {
    enum { kProfile, kGroup, kSince, kColumns };
    std::map<std::string, Datum> since;
    const pg::Table members("account_member");
    members.ForEach(members.PrimaryKey(), {{kProfile, profile_id}}, [&](HeapTuple tuple) {
        Datum values[kColumns];
        bool nulls[kColumns];
        heap_deform_tuple(tuple, members.descriptor(), values, nulls);
        since[std::string(pg::Bytes(values[kGroup]))] = values[kSince];
    });
    return since;
}

void AddAccounts(pg::JsonBuilder& json, const std::map<std::string, Datum>& since) {
    json.BeginArray();
    for (const auto& [group_id, time] : since) {
        json.BeginObject();
        json.Key("since"), AddValue(json, TIMESTAMPTZOID, time);
        json.Key("group_id"), json.Add(std::string_view(group_id));
        json.EndObject();
    }
    json.EndArray();
}

/// A row of cdp.profile.
class ProfileRow {
public:
    /// Whether there is one.
    bool Read(Datum profile_id) {
        bool found = false;
        table_.ForEach(table_.PrimaryKey(), {{profile::kProfileId, profile_id}}, [&](HeapTuple tuple) {
            HeapTuple copy = pg::Call([&] { return heap_copytuple(tuple); });
            values_.resize(table_.descriptor()->natts);
            nulls_.reset(new bool[values_.size()]);
            heap_deform_tuple(copy, table_.descriptor(), values_.data(), nulls_.get());
            found = true;
        });
        return found;
    }
    /// The value of a column that was of that type; nothing if it is NULL or gone.
    std::optional<Datum> Get(int column, Oid type) const {
        if (column >= static_cast<int>(values_.size()) || nulls_[column]) return std::nullopt;
        const auto* attribute = TupleDescAttr(table_.descriptor(), column);
        if (attribute->attisdropped || attribute->atttypid != type) return std::nullopt;
        return values_[column];
    }

private:
    pg::Table table_{"profile"};
    std::vector<Datum> values_;
    std::unique_ptr<bool[]> nulls_;
};

void AddColumn(pg::JsonBuilder& json, const ProfileRow& row, int column, Oid type) {
    if (const auto value = row.Get(column, type))
        AddValue(json, type, *value);
    else
        json.AddNull();
}

void AddTrait(pg::JsonBuilder& json, const TraitColumn& trait, const ProfileRow& row, bool masked) {
    json.Key(trait.name);
    if (!masked || !trait.personal)
        AddColumn(json, row, trait.column, trait.type);
    else if (trait.type == TEXTOID && row.Get(trait.column, trait.type))
        json.Add(govern::kMask);
    else
        json.AddNull();
}

/// All traits as people sent them, those declared and computed in their place.
void AddTraits(pg::JsonBuilder& json, const Lookup& lookup, const ProfileRow& row, bool masked) {
    json.BeginObject();
    auto trait = lookup.traits().begin();
    const auto end = lookup.traits().end();
    if (const auto raw = row.Get(profile::kTraits, JSONBOID)) {
        Datum traits = pg::Unpacked(*raw);
        if (masked) traits = govern::MaskTraits(pg::Json(traits), lookup.keys());
        pg::Json(traits).ForEach([&](std::string_view key, const pg::Json& value) {
            while (trait != end && KeyOrder(trait->name, key)) AddTrait(json, *trait++, row, masked);
            if (trait != end && trait->name == key) return;
            json.Key(key);
            json.Add(value.raw());
        });
    }
    while (trait != end) AddTrait(json, *trait++, row, masked);
    json.EndObject();
}

}  // namespace

// Reads its few rows straight from the tables: as SQL, starting and ending the executor would cost more than they do.
CDP_FUNCTION(cdp_get_profile)  // cdp.get_profile(type text, value text) → jsonb
{
    const bool masked = !govern::SeesPersonal(GetUserId());
    const Lookup& lookup = Lookup::Current();
    const Datum type_name = PG_GETARG_DATUM(0);
    const int type = lookup.rules().TypeNamed(pg::Bytes(type_name));
    if (type < 0) throw identity::NoType(pg::Bytes(type_name));
    const auto value = lookup.rules().Normalise(type, pg::Bytes(PG_GETARG_DATUM(1)));
    if (!value) PG_RETURN_NULL();

    std::optional<Datum> profile_id;
    const pg::Table identifiers("identifier");
    identifiers.ForEach(pg::Table::IndexNamed("identifier_value_type"), {{kValue, pg::TextDatum(*value), C_COLLATION_OID}, {kType, type_name, DEFAULT_COLLATION_OID}},
                        [&](HeapTuple tuple) {
        bool null;
        profile_id = heap_getattr(tuple, kProfile + 1, identifiers.descriptor(), &null);
    });
    ProfileRow row;
    if (!profile_id || !row.Read(*profile_id)) PG_RETURN_NULL();
    const auto identifier_rows = IdentifiersOf(identifiers, *profile_id, lookup.rules());
    const auto accounts = AccountsOf(*profile_id);

    pg::JsonBuilder json;
    json.BeginObject();
    json.Key("traits"), AddTraits(json, lookup, row, masked);
    json.Key("accounts"), AddAccounts(json, accounts);
    json.Key("consents"), AddConsents(json, *profile_id);
    json.Key("segments"), AddSegments(json, *profile_id, lookup);
    json.Key("profile_id"), json.Add(DatumGetInt64(*profile_id));
    json.Key("suppressed"), json.Add(IsSuppressed(*profile_id));
    json.Key("event_count"), AddColumn(json, row, profile::kEventCount, INT8OID);
    json.Key("identifiers"), AddIdentifiers(json, identifier_rows, masked);
    json.Key("last_seen_at"), AddColumn(json, row, profile::kLastSeenAt, TIMESTAMPTZOID);
    json.Key("first_seen_at"), AddColumn(json, row, profile::kFirstSeenAt, TIMESTAMPTZOID);
    json.EndObject();
    return json.Finish();
}
