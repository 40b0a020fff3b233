// activate/destination_rows_pg.cpp: one destination: who is in it, and with what. See destination_pg.hpp.
#include "activate/destination_pg.hpp"

#include "pg/expression.hpp"
#include "pg/names.hpp"
#include "pg/probes.hpp"
#include "pg/table_writer.hpp"

extern "C" {
#include "access/table.h"
#include "catalog/namespace.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/varlena.h"
}

namespace cdp::activate {

namespace {

constexpr const char* kPeopleAtATime = "20000";

/// A column of a destination's table.
struct TableColumn {
    std::string name;
    Oid type;
    int32 typmod;
    bool by_value;
    int16 length;
    bool operator==(const TableColumn&) const = default;
};

/// The columns of a definition's table that are ours, the key first, as they are from now on until the transaction ends. Throws if the
/// table or one of them is not there.
std::vector<TableColumn> ColumnsOf(const Definition& definition) {
    Relation table = pg::Call([&] {
        return table_openrv_extended(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(definition.table.c_str()))), RowExclusiveLock, true);
    });
    if (table == nullptr) throw Error(sqlstate::undefined_table, "table " + definition.table + " does not exist");
    std::vector<TableColumn> columns;
    const auto add = [&](const std::string& name) {
        for (int i = 0; i < RelationGetDescr(table)->natts; ++i) {
            const Form_pg_attribute column = TupleDescAttr(RelationGetDescr(table), i);
            if (!column->attisdropped && name == NameStr(column->attname))
                return columns.push_back({name, column->atttypid, column->atttypmod, column->attbyval, column->attlen});
        }
        throw Error(sqlstate::undefined_column, "table " + definition.table + " has no column \"" + name + "\"");
    };
    add(definition.key);
    for (const auto& column : definition.columns) add(column.first);
    pg::Call([&] { table_close(table, NoLock); });
    return columns;
}

/// A text that lives as long as the current memory context.
std::string_view Kept(std::string_view text) {
    return pg::Call([&] { return std::string_view(pnstrdup(text.data(), text.size()), text.size()); });
}

/// How cdp.profile is for somebody with the rights of `owner`.
struct ProfileShape {
    int width;        // how many columns it has
    bool as_written;  // its rows are what we write, and can be seen
};
ProfileShape ShapeFor(Oid owner) {
    return pg::Call([&] {
        Relation profile = table_open(ProfileTable(), AccessShareLock);
        const ProfileShape shape{RelationGetDescr(profile)->natts,
                                 profile->trigdesc == nullptr && check_enable_rls(RelationGetRelid(profile), owner, true) != RLS_ENABLED};
        table_close(profile, NoLock);
        return shape;
    });
}

}  // namespace

/// What is worked out about a candidate.
struct Destination::Member {
    const Candidate* candidate;
    bool wanted;                              // is to be in it
    std::optional<std::string_view> held{};   // under which key they are until now, and
    std::string_view key{};                   //   are to be; by profile_id neither is used
    pg::Condition::Row profile{};             // of who is wanted: their row of cdp.profile

    int64 profile_id() const { return candidate->profile_id; }
    bool Moves() const { return wanted && held != key; }
};

// Statements read people as cdp_candidate (profile_id, place: among the members), who leaves as cdp_left.
struct Destination::Plans {
    int gate = -1;               // the question whom they must consent to; -1: none
    pg::Statement held{""};      // place and key of candidates
    pg::Statement keys{""};      // place and the key that is to be
    pg::Statement forget{""};    // takes cdp_left out of cdp.destination_member
    pg::Statement remember{""};  // enters cdp_moved there
    pg::Statement leave{""};     // takes cdp_left, by profile_id cdp_candidate, out of the table
    pg::Statement announce{""};  // to cdp-relay: those who are there under another key than they were
    pg::Statement look_up{""};   // of each in cdp_followed: whether they are there and in the segment
    pg::Statement people{""};    // the same of who is or may be in the table, by profile_id, after $1
    pg::Statement orphans{""};   // DELETE of rows that are nobody's

    // What is missing until PrepareValues.
    std::vector<TableColumn> columns;
    struct Value {
        std::unique_ptr<pg::Condition> expression;
        std::vector<int> questions;  // what its special calls ask of consent; -1: one asks for the names of segments
    };
    std::vector<Value> values;     // of the columns behind the key
    std::vector<int> reads;        // columns of cdp.profile, by number
    ProfileShape shape{};
    pg::Statement profiles{""};    // place and those columns of candidates; runs as the destination's owner
    pg::Statement segments{""};    // place and segments' names of candidates
    pg::Statement existing{""};    // place, ctid and columns of the rows of cdp_key
};

Destination::Destination(Definition definition, std::shared_ptr<govern::ConsentAnswers> answers)
    : definition_(std::move(definition)), answers_(std::move(answers)) {}
Destination::~Destination() = default;
Destination::Destination(Destination&&) noexcept = default;

static std::vector<pg::Column> CandidateColumns() { return {{"profile_id", INT8OID}, {"place", INT4OID}}; }

void Destination::Prepare() {
    if (plans_ != nullptr) return;
    const Definition& d = definition_;
    const bool by_profile = d.KeyedByProfile();
    auto plans = std::make_unique<Plans>();
    if (d.segment && d.segment_id == 0) throw Error(sqlstate::undefined_object, "segment \"" + *d.segment + "\" does not exist");
    if (d.purpose) plans->gate = answers_->Ask(*d.purpose);
    const std::string id = std::to_string(d.destination_id), segment_id = std::to_string(d.segment_id), key = pg::Identifier(d.key);

    plans->held = pg::Statement(
        "SELECT c.place, m.key FROM cdp_candidate c JOIN cdp.destination_member m ON m.destination_id = " + id + " AND m.profile_id = c.profile_id");
    plans->keys = pg::Statement(
        "SELECT c.place, k.value FROM cdp_candidate c CROSS JOIN LATERAL (SELECT i.value FROM cdp.identifier i WHERE i.profile_id = c.profile_id AND i.type = " +
        pg::Literal(d.key) + " ORDER BY i.last_seen_at DESC, i.identifier_id DESC LIMIT 1) k");
    plans->forget = pg::Statement(
        "DELETE FROM cdp.destination_member m USING cdp_left l WHERE m.destination_id = " + id + " AND m.profile_id = l.profile_id");
    // An identifier that has moved to another person takes its row along.
    plans->remember = pg::Statement(
        "INSERT INTO cdp.destination_member AS m (destination_id, profile_id, key) SELECT " + id + ", w.profile_id, w.key FROM cdp_moved w"
        " ON CONFLICT (destination_id, key) DO UPDATE SET profile_id = EXCLUDED.profile_id");
    plans->leave = pg::Statement(
        by_profile ? "DELETE FROM " + d.table + " t USING cdp_candidate c WHERE t." + key + " = c.profile_id RETURNING t." + key
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
        " FROM ";
    plans->look_up = pg::Statement(looked_up + "cdp_followed t");
    plans->people = pg::Statement(looked_up + "(" + ids + ") t ORDER BY 1", {INT8OID});
    plans->orphans = pg::Statement(
        "DELETE FROM " + d.table + " t WHERE NOT EXISTS (SELECT FROM cdp.destination_member m WHERE m.destination_id = " +
        id + " AND m.key = t." + key + ")");
    plans_ = std::move(plans);
}

void Destination::PrepareColumn(size_t column, Oid owner) {
    const auto& [name, text] = definition_.columns[column];
    const TableColumn& target = plans_->columns[column + 1];
    Plans::Value value;
    value.expression = std::make_unique<pg::Condition>(
        text, "column \"" + name + "\" of destination \"" + definition_.name + "\"", ProfileTable(), "profile", owner, kSpecialCalls,
        pg::Condition::Options{.kind = pg::Condition::Kind::kValue, .type = target.type, .typmod = target.typmod});
    const auto& calls = value.expression->specials();
    for (size_t call = 0; call < calls.size(); ++call)
        value.questions.push_back(calls[call].function == kSpecialCalls[0] ? -1 : answers_->Ask(govern::ConsentAt(*value.expression, call, govern::Purposes::Load())));
    for (const int number : value.expression->columns()) plans_->reads.push_back(number);
    plans_->values.push_back(std::move(value));
}

void Destination::PrepareValues() {
    Prepare();
    auto columns = ColumnsOf(definition_);
    if (columns == plans_->columns) return;
    const Definition& d = definition_;
    const std::string key = pg::Identifier(d.key);
    if (columns.front().type != (d.KeyedByProfile() ? INT8OID : TEXTOID))
        throw Error(sqlstate::datatype_mismatch, "column \"" + d.key + "\" of table " + d.table + " is not of type " + (d.KeyedByProfile() ? "bigint" : "text"));
    plans_->columns = std::move(columns);
    plans_->values.clear();
    plans_->reads.clear();
    try {
        const Oid owner = pg::Call([&] { return get_role_oid(d.owner.c_str(), false); });
        for (size_t i = 0; i < d.columns.size(); ++i) PrepareColumn(i, owner);
        plans_->shape = ShapeFor(owner);
    } catch (...) {
        plans_->columns.clear();
        throw;
    }
    std::sort(plans_->reads.begin(), plans_->reads.end());
    plans_->reads.erase(std::unique(plans_->reads.begin(), plans_->reads.end()), plans_->reads.end());
    const Oid profile = ProfileTable();
    std::string read, others;
    for (const int number : plans_->reads)
        read += ", p." + pg::Identifier(pg::Call([&] { return get_attname(profile, static_cast<AttrNumber>(number), false); }));
    for (size_t i = 1; i < plans_->columns.size(); ++i) others += ", t." + pg::Identifier(plans_->columns[i].name);
    plans_->profiles = pg::Statement("SELECT c.place" + read + " FROM cdp_candidate c JOIN cdp.profile p ON p.profile_id = c.profile_id");
    plans_->segments = pg::Statement(
        "SELECT c.place, ARRAY(SELECT s.name FROM cdp.segment_member a JOIN cdp.segment s USING (segment_id)"
        " WHERE a.profile_id = c.profile_id ORDER BY s.name COLLATE \"C\") FROM cdp_candidate c");
    plans_->existing = pg::Statement("SELECT c.place, t.ctid" + others + " FROM cdp_key c JOIN " + d.table + " t ON t." + key + " = c.key");
}

void Destination::Stage(const segment::Touched& touched, std::span<const segment::Transition> moves, size_t place, const KeysOfNew& keys,
                        std::vector<Candidate>* candidates) const {
    using Change = segment::Touched::Change;
    const Definition& d = definition_;
    if (!d.Concerns(touched, moves)) return;
    auto& state = touched.person->state();
    const auto& memberships = state.memberships();
    const bool same_identifiers = touched.change == Change::kSome && !touched.identifiers_changed;
    Candidate candidate{touched.person->profile_id()};
    candidate.person = touched.person;
    candidate.meant = !d.segment || std::binary_search(memberships.begin(), memberships.end(), d.segment_id);
    candidate.same_consents = same_identifiers && !touched.consents_changed;
    const auto key = keys.find(d.key_type);
    candidate.is_new = touched.change == Change::kNew && (d.KeyedByProfile() || key != keys.end());
    candidate.unspoken_of = candidate.is_new && !touched.consents_changed;
    if (d.key_type != 0) {
        const int64 count = state.IdentifierCount(d.key_type);
        candidate.meant = candidate.meant && count > 0;
        candidate.same_key = count == 1 && same_identifiers;
        if (candidate.is_new) candidate.key = key->second[place];
    }
    if (candidate.meant || !candidate.is_new) candidates->push_back(candidate);
}

bool Destination::IsPermitted(const Candidate& candidate) const {
    return !answers_->Suppressed(candidate.profile_id) && (plans_->gate < 0 || answers_->Covers(plans_->gate, candidate.profile_id));
}

/// Stages as cdp_candidate those of the members whom `chosen` takes.
template <class Members, class F>
static uint64 StageCandidates(pg::StagedRows* staged, const Members& members, F&& chosen) {
    for (size_t i = 0; i < members.size(); ++i)
        if (chosen(members[i])) staged->Add({Int64GetDatum(members[i].profile_id()), Int32GetDatum(static_cast<int32>(i))});
    return staged->size();
}

static size_t PlaceIn(const pg::Rows& rows, uint64 i) { return static_cast<size_t>(DatumGetInt32(*rows.Get(i, 1))); }

/// Under which keys they are held.
void Destination::FindHeld(std::vector<Member>* members) {
    pg::StagedRows staged("cdp_candidate", CandidateColumns());
    if (StageCandidates(&staged, *members, [](const Member& m) { return !m.candidate->is_new; }) == 0) return;
    const auto rows = plans_->held.Query();
    for (uint64 i = 0; i < rows.size(); ++i) (*members)[PlaceIn(rows, i)].held = Kept(pg::Bytes(*rows.Get(i, 2)));
}

/// Who of those who are meant is to be in it, as far as consent goes.
void Destination::FindPermitted(std::vector<Member>* members) {
    // Of who is in it, and of whom nothing new was said, it need not be asked, unless a column does.
    const bool asked = !definition_.asks_purposes.empty();
    const auto known = [](const Member& m) { return m.candidate->unspoken_of || (m.candidate->same_consents && m.held); };
    std::vector<int64> people;
    for (const Member& m : *members)
        if (m.wanted && !m.candidate->unspoken_of && (asked || !known(m))) people.push_back(m.profile_id());
    answers_->Read(std::move(people));
    for (Member& m : *members)
        if (m.wanted && !(m.candidate->same_consents && m.held)) m.wanted = IsPermitted(*m.candidate);
}

/// Under which keys they are to be. Looked up of those only who may have another one than they are held under.
void Destination::FindKeys(std::vector<Member>* members) {
    pg::StagedRows staged("cdp_candidate", CandidateColumns());
    for (Member& m : *members) {
        if (m.candidate->is_new) m.key = m.candidate->key;
        else if (m.candidate->same_key && m.held) m.key = *m.held;
    }
    if (StageCandidates(&staged, *members, [](const Member& m) { return m.wanted && m.key.empty(); }) == 0) return;
    const auto rows = plans_->keys.Query();
    for (uint64 i = 0; i < rows.size(); ++i) (*members)[PlaceIn(rows, i)].key = Kept(pg::Bytes(*rows.Get(i, 2)));
    for (Member& m : *members) m.wanted = m.wanted && !m.key.empty();
}

/// Takes out who is not in it any more, under the key they had; and enters who is, under the key they have.
void Destination::Leave(std::span<const Member> members, bool leave_only, Changes* changes) {
    const bool by_profile = definition_.KeyedByProfile();
    pg::StagedRows left("cdp_left", {{"key", by_profile ? Oid{INT8OID} : Oid{TEXTOID}}, {"profile_id", INT8OID}});
    if (by_profile) {
        pg::StagedRows staged("cdp_candidate", CandidateColumns());
        if (StageCandidates(&staged, members, [](const Member& m) { return !m.wanted && !m.candidate->is_new; }) == 0) return;
        const auto rows = plans_->leave.Query();
        for (uint64 i = 0; i < rows.size(); ++i) left.Add({*rows.Get(i, 1), *rows.Get(i, 1)});
        changes->rows += rows.size();
    } else {
        for (const Member& m : members)
            if (m.held && (!m.wanted || m.Moves())) left.Add({pg::TextDatum(*m.held), Int64GetDatum(m.profile_id())});
        if (left.size() > 0) changes->members += plans_->forget.Execute();
        if (!leave_only) Remember(members, changes);
        if (left.size() > 0) changes->rows += plans_->leave.Execute();
    }
    if (left.size() > 0) plans_->announce.Execute();
}

void Destination::Remember(std::span<const Member> members, Changes* changes) {
    pg::StagedRows moved("cdp_moved", {{"profile_id", INT8OID}, {"key", TEXTOID}});
    pg::TableWriter entered("cdp.destination_member", {"destination_id", "profile_id", "key"});
    for (const Member& m : members) {
        if (!m.Moves()) continue;
        const Datum key = pg::TextDatum(m.key);
        if (m.candidate->is_new) entered.Insert({Int64GetDatum(definition_.destination_id), Int64GetDatum(m.profile_id()), key});
        else moved.Add({Int64GetDatum(m.profile_id()), key});
        ++changes->members;
    }
    if (moved.size() > 0) plans_->remember.Execute();
    entered.Write();
}

/// Reads the profiles of those who are not in memory, as far as columns are computed from them; what they point to lives as long as
/// what is returned. Who has none is wanted no longer.
pg::Rows Destination::ReadProfiles(std::vector<Member>* members) {
    const bool from_memory = plans_->shape.as_written && !definition_.reads_foreign;
    for (Member& m : *members)
        if (m.candidate->person != nullptr && from_memory) m.profile = {m.candidate->person->values(), m.candidate->person->nulls()};
    pg::StagedRows staged("cdp_candidate", CandidateColumns());
    const uint64 count = StageCandidates(&staged, *members, [](const Member& m) { return m.profile.values == nullptr; });
    if (count == 0) return {};
    const auto width = static_cast<size_t>(plans_->shape.width);
    Datum* values = pg::Call([&] { return static_cast<Datum*>(MemoryContextAllocHuge(CurrentMemoryContext, count * width * sizeof(Datum))); });
    bool* nulls = pg::Call([&] { return static_cast<bool*>(MemoryContextAllocHuge(CurrentMemoryContext, count * width * sizeof(bool))); });
    std::fill_n(nulls, count * width, true);
    const Oid owner = pg::Call([&] { return get_role_oid(definition_.owner.c_str(), false); });
    const pg::ActAs as_owner(owner, true);
    auto rows = plans_->profiles.Query();
    for (uint64 i = 0; i < rows.size(); ++i, values += width, nulls += width) {
        for (size_t k = 0; k < plans_->reads.size(); ++k) {
            const auto value = rows.Get(i, static_cast<int>(k) + 2);
            const int column = plans_->reads[k] - 1;
            nulls[column] = !value;
            values[column] = value.value_or(0);
        }
        (*members)[PlaceIn(rows, i)].profile = {values, nulls};
    }
    std::erase_if(*members, [](const Member& m) { return m.profile.values == nullptr; });
    return rows;
}

/// Rows for the table: of each member the key, then the columns.
struct Destination::Contents {
    size_t width;
    std::vector<Datum> values;
    std::unique_ptr<bool[]> nulls;

    Contents(size_t rows, size_t width) : width(width), values(rows * width), nulls(new bool[rows * width]()) {}
    Datum* Values(size_t row) { return &values[row * width]; }
    bool* Nulls(size_t row) { return &nulls[row * width]; }
};

/// What they are to be in the table with; who has no profile leaves `members`.
Destination::Contents Destination::FindContents(std::vector<Member>* members) {
    pg::Rows profiles, segments;
    if (!plans_->values.empty()) profiles = ReadProfiles(members);
    std::vector<pg::Condition::Input> names(members->size());
    if (definition_.asks_segments) {
        pg::StagedRows staged("cdp_candidate", CandidateColumns());
        StageCandidates(&staged, *members, [](const Member&) { return true; });
        segments = plans_->segments.Query();
        for (uint64 i = 0; i < segments.size(); ++i) names[PlaceIn(segments, i)] = {*segments.Get(i, 2), false};
    }
    Contents contents(members->size(), plans_->columns.size());
    std::vector<pg::Condition::Row> rows;
    for (size_t i = 0; i < members->size(); ++i) {
        const Member& m = (*members)[i];
        contents.Values(i)[0] = definition_.KeyedByProfile() ? Int64GetDatum(m.profile_id()) : pg::TextDatum(m.key);
        rows.push_back(m.profile);
    }
    std::vector<pg::Condition::Input> inputs, results;
    for (size_t column = 0; column < plans_->values.size(); ++column) {
        const auto& value = plans_->values[column];
        inputs.clear();
        for (size_t i = 0; i < members->size() && !value.questions.empty(); ++i)
            for (const int question : value.questions)
                inputs.push_back(question < 0 ? names[i] : pg::Condition::Input{BoolGetDatum(answers_->Covers(question, (*members)[i].profile_id())), false});
        value.expression->Values(rows, inputs, &results);
        for (size_t i = 0; i < results.size(); ++i) {
            contents.Values(i)[column + 1] = results[i].value;
            contents.Nulls(i)[column + 1] = results[i].null;
        }
    }
    return contents;
}

/// Brings the rows of who is wanted into the table: only where they are not there, or others. Images are compared: that knows every
/// type, runs no operator of a user's, and sees 1.0 become 1.00.
void Destination::Enter(std::vector<Member> members, Changes* changes) {
    std::erase_if(members, [](const Member& m) { return !m.wanted; });
    if (members.empty()) return;
    Contents contents = FindContents(&members);
    const auto& columns = plans_->columns;
    std::vector<std::string> names;
    for (const TableColumn& column : columns) names.push_back(column.name);
    pg::TableWriter writer(definition_.table, names);
    std::vector<char> is_there(members.size());
    {
        pg::StagedRows keys("cdp_key", {{"place", INT4OID}, {"key", columns.front().type}});
        for (size_t i = 0; i < members.size(); ++i)
            if (!members[i].candidate->is_new) keys.Add({Int32GetDatum(static_cast<int32>(i)), contents.Values(i)[0]});
        const auto rows = keys.size() == 0 ? pg::Rows() : plans_->existing.Query();
        for (uint64 i = 0; i < rows.size(); ++i) {
            const size_t place = PlaceIn(rows, i);
            is_there[place] = 1;
            const auto same = [&](size_t column) {
                const auto before = rows.Get(i, static_cast<int>(column) + 2);
                const Datum now = contents.Values(place)[column];
                if (!before || contents.Nulls(place)[column]) return !before && contents.Nulls(place)[column];
                return pg::Call([&] { return datum_image_eq(*before, now, columns[column].by_value, columns[column].length); });
            };
            size_t column = 1;
            while (column < columns.size() && same(column)) ++column;
            if (column == columns.size()) continue;
            ItemPointerData ctid = pg::Place(*rows.Get(i, 2));
            writer.Update(&ctid, contents.Values(place), contents.Nulls(place));
            ++changes->rows;
        }
    }
    for (size_t i = 0; i < members.size(); ++i) {
        if (is_there[i]) continue;
        writer.Insert(contents.Values(i), contents.Nulls(i));
        ++changes->rows;
    }
    writer.Write();
}

Changes Destination::Maintain(std::span<const Candidate> candidates, bool leave_only) {
    if (leave_only) Prepare(); else PrepareValues();
    pg::Scratch memory;
    const pg::Scratch::Use use(memory);
    Changes changes;
    std::vector<Member> members;
    members.reserve(candidates.size());
    for (const Candidate& candidate : candidates) members.push_back({&candidate, candidate.meant});
    if (!definition_.KeyedByProfile()) FindHeld(&members);
    FindPermitted(&members);
    if (!definition_.KeyedByProfile()) FindKeys(&members);
    Leave(members, leave_only, &changes);
    if (!leave_only) Enter(std::move(members), &changes);
    return changes;
}

void Destination::Follow(std::span<const int64> people, bool leave_only) {
    Prepare();
    const pg::Probes probes;
    std::vector<Candidate> candidates;
    {
        pg::StagedRows followed("cdp_followed", {{"profile_id", INT8OID}});
        for (const int64 profile_id : people) followed.Add({Int64GetDatum(profile_id)});
        const auto rows = plans_->look_up.Query();
        for (uint64 i = 0; i < rows.size(); ++i) candidates.push_back({.profile_id = rows.Int8(i, 1), .meant = rows.Bool(i, 2)});
    }
    Maintain(candidates, leave_only);
}

Changes Destination::Refill(bool leave_only) {
    Prepare();
    Changes changes;
    {
        const pg::Probes probes;
        for (int64 after = PG_INT64_MIN;;) {
            std::vector<Candidate> candidates;
            {
                const auto people = plans_->people.Query({pg::Int8(after)});
                for (uint64 i = 0; i < people.size(); ++i) candidates.push_back({.profile_id = people.Int8(i, 1), .meant = people.Bool(i, 2)});
            }
            if (candidates.empty()) break;
            after = candidates.back().profile_id;
            answers_->Forget();
            const Changes more = Maintain(candidates, leave_only);
            changes.rows += more.rows;
            changes.members += more.members;
        }
    }
    if (!definition_.KeyedByProfile()) changes.rows += plans_->orphans.Execute();
    return changes;
}

int64 Destination::CountKeptOut() const {
    const Definition& d = definition_;
    const std::string person = "p.profile_id";
    std::string sql = "SELECT count(*) FROM ";
    sql += d.segment ? "cdp.segment_member p JOIN cdp.segment s ON s.segment_id = p.segment_id AND s.name = " + pg::Literal(*d.segment) : "cdp.profile p";
    sql += " WHERE (EXISTS (SELECT FROM cdp.suppressed_profile x WHERE x.profile_id = " + person + ")";
    if (d.purpose) sql += " OR NOT " + govern::CoversSql(person, *d.purpose);
    sql += ")";
    if (!d.KeyedByProfile())
        sql += " AND EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = p.profile_id AND i.type = " + pg::Literal(d.key) + ")";
    return pg::Query(sql, {}, true).Int8(0, 1);
}

}  // namespace cdp::activate
