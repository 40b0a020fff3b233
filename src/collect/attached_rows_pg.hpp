// collect/attached_rows_pg.hpp: rows of a table of the user's as track or identify messages.
#pragma once

#include "pg/spi.hpp"

namespace cdp::collect {

/// What cdp.attach_table was told of a table.
struct Attachment {
    std::string event;                                             // of track messages
    bool identify = false;                                         // identify messages instead, of these traits
    bool updates = false;                                          // rows that are updated become messages too
    std::vector<std::pair<std::string, std::string>> identifiers;  // type and column
    std::optional<std::string> occurred_at;                        // column
    std::optional<std::vector<std::string>> properties;            // columns; all others if not given
    // So that columns are found when they have got other names: which table it was, for good, and their numbers there.
    std::string table;
    std::vector<std::pair<std::string, int>> numbers;

    /// From JSON, the argument of the trigger. Throws.
    static Attachment Parse(const char* json);
};

/// What tells a table from all others, in other databases and servers too: a number in a dump means nothing there.
std::string TableKey(Oid table);

/// Turns rows of one shape into messages. Lives as long as its owner likes, across transactions.
class RowReader {
public:
    /// Throws Error(undefined_column, datatype_mismatch) where `attachment` asks for what the rows lack, or, with
    /// `missing`, adds the columns to it and does without. `name`: the table's, for the message; `table`: TableKey() if the rows
    /// are just the table's, so that its columns go by their numbers.
    RowReader(const Attachment& attachment, TupleDesc rows, std::string_view name, std::string_view table = {}, std::vector<std::string>* missing = nullptr);
    ~RowReader();
    RowReader(const RowReader&) = delete;

    /// The columns of what Read() stages.
    static const std::vector<pg::Column>& MessageColumns();
    /// Stages the message that a row becomes. Runs code of the columns' types, which anybody may have written. Throws.
    void Read(const Datum* values, const bool* nulls, pg::StagedRows* messages);

private:
    struct Source;  // a column
    struct Named {
        std::string name;
        Source* column;
    };

    int PlaceOf(const Attachment& attachment, const std::string& column, TupleDesc rows, std::string_view table) const;
    Source* Take(int place, TupleDesc rows) const;

    MemoryContext memory_, row_memory_;
    Source *user_id_ = nullptr, *anonymous_id_ = nullptr, *occurred_at_ = nullptr;
    std::vector<Named> other_ids_, properties_;
};

}  // namespace cdp::collect
