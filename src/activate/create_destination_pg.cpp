// activate/create_destination_pg.cpp: see create_destination_pg.hpp.
#include "activate/create_destination_pg.hpp"

#include "pg/expression.hpp"
#include "pg/json.hpp"
#include "pg/names.hpp"

extern "C" {
#include "utils/lsyscache.h"
}

namespace cdp::activate {

namespace {

/// What the definition's columns turn out to be.
struct Columns {
    std::vector<std::string> types;  // as SQL
    std::vector<std::string> reads;  // columns of cdp.profile
    bool asks_segments = false;
    std::vector<std::string> asks_purposes;
};

void AddOnce(std::vector<std::string>* list, std::string name) {
    if (std::find(list->begin(), list->end(), name) == list->end()) list->push_back(std::move(name));
}

std::string PublicationOf(const std::string& name) { return "cdp_" + name; }

void CheckName(const std::string& what, const std::string& name, size_t longest = NAMEDATALEN - 1) {
    if (name.find_first_not_of(' ') == std::string::npos) throw Error(sqlstate::invalid_parameter_value, what + " must not be empty");
    if (name.size() > longest)
        throw Error(sqlstate::name_too_long, what + " \"" + name + "\" is too long")
            .Detail("It may have up to " + std::to_string(longest) + " bytes.");
}

bool Exists(const std::string& query, std::string_view name) { return !pg::Query(query, {pg::Text(name)}).empty(); }

/// Everything that is told of a person, and every trait there is now.
std::vector<std::pair<std::string, std::string>> DefaultColumns(const std::string& key) {
    std::vector<std::pair<std::string, std::string>> columns;
    const auto names = pg::Query(
        "SELECT jsonb_object_agg(name, quote_ident(name)) FROM (SELECT name FROM cdp.trait UNION ALL"
        " VALUES ('first_seen_at'), ('last_seen_at'), ('event_count')) columns WHERE name <> $1", {pg::Text(key)});
    pg::Json(pg::Unpacked(*names.Get(0, 1))).ForEach([&](std::string_view name, const pg::Json& expression) {
        columns.emplace_back(name, expression.ToText());
    });
    return columns;
}

std::vector<std::pair<std::string, std::string>> GivenColumns(const pg::Json& json, const std::string& key) {
    if (!json.IsObject())
        throw Error(sqlstate::invalid_parameter_value, "columns must be a JSON object")
            .Hint("It maps each column to an SQL expression, such as {\"mail\": \"lower(email)\"}.");
    std::vector<std::pair<std::string, std::string>> columns;
    json.ForEach([&](std::string_view key_text, const pg::Json& expression) {
        const std::string name(key_text);
        CheckName("the name of a column", name);
        if (name == key)
            throw Error(sqlstate::duplicate_column, "column \"" + name + "\" is the key of the destination")
                .Hint("The key comes first in the table by itself. Give the column another name.");
        if (name == "tableoid" || name == "ctid" || name == "xmin" || name == "xmax" || name == "cmin" || name == "cmax")
            throw Error(sqlstate::reserved_name, "column name \"" + name + "\" is reserved by PostgreSQL");
        if (!expression.IsString())
            throw Error(sqlstate::invalid_parameter_value, "column \"" + name + "\" is no SQL expression")
                .Detail("It is the JSON value " + (expression.IsNull() ? "null" : expression.ToText()) + ".")
                .Hint("Give the expression as a JSON string.");
        columns.emplace_back(name, expression.String());
    });
    return columns;
}

/// The calls that conditions of segments and columns of destinations may make: those that only the former may are told from functions.
std::vector<const char*> AllSpecialCalls() {
    std::vector<const char*> names(std::begin(kSpecialCalls), std::end(kSpecialCalls));
    names.insert(names.end(), std::begin(segment::kSpecialCalls), std::end(segment::kSpecialCalls));
    return names;
}

Columns Analyse(const Definition& definition, Oid owner) {
    const Oid profile = ProfileTable();
    const auto calls = AllSpecialCalls();
    Columns columns;
    for (const auto& [name, text] : definition.columns) {
        const std::string what = "column \"" + name + "\" of destination \"" + definition.name + "\"";
        const pg::Condition parsed(text, what, profile, "profile", owner, calls, {.kind = pg::Condition::Kind::kValue});
        columns.types.push_back(parsed.type());
        for (size_t call = 0; call < parsed.specials().size(); ++call) {
            const std::string& function = parsed.specials()[call].function;
            if (function == kSpecialCalls[0]) columns.asks_segments = true;
            else if (function != kSpecialCalls[1])
                throw parsed.At(call, Error(sqlstate::feature_not_supported, what + ": cdp." + function + " can only stand in a segment's condition")
                                          .Hint("Make a segment of it, and write 'its name' = ANY (cdp.segment_names())."));
            else AddOnce(&columns.asks_purposes, govern::ConsentAt(parsed, call, govern::Purposes::Load()).purpose.name);
        }
        for (const int number : parsed.columns()) {
            if (number == 0)
                throw Error(sqlstate::feature_not_supported, what + " reads the whole profile row")
                    .Hint("Name the columns that it needs.").At(1, text);
            const std::string read = pg::Call([&] { return get_attname(profile, static_cast<AttrNumber>(number), false); });
            if (read == "state")
                throw Error(sqlstate::feature_not_supported, what + " reads column \"state\", which is internal").At(1, text);
            AddOnce(&columns.reads, read);
        }
    }
    return columns;
}

std::optional<govern::ConsentQuestion> PurposeOf(const Request& request) {
    if (request.channel && request.channel->empty()) throw Error(sqlstate::invalid_parameter_value, "the channel must not be empty").Hint("NULL is all channels.");
    if (!request.purpose && request.channel)
        throw Error(sqlstate::invalid_parameter_value, "a channel without a purpose says nothing").Hint("Name the purpose that people consent to.");
    if (!request.purpose) return std::nullopt;
    const auto purposes = govern::Purposes::Load();
    const auto* purpose = purposes.Named(*request.purpose);
    if (purpose == nullptr) throw govern::NoPurpose(*request.purpose);
    return govern::ConsentQuestion{*purpose, request.channel};
}

/// Where the table is to be, qualified and quoted. Without a schema it is in cdp_out.
std::string TableName(const std::optional<std::string>& given, const std::string& name, Oid caller) {
    if (!given) return "cdp_out." + pg::Identifier(name);
    const auto parsed = pg::Query("SELECT unnest(parse_ident($1))", {pg::Text(*given)});
    std::vector<std::string> parts;
    if (parsed.size() == 1) parts.push_back("cdp_out");
    for (uint64 i = 0; i < parsed.size(); ++i) parts.push_back(parsed.Text(i, 1));
    if (parts.size() != 2) throw Error(sqlstate::invalid_parameter_value, "table name \"" + *given + "\" has too many parts");
    CheckName("table name", parts[1]);
    const auto schema = pg::Query("SELECT has_schema_privilege($2, oid, 'CREATE') FROM pg_namespace WHERE nspname = $1",
                                  {pg::Text(parts[0]), pg::Value(OIDOID, ObjectIdGetDatum(caller))});
    if (schema.empty()) throw Error(sqlstate::undefined_schema, "schema \"" + parts[0] + "\" does not exist");
    if (parts[0] == "cdp" || parts[0] == "cdp_segment")
        throw Error(sqlstate::reserved_name, "schema \"" + parts[0] + "\" is for the extension's own tables");
    // The table will belong to the extension's owner, who may create it anywhere.
    if (parts[0] != "cdp_out" && !schema.Bool(0, 1))
        throw Error(sqlstate::insufficient_privilege, "permission denied for schema " + parts[0]);
    return pg::Identifier(parts[0]) + "." + pg::Identifier(parts[1]);
}

/// The table's definition, and its columns as a JSON object.
std::string CreateTableText(const Definition& d, const Columns& columns) {
    std::string text = "CREATE TABLE " + d.table + " (" + pg::Identifier(d.key) +
                       (d.KeyedByProfile() ? " bigint" : " text COLLATE \"C\"") + " PRIMARY KEY";
    for (size_t i = 0; i < d.columns.size(); ++i) text += ", " + pg::Identifier(d.columns[i].first) + " " + columns.types[i];
    return text + ") WITH (fillfactor = 70)";
}

pg::Arg NameArray(const std::vector<std::string>& names) {
    std::vector<Datum> texts;
    for (const auto& name : names) texts.push_back(pg::TextDatum(name));
    return pg::Value(TEXTARRAYOID, pg::Call([&] {
                         return PointerGetDatum(construct_array(texts.data(), static_cast<int>(texts.size()), TEXTOID, -1,
                                                                false, TYPALIGN_INT));
                     }));
}

void Insert(const Definition& d, const Columns& columns) {
    std::vector<std::string> names, texts;
    for (const auto& [name, text] : d.columns) {
        names.push_back(name);
        texts.push_back(text);
    }
    pg::Execute(
        "INSERT INTO cdp.destination (destination_id, name, segment, key, columns, table_name, owner, reads, purpose, channel,"
        " asks_segments, asks_purposes) VALUES ($1, $2, $3, $4, jsonb_object($5, $6), $7, $8::name, $9::name[], $10, $11, $12, $13)",
        {pg::Int8(d.destination_id), pg::Text(d.name), pg::TextOrNull(d.segment), pg::Text(d.key), NameArray(names),
         NameArray(texts), pg::Text(d.table), pg::Text(d.owner), NameArray(columns.reads),
         pg::TextOrNull(d.purpose ? std::optional(d.purpose->purpose.name) : std::nullopt), pg::TextOrNull(d.purpose ? d.purpose->channel : std::nullopt),
         pg::Bool(d.asks_segments), NameArray(d.asks_purposes)});
}

}  // namespace

Oid CreateDestination(const Request& request, Oid owner) {
    // The publication's name has to fit too.
    CheckName("destination name", request.name, NAMEDATALEN - 1 - PublicationOf("").size());
    if (Exists("SELECT FROM cdp.destination WHERE name = $1", request.name))
        throw Error(sqlstate::duplicate_object, "destination \"" + request.name + "\" already exists");
    Definition d;
    d.name = request.name;
    d.segment = request.segment;
    d.key = request.key;
    if (request.segment) {
        const auto segment = pg::Query("SELECT segment_id FROM cdp.segment WHERE name = $1", {pg::Text(*request.segment)});
        if (segment.empty())
            throw Error(sqlstate::undefined_object, "segment \"" + *request.segment + "\" does not exist")
                .Hint("Create it with cdp.create_segment.");
        d.segment_id = segment.Int8(0, 1);
    }
    d.purpose = PurposeOf(request);
    if (!d.KeyedByProfile() &&
        !Exists("SELECT FROM cdp.identifier_type WHERE name = $1 AND dropped_at IS NULL", request.key))
        throw Error(sqlstate::undefined_object, "identifier type \"" + request.key + "\" does not exist")
            .Detail("The key of a destination is profile_id or an identifier type.");
    d.columns = request.columns ? GivenColumns(pg::Json(*request.columns), d.key) : DefaultColumns(d.key);
    d.owner = pg::RoleName(owner);
    d.hides = HidesProfiles(d.owner);
    const Columns columns = Analyse(d, owner);
    d.asks_segments = columns.asks_segments;
    d.asks_purposes = columns.asks_purposes;
    d.table = TableName(request.table_name, d.name, owner);
    d.destination_id = pg::Query("SELECT nextval('cdp.destination_id_seq')").Int8(0, 1);

    pg::Execute(CreateTableText(d, columns));
    pg::Execute("COMMENT ON TABLE " + d.table + " IS " +
                pg::Literal("Destination \"" + d.name + "\" of cdp, kept current by it. Made by cdp.create_destination."));
    pg::Execute("GRANT SELECT ON " + d.table + " TO cdp_admin, cdp_pii");
    Insert(d, columns);
    Destination(d, std::make_shared<govern::ConsentAnswers>(true)).Refill();
    pg::Execute("CREATE PUBLICATION " + pg::Identifier(PublicationOf(d.name)) + " FOR TABLE ONLY " + d.table);
    return DatumGetObjectId(*pg::Query("SELECT $1::regclass", {pg::Text(d.table)}).Get(0, 1));
}

void DropDestination(const std::string& name, bool cascade) {
    const auto found = pg::Query("SELECT destination_id, table_name FROM cdp.destination WHERE name = $1", {pg::Text(name)});
    if (found.empty()) throw Error(sqlstate::undefined_object, "destination \"" + name + "\" does not exist").Hint("cdp.destination lists them.");
    pg::Query("SELECT cdp.forget_delivery($1)", {pg::Text(name)});
    pg::Execute("DROP PUBLICATION IF EXISTS " + pg::Identifier(PublicationOf(name)));
    pg::Execute("DROP TABLE IF EXISTS " + found.Text(0, 2) + (cascade ? " CASCADE" : ""));
    pg::Execute("DELETE FROM cdp.destination_member WHERE destination_id = $1", {pg::Int8(found.Int8(0, 1))});
    pg::Execute("DELETE FROM cdp.destination WHERE destination_id = $1", {pg::Int8(found.Int8(0, 1))});
}

void DropEverything() {
    const auto all = pg::Query("SELECT name FROM cdp.destination ORDER BY destination_id");
    for (uint64 i = 0; i < all.size(); ++i) DropDestination(all.Text(i, 1), true);
}

}  // namespace cdp::activate
