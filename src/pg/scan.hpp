// pg/scan.hpp: a table's rows by key, straight from its index, for what must cost next to nothing: no SQL, no plan.
// Reads what the active snapshot sees, with nobody's rights in particular: let no caller choose the table.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "utils/rel.h"
}

namespace cdp::pg {

/// An open table of schema cdp. Throws.
class Table {
public:
    explicit Table(const char* name);
    ~Table();
    Table(const Table&) = delete;

    TupleDesc descriptor() const { return RelationGetDescr(relation_); }
    Oid PrimaryKey() const;
    static Oid IndexNamed(const char* name);

    /// A column that must be equal to a value: of type bigint, or text by the collation of the index.
    struct Key {
        int column;  // from 0
        Datum value;
        Oid collation = InvalidOid;
    };
    /// Calls `visit(tuple)` for each row with those keys; the tuple lives until it returns. Without the index it
    /// reads the whole table. Throws.
    template <class F>
    void ForEach(Oid index, std::initializer_list<Key> keys, F&& visit) const {
        const Scan scan(*this, index, keys);
        while (HeapTuple tuple = scan.Next()) visit(tuple);
    }

private:
    class Scan {
    public:
        Scan(const Table& table, Oid index, std::initializer_list<Key> keys);
        ~Scan();
        Scan(const Scan&) = delete;
        HeapTuple Next() const {
            return Call([&] { return systable_getnext(scan_); });
        }

    private:
        SysScanDesc scan_;
    };
    Relation relation_;
};

}  // namespace cdp::pg
