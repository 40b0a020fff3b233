// collect/snapshot.hpp: which transactions a moment sees; PostgreSQL's pg_snapshot, in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cdp::collect {

struct TransactionSnapshot {
    uint64_t xmin = 0, xmax = 0;
    std::vector<uint64_t> running;  // ascending; all in [xmin, xmax)

    bool operator==(const TransactionSnapshot&) const = default;

    /// From the text form, xmin:xmax:xip,xip,…  Throws Error(data_corrupted).
    static TransactionSnapshot Parse(std::string_view text);
    std::string ToString() const;

    /// Whether `xid` had ended before this snapshot was taken.
    bool Ended(uint64_t xid) const;
    /// The same snapshot, but `xid` counts as running: a transaction does not see itself as ended.
    void AddRunning(uint64_t xid);
};

}  // namespace cdp::collect
