// activate/destination_pg.cpp: see destination_pg.hpp.
#include "activate/destination_pg.hpp"

#include "pg/expression.hpp"
#include "pg/json.hpp"
#include "pg/names.hpp"
#include "pg/probes.hpp"
#include "pg/standing.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
}

namespace cdp::activate {

namespace {

constexpr const char* kPeopleAtATime = "20000";

/// Settings that are changed while one lives are as before afterwards.
class Settings {
public:
    Settings() : level_(NewGUCNestLevel()) {}
    ~Settings() { AtEOXact_GUC(true, level_); }
    Settings(const Settings&) = delete;

private:
    int level_;
};

/// Whether a failure lies in how things are defined, not in somebody's values: undefined objects, missing rights,
/// types that do not match; and a published table that has lost its key.
bool IsOfDefinition(const pg::Failure& failure) {
    return failure.sqlstate.starts_with("42") || failure.sqlstate == sqlstate::object_not_in_prerequisite_state;
}

void StandStill(const Definition& definition, const pg::Failure& failure) {
    pg::Execute("UPDATE cdp.destination SET problem = $2 WHERE destination_id = $1",
                {pg::Int8(definition.destination_id), pg::Text(failure.message)});
    pg::Query("SELECT cdp.touch_configuration()");
    const char* name = definition.name.c_str();
    const char* message = failure.message.c_str();
    pg::Call([&] {
        ereport(WARNING, (errmsg("destination \"%s\" stands still", name), errdetail("%s", message),
                          errhint("Remove the cause, then call cdp.rebuild(true).")));
    });
}

/// Runs `work` so that a failure that lies in the destination does no harm. Returns it, if there was one.
template <class F>
std::optional<pg::Failure> Attempt(F&& work) {
    try {
        pg::Subtransaction attempt;
        work();
        attempt.Commit();
        return std::nullopt;
    } catch (const std::exception& error) {
        pg::Failure failure = pg::Describe(error);
        if (!pg::MayBlameDefinition(failure.sqlstate)) throw;
        return failure;
    }
}

/// Runs work(leave_only). Who may not be in it any more leaves a destination that cannot be kept otherwise, too: consent
/// depends on nobody's expressions.
template <class F>
void Keep(const Destination& destination, F&& work) {
    if (!destination.definition().stands_still) {
        const auto failure = Attempt([&] { work(false); });
        if (!failure) return;
        StandStill(destination.definition(), *failure);
    }
    Attempt([&] { work(true); });
}

/// A condition of SQL: whether anything may be sent of the person at all.
std::string Permitted(const Definition& definition, const std::string& person) {
    const std::string suppressed = "NOT EXISTS (SELECT FROM cdp.suppressed_profile s WHERE s.profile_id = " + person + ")";
    return definition.purpose ? suppressed + " AND " + govern::CoversSql(person, *definition.purpose) : suppressed;
}

/// a.x, a.y for the columns x and y.
std::string List(const std::vector<std::string>& columns, const std::string& prefix) {
    std::string list;
    for (const auto& column : columns) list += (list.empty() ? "" : ", ") + prefix + column;
    return list;
}

}  // namespace

Oid ProfileTable() {
    return pg::Call([] { return get_relname_relid("profile", get_namespace_oid("cdp", false)); });
}

bool Definition::DependsOn(std::span<const std::string> segments) const {
    return asks_segments || std::find(segments.begin(), segments.end(), segment) != segments.end();
}

bool Definition::DependsOnConsent(std::string_view to) const {
    return (purpose && purpose->purpose.name == to) || std::find(asks_purposes.begin(), asks_purposes.end(), to) != asks_purposes.end();
}

bool Definition::Concerns(const segment::Touched& touched, std::span<const segment::Transition> moves) const {
    using Change = segment::Touched::Change;
    if (touched.change == Change::kAll) return true;
    profile::Person& person = *touched.person;
    for (const auto& move : moves)
        if (asks_segments || move.segment_id == segment_id) return true;
    if (segment) {
        const auto& memberships = person.state().memberships();
        if (!std::binary_search(memberships.begin(), memberships.end(), segment_id)) return false;
    }
    if (touched.change == Change::kNew || touched.identifiers_changed || touched.consents_changed) return true;
    // Of several identifiers the one that was seen last is the key.
    if (touched.event_id != 0 && key_type != 0 && person.state().IdentifierCount(key_type) > 1) return true;
    const auto& changed = person.Finish();
    return std::any_of(reads.begin(), reads.end(), [&](int column) { return std::binary_search(changed.begin(), changed.end(), column); });
}

void Definition::Stage(const segment::Touched& touched, std::span<const segment::Transition> moves, pg::StagedRows* people) const {
    if (!Concerns(touched, moves)) return;
    auto& state = touched.person->state();
    const auto& memberships = state.memberships();
    const bool same_identifiers = touched.change == segment::Touched::Change::kSome && !touched.identifiers_changed;
    bool meant = !segment || std::binary_search(memberships.begin(), memberships.end(), segment_id), same_key = false;
    if (key_type != 0) {
        const int64 keys = state.IdentifierCount(key_type);
        meant = meant && keys > 0;
        same_key = keys == 1 && same_identifiers;
    }
    people->Add({Int64GetDatum(touched.person->profile_id()), BoolGetDatum(meant), BoolGetDatum(same_key),
                 BoolGetDatum(same_identifiers && !touched.consents_changed)});
}

static const std::vector<pg::Column>& TouchedColumns() {
    static const std::vector<pg::Column> columns{{"profile_id", INT8OID}, {"meant", BOOLOID}, {"same_key", BOOLOID}, {"same_consents", BOOLOID}};
    return columns;
}

// The statements of one destination, in the order of their use. They hand rows on in tuplestores:
// cdp_touched → cdp_wanted → (cdp_left) and cdp_row.
struct Destination::Plans {
    std::string key;  // as SQL
    Oid key_type;
    std::string whose, touched;  // the SELECT and the FROM of leavers and wanted: who, whether, under which key, and under which until now

    pg::Statement leavers{""};   // of each in cdp_touched who is or was in the table: whether, and under which key
    pg::Statement forget{""};    // who is not in it any more under the key they had: cdp_left
    pg::Statement remember{""};  // who is in it now
    pg::Statement leave{""};     // DELETE; by profile_id those are cdp_left
    pg::Statement announce{""};  // to cdp-relay: those who are there under another key than they were
    pg::Statement look_up{""};   // of each in cdp_followed what cdp_touched has
    pg::Statement people{""};    // the same of who is or may be in the table, by profile_id, after $1
    pg::Statement orphans{""};   // DELETE of rows that are nobody's

    // What is missing until PrepareValues.
    std::vector<pg::Column> columns;  // of the table, those that are ours: the key first
    pg::Statement wanted{""};         // as leavers, with what the columns ask of
    pg::Statement values{""};         // the rows as they are to be: the only one that runs as the destination's owner
    pg::Statement enter{""};          // INSERT and UPDATE
};

Destination::Destination(Definition definition) : definition_(std::move(definition)) {}
Destination::~Destination() = default;
Destination::Destination(Destination&&) noexcept = default;

void Destination::Prepare() {
    if (plans_ != nullptr) return;
    const Definition& d = definition_;
    const bool by_profile = d.KeyedByProfile();
    auto plans = std::make_unique<Plans>();
    plans->key_type = by_profile ? INT8OID : TEXTOID;
    plans->key = pg::Identifier(d.key);

    if (d.segment && d.segment_id == 0) throw Error(sqlstate::undefined_object, "segment \"" + *d.segment + "\" does not exist");
    const std::string id = std::to_string(d.destination_id), segment_id = std::to_string(d.segment_id), &key = plans->key;

    // Whose row is to be there, if they have a key: worked out once a person, and no further than to the first no.
    const std::string permitted = Permitted(d, "t.profile_id");
    if (by_profile) {
        plans->whose = "SELECT t.profile_id, t.meant, t.profile_id, NULL::bigint";
        plans->touched = " FROM (SELECT t.profile_id, t.meant AND " + permitted + " AS meant FROM cdp_touched t OFFSET 0) t";
    } else {
        // Keys are looked up of those only who are meant at all, and may have another one than they are held under.
        const std::string last_seen =
            "(SELECT i.value FROM cdp.identifier i WHERE i.profile_id = t.profile_id AND i.type = " + pg::Literal(d.key) +
            " ORDER BY i.last_seen_at DESC, i.identifier_id DESC LIMIT 1)";
        plans->whose = "SELECT t.profile_id, t.meant, t.key, t.held";
        plans->touched =
            " FROM (SELECT t.profile_id, t.key IS NOT NULL AS meant, t.key, t.held FROM (SELECT t.profile_id, t.held,"
            " CASE WHEN NOT t.meant THEN NULL WHEN t.same_key AND t.held IS NOT NULL THEN t.held ELSE " + last_seen + " END AS key"
            " FROM (SELECT t.profile_id, m.key AS held, t.same_key,"
            " t.meant AND (t.same_consents AND m.key IS NOT NULL OR " + permitted + ") AS meant"
            " FROM cdp_touched t LEFT JOIN cdp.destination_member m ON m.destination_id = " + id + " AND m.profile_id = t.profile_id OFFSET 0) t OFFSET 0) t"
            " WHERE t.key IS NOT NULL OR t.held IS NOT NULL OFFSET 0) t";
    }
    plans->leavers = pg::Statement(plans->whose + ", NULL::text[], NULL::boolean[]" + plans->touched);

    plans->forget = pg::Statement(
        "DELETE FROM cdp.destination_member m USING cdp_wanted w"
        " WHERE m.destination_id = " + id + " AND m.profile_id = w.profile_id AND w.held IS NOT NULL AND (NOT w.wanted OR w.held <> w.key)"
        " RETURNING m.key, m.profile_id");
    // An identifier that has moved to another person takes its row along.
    plans->remember = pg::Statement(
        "INSERT INTO cdp.destination_member AS m (destination_id, profile_id, key)"
        " SELECT " + id + ", w.profile_id, w.key FROM cdp_wanted w WHERE w.wanted AND w.held IS DISTINCT FROM w.key"
        " ON CONFLICT (destination_id, key) DO UPDATE SET profile_id = EXCLUDED.profile_id");
    plans->leave = pg::Statement(
        by_profile ? "DELETE FROM " + d.table + " t USING cdp_wanted w WHERE NOT w.wanted AND t." + key + " = w.key RETURNING t." + key + ", t." + key
                   : "DELETE FROM " + d.table + " t USING cdp_left l WHERE t." + key + " = l.key AND NOT EXISTS"
                     " (SELECT FROM cdp.destination_member n WHERE n.destination_id = " + id + " AND n.key = l.key)");

    // Who was merged away is there as who they are now.
    plans->announce = pg::Statement(
        "SELECT count(pg_logical_emit_message(true, 'cdp_delivery', jsonb_build_object('destination', " + pg::Literal(d.name) +
        ", 'key', n.key::text, 'after', l.key::text)::text)) FROM cdp_left l LEFT JOIN cdp.profile_alias a ON a.alias_id = l.profile_id" +
        (by_profile ? " CROSS JOIN LATERAL (SELECT a.profile_id AS key) n"
                    : " JOIN cdp.destination_member n ON n.destination_id = " + id + " AND n.profile_id = coalesce(a.profile_id, l.profile_id)") +
        " WHERE n.key <> l.key AND EXISTS (SELECT FROM cdp.delivery_target t WHERE t.destination = " + pg::Literal(d.name) + ")");

    const std::string next = std::string(" > $1 ORDER BY 1 LIMIT ") + kPeopleAtATime;
    const std::string ids =
        (d.segment ? "(SELECT profile_id FROM cdp.segment_member WHERE segment_id = " + segment_id + " AND profile_id"
                   : std::string("(SELECT profile_id FROM cdp.profile WHERE profile_id")) + next + ") UNION (" +
        (by_profile ? "SELECT profile_id FROM " + d.table + " WHERE profile_id"
                    : "SELECT profile_id FROM cdp.destination_member WHERE destination_id = " + id + " AND profile_id") +
        next + ") ORDER BY 1 LIMIT " + kPeopleAtATime;
    const std::string looked_up = "SELECT t.profile_id, EXISTS (SELECT FROM cdp.profile p WHERE p.profile_id = t.profile_id)" +
        (d.segment ? " AND EXISTS (SELECT FROM cdp.segment_member m WHERE m.profile_id = t.profile_id AND m.segment_id = " + segment_id + ")" : std::string()) +
        ", false, false FROM ";
    plans->look_up = pg::Statement(looked_up + "cdp_followed t");
    plans->people = pg::Statement(looked_up + "(" + ids + ") t ORDER BY 1", {INT8OID});
    plans->orphans = pg::Statement(
        "DELETE FROM " + d.table + " t WHERE NOT EXISTS (SELECT FROM cdp.destination_member m WHERE m.destination_id = " +
        id + " AND m.key = t." + key + ")");
    plans_ = std::move(plans);
}

std::vector<std::string> Destination::FindColumns() {
    std::vector<std::string> types;
    plans_->columns.clear();
    const auto attributes = pg::Query(
        "SELECT a.attname::text, a.atttypid, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
        " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped", {pg::Text(definition_.table)});
    if (attributes.empty()) throw Error(sqlstate::undefined_table, "table " + definition_.table + " does not exist");
    const auto find = [&](const std::string& name) {
        uint64 i = 0;
        while (i < attributes.size() && attributes.Text(i, 1) != name) ++i;
        if (i == attributes.size())
            throw Error(sqlstate::undefined_column, "table " + definition_.table + " has no column \"" + name + "\"");
        plans_->columns.push_back({name.c_str(), DatumGetObjectId(*attributes.Get(i, 2))});
        types.push_back(attributes.Text(i, 3));
    };
    find(definition_.key);
    for (const auto& [name, expression] : definition_.columns) find(name);
    return types;
}

void Destination::PrepareValues() {
    Prepare();
    if (!plans_->wanted.sql().empty()) return;
    const Definition& d = definition_;
    const auto types = FindColumns();
    std::vector<std::string> others;
    std::string values, consents;
    int asked = 0;
    const Oid owner = pg::Call([&] { return get_role_oid(d.owner.c_str(), false); });
    for (size_t i = 0; i < d.columns.size(); ++i) {
        const auto& [name, text] = d.columns[i];
        others.push_back(pg::Identifier(name));
        std::string expression = text;
        if (d.asks_segments || !d.asks_purposes.empty()) {
            const pg::Condition parsed(text, "column \"" + name + "\" of destination \"" + d.name + "\"", ProfileTable(),
                                       "profile", owner, kSpecialCalls, {.kind = pg::Condition::Kind::kValue});
            size_t call = 0;
            expression = parsed.Rewritten([&](const pg::SpecialCall& special) -> std::string {
                const size_t number = call++;
                if (special.function == kSpecialCalls[0]) return " cdp_wanted.segments ";
                consents += (asked++ == 0 ? "" : ", ") + govern::CoversSql("t.profile_id", govern::ConsentAt(parsed, number, govern::Purposes::Load()));
                return " cdp_wanted.consents[" + std::to_string(asked) + "] ";
            });
        }
        // The line feed ends a comment at the end of the text.
        values += (i == 0 ? "" : ", ") + ("CAST((" + expression + "\n) AS " + types[i + 1] + ") AS ") + others.back();
    }
    // The expressions stand in a query level of their own, whose only columns are the profile's.
    plans_->values = pg::Statement(
        "SELECT cdp_wanted.key, cdp_values.* FROM cdp_wanted CROSS JOIN LATERAL (SELECT " + values +
        " FROM cdp.profile AS profile WHERE profile.profile_id = cdp_wanted.profile_id) AS cdp_values"
        " WHERE cdp_wanted.wanted");

    // *<> compares images: it knows every type, runs no operator of a user's, and sees 1.0 become 1.00.
    const std::string &key = plans_->key, before = others.empty() ? "" : ", ";
    std::string update, set;
    for (const auto& column : others) set += (set.empty() ? "" : ", ") + column + " = r." + column;
    if (!others.empty())
        update = " WHEN MATCHED AND ROW(" + List(others, "t.") + ")::record *<> ROW(" + List(others, "r.") +
                 ")::record THEN UPDATE SET " + set;
    plans_->enter = pg::Statement(
        "MERGE INTO " + d.table + " t USING cdp_row r ON t." + key + " = r." + key + update +
        " WHEN NOT MATCHED THEN INSERT (" + key + before + List(others, "") + ") VALUES (r." + key + before + List(others, "r.") + ")");

    const std::string segments =
        "CASE WHEN t.meant THEN ARRAY(SELECT s.name FROM cdp.segment_member a JOIN cdp.segment s USING (segment_id)"
        " WHERE a.profile_id = t.profile_id ORDER BY s.name COLLATE \"C\") END";
    plans_->wanted = pg::Statement(plans_->whose + ", " + (d.asks_segments ? segments : "NULL::text[]") + ", " +
                                   (asked > 0 ? "CASE WHEN t.meant THEN ARRAY[" + consents + "] END" : "NULL::boolean[]") + plans_->touched);
}

Changes Destination::Maintain(bool leave_only) {
    if (leave_only) Prepare(); else PrepareValues();
    Changes changes;
    pg::StagedRows wanted("cdp_wanted", {{"profile_id", INT8OID}, {"wanted", BOOLOID}, {"key", plans_->key_type}, {"held", plans_->key_type},
                                         {"segments", TEXTARRAYOID}, {"consents", BOOLARRAYOID}});
    if (wanted.Take(leave_only ? plans_->leavers : plans_->wanted) == 0) return changes;
    {
        pg::StagedRows left("cdp_left", {{"key", plans_->key_type}, {"profile_id", INT8OID}});
        if (definition_.KeyedByProfile()) {
            changes.rows += left.Take(plans_->leave);
        } else {
            changes.members += left.Take(plans_->forget);
            if (!leave_only) changes.members += plans_->remember.Execute();
            if (left.size() > 0) changes.rows += plans_->leave.Execute();
        }
        if (left.size() > 0) plans_->announce.Execute();
    }
    if (leave_only) return changes;

    pg::StagedRows rows("cdp_row", plans_->columns);
    {
        const Oid owner = pg::Call([&] { return get_role_oid(definition_.owner.c_str(), false); });
        const pg::ActAs as_owner(owner, true);
        const Settings settings;
        try {
            rows.Take(plans_->values);
        } catch (const pg::PgError& error) {
            if (!IsOfDefinition(pg::Describe(error))) pg::Prefix(error, "destination \"" + definition_.name + "\"");
            throw;
        }
    }
    if (rows.size() > 0) changes.rows += plans_->enter.Execute();
    return changes;
}

void Destination::Follow(std::span<const int64> people, bool leave_only) {
    Prepare();
    const pg::Probes probes;
    pg::StagedRows followed("cdp_followed", {{"profile_id", INT8OID}});
    for (const int64 profile_id : people) followed.Add({Int64GetDatum(profile_id)});
    pg::StagedRows touched("cdp_touched", TouchedColumns());
    touched.Take(plans_->look_up);
    Maintain(leave_only);
}

Changes Destination::Refill(bool leave_only) {
    Prepare();
    Changes changes;
    {
        const pg::Probes probes;
        for (int64 after = PG_INT64_MIN;;) {
            const auto people = plans_->people.Query({pg::Int8(after)});
            if (people.empty()) break;
            pg::StagedRows touched("cdp_touched", TouchedColumns());
            for (uint64 i = 0; i < people.size(); ++i) touched.Add({*people.Get(i, 1), *people.Get(i, 2), *people.Get(i, 3), *people.Get(i, 4)});
            after = people.Int8(people.size() - 1, 1);
            const Changes more = Maintain(leave_only);
            changes.rows += more.rows;
            changes.members += more.members;
        }
    }
    if (!definition_.KeyedByProfile()) changes.rows += plans_->orphans.Execute();
    return changes;
}

int64 Destination::CountKeptOut() const {
    const Definition& d = definition_;
    std::string sql = "SELECT count(*) FROM ";
    sql += d.segment ? "cdp.segment_member p JOIN cdp.segment s ON s.segment_id = p.segment_id AND s.name = " + pg::Literal(*d.segment) : "cdp.profile p";
    sql += " WHERE NOT (" + Permitted(d, "p.profile_id") + ")";
    if (!d.KeyedByProfile())
        sql += " AND EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = p.profile_id AND i.type = " + pg::Literal(d.key) + ")";
    return pg::Query(sql, {}, true).Int8(0, 1);
}

const Destination& Destinations::Named(std::string_view name) const {
    const auto found = std::find_if(destinations_.begin(), destinations_.end(), [&](const auto& d) { return d.definition().name == name; });
    if (found == destinations_.end()) throw Error(sqlstate::undefined_object, "destination \"" + std::string(name) + "\" does not exist");
    return *found;
}

Destinations Destinations::Load() {
    Destinations loaded;
    const Oid profile = ProfileTable();
    const auto rows = pg::Query(
        "SELECT d.destination_id, d.name, d.segment, d.key, d.columns, d.table_name, d.owner::text, d.problem IS NOT NULL, d.purpose,"
        " p.mode = 'opt_out', d.channel, d.asks_segments, d.asks_purposes, coalesce(s.segment_id, 0), coalesce(t.type_id, 0), d.reads::text[]"
        " FROM cdp.destination d LEFT JOIN cdp.purpose p ON p.name = d.purpose LEFT JOIN cdp.segment s ON s.name = d.segment"
        " LEFT JOIN cdp.identifier_type t ON t.name = d.key ORDER BY destination_id");
    for (uint64 i = 0; i < rows.size(); ++i) {
        Definition d;
        d.destination_id = rows.Int8(i, 1);
        d.name = rows.Text(i, 2);
        d.segment = rows.OptionalText(i, 3);
        d.segment_id = rows.Int8(i, 14);
        d.key = rows.Text(i, 4);
        d.key_type = DatumGetInt32(*rows.Get(i, 15));
        d.table = rows.Text(i, 6);
        d.owner = rows.Text(i, 7);
        d.stands_still = rows.Bool(i, 8);
        // Of a purpose that is not there (any more) nobody's consent is known.
        if (rows.Get(i, 9)) d.purpose = govern::ConsentQuestion{{rows.Text(i, 9), rows.Bool(i, 10)}, rows.OptionalText(i, 11)};
        d.asks_segments = rows.Bool(i, 12);
        d.asks_purposes = pg::TextArray(*rows.Get(i, 13));
        for (const auto& column : pg::TextArray(*rows.Get(i, 16)))
            if (const auto number = pg::Call([&] { return get_attnum(profile, column.c_str()); }); number > 0) d.reads.push_back(number - 1);
        std::sort(d.reads.begin(), d.reads.end());
        pg::Json(pg::Unpacked(*rows.Get(i, 5))).ForEach([&](std::string_view name, const pg::Json& expression) {
            d.columns.emplace_back(name, expression.ToText());
        });
        loaded.destinations_.emplace_back(std::move(d));
    }
    return loaded;
}

void Destinations::Apply(const std::function<void(const Definition&, pg::StagedRows*)>& stage) {
    if (destinations_.empty()) return;
    const pg::Probes probes;
    for (Destination& destination : destinations_) {
        pg::StagedRows people("cdp_touched", TouchedColumns());
        stage(destination.definition(), &people);
        if (people.size() > 0) Keep(destination, [&](bool leave_only) { destination.Maintain(leave_only); });
    }
}

void Destinations::Follow(std::span<const int64> people) {
    for (Destination& destination : destinations_) Keep(destination, [&](bool leave_only) { destination.Follow(people, leave_only); });
}

template <class F>
void Destinations::RefillThose(F&& concerned) {
    for (Destination& destination : destinations_)
        if (concerned(destination.definition())) Keep(destination, [&](bool leave_only) { destination.Refill(leave_only); });
}

void Destinations::Refill(std::span<const std::string> segments) {
    RefillThose([&](const Definition& definition) { return definition.DependsOn(segments); });
}

void Destinations::RefillAll() {
    RefillThose([](const Definition&) { return true; });
}

void Destinations::RefillOf(std::string_view purpose) {
    RefillThose([&](const Definition& definition) { return definition.DependsOnConsent(purpose); });
}

std::vector<Destinations::Difference> Destinations::Compare(bool repair) {
    std::vector<Difference> differences;
    uint64 members = 0;
    for (Destination& destination : destinations_) {
        const Definition& definition = destination.definition();
        Difference difference{definition.table, std::nullopt};
        pg::Failure failure;
        try {
            // What differs is what would be changed; without `repair` the change is taken back.
            pg::Subtransaction attempt;
            const Changes changes = destination.Refill();
            difference.differing = changes.rows;
            members += changes.members;
            if (repair) attempt.Commit();
        } catch (const std::exception& error) {
            failure = pg::Describe(error);
            if (!pg::MayBlameDefinition(failure.sqlstate)) throw;
        }
        if (!difference.differing) StandStill(definition, failure);
        if (repair && difference.differing && definition.stands_still) {
            pg::Execute("UPDATE cdp.destination SET problem = NULL WHERE destination_id = $1",
                        {pg::Int8(definition.destination_id)});
            pg::Query("SELECT cdp.touch_configuration()");
        }
        differences.push_back(std::move(difference));
    }
    if (!destinations_.empty()) differences.push_back({"cdp.destination_member", members});
    return differences;
}

}  // namespace cdp::activate
