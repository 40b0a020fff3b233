// pipeline/isolation.hpp: how many messages to try at once, so that a failing batch costs only the guilty one.
// Knows no PostgreSQL.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace cdp::pipeline {

/// Bisects a failing batch down to one message, then grows again by doubling: a single bad message among n costs
/// some 2 log2 n attempts, and if all are bad each costs one.
class Isolation {
public:
    /// How many messages to take in the next attempt.
    int64_t Size() const { return suspects_ > 1 ? suspects_ / 2 : suspects_ == 1 ? 1 : limit_; }

    /// An attempt went through and took `taken` messages.
    void Succeeded(int64_t taken) {
        if (suspects_ > 0) {
            suspects_ = taken == 0 ? 0 : std::max<int64_t>(suspects_ - taken, 0);
            limit_ = 1;
        } else if (limit_ < kUnlimited) {
            limit_ *= 2;
        }
    }

    /// An attempt at the next `taken` messages failed. True: it was one alone, which is to be set aside.
    bool Failed(int64_t taken) {
        const bool guilty = taken <= 1;
        suspects_ = guilty ? 0 : taken;
        if (guilty) limit_ = 1;
        return guilty;
    }

    /// An attempt at `taken` messages failed by nobody's fault: a smaller one may need less of what was short.
    void Shrink(int64_t taken) { limit_ = std::max<int64_t>(taken / 2, 1); }

private:
    static constexpr int64_t kUnlimited = int64_t{1} << 40;
    int64_t limit_ = kUnlimited;
    int64_t suspects_ = 0;  // the guilty message is among that many next ones; 0: none is suspected
};

/// Whether a message may be to blame for an error of this SQLSTATE. Not for what passes by itself (conflicts,
/// resources, shutdown) and not for what would hit every message alike (a missing table or right, a broken one).
inline bool MayBlameMessage(std::string_view sqlstate) {
    for (const std::string_view prefix : {"08", "25", "28", "3F", "40", "42", "53", "55", "57", "58", "F0", "XX001", "XX002"})
        if (sqlstate.starts_with(prefix)) return false;
    return true;
}

}  // namespace cdp::pipeline
