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

    /// From JSON, the argument of the trigger. Throws.
    static Attachment Parse(const char* json);
};

/// Turns rows of one shape into messages. Lives as long as its owner likes, across transactions.
class RowReader {
public:
    /// Throws Error(undefined_column, datatype_mismatch) where `attachment` asks for what the rows lack. `table`:
    /// its name, for the message.
    RowReader(const Attachment& attachment, TupleDesc rows, std::string_view table);
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

    Source* Find(const std::string& name, TupleDesc rows, std::string_view table) const;

    MemoryContext memory_, row_memory_;
    Source *user_id_ = nullptr, *anonymous_id_ = nullptr, *occurred_at_ = nullptr;
    std::vector<Named> other_ids_, properties_;
};

}  // namespace cdp::collect
