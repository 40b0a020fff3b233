// pg/scan.cpp: see scan.hpp.
#include "pg/scan.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace cdp::pg {

namespace {

constexpr int kMostKeys = 2;

Oid Named(const char* name) { return get_relname_relid(name, get_namespace_oid("cdp", false)); }

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
            const bool text = OidIsValid(key.collation);
            ScanKeyInit(scan_key, static_cast<AttrNumber>(key.column + 1), BTEqualStrategyNumber, text ? F_TEXTEQ : F_INT8EQ, key.value);
            if (text) scan_key->sk_collation = key.collation;
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
