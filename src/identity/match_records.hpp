// identity/match_records.hpp: the records that are compared, column by column, each value once.
// Knows no PostgreSQL.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cdp::matching {

/// The distinct texts of something, numbered from 1 in order of appearance; 0 is none.
class Texts {
public:
    Texts() : slots_(64) {}
    uint32_t Add(std::string_view text);
    /// Its number, or 0.
    uint32_t Find(std::string_view text) const;
    std::string_view operator[](uint32_t number) const;
    /// How many there are; the greatest number.
    uint32_t size() const { return static_cast<uint32_t>(ends_.size() - 1); }

private:
    size_t SlotOf(std::string_view text, uint64_t hash) const;
    void Grow();

    std::string bytes_;                // of all, one behind the other
    std::vector<uint64_t> ends_{0};    // where each ends in bytes_
    std::vector<uint32_t> hashes_{0};  // the lower bits
    std::vector<uint32_t> slots_;      // open addressing: numbers, 0 is free
};

/// One column of the records.
struct RecordColumn {
    std::string name;
    std::string type;                  // of PostgreSQL's, or empty: a hint of what is in it
    bool whole = true;                 // equal texts are equal values, and the other way round
    Texts texts;
    std::vector<uint32_t> values;      // by record
};

/// What stands between the elements of an array's text.
inline constexpr char kElementSeparator = '\x1f';

/// All records; a record is a number from 0. 4 bytes a value, and each distinct text once.
class Records {
public:
    explicit Records(std::vector<std::pair<std::string, std::string>> names_and_types);
    /// The next record: its key, and a text or nothing for each column.
    void Add(std::string_view key, std::span<const std::optional<std::string_view>> values);

    uint32_t size() const { return static_cast<uint32_t>(key_ends_.size() - 1); }
    std::string_view key(uint32_t record) const;
    const std::vector<RecordColumn>& columns() const { return columns_; }
    std::vector<RecordColumn>& columns() { return columns_; }
    /// Gives the memory of all columns back; the keys stay.
    void ForgetValues() { columns_.clear(); }
    /// Its place among the columns, or -1.
    int Find(std::string_view column) const;

private:
    std::vector<RecordColumn> columns_;
    std::string keys_;
    std::vector<uint64_t> key_ends_{0};
};

}  // namespace cdp::matching
