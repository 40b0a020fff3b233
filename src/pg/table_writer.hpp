// pg/table_writer.hpp: many rows into one table at once, as COPY writes them, and each index in its own order.
//
// A statement spends most of its time per row outside of the table; this goes to the table and its indexes directly,
// and means the same. Where somebody has given the table what only a statement looks after (triggers, rules, columns
// with defaults, indexes on expressions, …) it writes one.
#pragma once

#include "pg/spi.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace cdp::pg {

class TableWriter {
public:
    /// What becomes of a row to insert whose key is there already.
    enum class Duplicates { kRefuse, kIgnore };

    /// Writes values of `columns`, in their order, to `table` (with schema; may be partitioned). The first column is
    /// the key by which rows to update are found again that somebody changed meanwhile.
    TableWriter(std::string table, std::vector<std::string> columns, Duplicates duplicates = Duplicates::kRefuse)
        : table_(std::move(table)), columns_(std::move(columns)), duplicates_(duplicates) {}

    /// Takes a row to insert. What its values point to must live until Write().
    void Insert(const Datum* values, const bool* nulls) { inserted_.Add(values, nulls, columns_.size()); }
    void Insert(std::initializer_list<Datum> values);
    /// Takes a row to update, which this transaction has read at `place` (its ctid) and not written since.
    void Update(ItemPointer place, const Datum* values, const bool* nulls) {
        updated_.Add(values, nulls, columns_.size());
        places_.push_back(*place);
    }
    void Update(ItemPointer place, std::initializer_list<Datum> values);

    /// Writes all that was taken. Throws what a statement would raise.
    void Write();

private:
    struct RowList {
        std::vector<Datum> values;
        std::vector<char> nulls;
        size_t count = 0;
        void Add(const Datum* row, const bool* row_nulls, size_t columns) {
            values.insert(values.end(), row, row + columns);
            nulls.insert(nulls.end(), row_nulls, row_nulls + columns);
            ++count;
        }
    };
    void InsertAll(Relation table);
    void UpdateAll(Relation table);
    /// Those of `rows` that `chosen` marks (empty: all), by a statement.
    void WriteByStatement(const RowList& rows, const std::vector<char>& chosen, bool insert);

    std::string table_;
    std::vector<std::string> columns_;
    Duplicates duplicates_;
    RowList inserted_, updated_;
    std::vector<ItemPointerData> places_;
};

}  // namespace cdp::pg
