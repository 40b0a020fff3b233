// activate/destination_rows_pg.cpp: with what people are in one destination's table. See destination_pg.hpp.
#include "activate/destination_plans_pg.hpp"

#include "pg/names.hpp"
#include "pg/table_writer.hpp"

extern "C" {
#include "access/table.h"
#include "catalog/namespace.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"
}

namespace cdp::activate {

namespace {

/// The columns of a definition's table that are ours, the key first, as they are from now on until the transaction ends. Throws if the
/// table or one of them is not there.
std::vector<TableColumn> ColumnsOf(const Definition& definition) {
    Relation table = pg::Call([&] {
        return table_openrv_extended(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(definition.table.c_str()))), RowExclusiveLock, true);
    });
    if (table == nullptr) throw Error(sqlstate::undefined_table, "table " + definition.table + " does not exist");
    if (const char kind = table->rd_rel->relkind; kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
        throw Error(sqlstate::wrong_object_type, definition.table + " is not a table");
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

/// A table for FROM, without those that inherit from it; partitions are its own.
std::string OnlyIt(const std::string& table) {
    const bool partitioned = pg::Query("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass($1)", {pg::Text(table)}).Bool(0, 1);
    return partitioned ? table : "ONLY " + table;
}

int ColumnCount(Oid table) {
    return pg::Call([&] {
        Relation relation = table_open(table, AccessShareLock);
        const int count = RelationGetDescr(relation)->natts;
        table_close(relation, NoLock);
        return count;
    });
}

/// Whether images of a type's values tell whether they are the same, however they were made. Those of composite values do not: what is
/// in them may be compressed or not.
bool HasOneImage(Oid type) {
    return pg::Call([&] {
        const Oid element = get_base_element_type(type);
        return get_typtype(getBaseType(OidIsValid(element) ? element : type)) != TYPTYPE_COMPOSITE;
    });
}

}  // namespace

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
        const Oid owner = Owner();
        for (size_t i = 0; i < d.columns.size(); ++i) PrepareColumn(i, owner);
    } catch (...) {
        plans_->columns.clear();
        throw;
    }
    std::sort(plans_->reads.begin(), plans_->reads.end());
    plans_->reads.erase(std::unique(plans_->reads.begin(), plans_->reads.end()), plans_->reads.end());
    plans_->from_memory = d.as_written && std::all_of(plans_->columns.begin(), plans_->columns.end(), [](const TableColumn& c) { return HasOneImage(c.type); });
    const Oid profile = ProfileTable();
    plans_->profile_width = ColumnCount(profile);
    std::string read, others;
    for (const int number : plans_->reads)
        read += ", p." + pg::Identifier(pg::Call([&] { return get_attname(profile, static_cast<AttrNumber>(number), false); }));
    for (size_t i = 1; i < plans_->columns.size(); ++i) others += ", t." + pg::Identifier(plans_->columns[i].name);
    plans_->profiles = pg::Statement("SELECT c.place" + read + " FROM cdp_candidate c JOIN cdp.profile p ON p.profile_id = c.profile_id");
    plans_->segments = pg::Statement(
        "SELECT c.place, ARRAY(SELECT s.name FROM cdp.segment_member a JOIN cdp.segment s USING (segment_id)"
        " WHERE a.profile_id = c.profile_id ORDER BY s.name COLLATE \"C\") FROM cdp_candidate c");
    plans_->existing = pg::Statement("SELECT c.place, t.ctid" + others + " FROM cdp_key c JOIN " + OnlyIt(d.table) + " t ON t." + key + " = c.key");
}

/// Reads the profiles of those who are not in memory, as far as columns are computed from them; what they point to lives as long as
/// what is returned. Who has none is wanted no longer.
pg::Rows Destination::ReadProfiles(std::vector<Member>* members) {
    for (Member& m : *members)
        if (m.candidate->person != nullptr && plans_->from_memory) m.profile = {m.candidate->person->values(), m.candidate->person->nulls()};
    pg::StagedRows staged("cdp_candidate", CandidateColumns());
    const uint64 count = StageCandidates(&staged, *members, [](const Member& m) { return m.profile.values == nullptr; });
    if (count == 0) return {};
    const auto width = static_cast<size_t>(plans_->profile_width);
    Datum* values = pg::Call([&] { return static_cast<Datum*>(MemoryContextAllocHuge(CurrentMemoryContext, count * width * sizeof(Datum))); });
    bool* nulls = pg::Call([&] { return static_cast<bool*>(MemoryContextAllocHuge(CurrentMemoryContext, count * width * sizeof(bool))); });
    std::fill_n(nulls, count * width, true);
    const pg::ActAs as_owner(Owner(), true);
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
    pg::Rows profiles;  // values may point to
    size_t width;
    std::vector<Datum> values;
    std::unique_ptr<bool[]> nulls;

    Contents(pg::Rows profiles, size_t rows, size_t width)
        : profiles(std::move(profiles)), width(width), values(rows * width), nulls(new bool[rows * width]()) {}
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
    Contents contents(std::move(profiles), members->size(), plans_->columns.size());
    std::vector<pg::Condition::Row> rows;
    for (size_t i = 0; i < members->size(); ++i) {
        const Member& m = (*members)[i];
        contents.Values(i)[0] = definition_.KeyedByProfile() ? Int64GetDatum(m.profile_id()) : pg::TextDatum(m.key);
        rows.push_back(m.profile);
    }
    std::vector<pg::Condition::Input> inputs, results;
    for (size_t column = 0; column < plans_->values.size(); ++column) {
        const auto& value = plans_->values[column];
        if (const int number = value.expression->Column(); number > 0) {
            for (size_t i = 0; i < rows.size(); ++i) {
                contents.Values(i)[column + 1] = rows[i].values[number - 1];
                contents.Nulls(i)[column + 1] = rows[i].nulls[number - 1];
            }
            continue;
        }
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

}  // namespace cdp::activate
