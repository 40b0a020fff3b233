// segment/followed_pg.cpp: see followed_pg.hpp.
#include "segment/followed_pg.hpp"

#include "pg/json_builder.hpp"
#include "pg/names.hpp"
#include "pg/spi.hpp"
#include "segment/segments_pg.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
}

namespace cdp::segment {

namespace {

/// The triggers of a followed table. A subscription applies rows, which only the last one sees; statements have the others, whatever
/// session_replication_role is.
struct TriggerKind {
    const char *name, *event, *rest, *enable;
};
constexpr TriggerKind kTriggers[] = {
    {"cdp_follow_inserted", "INSERT", " REFERENCING NEW TABLE AS cdp_new_rows FOR EACH STATEMENT EXECUTE FUNCTION cdp.follow_rows", "ALWAYS"},
    {"cdp_follow_updated", "UPDATE", " REFERENCING OLD TABLE AS cdp_old_rows NEW TABLE AS cdp_new_rows FOR EACH STATEMENT EXECUTE FUNCTION cdp.follow_rows", "ALWAYS"},
    {"cdp_follow_deleted", "DELETE", " REFERENCING OLD TABLE AS cdp_old_rows FOR EACH STATEMENT EXECUTE FUNCTION cdp.follow_rows", "ALWAYS"},
    {"cdp_follow_truncated", "TRUNCATE", " FOR EACH STATEMENT EXECUTE FUNCTION cdp.follow_rows", "ALWAYS"},
    {"cdp_follow_applied", "INSERT OR UPDATE OR DELETE", " FOR EACH ROW EXECUTE FUNCTION cdp.follow_applied_row", "REPLICA"}};

pg::Arg OidArg(Oid oid) { return pg::Value(OIDOID, ObjectIdGetDatum(oid)); }

/// What is followed of a table; nothing if one of its triggers is missing, or does not fire whenever it should.
std::optional<Followed> FollowedOf(Oid relation) {
    const auto rows = pg::Query(
        "SELECT convert_from(substring((array_agg(tgargs))[1] FROM 1 FOR length((array_agg(tgargs))[1]) - 1), getdatabaseencoding()) FROM pg_trigger"
        " WHERE tgrelid = $1 AND tgfoid IN ('cdp.follow_rows()'::regprocedure, 'cdp.follow_applied_row()'::regprocedure) AND tgnargs = 1"
        " AND tgenabled = CASE tgname WHEN 'cdp_follow_applied' THEN 'R' ELSE 'A' END::\"char\""
        " HAVING count(*) = " + std::to_string(std::size(kTriggers)) + " AND count(DISTINCT tgargs) = 1", {OidArg(relation)});
    if (rows.empty()) return std::nullopt;
    return Followed::Parse(rows.Text(0, 1).c_str());
}

void PutTriggers(Oid relation, const Followed& followed) {
    const std::string table = NameOfTable(relation), json = followed.ToJson();
    const std::string argument = pg::Call([&] { return quote_literal_cstr(json.c_str()); });
    for (const TriggerKind& kind : kTriggers) {
        pg::Execute(std::string("CREATE OR REPLACE TRIGGER ") + kind.name + " AFTER " + kind.event + " ON " + table + kind.rest + "(" + argument + ")");
        pg::Execute("ALTER TABLE " + table + " ENABLE " + kind.enable + " TRIGGER " + kind.name);
    }
}

void DropTriggers(Oid relation) {
    const std::string table = NameOfTable(relation);
    for (const TriggerKind& kind : kTriggers) pg::Execute(std::string("DROP TRIGGER IF EXISTS ") + kind.name + " ON " + table);
}

std::vector<std::string> Texts(const std::optional<pg::Json>& array) {
    std::vector<std::string> texts;
    for (uint32 i = 0; array && i < array->ArraySize(); ++i) texts.push_back(array->Element(i).ToText());
    return texts;
}

}  // namespace

bool Followed::Covers(const Followed& other) const {
    return std::includes(identifiers.begin(), identifiers.end(), other.identifiers.begin(), other.identifiers.end()) &&
           std::includes(profiles.begin(), profiles.end(), other.profiles.begin(), other.profiles.end()) &&
           std::includes(columns.begin(), columns.end(), other.columns.begin(), other.columns.end());
}

void Followed::Add(const Followed& other) {
    identifiers.insert(other.identifiers.begin(), other.identifiers.end());
    profiles.insert(other.profiles.begin(), other.profiles.end());
    for (const auto& [name, type] : other.columns) columns[name] = type;
}

Followed Followed::Parse(const char* json) {
    const pg::Json config(pg::Call([&] { return DirectFunctionCall1(jsonb_in, CStringGetDatum(json)); }));
    Followed followed;
    for (auto& text : Texts(config.Find("identifiers"))) followed.identifiers.insert(std::move(text));
    for (auto& text : Texts(config.Find("profiles"))) followed.profiles.insert(std::move(text));
    if (const auto columns = config.Find("columns"))
        columns->ForEach([&](std::string_view name, const pg::Json& type) { followed.columns.emplace(name, type.ToText()); });
    return followed;
}

Followed Followed::Of(const pg::TiedTable& table) {
    Followed followed;
    for (const pg::Tie& tie : table.ties) (tie.to == pg::Tie::To::kProfile ? followed.profiles : followed.identifiers).insert(tie.value);
    followed.columns = table.columns;
    return followed;
}

std::string Followed::ToJson() const {
    pg::JsonBuilder json;
    json.BeginObject();
    for (const auto& [key, texts] : {std::pair("identifiers", &identifiers), std::pair("profiles", &profiles)}) {
        json.Key(key);
        json.BeginArray();
        for (const auto& text : *texts) json.Add(std::string_view(text));
        json.EndArray();
    }
    json.Key("columns");
    json.BeginObject();
    for (const auto& [name, type] : columns) {
        json.Key(name);
        json.Add(std::string_view(type));
    }
    json.EndObject();
    json.EndObject();
    return pg::OutputText(JSONBOID, json.Finish());
}

std::string NameOfTable(Oid relation) {
    return pg::Call([&] { return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation)); });
}

void Follow(const pg::Condition& condition, Oid caller) {
    for (const pg::TiedTable& table : condition.tables()) {
        const bool allowed = pg::Call([&] { return pg_class_aclcheck(table.relation, caller, ACL_TRIGGER) == ACLCHECK_OK; });
        if (!allowed)
            throw Error(sqlstate::insufficient_privilege, "permission denied to follow the rows of table " + NameOfTable(table.relation))
                .Hint("Following a table takes the right to put a trigger on it: GRANT TRIGGER ON " + NameOfTable(table.relation) + " TO you. Or give the segment a refresh interval.");
        const Followed wanted = Followed::Of(table);
        auto followed = FollowedOf(table.relation);
        if (followed && followed->Covers(wanted)) continue;
        if (!followed) followed.emplace();
        followed->Add(wanted);
        // Whoever writes to it now must be done before anybody is looked at.
        pg::Call([&] { LockRelationOid(table.relation, ShareRowExclusiveLock); });
        PutTriggers(table.relation, *followed);
    }
}

void CheckFollowed(const pg::Condition& condition) {
    for (const pg::TiedTable& table : condition.tables()) {
        const auto followed = FollowedOf(table.relation);
        if (followed && followed->Covers(Followed::Of(table))) continue;
        throw Error(sqlstate::object_not_in_prerequisite_state, condition.what() + ": the triggers that follow table " + NameOfTable(table.relation) +
                                                                   " are missing, disabled or outdated; cdp.alter_segment puts them right");
    }
}

void EnableTriggers() {
    // By pg_depend, which has an index for this: somebody may have disabled them for long.
    static pg::Statement find(
        "SELECT tgrelid, tgname::text, tgname = 'cdp_follow_applied' FROM pg_depend d JOIN pg_trigger t ON t.oid = d.objid"
        " WHERE d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_proc'::regclass"
        " AND d.refobjid IN ('cdp.follow_rows()'::regprocedure, 'cdp.follow_applied_row()'::regprocedure)"
        " AND tgenabled NOT IN ('D', CASE tgname WHEN 'cdp_follow_applied' THEN 'R' ELSE 'A' END::\"char\")");
    const auto found = find.Query();
    for (uint64 i = 0; i < found.size(); ++i) {
        const Oid relation = DatumGetObjectId(*found.Get(i, 1));
        // Nobody waits for whoever writes to it now: then the next batch.
        if (!pg::Call([&] { return ConditionalLockRelationOid(relation, ShareRowExclusiveLock); })) continue;
        pg::Execute("ALTER TABLE " + NameOfTable(relation) + " ENABLE " + (found.Bool(i, 3) ? "REPLICA" : "ALWAYS") + " TRIGGER " +
                    pg::Identifier(found.Text(i, 2)));
    }
}

void FollowOnly(const Segments& segments) {
    std::map<Oid, Followed> needed;
    for (const Segment& segment : segments.all()) {
        if (!segment.condition) {
            if (segment.refreshed) continue;
            return;  // who knows what it needs
        }
        for (const pg::TiedTable& table : segment.condition->tables()) needed[table.relation].Add(Followed::Of(table));
    }
    const auto tables = pg::Query("SELECT DISTINCT tgrelid FROM pg_trigger WHERE tgfoid IN ('cdp.follow_rows()'::regprocedure, 'cdp.follow_applied_row()'::regprocedure)");
    for (uint64 i = 0; i < tables.size(); ++i) {
        const Oid relation = DatumGetObjectId(*tables.Get(i, 1));
        const auto need = needed.find(relation);
        if (need == needed.end())
            DropTriggers(relation);
        else if (const auto followed = FollowedOf(relation); followed && !(*followed == need->second))
            PutTriggers(relation, need->second);
    }
}

}  // namespace cdp::segment
