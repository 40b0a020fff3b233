// pg/spi.hpp: SQL from C++. One call an array of rows, never one a row.
//
// Rows go in through StagedRows: a tuplestore that a statement reads by name, as a trigger reads its
// transition table. Rows come out as Rows. All of it throws (PgError) and needs a live Spi.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "storage/itemptr.h"
#include "utils/queryenvironment.h"
}

namespace cdp::pg {

/// A connection to SPI for as long as it lives. Memory that statements return dies with it.
class Spi {
public:
    Spi();
    ~Spi();
    Spi(const Spi&) = delete;

private:
    static void FinishAbandoned();

    // A relation that nobody reads: by it this connection is told from others.
    EphemeralNamedRelationData marker_{};
    char marker_name_[32];
    Spi* outer_;
};

/// The newest snapshot, active while this lives. Read-only statements see by it, whatever the isolation level.
class LatestSnapshot {
public:
    LatestSnapshot();
    ~LatestSnapshot();
    LatestSnapshot(const LatestSnapshot&) = delete;
};

/// What is done before a statement runs. Its plan, or null where it has none that is known before.
inline void (*before_statement)(SPIPlanPtr) = [](SPIPlanPtr) {};

/// An argument of a statement.
struct Arg {
    Oid type;
    Datum value;
    bool null;
};
Arg Int8(int64 value);
Arg Int4(int32 value);
Arg Bool(bool value);
Arg Time(TimestampTz value);
Arg Text(std::string_view value);
Arg TextOrNull(const std::optional<std::string>& value);
inline Arg Value(Oid type, Datum value) { return {type, value, false}; }
inline Arg Null(Oid type) { return {type, Datum(0), true}; }

/// A text Datum, in the current memory context.
Datum TextDatum(std::string_view text);
/// The bytes of a (possibly short or compressed) text or bytea Datum; allocates only if toasted or compressed.
std::string_view Bytes(Datum datum);

/// Where a row is: a ctid that a statement returned.
inline ItemPointerData Place(Datum ctid) { return *reinterpret_cast<ItemPointer>(DatumGetPointer(ctid)); }

/// The elements of a text[], NULLs left out.
std::vector<std::string> TextArray(Datum array);

/// The rows that a statement returned.
class Rows {
public:
    Rows() = default;
    explicit Rows(SPITupleTable* table, uint64 count) : table_(table), count_(count) {}
    Rows(Rows&& other) noexcept : table_(std::exchange(other.table_, nullptr)), count_(other.count_) {}
    Rows& operator=(Rows&& other) noexcept {
        std::swap(table_, other.table_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Rows() {
        if (table_ != nullptr) SPI_freetuptable(table_);
    }

    uint64 size() const { return count_; }
    bool empty() const { return count_ == 0; }
    TupleDesc descriptor() const { return table_->tupdesc; }
    HeapTuple tuple(uint64 i) const { return table_->vals[i]; }
    /// All columns of row `i` at once.
    void Deform(uint64 i, Datum* values, bool* nulls) const {
        heap_deform_tuple(table_->vals[i], table_->tupdesc, values, nulls);
    }
    /// Column `column` (from 1) of row `i`.
    std::optional<Datum> Get(uint64 i, int column) const {
        bool null;
        const Datum value = SPI_getbinval(table_->vals[i], table_->tupdesc, column, &null);
        return null ? std::nullopt : std::optional(value);
    }
    int64 Int8(uint64 i, int column) const { return DatumGetInt64(Get(i, column).value_or(0)); }
    bool Bool(uint64 i, int column) const { return DatumGetBool(Get(i, column).value_or(0)); }
    /// A text column; empty where NULL.
    std::string Text(uint64 i, int column) const {
        const auto value = Get(i, column);
        return value ? std::string(Bytes(*value)) : std::string();
    }
    std::optional<std::string> OptionalText(uint64 i, int column) const {
        return Get(i, column) ? std::optional(Text(i, column)) : std::nullopt;
    }

private:
    SPITupleTable* table_ = nullptr;
    uint64 count_ = 0;
};

/// Runs SQL once. Affected() is the number of rows it touched.
Rows Query(const std::string& sql, std::initializer_list<Arg> args = {}, bool read_only = false);
/// The same for a statement whose rows nobody wants: how many it touched.
uint64 Execute(const std::string& sql, std::initializer_list<Arg> args = {});

/// The ids that a SELECT of one column of type bigint gives, in no order; NULLs left out. It may run in parallel, and no
/// row of it is kept.
std::vector<int64> Ids(const std::string& sql, std::initializer_list<Arg> args = {});

/// A statement that is planned once and kept. Make it static or a member of something that lives long.
class Statement {
public:
    explicit Statement(std::string sql, std::vector<Oid> types = {}) : sql_(std::move(sql)), types_(std::move(types)) {}
    ~Statement();
    Statement(Statement&& other) noexcept
        : sql_(std::move(other.sql_)), types_(std::move(other.types_)), plan_(std::exchange(other.plan_, nullptr)) {}
    Statement& operator=(Statement&& other) noexcept {
        sql_.swap(other.sql_);
        types_.swap(other.types_);
        std::swap(plan_, other.plan_);
        return *this;
    }
    Statement(const Statement&) = delete;

    Rows Query(std::initializer_list<Arg> args = {}, uint64 limit = 0, bool read_only = false);
    uint64 Execute(std::initializer_list<Arg> args = {});
    SPIPlanPtr plan();
    const std::string& sql() const { return sql_; }

private:
    int Run(std::initializer_list<Arg> args, uint64 limit, bool read_only);

    std::string sql_;
    std::vector<Oid> types_;
    SPIPlanPtr plan_ = nullptr;
};

/// A server-side cursor over a query. `read_only`: with the active snapshot.
class Cursor {
public:
    explicit Cursor(const std::string& sql, std::initializer_list<Arg> args = {}, bool read_only = false);
    ~Cursor();
    Cursor(const Cursor&) = delete;
    /// The next rows, at most `count`; none at the end.
    Rows Fetch(long count);

private:
    Portal portal_;
};

struct Column {
    const char* name;
    Oid type;
};

/// Rows in memory (on disk beyond `work_mem`-like bounds) that statements of this Spi read as a relation `name`.
class StagedRows {
public:
    // One row, whatever comes: the plan is to probe the big table by its key once for each staged row.
    static constexpr double kFew = 1;
    static constexpr double kMany = 1e6;

    /// `estimate`: how many rows the planner shall expect.
    StagedRows(const char* name, const std::vector<Column>& columns, double estimate = kFew);
    ~StagedRows();
    StagedRows(const StagedRows&) = delete;

    void Add(const Datum* values, const bool* nulls);
    void Add(std::initializer_list<Datum> values);
    uint64 size() const { return size_; }

private:
    EphemeralNamedRelation relation_;
    Tuplestorestate* store_ = nullptr;
    TupleDesc descriptor_;
    uint64 size_ = 0;
};

/// The rows that a set-returning function gives: make it first, outside of any Spi, then add, then `return Done()`.
class TableResult {
public:
    explicit TableResult(FunctionCallInfo fcinfo);
    void Add(const Datum* values, const bool* nulls);
    void Add(std::initializer_list<Datum> values);
    Datum Done() { return Datum(0); }

private:
    ReturnSetInfo* info_;
};

/// A value as its type's output function writes it.
std::string OutputText(Oid type, Datum value);

}  // namespace cdp::pg
