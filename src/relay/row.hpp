// relay/row.hpp: a row as PostgreSQL writes it, as JSON and as a fingerprint. Knows no PostgreSQL.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "relay/pgoutput.hpp"

namespace cdp::relay {

/// A value as to_jsonb() gives it: numbers, booleans, JSON and arrays as such, times as ISO 8601, all else as text. An
/// integer or numeric that JSON's readers would round, and a number that JSON has no word for, is a string; zeros at a
/// fraction's end are not kept. `type` is its type's OID.
/// Text that is no UTF-8 or not what the type says comes back as a string, mended.
nlohmann::json TypedValue(uint32_t type, std::string_view text);

/// column → value. Throws Error(data_corrupted) where there are not as many fields as columns.
nlohmann::json TypedRow(std::span<const pgoutput::Column> columns, const pgoutput::Tuple& row);

/// The same as cdp.delivery_rows' hash: of ROW(…)::text.
std::string RowHash(const pgoutput::Tuple& row);

/// 16/B374D848 and back. ParseLsn throws Error(data_corrupted).
std::string LsnText(uint64_t lsn);
uint64_t ParseLsn(std::string_view text);

}  // namespace cdp::relay
