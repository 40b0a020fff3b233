// pg/scan.cpp: see scan.hpp.
#include "pg/scan.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace cdp::pg {

namespace {

constexpr int kMostKeys = 2;

Oid Named(const char* name) { return get_relname_relid(name, get_namespace_oid("cdp", false)); }

/// What the index compares a column of the table by.
Oid CollationIn(Oid index, int column) {
    Relation rel = index_open(index, AccessShareLock);
    Oid collation = DEFAULT_COLLATION_OID;
    for (int i = 0; i < rel->rd_index->indnkeyatts; ++i)
        if (rel->rd_index->indkey.values[i] == column + 1) collation = rel->rd_indcollation[i];
    index_close(rel, NoLock);
    return collation;
}

}  // namespace

Table::Table(const char* name) {
    relation_ = Call([&] {
        const Oid id = Named(name);
        if (!OidIsValid(id)) ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table cdp.%s does not exist", name)));
        return table_open(id, AccessShareLock);
    });
}

Table::~Table() { table_close(relation_, NoLock); }

Oid Table::PrimaryKey() const {
    return Call([&] {
#if PG_VERSION_NUM >= 180000
        return RelationGetPrimaryKeyIndex(relation_, false);
#else
        return RelationGetPrimaryKeyIndex(relation_);
#endif
    });
}

Oid Table::IndexNamed(const char* name) {
    return Call([&] { return Named(name); });
}

Table::Scan::Scan(const Table& table, Oid index, std::initializer_list<Key> keys) {
    Assert(keys.size() <= kMostKeys);
    scan_ = Call([&] {
        ScanKeyData scan_keys[kMostKeys];
        int count = 0;
        for (const Key& key : keys) {
            ScanKeyData* scan_key = &scan_keys[count++];
            ScanKeyInit(scan_key, static_cast<AttrNumber>(key.column + 1), BTEqualStrategyNumber, key.text ? F_TEXTEQ : F_INT8EQ, key.value);
            if (key.text) scan_key->sk_collation = OidIsValid(index) ? CollationIn(index, key.column) : DEFAULT_COLLATION_OID;
        }
        return systable_beginscan(table.relation_, index, OidIsValid(index), GetActiveSnapshot(), count, scan_keys);
    });
}

Table::Scan::~Scan() {
    try {
        Call([&] { systable_endscan(scan_); });
    } catch (const PgError&) {
        // Only in a transaction that is lost already; its end ends the scan.
    }
}

}  // namespace cdp::pg
