// relay/pgoutput.hpp: what the plugin pgoutput says (version 1 of its protocol), as values. Knows no PostgreSQL.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cdp::relay::pgoutput {

struct Begin {
    uint64_t final_lsn;  // of the commit
};

struct Commit {
    uint64_t end_lsn;  // confirmed, the transaction is not sent again
};

struct Column {
    std::string name;
    uint32_t type = 0;  // OID
    bool key = false;
};

/// What the rows that follow look like, until the next of the same id.
struct Relation {
    uint32_t id = 0;
    std::string schema, name;
    std::vector<Column> columns;
};

struct Field {
    enum class Kind { kNull, kText, kUnchanged };  // kUnchanged: stored out of line, and not written by the UPDATE
    Kind kind = Kind::kNull;
    std::string text;
    bool operator==(const Field&) const = default;
};
using Tuple = std::vector<Field>;

struct Row {
    enum class Kind { kInsert, kUpdate, kDelete };
    Kind kind;
    uint32_t relation;
    std::optional<Tuple> old;  // the key before, where it changed; always of a delete; the key's columns only
    std::optional<Tuple> row;  // none of a delete
};

struct Truncate {
    std::vector<uint32_t> relations;
};

/// Of pg_logical_emit_message.
struct Note {
    std::string prefix, content;
};

/// A type, an origin: of no interest.
struct Other {};

using Message = std::variant<Other, Begin, Commit, Relation, Row, Truncate, Note>;

/// Takes one message apart. Throws Error(data_corrupted) where it is none.
Message Decode(std::string_view message);

}  // namespace cdp::relay::pgoutput
