// pg/compat.hpp: what differs between PostgreSQL 15 and 18.
#pragma once

#include "pg/postgres.hpp"

// A function for expression_tree_walker and _mutator: untyped before 16.
#if PG_VERSION_NUM >= 160000
#define CDP_TREE_FUNCTION(function) function
#else
#define CDP_TREE_FUNCTION(function) CDP_UNTYPED(function)
#define CDP_UNTYPED(function) reinterpret_cast<decltype(cdp::pg::detail::Untyped(function))>(reinterpret_cast<void*>(function))
namespace cdp::pg::detail {
template <class R, class... A>
auto Untyped(R (*)(A...)) -> R (*)();
}
#endif

// Whether a role owns a database: one function for all kinds of objects since 16.
#if PG_VERSION_NUM >= 160000
#define pg_database_ownercheck(database, role) object_ownercheck(DatabaseRelationId, database, role)
#endif

// The root of a B-tree: with the table since 16.
#if PG_VERSION_NUM >= 160000
#define CDP_BT_GETROOT(index) _bt_getroot(index, nullptr, BT_READ)
#else
#define CDP_BT_GETROOT(index) _bt_getroot(index, BT_READ)
#endif

// When a relation got another file in this transaction: renamed in 16.
#if PG_VERSION_NUM >= 160000
#define rd_newRelfilenodeSubid rd_newRelfilelocatorSubid
#define rd_firstRelfilenodeSubid rd_firstRelfilelocatorSubid
#endif

// Scans of indexes count what they do since 18.
#if PG_VERSION_NUM >= 180000
#define CDP_INDEX_BEGINSCAN(table, index, snapshot, keys) index_beginscan(table, index, snapshot, nullptr, keys, 0)
#else
#define CDP_INDEX_BEGINSCAN(table, index, snapshot, keys) index_beginscan(table, index, snapshot, keys, 0)
#endif
