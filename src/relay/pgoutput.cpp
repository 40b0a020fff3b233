// relay/pgoutput.cpp: see pgoutput.hpp.
#include "relay/pgoutput.hpp"

#include "pg/error.hpp"

namespace cdp::relay::pgoutput {

namespace {

[[noreturn]] void Malformed(const char* what) {
    throw Error(sqlstate::data_corrupted, std::string("the replication stream has ") + what);
}

class Reader {
public:
    explicit Reader(std::string_view rest) : rest_(rest) {}

    template <class Unsigned>
    Unsigned Number() {
        Unsigned value = 0;
        for (const char c : Bytes(sizeof(Unsigned)))
            value = static_cast<Unsigned>(static_cast<uint64_t>(value) << 8 | static_cast<unsigned char>(c));
        return value;
    }

    char Letter() { return Bytes(1)[0]; }

    std::string_view Bytes(size_t count) {
        if (rest_.size() < count) Malformed("a message that ends too early");
        const std::string_view bytes = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return bytes;
    }

    std::string String() {
        const size_t end = rest_.find('\0');
        if (end == std::string_view::npos) Malformed("a string without an end");
        std::string text(Bytes(end));
        rest_.remove_prefix(1);
        return text;
    }

    pgoutput::Tuple Tuple() {
        const auto count = Number<uint16_t>();
        if (count > rest_.size()) Malformed("a row with more columns than bytes");
        pgoutput::Tuple tuple(count);
        for (Field& field : tuple) switch (Letter()) {
                case 'n': break;
                case 'u': field.kind = Field::Kind::kUnchanged; break;
                case 't':
                    field.kind = Field::Kind::kText;
                    field.text = Bytes(Number<uint32_t>());
                    break;
                default: Malformed("a column of an unknown kind");
            }
        return tuple;
    }

    void End() const {
        if (!rest_.empty()) Malformed("a message that is too long");
    }

private:
    std::string_view rest_;
};

Relation ReadRelation(Reader& in) {
    Relation relation;
    relation.id = in.Number<uint32_t>();
    relation.schema = in.String();
    relation.name = in.String();
    in.Letter();  // replica identity
    const auto count = in.Number<uint16_t>();
    for (unsigned i = 0; i < count; ++i) {
        Column column;
        column.key = in.Number<uint8_t>() & 1;
        column.name = in.String();
        column.type = in.Number<uint32_t>();
        in.Number<uint32_t>();  // type modifier
        relation.columns.push_back(std::move(column));
    }
    return relation;
}

Row ReadRow(Row::Kind kind, Reader& in) {
    Row row{kind, in.Number<uint32_t>(), {}, {}};
    char part = in.Letter();
    if (kind != Row::Kind::kInsert && (part == 'K' || part == 'O')) {
        row.old = in.Tuple();
        if (kind == Row::Kind::kDelete) return row;
        part = in.Letter();
    }
    if (kind == Row::Kind::kDelete || part != 'N') Malformed("a change without its row");
    row.row = in.Tuple();
    return row;
}

}  // namespace

Message Decode(std::string_view message) {
    Reader in(message);
    Message result = Other{};
    switch (in.Letter()) {
        case 'B':
            result = Begin{in.Number<uint64_t>()};
            in.Bytes(12);  // time, transaction id
            break;
        case 'C':
            in.Bytes(9);  // flags, LSN of the commit
            result = Commit{in.Number<uint64_t>()};
            in.Bytes(8);  // time
            break;
        case 'R': result = ReadRelation(in); break;
        case 'I': result = ReadRow(Row::Kind::kInsert, in); break;
        case 'U': result = ReadRow(Row::Kind::kUpdate, in); break;
        case 'D': result = ReadRow(Row::Kind::kDelete, in); break;
        case 'T': {
            Truncate truncate;
            const auto count = in.Number<uint32_t>();
            in.Letter();  // options
            for (uint32_t i = 0; i < count; ++i) truncate.relations.push_back(in.Number<uint32_t>());
            result = std::move(truncate);
            break;
        }
        case 'M': {
            in.Bytes(9);  // whether it is the transaction's, its LSN
            Note note;
            note.prefix = in.String();
            note.content = in.Bytes(in.Number<uint32_t>());
            result = std::move(note);
            break;
        }
        case 'Y':
        case 'O': return result;
        default: Malformed("a message of an unknown type");
    }
    in.End();
    return result;
}

}  // namespace cdp::relay::pgoutput
