// relay/arrival.cpp: see arrival.hpp.
#include "relay/arrival.hpp"

#include "pg/error.hpp"
#include "relay/digest.hpp"
#include "relay/row.hpp"

namespace cdp::relay {

namespace {

using pgoutput::Field;

constexpr size_t kMostRelations = 1000;
constexpr size_t kLongestNote = 100'000;  // with room for the longest keys

[[noreturn]] void Misfit(const char* what) {
    throw Error(sqlstate::data_corrupted, std::string("the replication stream has a row ") + what);
}

/// Keys are bigint or text: as JSON a number or a string, as in the rows.
nlohmann::json KeyRow(const std::string& key_column, const std::string& key) {
    nlohmann::json row = nlohmann::json::object();
    constexpr uint32_t kInt8 = 20, kText = 25;
    row[key_column] = TypedValue(key_column == "profile_id" ? kInt8 : kText, key);
    return row;
}

}  // namespace

bool Arrival::Incomplete() const {
    return std::any_of(row.begin(), row.end(), [](const Field& field) { return field.kind == Field::Kind::kUnchanged; });
}

bool Arrival::Complete(std::span<const pgoutput::Column> columns, const pgoutput::Tuple& now) {
    for (size_t i = 0; i < row.size(); ++i) {
        if (row[i].kind != Field::Kind::kUnchanged) continue;
        const auto same = std::find_if(columns.begin(), columns.end(),
                                       [&](const pgoutput::Column& column) { return column.name == relation->columns[i].name; });
        if (same == columns.end()) return false;
        row[i] = now.at(static_cast<size_t>(same - columns.begin()));
    }
    return true;
}

std::string ChangeId(const std::string& destination, const std::string& key, uint64_t lsn) {
    return Hex(Hash(Digest::kSha256, destination + '\0' + key + '\0' + LsnText(lsn))).substr(0, 32);
}

Parcel MakeParcel(Change::Kind kind, const std::string& destination, const std::string& key_column, const std::string& key,
                  uint64_t lsn, std::span<const pgoutput::Column> columns, const pgoutput::Tuple* row) {
    Parcel parcel;
    parcel.change.kind = kind;
    parcel.change.key = key;
    parcel.change.lsn = lsn;
    parcel.change.id = ChangeId(destination, key, lsn);
    parcel.change.row = row == nullptr ? KeyRow(key_column, key) : TypedRow(columns, *row);
    if (row != nullptr) parcel.hash = RowHash(*row);
    return parcel;
}

Parcel Arrival::ToParcel(const std::string& destination, const std::string& key_column) const {
    Parcel parcel = MakeParcel(kind, destination, key_column, key, lsn, relation->columns, kind == Change::Kind::kDelete ? nullptr : &row);
    parcel.transaction = transaction;
    parcel.after = after;
    return parcel;
}

Parcel Arrival::ToNote() const {
    Parcel note;
    note.change.key = key;
    note.change.lsn = lsn;
    note.transaction = transaction;
    note.after = after;
    if (kind != Change::Kind::kDelete && !Incomplete()) note.hash = RowHash(row);
    return note;
}

void Arrivals::Know(pgoutput::Relation relation) {
    if (relations_.size() >= kMostRelations) relations_.clear();
    const uint32_t id = relation.id;
    relations_[id] = std::make_shared<const pgoutput::Relation>(std::move(relation));
}

void Arrivals::Heed(const pgoutput::Note& note) {
    if (note.prefix != "cdp_delivery" || note.content.size() > kLongestNote) return;
    const auto said = nlohmann::json::parse(note.content, nullptr, false);
    const auto text = [&](const char* name) {
        const auto found = said.is_object() ? said.find(name) : said.end();
        return found != said.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const std::string key = text("key"), after = text("after");
    if (text("destination") == destination_ && !key.empty() && !after.empty()) after_[key].push_back(after);
}

std::vector<Arrival> Arrivals::Take(const pgoutput::Row& row, uint64_t lsn) const {
    const auto found = relations_.find(row.relation);
    if (found == relations_.end()) Misfit("of a table that it has not described");
    const auto& relation = found->second;
    const auto key = std::find_if(relation->columns.begin(), relation->columns.end(),
                                  [&](const pgoutput::Column& column) { return column.name == key_column_; });
    if (key == relation->columns.end()) Misfit("of a table without the destination's key");
    const size_t place = static_cast<size_t>(key - relation->columns.begin());
    const auto key_of = [&](const pgoutput::Tuple& tuple) -> const std::string& {
        if (tuple.size() != relation->columns.size()) Misfit("that does not fit its table");
        if (tuple[place].kind != Field::Kind::kText) Misfit("without its key");
        return tuple[place].text;
    };

    std::vector<Arrival> arrivals;
    if (row.kind == pgoutput::Row::Kind::kDelete) {
        if (!row.old) Misfit("without its key");
        arrivals.push_back({Change::Kind::kDelete, key_of(*row.old), {}, relation, lsn});
        return arrivals;
    }
    if (!row.row) Misfit("without its values");
    const std::string& now = key_of(*row.row);
    const bool moved = row.kind == pgoutput::Row::Kind::kUpdate && row.old && key_of(*row.old) != now;
    if (moved) arrivals.push_back({Change::Kind::kDelete, key_of(*row.old), {}, relation, lsn});
    const bool is_new = moved || row.kind == pgoutput::Row::Kind::kInsert;
    arrivals.push_back({is_new ? Change::Kind::kInsert : Change::Kind::kUpdate, now, *row.row, relation, lsn});
    auto& after = arrivals.back().after;
    if (const auto said = after_.find(now); said != after_.end()) after = said->second;
    if (moved) after.push_back(key_of(*row.old));
    return arrivals;
}

}  // namespace cdp::relay
