// identity/match_source_pg.cpp: see match_source_pg.hpp.
#include "identity/match_source_pg.hpp"

#include "pg/names.hpp"

namespace cdp::matching {

namespace {

constexpr long kRecordsAFetch = 5'000;
constexpr const char* kSeparator = "pg_catalog.chr(31)";

/// Types whose values are equal exactly where their texts are.
bool IsWhole(const std::string& type) {
    static const char* const kTypes[] = {"text", "character varying", "smallint", "integer", "bigint", "date", "boolean", "uuid"};
    return std::any_of(std::begin(kTypes), std::end(kTypes), [&](const char* t) { return type == t; });
}

}  // namespace

Source::Source(const std::optional<std::string>& table, Oid owner) : profiles_(!table), owner_(owner) {
    if (table) ReadTable(*table);
    else ReadProfiles();
}

void Source::ReadTable(const std::string& table) {
    what_ = table;
    const auto found = pg::Query("SELECT to_regclass($1)::oid, (SELECT c.relkind::text FROM pg_class c WHERE c.oid = to_regclass($1))", {pg::Text(table)}, true);
    if (!found.Get(0, 1)) throw Error(sqlstate::undefined_table, "table " + table + " does not exist");
    const auto relation = pg::Value(OIDOID, *found.Get(0, 1));
    if (found.Text(0, 2) != "r" && found.Text(0, 2) != "p")
        throw Error(sqlstate::wrong_object_type, table + " is not a table").Hint("A table with a primary key can be matched.");
    from_ = table;
    const auto attributes = pg::Query(
        "SELECT a.attname::text, format_type(a.atttypid, NULL), coalesce(x.place, 0)::bigint,"
        " coalesce(l.collisdeterministic, true) FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation"
        " LEFT JOIN (SELECT k.attnum, k.place FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)"
        "   WHERE i.indrelid = $1 AND i.indisprimary) x ON x.attnum = a.attnum"
        " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY coalesce(x.place, 0), a.attnum", {relation}, true);
    for (uint64 i = 0; i < attributes.size(); ++i) {
        const std::string name = attributes.Text(i, 1), type = attributes.Text(i, 2);
        columns_.push_back({name, type, "t." + pg::Identifier(name), IsWhole(type) && attributes.Bool(i, 4)});
        if (attributes.Int8(i, 3) == 0) continue;
        keys_.push_back(pg::Identifier(name));
        numbered_ = type == "smallint" || type == "integer" || type == "bigint";
    }
    if (keys_.empty())
        throw Error(sqlstate::object_not_in_prerequisite_state, "table " + table + " has no primary key").Hint("Matches are told by it.");
    numbered_ = numbered_ && keys_.size() == 1;
    if (keys_.size() == 1) {
        id_ = "t." + keys_[0] + "::text";
    } else {
        for (const auto& key : keys_) id_ += (id_.empty() ? "ROW(t." : ", t.") + key;
        id_ += ")::text";
    }
}

void Source::ReadProfiles() {
    what_ = "the profiles";
    from_ = "cdp.profile";
    keys_ = {"profile_id"};
    id_ = "t.profile_id::text";
    numbered_ = true;
    const auto attributes = pg::Query(
        "SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = 'cdp.profile'::regclass"
        " AND a.attnum > 0 AND NOT a.attisdropped AND a.attname NOT IN ('profile_id', 'state', 'traits') ORDER BY a.attnum", {}, true);
    for (uint64 i = 0; i < attributes.size(); ++i)
        columns_.push_back({attributes.Text(i, 1), attributes.Text(i, 2), "t." + pg::Identifier(attributes.Text(i, 1)), IsWhole(attributes.Text(i, 2))});
}

const Source::Column* Source::Find(const std::string& name) const {
    const auto found = std::find_if(columns_.begin(), columns_.end(), [&](const Column& column) { return column.name == name; });
    return found == columns_.end() ? nullptr : &*found;
}

void Source::Need(const std::string& column) {
    if (Find(column) != nullptr) return;
    if (profiles_) {
        const auto found = pg::Query(
            "SELECT EXISTS (SELECT FROM cdp.identifier_type WHERE name = $1 AND dropped_at IS NULL),"
            " EXISTS (SELECT FROM cdp.profile WHERE traits ? $1)", {pg::Text(column)}, true);
        // Of several identifiers the one seen last.
        if (found.Bool(0, 1)) {
            columns_.push_back({column, "text", "(SELECT i.value FROM cdp.identifier i WHERE i.profile_id = t.profile_id AND i.type = " +
                                pg::Literal(column) + " ORDER BY i.last_seen_at DESC, i.value LIMIT 1)", true});
            return;
        }
        if (found.Bool(0, 2)) {
            columns_.push_back({column, "text", "(t.traits ->> " + pg::Literal(column) + ")", true});
            return;
        }
        throw Error(sqlstate::undefined_column, "profiles have nothing called \"" + column + "\"")
            .Hint("A column of cdp.profile, an identifier type, or a key of traits that somebody has.");
    }
    throw Error(sqlstate::undefined_column, "column \"" + column + "\" of " + what_ + " does not exist");
}

std::vector<std::string> Source::UsualColumns() {
    std::vector<std::string> names;
    if (!profiles_) {
        static const char* const kNot[] = {"json", "jsonb", "xml", "bytea", "tsvector", "point", "oid"};
        for (const auto& column : columns_)
            if (std::find(keys_.begin(), keys_.end(), pg::Identifier(column.name)) == keys_.end() &&
                std::none_of(std::begin(kNot), std::end(kNot), [&](const char* type) { return column.type == type; }))
                names.push_back(column.name);
        return names;
    }
    // What is declared, what identifies and can be mistyped, and what else many have.
    const auto found = pg::Query(
        "SELECT name FROM (SELECT t.name, 0 AS rank, t.trait_id::bigint AS place FROM cdp.trait t WHERE t.kind = 'declared'"
        " UNION ALL SELECT y.name, 1, y.type_id FROM cdp.identifier_type y WHERE y.dropped_at IS NULL"
        "   AND y.name NOT IN ('user_id', 'anonymous_id', 'device_id')"
        " UNION ALL SELECT k.key, 2, -k.people FROM (SELECT e.key, count(*) AS people FROM"
        "   (SELECT traits FROM cdp.profile ORDER BY profile_id LIMIT 10000) p, jsonb_each(p.traits) e"
        "   WHERE jsonb_typeof(e.value) IN ('string', 'number') GROUP BY e.key) k"
        "   WHERE k.people * 50 >= (SELECT count(*) FROM (SELECT FROM cdp.profile LIMIT 10000) p)"
        "   AND NOT EXISTS (SELECT FROM cdp.trait t WHERE t.path = k.key)) n"
        " GROUP BY name ORDER BY min(rank), min(place), name LIMIT 32", {}, true);
    for (uint64 i = 0; i < found.size(); ++i) names.push_back(found.Text(i, 1));
    return names;
}

Records Source::Load(std::span<const std::string> columns) const {
    std::vector<std::pair<std::string, std::string>> described;
    std::string query = "SELECT " + id_;
    for (const auto& name : columns) {
        const Column& column = *Find(name);
        described.emplace_back(name, column.type);
        query += column.type.ends_with("[]") ? ", pg_catalog.array_to_string(" + column.value + "::text[], " + kSeparator + ")"
                                             : ", " + column.value + "::text";
    }
    query += " FROM " + from_ + " t ORDER BY ";
    for (const auto& key : keys_) query += (&key == &keys_[0] ? "t." : ", t.") + key;

    Records records(std::move(described));
    for (size_t i = 0; i < columns.size(); ++i) records.columns()[i].whole = Find(columns[i])->whole;
    const pg::ActAs owner(owner_, true);
    pg::Cursor cursor(query, {}, true);
    std::vector<Datum> values(columns.size() + 1);
    std::vector<char> nulls(columns.size() + 1);
    std::vector<std::optional<std::string_view>> texts(columns.size());
    for (pg::Rows rows; !(rows = cursor.Fetch(kRecordsAFetch)).empty();) {
        poll_stop();
        for (uint64 i = 0; i < rows.size(); ++i) {
            rows.Deform(i, values.data(), reinterpret_cast<bool*>(nulls.data()));
            for (size_t c = 0; c < columns.size(); ++c) {
                texts[c].reset();
                if (!nulls[c + 1]) texts[c] = pg::Bytes(values[c + 1]);
                if (texts[c] && texts[c]->empty()) texts[c].reset();
            }
            records.Add(pg::Bytes(values[0]), texts);
        }
    }
    return records;
}

std::vector<std::string> Source::Ids() const {
    std::string query = "SELECT " + id_ + " FROM " + from_ + " t ORDER BY ";
    for (const auto& key : keys_) query += (&key == &keys_[0] ? "t." : ", t.") + key;
    std::vector<std::string> ids;
    const pg::ActAs owner(owner_, true);
    pg::Cursor cursor(query, {}, true);
    for (pg::Rows rows; !(rows = cursor.Fetch(kRecordsAFetch)).empty();)
        for (uint64 i = 0; i < rows.size(); ++i) ids.push_back(rows.Text(i, 1));
    return ids;
}

std::string Source::Relation() const {
    if (!profiles_) return from_;
    std::string relation = "(SELECT t.profile_id";
    for (const auto& column : columns_) relation += ", " + column.value + " AS " + pg::Identifier(column.name);
    return relation + ", t.traits FROM cdp.profile t)";
}

std::string Source::PairsQuery(const std::string& rule, std::span<const std::string> others) const {
    const auto id = [&](const char* alias) {
        std::string list;
        for (const auto& key : keys_) list += (list.empty() ? std::string() : ", ") + alias + "." + key;
        return keys_.size() == 1 ? list : "ROW(" + list + ")";
    };
    std::string query = "SELECT (" + id("l") + ")::text, (" + id("r") + ")::text FROM " + Relation() + " l JOIN " + Relation() +
                        " r ON (\n" + rule + "\n) WHERE " + id("l") + " < " + id("r");
    for (const auto& other : others) query += " AND NOT coalesce((\n" + other + "\n), false)";
    return query;
}

void Source::Check(const std::string& rule) const {
    try {
        const pg::ActAs owner(owner_, true);
        pg::Statement(PairsQuery(rule, {})).plan();
    } catch (const pg::PgError& error) {
        pg::Prefix(error, "blocking rule \"" + rule + "\"");
        throw;
    }
}

}  // namespace cdp::matching
