// identity/match_prints_pg.hpp: fingerprints of records, by which the new and the changed ones are known.
#pragma once

#include "identity/match_records.hpp"
#include "pg/spi.hpp"

namespace cdp::matching {

/// Of a record's key and some columns, 128 bits: two records with one print would hide a change.
class Prints {
public:
    Prints(const Records& records, std::span<const std::string> columns);
    /// Whether each record is not among those that were stored. Throws.
    std::vector<bool> Fresh(int64 matcher_id) const;
    /// Replaces those that were stored. Throws.
    void Store(int64 matcher_id) const;

private:
    struct Print {
        uint64_t high, low;
        auto operator<=>(const Print&) const = default;
    };
    std::vector<Print> prints_;   // by record
};

}  // namespace cdp::matching
