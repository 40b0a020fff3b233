// collect/attach_pg.cpp: tables of the user's as sources: cdp.attach_table, cdp.detach_table, and their trigger.
//
// What a table was attached with is the argument of its trigger, as JSON: so it is dumped with the table, dropped
// with it, and renamed with it. cdp.attached_table is a view of those triggers.
//
// Rows are read with the rights of the table's owner, in a security-restricted operation, for the columns' types
// may bring casts and output functions that somebody wrote. Only what came of them, plain texts and jsonb, is then
// written to the inbox with the rights of the extension's owner. The writer needs none.
#include <memory>
#include <unordered_map>

#include "collect/attached_rows_pg.hpp"
#include "collect/message.hpp"
#include "pg/arguments.hpp"
#include "pg/json.hpp"
#include "pg/names.hpp"
#include "pg/spi.hpp"
#include "pg/transition_rows.hpp"

extern "C" {
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "replication/logicalworker.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
}

namespace cdp::collect {

namespace {

/// An open relation, locked until the end of the transaction.
class Table {
public:
    Table(Oid oid, LOCKMODE lock) : rel_(pg::Call([&] { return table_open(oid, lock); })) {}
    ~Table() { table_close(rel_, NoLock); }
    Table(const Table&) = delete;

    Relation rel() const { return rel_; }
    Oid owner() const { return rel_->rd_rel->relowner; }
    bool partitioned() const { return rel_->rd_rel->relkind == RELKIND_PARTITIONED_TABLE; }

private:
    Relation rel_;
};

/// schema.table, as it is written in SQL where need be.
std::string QualifiedName(Relation rel) {
    return pg::Call([&] {
        return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
    });
}

/// The messages that rows of a table become, on their way into the inbox.
class Outgoing {
public:
    /// Appends the messages of rows. Runs with the rights of the table's owner.
    template <class Next>
    void Add(RowReader* reader, Oid table_owner, Next&& next) {
        const pg::ActAs owner(table_owner, true);
        const Datum* values;
        const bool* nulls;
        while (next(&values, &nulls)) {
            if (rows_.size() % 1024 == 0) poll_stop();
            reader->Read(values, nulls, &rows_);
        }
    }

    /// Puts them all into the inbox; how many they were.
    int64 Send(const Attachment& attachment, const std::string& source) {
        static pg::Statement track(
            "INSERT INTO cdp.inbox (message_id, type, source, event, user_id, anonymous_id, properties, context, occurred_at)"
            " SELECT message_id, 'track', $1, $2, user_id, anonymous_id, properties, context, coalesce(occurred_at, now())"
            " FROM cdp_attached_rows",
            {TEXTOID, TEXTOID});
        static pg::Statement identify(
            "INSERT INTO cdp.inbox (message_id, type, source, user_id, anonymous_id, traits, context, occurred_at)"
            " SELECT message_id, 'identify', $1, user_id, anonymous_id, properties, context, coalesce(occurred_at, now())"
            " FROM cdp_attached_rows",
            {TEXTOID});
        const pg::ActAs owner(pg::ExtensionOwner());
        return static_cast<int64>(attachment.identify ? identify.Execute({pg::Text(source)})
                                                      : track.Execute({pg::Text(source), pg::Text(attachment.event)}));
    }

private:
    pg::StagedRows rows_{"cdp_attached_rows", RowReader::MessageColumns()};
};

/// What the trigger of a table does, prepared. Made anew when the table has changed.
class Feed {
public:
    Feed(std::string config, std::string source, Relation rel)
        : config_(std::move(config)), source_(std::move(source)), attachment_(Attachment::Parse(config_.c_str())) {
        // Whoever writes to the table shall not suffer from what has become of its columns.
        std::vector<std::string> missing;
        reader_ = std::make_unique<RowReader>(attachment_, RelationGetDescr(rel), RelationGetRelationName(rel), TableKey(RelationGetRelid(rel)), &missing);
        if (!missing.empty()) Warn(RelationGetRelationName(rel), missing);
        rows_ = pg::Call([&] {
            const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
            const TupleDesc copy = CreateTupleDescCopyConstr(RelationGetDescr(rel));  // to be compared
            MemoryContextSwitchTo(outer);
            return copy;
        });
    }
    ~Feed() { FreeTupleDesc(rows_); }
    Feed(const Feed&) = delete;

    bool IsFor(const char* config, const std::string& source, TupleDesc rows) const {
        return config_ == config && source_ == source && equalTupleDescs(rows_, rows);
    }

    /// Sends the rows of a statement; of an UPDATE (`old`: what they were) those that are not as they were.
    void Run(Tuplestorestate* inserted, Tuplestorestate* old, Oid table_owner) {
        pg::TransitionRows now(inserted, rows_);
        std::optional<pg::TransitionRows> before;
        if (old != nullptr) before.emplace(old, rows_);
        Outgoing messages;
        messages.Add(reader_.get(), table_owner, [&](const Datum** values, const bool** nulls) {
            return pg::Call([&] {
                do {
                    if (!now.Next()) return false;
                } while (before && before->Next() && now.SameAs(*before));
                now.Values(values, nulls);
                return true;
            });
        });
        messages.Send(attachment_, source_);
    }

    /// Sends one row.
    void Run(HeapTuple row, Oid table_owner) {
        std::vector<Datum> row_values(static_cast<size_t>(rows_->natts));
        const std::unique_ptr<bool[]> row_nulls(new bool[row_values.size()]);
        heap_deform_tuple(row, rows_, row_values.data(), row_nulls.get());
        Outgoing messages;
        bool done = false;
        messages.Add(reader_.get(), table_owner, [&](const Datum** values, const bool** nulls) {
            *values = row_values.data();
            *nulls = row_nulls.get();
            return !std::exchange(done, true);
        });
        messages.Send(attachment_, source_);
    }

private:
    static void Warn(const char* table, const std::vector<std::string>& missing) {
        std::string columns;
        for (const auto& column : missing) columns += (columns.empty() ? "\"" : ", \"") + column + "\"";
        pg::Call([&] {
            ereport(WARNING, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("table \"%s\" has changed since it was attached", table),
                              errdetail("Its rows are sent without %s.", columns.c_str()),
                              errhint("Call cdp.detach_table and cdp.attach_table again.")));
        });
    }

    std::string config_, source_;
    Attachment attachment_;
    std::unique_ptr<RowReader> reader_;
    TupleDesc rows_;
};

/// Whether two rows of a table hold the same bytes.
bool SameData(HeapTuple a, HeapTuple b) {
    return a->t_len == b->t_len && a->t_data->t_hoff == b->t_data->t_hoff &&
           memcmp(a->t_data->t_bits, b->t_data->t_bits, a->t_len - offsetof(HeapTupleHeaderData, t_bits)) == 0;
}

std::shared_ptr<Feed> FeedOf(const Trigger* trigger, Relation rel) {
    static std::unordered_map<Oid, std::shared_ptr<Feed>> feeds;
    auto& feed = feeds[trigger->tgoid];
    const std::string source = QualifiedName(rel);
    if (!feed || !feed->IsFor(trigger->tgargs[0], source, RelationGetDescr(rel)))
        feed = std::make_shared<Feed>(trigger->tgargs[0], source, rel);
    return feed;
}

/// The table's triggers that are ours, by whatever name.
std::vector<std::string> TriggersOf(Oid table) {
    const auto rows = pg::Query("SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = $1"
                                " AND tgfoid IN ('cdp.send_inserted_rows()'::regprocedure, 'cdp.send_applied_row()'::regprocedure)",
                                {pg::Value(OIDOID, ObjectIdGetDatum(table))});
    std::vector<std::string> names;
    for (uint64 i = 0; i < rows.size(); ++i) names.push_back(rows.Text(i, 1));
    return names;
}

/// Raises unless the caller may attach or detach the relation. Takes no lock.
void CheckRelation(Oid relation) {
    struct Facts { char kind; const char* name; bool owned, own; };
    const Facts facts = pg::Call([&] {
        Facts f{};
        HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
        if (!HeapTupleIsValid(tuple)) return f;
        const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
        f.kind = form->relkind;
        f.name = pstrdup(NameStr(form->relname));
        f.owned = has_privs_of_role(GetUserId(), form->relowner);
        for (const char* schema : {"cdp", "cdp_segment", "cdp_out", "pg_catalog", "information_schema"})
            f.own = f.own || strcmp(get_namespace_name(form->relnamespace), schema) == 0;
        ReleaseSysCache(tuple);
        return f;
    });
    if (facts.kind == 0)
        throw Error(sqlstate::undefined_table, "relation with OID " + std::to_string(relation) + " does not exist");
    const std::string shown = "\"" + std::string(facts.name) + "\"";
    if (facts.kind != RELKIND_RELATION && facts.kind != RELKIND_PARTITIONED_TABLE)
        throw Error(sqlstate::wrong_object_type, shown + " is not a table")
            .Hint("Only ordinary and partitioned tables can be attached; of a view, attach the tables beneath it.");
    if (facts.own)
        throw Error(sqlstate::wrong_object_type, "table " + shown + " cannot be attached")
            .Detail("It belongs to PostgreSQL or to cdp itself.")
            .Hint("Attach tables of your own.");
    if (!facts.owned)
        throw Error(sqlstate::insufficient_privilege, "must be owner of table " + shown)
            .Hint("Ask the table's owner or a superuser.");
}

/// ORDER BY the primary key, if there is one.
std::string PrimaryKeyOrder(Oid table) {
    const auto rows = pg::Query(
        "SELECT quote_ident(a.attname) FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY k (attnum, place)"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
        " WHERE i.indrelid = $1 AND i.indisprimary ORDER BY k.place",
        {pg::Value(OIDOID, ObjectIdGetDatum(table))});
    std::string order;
    for (uint64 i = 0; i < rows.size(); ++i) order += (i == 0 ? " ORDER BY r." : ", r.") + rows.Text(i, 1);
    return order;
}

void CheckIdentifierTypes(const Attachment& attachment) {
    std::vector<std::string> known;
    {
        const pg::ActAs owner(pg::ExtensionOwner());
        const auto rows = pg::Query("SELECT name FROM cdp.identifier_type WHERE dropped_at IS NULL ORDER BY priority, name");
        for (uint64 i = 0; i < rows.size(); ++i) known.push_back(rows.Text(i, 1));
    }
    for (const auto& [type, column] : attachment.identifiers) {
        if (std::find(known.begin(), known.end(), type) != known.end()) continue;
        std::string list;
        for (const auto& name : known) list += (list.empty() ? "" : ", ") + name;
        throw Error(sqlstate::undefined_object, "identifier type \"" + type + "\" does not exist")
            .Hint("There are " + list + ". Declare others with cdp.create_identifier_type.");
    }
}

/// The arguments of cdp.attach_table as the trigger keeps them. Raises where they mean nothing.
std::string Config(const pg::Arg& event, const pg::Arg& identifiers, const pg::Arg& occurred_at, const pg::Arg& properties,
                   const pg::Arg& type, const pg::Arg& updates) {
    const auto invalid = [](const char* message) { return Error(sqlstate::invalid_parameter_value, message); };
    const std::string kind(type.null ? std::string_view("track") : pg::Bytes(type.value));
    if (kind != "track" && kind != "identify")
        throw Error(sqlstate::invalid_parameter_value, "rows cannot become messages of type \"" + kind + "\"").Hint("They become track or identify messages.");
    if (kind == "identify" && !event.null) throw invalid("identify messages have no event").Hint("Give NULL as event.");
    if (kind == "track") {
        if (event.null || IsBlank(pg::Bytes(event.value)))
            throw invalid("event must not be empty").Hint("It names the track messages that the rows become.");
        if (Characters(pg::Bytes(event.value)) > kLongestName)
            throw invalid("event is too long").Detail("At most " + std::to_string(kLongestName) + " characters are allowed.");
    }
    const char* example = "Map types of identifiers to columns, as in {\"user_id\": \"customer_id\", \"email\": \"email\"}.";
    const pg::Json columns = identifiers.null ? pg::Json() : pg::Json(pg::Unpacked(identifiers.value));
    bool all_text = true, any = false;
    columns.ForEach([&](std::string_view, const pg::Json& column) {
        any = true;
        all_text = all_text && column.IsString();
    });
    if (!columns.IsObject() && !columns.IsNull()) throw invalid("identifiers must be a JSON object").Hint(example);
    if (!any) throw invalid("identifiers must name at least one column").Hint(example);
    if (!all_text) throw invalid("identifiers must map each type to the name of a column").Hint(example);
    if (!properties.null && pg::Query("SELECT array_position($1, NULL) IS NOT NULL", {properties}).Bool(0, 1))
        throw invalid("properties must not contain nulls").Hint("Leave properties away to send all other columns.");
    return pg::Query("SELECT jsonb_strip_nulls(jsonb_build_object('event', $1, 'identifiers', $2, 'occurred_at', $3::text,"
                     " 'properties', to_jsonb($4::text[]), 'type', nullif($5, 'track'), 'updates', nullif($6, false)))::text",
                     {event, identifiers, occurred_at, properties, pg::Text(kind), updates})
        .Text(0, 1);
}

/// The newest snapshot, whatever the isolation level.
class LatestSnapshot {
public:
    LatestSnapshot() {
        pg::Call([] { PushActiveSnapshot(GetLatestSnapshot()); });
    }
    ~LatestSnapshot() { PopActiveSnapshot(); }
    LatestSnapshot(const LatestSnapshot&) = delete;
};

/// Sends the rows that the table has; how many.
int64 Backfill(const Table& table, const Attachment& attachment, const std::string& name) {
    // A transaction whose snapshot is older than the lock must not miss what was written in between.
    const LatestSnapshot snapshot;
    Outgoing messages;
    {
        const pg::ActAs owner(table.owner(), true);
        pg::Cursor cursor("SELECT * FROM " + std::string(table.partitioned() ? "" : "ONLY ") + name + " r" +
                          PrimaryKeyOrder(RelationGetRelid(table.rel())), {}, true);
        for (pg::Rows rows = cursor.Fetch(1000); !rows.empty(); rows = cursor.Fetch(1000)) {
            RowReader reader(attachment, rows.descriptor(), name);
            std::vector<Datum> values(rows.descriptor()->natts);
            const auto nulls = std::make_unique<bool[]>(values.size());
            uint64 i = 0;
            messages.Add(&reader, table.owner(), [&](const Datum** row_values, const bool** row_nulls) {
                if (i == rows.size()) return false;
                rows.Deform(i++, values.data(), nulls.get());
                *row_values = values.data();
                *row_nulls = nulls.get();
                return true;
            });
        }
    }
    return messages.Send(attachment, name);
}

void CreateTriggers(const std::string& table, const Attachment& attachment, const std::string& config, bool partitioned) {
    const std::string by_statement = " FOR EACH STATEMENT EXECUTE FUNCTION cdp.send_inserted_rows(" + config + ")";
    pg::Execute("CREATE TRIGGER cdp_send_inserted_rows AFTER INSERT ON " + table + " REFERENCING NEW TABLE AS cdp_inserted_rows" + by_statement);
    if (attachment.updates)
        pg::Execute("CREATE TRIGGER cdp_send_updated_rows AFTER UPDATE ON " + table +
                    " REFERENCING OLD TABLE AS cdp_old_rows NEW TABLE AS cdp_inserted_rows" + by_statement);
    if (partitioned) return;
    // A subscription applies rows, not statements.
    pg::Execute("CREATE TRIGGER cdp_send_applied_rows AFTER INSERT" + std::string(attachment.updates ? " OR UPDATE" : "") + " ON " + table +
                " FOR EACH ROW EXECUTE FUNCTION cdp.send_applied_row(" + config + ")");
    pg::Execute("ALTER TABLE " + table + " ENABLE REPLICA TRIGGER cdp_send_applied_rows");
}

/// With the numbers of the columns, which stay when their names change.
std::string WithNumbers(const std::string& config, Oid table) {
    return pg::Query("WITH wanted AS (SELECT value FROM jsonb_each_text($1::jsonb -> 'identifiers') UNION SELECT $1::jsonb ->> 'occurred_at'"
                     "  UNION SELECT jsonb_array_elements_text($1::jsonb -> 'properties'))"
                     " SELECT ($1::jsonb || jsonb_build_object('table', $3, 'columns', (SELECT jsonb_object_agg(a.attname, a.attnum) FROM pg_attribute a"
                     "  WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN (SELECT value FROM wanted))))::text",
                     {pg::Text(config), pg::Value(OIDOID, ObjectIdGetDatum(table)), pg::Text(TableKey(table))})
        .Text(0, 1);
}

int64 AttachTable(Oid relation, const std::string& config, bool backfill) {
    CheckRelation(relation);
    const Attachment attachment = Attachment::Parse(config.c_str());
    std::string name;
    bool partitioned;
    {
        // The lock that CREATE TRIGGER takes: nobody writes from here on until the transaction ends.
        const Table table(relation, ShareRowExclusiveLock);
        name = QualifiedName(table.rel());
        partitioned = table.partitioned();
        if (!TriggersOf(relation).empty())
            throw Error(sqlstate::duplicate_object, "table \"" + std::string(RelationGetRelationName(table.rel())) + "\" is attached already")
                .Hint("Call cdp.detach_table first to attach it differently.");
        CheckIdentifierTypes(attachment);
        RowReader(attachment, RelationGetDescr(table.rel()), RelationGetRelationName(table.rel()));
    }
    CreateTriggers(name, attachment, pg::Literal(WithNumbers(config, relation)), partitioned);
    return backfill ? Backfill(Table(relation, ShareRowExclusiveLock), attachment, name) : 0;
}

bool DetachTable(Oid relation) {
    CheckRelation(relation);
    const Table table(relation, AccessExclusiveLock);
    const auto triggers = TriggersOf(relation);
    for (const auto& trigger : triggers) pg::Execute("DROP TRIGGER " + trigger + " ON " + QualifiedName(table.rel()));
    return !triggers.empty();
}

}  // namespace

}  // namespace cdp::collect

using namespace cdp;

CDP_FUNCTION(cdp_attach_table)  // cdp.attach_table(relation regclass, event text, identifiers jsonb, occurred_at name,
                                //                  properties name[], backfill boolean, type text, updates boolean) → bigint
{
    if (PG_ARGISNULL(0)) throw Error(sqlstate::invalid_parameter_value, "relation must not be null");
    const pg::Spi spi;
    const auto argument = [&](int n, Oid type) { return pg::Passed(fcinfo, n, type); };
    const std::string config =
        collect::Config(argument(1, TEXTOID), argument(2, JSONBOID), argument(3, NAMEOID), argument(4, NAMEARRAYOID), argument(6, TEXTOID), argument(7, BOOLOID));
    return Int64GetDatum(collect::AttachTable(PG_GETARG_OID(0), config, PG_ARGISNULL(5) || PG_GETARG_BOOL(5)));
}

CDP_FUNCTION(cdp_detach_table)  // cdp.detach_table(relation regclass) → boolean
{
    const pg::Spi spi;
    return BoolGetDatum(collect::DetachTable(PG_GETARG_OID(0)));
}

CDP_FUNCTION(cdp_attached_table_lacks)  // cdp.attached_table_lacks(relation regclass, config text) → text[]
{
    std::vector<std::string> missing;
    {
        const collect::Table table(PG_GETARG_OID(0), AccessShareLock);
        const auto attachment = collect::Attachment::Parse(std::string(pg::Bytes(PG_GETARG_DATUM(1))).c_str());
        collect::RowReader(attachment, RelationGetDescr(table.rel()), RelationGetRelationName(table.rel()), collect::TableKey(PG_GETARG_OID(0)), &missing);
    }
    std::vector<Datum> columns;
    for (const auto& column : missing) columns.push_back(pg::TextDatum(column));
    return pg::Call([&] {
        return PointerGetDatum(construct_array(columns.data(), static_cast<int>(columns.size()), TEXTOID, -1, false, TYPALIGN_INT));
    });
}

CDP_FUNCTION(cdp_send_inserted_rows)  // cdp.send_inserted_rows() → trigger
{
    const auto* call = CALLED_AS_TRIGGER(fcinfo) ? reinterpret_cast<const TriggerData*>(fcinfo->context) : nullptr;
    const bool update = call != nullptr && TRIGGER_FIRED_BY_UPDATE(call->tg_event);
    if (call == nullptr || !TRIGGER_FIRED_AFTER(call->tg_event) || !(update || TRIGGER_FIRED_BY_INSERT(call->tg_event)) ||
        (update && call->tg_oldtable == nullptr) || !TRIGGER_FIRED_FOR_STATEMENT(call->tg_event) || call->tg_newtable == nullptr || call->tg_trigger->tgnargs != 1)
        throw Error(sqlstate::trigger_protocol_violated, "cdp.send_inserted_rows was called in a way that cdp.attach_table does not arrange")
            .Hint("Attach tables with cdp.attach_table.");
    if (tuplestore_tuple_count(call->tg_newtable) == 0) return PointerGetDatum(nullptr);
    const pg::Spi spi;
    const auto feed = collect::FeedOf(call->tg_trigger, call->tg_relation);
    feed->Run(call->tg_newtable, update ? call->tg_oldtable : nullptr, call->tg_relation->rd_rel->relowner);
    return PointerGetDatum(nullptr);
}

CDP_FUNCTION(cdp_send_applied_row)  // cdp.send_applied_row() → trigger
{
    const auto* call = CALLED_AS_TRIGGER(fcinfo) ? reinterpret_cast<const TriggerData*>(fcinfo->context) : nullptr;
    if (call == nullptr || !TRIGGER_FIRED_AFTER(call->tg_event) || TRIGGER_FIRED_BY_DELETE(call->tg_event) ||
        !TRIGGER_FIRED_FOR_ROW(call->tg_event) || call->tg_trigger->tgnargs != 1)
        throw Error(sqlstate::trigger_protocol_violated, "cdp.send_applied_row was called in a way that cdp.attach_table does not arrange")
            .Hint("Attach tables with cdp.attach_table.");
    // Others who set session_replication_role want no triggers.
    if (!pg::Call([] { return IsLogicalWorker(); })) return PointerGetDatum(nullptr);
    const bool update = TRIGGER_FIRED_BY_UPDATE(call->tg_event);
    const HeapTuple row = update ? call->tg_newtuple : call->tg_trigtuple;
    if (update && collect::SameData(row, call->tg_trigtuple)) return PointerGetDatum(nullptr);
    const pg::Spi spi;
    collect::FeedOf(call->tg_trigger, call->tg_relation)->Run(row, call->tg_relation->rd_rel->relowner);
    return PointerGetDatum(nullptr);
}
