// pipeline/import_pg.cpp: SQL's door to stitching very many links at once: cdp.import_links.
#include <chrono>
#include <unordered_set>

#include "collect/events_pg.hpp"
#include "identity/ledger_pg.hpp"
#include "identity/separations_pg.hpp"
#include "pg/arguments.hpp"
#include "pg/names.hpp"
#include "pg/table_writer.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/regroup_pg.hpp"

using namespace cdp;

namespace {

constexpr long kRowsAFetch = 20'000;
constexpr size_t kRowsAWrite = 200'000;

struct Row {
    int a, b;         // places of identifiers; -1: identifies nobody
    bool kept = false;
};

/// A row that is left out.
struct Refused {
    std::optional<std::string> values[4];
    std::string why;
};

class Import {
public:
    explicit Import(pipeline::Definitions& definitions) : definitions_(definitions), identifiers_(definitions.rules, 0) {}

    /// Reads the table's rows, in their order, with the rights of the caller.
    void Read(const std::string& relation);
    /// Joins them, row by row, as messages that carry the two would be.
    void Join();
    /// Writes all that came of it.
    void Write(const std::optional<std::string>& reason, const std::string& actor);

    size_t rows() const { return rows_.size(); }
    int64 links() const { return links_; }
    size_t left_out() const { return refused_.size(); }
    /// Keeps what was left out, for whoever wants to know which.
    void WriteRefused(const std::string& relation) const;

private:
    int TypeOf(std::string_view name);
    void AddKnownPeople();
    void NumberIdentifiers();
    void WriteIdentifiers();
    void WriteLinks(const std::optional<std::string>& reason, const std::string& actor);
    void WritePeople();

    pipeline::Definitions& definitions_;
    identity::BatchIdentifiers identifiers_;
    std::vector<Row> rows_;
    std::optional<identity::Resolver> resolver_;
    std::vector<int64> known_people_;       // whom identifiers belonged to, ascending: the first nodes
    std::string last_type_;
    int last_type_place_ = -1;
    int64 links_ = 0;
    std::vector<Refused> refused_;          // in their order, those that identify nobody first
};

int Import::TypeOf(std::string_view name) {
    if (last_type_place_ >= 0 && name == last_type_) return last_type_place_;
    const int type = definitions_.rules.TypeNamed(name);
    if (type < 0) throw identity::NoType(name);
    last_type_ = name;
    return last_type_place_ = type;
}

void Import::Read(const std::string& relation) {
    pg::Cursor cursor("SELECT type_a::text, value_a::text, type_b::text, value_b::text FROM " + relation);
    Datum values[4];
    bool nulls[4];
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        for (uint64 i = 0; i < rows.size(); ++i) {
            rows.Deform(i, values, nulls);
            const auto take = [&](int column) {
                return nulls[column] || nulls[column + 1] ? -1 : identifiers_.Take(TypeOf(pg::Bytes(values[column])), pg::Bytes(values[column + 1]));
            };
            const int a = take(0);
            rows_.push_back({a, take(2)});
            if (rows_.back().a >= 0 && rows_.back().b >= 0) continue;
            Refused& refused = refused_.emplace_back();
            for (int k = 0; k < 4; ++k)
                if (!nulls[k]) refused.values[k] = pg::Bytes(values[k]);
            refused.why = std::string(rows_.back().a >= 0 ? "the second" : "the first") + " identifies nobody";
        }
    }
}

void Import::AddKnownPeople() {
    if (pg::Query("SELECT FROM cdp.identifier LIMIT 1").empty()) return;
    identifiers_.LookUp();
    for (const auto& entry : identifiers_.entries())
        if (entry.identifier_id != 0) known_people_.push_back(entry.profile_id);
    std::sort(known_people_.begin(), known_people_.end());
    known_people_.erase(std::unique(known_people_.begin(), known_people_.end()), known_people_.end());
    if (known_people_.empty()) return;

    const auto rules = definitions_.rules.limits();
    const auto place_of = [&](int64 profile_id) { return std::lower_bound(known_people_.begin(), known_people_.end(), profile_id) - known_people_.begin(); };
    std::vector<int64_t> counts(known_people_.size() * rules.size());
    {
        pg::StagedRows staged("cdp_known", {{"profile_id", INT8OID}});
        for (const int64 profile_id : known_people_) staged.Add({Int64GetDatum(profile_id)});
        const auto rows = pg::Query("SELECT i.profile_id, i.type, count(*) FROM cdp_known k JOIN cdp.identifier i ON i.profile_id = k.profile_id GROUP BY 1, 2");
        for (uint64 i = 0; i < rows.size(); ++i)
            if (const int type = definitions_.rules.TypeNamed(rows.Text(i, 2)); type >= 0)
                counts[static_cast<size_t>(place_of(rows.Int8(i, 1))) * rules.size() + static_cast<size_t>(type)] = rows.Int8(i, 3);
    }
    for (size_t i = 0; i < known_people_.size(); ++i) resolver_->AddProfile(known_people_[i], std::span(counts).subspan(i * rules.size(), rules.size()));
    identity::ReadMarks(known_people_, [&](int64 profile_id, identity::Mark mark) { resolver_->AddMark(static_cast<int>(place_of(profile_id)), mark); });
    auto& entries = identifiers_.entries();
    for (size_t i = 0; i < entries.size(); ++i)
        if (entries[i].identifier_id != 0) resolver_->Know(static_cast<int>(i), static_cast<int>(place_of(entries[i].profile_id)));
}

void Import::Join() {
    auto& entries = identifiers_.entries();
    resolver_.emplace(definitions_.rules.limits(), entries.size(), identity::Ledger::NextProfileId());
    AddKnownPeople();
    for (size_t i = 0; i < rows_.size(); ++i) {
        if ((i & 4095) == 0) poll_stop();
        Row& row = rows_[i];
        if (row.a < 0 || row.b < 0 || row.a == row.b) continue;
        identity::Candidate pair[] = {{row.a, entries[row.a].type, entries[row.a].value}, {row.b, entries[row.b].type, entries[row.b].value}};
        if (resolver_->Stronger(pair[1], pair[0])) std::swap(row.a, row.b);
        const auto joined = resolver_->Join(i, pair);
        row.kept = joined.kept == 2;
        if (row.kept) continue;
        const auto& types = definitions_.rules.types();
        refused_.push_back({{types[entries[row.a].type].name, std::string(entries[row.a].value), types[entries[row.b].type].name, std::string(entries[row.b].value)},
                            joined.limit_type >= 0 ? "a profile would have too many of type " + types[joined.limit_type].name
                                                   : "separation " + std::to_string(joined.separation)});
    }
}

void Import::NumberIdentifiers() {
    auto& entries = identifiers_.entries();
    std::vector<int> fresh;
    for (const Row& row : rows_)
        for (const int place : {row.a, row.b}) {
            // The strongest of a row is somebody, though the other may have been left out.
            if (place < 0 || entries[place].is_new || entries[place].identifier_id != 0 || resolver_->NodeOf(place) < 0) continue;
            entries[place].is_new = true;
            fresh.push_back(place);
        }
    if (fresh.empty()) return;
    int64 id = collect::TakeIds("cdp.identifier_id_seq", static_cast<int64>(fresh.size()));
    for (const int place : fresh) entries[place].identifier_id = id++;
}

void Import::WriteIdentifiers() {
    auto& entries = identifiers_.entries();
    std::vector<Datum> type_names;
    for (const auto& type : definitions_.rules.types()) type_names.push_back(pg::TextDatum(type.name));
    std::vector<int> order;
    for (size_t i = 0; i < entries.size(); ++i)
        if (entries[i].is_new) order.push_back(static_cast<int>(i));
    std::sort(order.begin(), order.end(), [&](int a, int b) { return entries[a].value < entries[b].value; });
    pg::Scratch memory;
    for (size_t begin = 0; begin < order.size(); begin += kRowsAWrite) {
        const pg::Scratch::Use use(memory);
        {
            pg::TableWriter writer("cdp.identifier", {"identifier_id", "type", "value", "profile_id", "first_seen_at", "last_seen_at"});
            for (size_t i = begin; i < std::min(order.size(), begin + kRowsAWrite); ++i) {
                const auto& entry = entries[order[i]];
                // No message has carried it yet.
                writer.Insert({Int64GetDatum(entry.identifier_id), type_names[entry.type], pg::TextDatum(entry.value),
                               Int64GetDatum(resolver_->ProfileOf(resolver_->NodeOf(order[i]))), TimestampTzGetDatum(DT_NOEND), TimestampTzGetDatum(DT_NOBEGIN)});
            }
            writer.Write();
        }
        memory.Reset();
    }
}

void Import::WriteLinks(const std::optional<std::string>& reason, const std::string& actor) {
    const auto& entries = identifiers_.entries();
    // Each pair once: its first row.
    struct Link {
        int64 a, b;
        size_t row;
    };
    std::vector<Link> links;
    for (size_t i = 0; i < rows_.size(); ++i)
        if (rows_[i].kept) links.push_back({entries[rows_[i].a].identifier_id, entries[rows_[i].b].identifier_id, i});
    std::sort(links.begin(), links.end(), [](const Link& x, const Link& y) { return std::tie(x.a, x.b, x.row) < std::tie(y.a, y.b, y.row); });
    links.erase(std::unique(links.begin(), links.end(), [](const Link& x, const Link& y) { return x.a == y.a && x.b == y.b; }), links.end());
    if (!known_people_.empty()) {
        pg::StagedRows staged("cdp_pair", {{"place", INT4OID}, {"identifier_a", INT8OID}, {"identifier_b", INT8OID}});
        for (size_t i = 0; i < links.size(); ++i) {
            const Row& row = rows_[links[i].row];
            if (!entries[row.a].is_new && !entries[row.b].is_new) staged.Add({Int32GetDatum(static_cast<int32>(i)), Int64GetDatum(links[i].a), Int64GetDatum(links[i].b)});
        }
        const auto known = pg::Query("SELECT p.place FROM cdp_pair p WHERE EXISTS (SELECT FROM cdp.identity_link l"
                                     " WHERE l.identifier_a = p.identifier_a AND l.identifier_b = p.identifier_b AND l.revoked_at IS NULL)");
        for (uint64 i = 0; i < known.size(); ++i) links[DatumGetInt32(*known.Get(i, 1))].a = 0;
        std::erase_if(links, [](const Link& link) { return link.a == 0; });
    }
    links_ = static_cast<int64>(links.size());
    if (links.empty()) return;
    int64 link_id = collect::TakeIds("cdp.identity_link_id_seq", links_);
    const Datum cause = pg::TextDatum("manual"), why = reason ? pg::TextDatum(*reason) : Datum(0), who = pg::TextDatum(actor);
    const Datum after = Int64GetDatum(collect::NumberAct());
    for (size_t begin = 0; begin < links.size(); begin += kRowsAWrite) {
        pg::TableWriter writer("cdp.identity_link", {"link_id", "identifier_a", "identifier_b", "cause", "reason", "actor", "linked_at", "after_event_id"});
        for (size_t i = begin; i < std::min(links.size(), begin + kRowsAWrite); ++i) {
            const Datum values[] = {Int64GetDatum(link_id++), Int64GetDatum(links[i].a), Int64GetDatum(links[i].b), cause, why, who,
                                    TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), after};
            const bool nulls[] = {false, false, false, false, !reason, false, false, false};
            writer.Insert(values, nulls);
        }
        writer.Write();
    }
}

/// Profiles that were there before and have become others. Ids that came and went in here were never anybody's.
void WriteEnded(const std::vector<std::pair<int64, int64>>& gone) {
    if (gone.empty()) return;
    pg::StagedRows staged("cdp_ended", {{"alias_id", INT8OID}, {"profile_id", INT8OID}});
    for (const auto& [profile_id, survivor] : gone) staged.Add({Int64GetDatum(profile_id), Int64GetDatum(survivor)});
    pg::Execute("INSERT INTO cdp.profile_alias (alias_id, profile_id, reason, identifier_id) SELECT alias_id, profile_id, 'import',"
                " (SELECT min(i.identifier_id) FROM cdp.identifier i WHERE i.profile_id = e.alias_id) FROM cdp_ended e");
    pg::Execute("UPDATE cdp.identifier i SET profile_id = e.profile_id FROM cdp_ended e WHERE i.profile_id = e.alias_id");
}

void Import::WritePeople() {
    std::unordered_set<int64> changed;
    const auto& entries = identifiers_.entries();
    for (size_t i = 0; i < entries.size(); ++i)
        if (entries[i].is_new) changed.insert(resolver_->ProfileOf(resolver_->NodeOf(static_cast<int>(i))));
    pipeline::Regrouping regrouping;
    regrouping.cause = segment::Cause::kImport;
    std::vector<int64> fresh;
    std::vector<int> node_of;
    for (int node = 0; node < resolver_->nodes(); ++node) {
        const int64 own = resolver_->OwnProfile(node), now = resolver_->ProfileOf(node);
        const bool known = node < static_cast<int>(known_people_.size());
        if (own == now) {
            if (known) continue;
            fresh.push_back(own);
            node_of.push_back(node);
        } else {
            changed.insert(now);
            if (known) regrouping.gone.emplace_back(own, now);
        }
    }
    for (size_t node = 0; node < known_people_.size(); ++node)
        if (known_people_[node] == resolver_->ProfileOf(static_cast<int>(node)) && changed.contains(known_people_[node]))
            regrouping.staying.push_back(known_people_[node]);
    WriteEnded(regrouping.gone);
    pipeline::Introduce(definitions_, fresh, [&](size_t i, size_t type) { return resolver_->Counts(node_of[i])[type]; }, segment::Cause::kImport);
    if (!regrouping.staying.empty()) pipeline::Regroup(definitions_, regrouping);
}

void Import::Write(const std::optional<std::string>& reason, const std::string& actor) {
    NumberIdentifiers();
    WriteIdentifiers();
    WriteLinks(reason, actor);
    if (resolver_->next_profile_id() > identity::Ledger::NextProfileId())
        pg::Query("SELECT setval('cdp.profile_id_seq', $1)", {pg::Int8(resolver_->next_profile_id() - 1)});
    WritePeople();
}

void Import::WriteRefused(const std::string& relation) const {
    if (refused_.empty()) return;
    pg::StagedRows staged("cdp_left_out", {{"type_a", TEXTOID}, {"value_a", TEXTOID}, {"type_b", TEXTOID}, {"value_b", TEXTOID}, {"why", TEXTOID}}, pg::StagedRows::kMany);
    pg::Scratch memory;
    for (const Refused& row : refused_) {
        const pg::Scratch::Use use(memory);
        Datum values[5] = {};
        bool nulls[5] = {};
        for (int k = 0; k < 4; ++k) {
            nulls[k] = !row.values[k];
            if (!nulls[k]) values[k] = pg::TextDatum(*row.values[k]);
        }
        values[4] = pg::TextDatum(row.why);
        staged.Add(values, nulls);
        memory.Reset();
    }
    pg::Execute("INSERT INTO cdp.refused_link (type_a, value_a, type_b, value_b, why, relation) SELECT l.*, $1 FROM cdp_left_out l", {pg::Text(relation)});
}

void CheckColumns(Oid id, const std::string& relation) {
    const auto rows = pg::Query(
        "SELECT count(a.attname) FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " AND a.attname IN ('type_a', 'value_a', 'type_b', 'value_b') WHERE c.oid = $1 GROUP BY c.oid", {pg::Int8(id)});
    if (rows.empty()) throw Error(sqlstate::undefined_table, "relation with OID " + std::to_string(id) + " does not exist");
    if (rows.Int8(0, 1) != 4)
        throw Error(sqlstate::undefined_column, "relation " + relation + " has not the columns of links")
            .Hint("It must have the columns type_a, value_a, type_b and value_b.");
}

}  // namespace

CDP_FUNCTION(cdp_import_links)  // cdp.import_links(relation regclass, reason text) → bigint
{
    if (PG_ARGISNULL(0)) throw Error(sqlstate::null_value_not_allowed, "relation must not be null");
    const Oid caller = GetUserId();
    const std::string actor = pg::RoleName(caller);
    const auto reason = pg::TextArgument(fcinfo, 1);
    const std::string relation = pg::OutputText(REGCLASSOID, PG_GETARG_DATUM(0));
    const pg::Spi spi;
    CheckColumns(PG_GETARG_OID(0), relation);
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    Import import(pipeline::Current());
    const auto begin = std::chrono::steady_clock::now();
    {
        const pg::ActAs reader(caller);
        import.Read(relation);
    }
    import.Join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    import.Write(reason, actor);
    import.WriteRefused(relation);
    const auto rows = static_cast<unsigned long long>(import.rows()), left_out = static_cast<unsigned long long>(import.left_out());
    const double seconds = took.count();
    pg::Call([&] {
        ereport(NOTICE, (errmsg("%llu rows stitched in %.1f s, %llu of them left out", rows, seconds, left_out),
                         errdetail("Left out is what would break a limit or a separation, and what identifies nobody."),
                         left_out > 0 ? errhint("They are in cdp.refused_link.") : 0));
    });
    PG_RETURN_INT64(import.links());
}
