// identity/match_prints_pg.cpp: see match_prints_pg.hpp.
#include "identity/match_prints_pg.hpp"

#include <xxhash.h>

#include <cstring>

namespace cdp::matching {

namespace {

constexpr size_t kPrintsAPart = 65'536;   // a megabyte

}  // namespace

Prints::Prints(const Records& records, std::span<const std::string> columns) {
    std::vector<const RecordColumn*> printed;
    for (const auto& column : columns) printed.push_back(&records.columns()[records.Find(column)]);
    std::string text;
    prints_.reserve(records.size());
    for (uint32_t record = 0; record < records.size(); ++record) {
        text.assign(records.key(record));
        for (const auto* column : printed) {
            // Lengths keep values apart; a missing one has none of its own.
            const auto value = column->texts[column->values[record]];
            const uint32_t length = column->values[record] == 0 ? UINT32_MAX : static_cast<uint32_t>(value.size());
            text.append(reinterpret_cast<const char*>(&length), sizeof length).append(value);
        }
        const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
        prints_.push_back({hash.high64, hash.low64});
    }
}

std::vector<bool> Prints::Fresh(int64 matcher_id) const {
    std::vector<Print> known;
    pg::Cursor cursor("SELECT prints FROM cdp.matcher_seen WHERE matcher_id = $1 ORDER BY part", {pg::Int8(matcher_id)}, true);
    for (pg::Rows rows; !(rows = cursor.Fetch(1)).empty();) {
        const std::string_view bytes = pg::Bytes(*rows.Get(0, 1));
        const size_t before = known.size();
        known.resize(before + bytes.size() / sizeof(Print));
        std::memcpy(&known[before], bytes.data(), (known.size() - before) * sizeof(Print));
    }
    std::vector<bool> fresh;
    for (const Print& print : prints_) fresh.push_back(!std::binary_search(known.begin(), known.end(), print));
    return fresh;
}

void Prints::Store(int64 matcher_id) const {
    std::vector<Print> sorted = prints_;
    std::sort(sorted.begin(), sorted.end());
    pg::Execute("DELETE FROM cdp.matcher_seen WHERE matcher_id = $1", {pg::Int8(matcher_id)});
    for (size_t from = 0, part = 0; from < sorted.size(); from += kPrintsAPart, ++part) {
        const size_t count = std::min(kPrintsAPart, sorted.size() - from);
        const Datum bytes = pg::TextDatum({reinterpret_cast<const char*>(&sorted[from]), count * sizeof(Print)});
        pg::Execute("INSERT INTO cdp.matcher_seen (matcher_id, part, prints) VALUES ($1, $2, $3)",
                    {pg::Int8(matcher_id), pg::Int4(static_cast<int32>(part)), pg::Value(BYTEAOID, bytes)});
        pfree(DatumGetPointer(bytes));
    }
}

}  // namespace cdp::matching
