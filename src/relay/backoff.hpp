// relay/backoff.hpp: how long to wait after failures.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

namespace cdp::relay {

using Monotonic = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

inline Monotonic::duration ToDuration(Seconds seconds) { return std::chrono::duration_cast<Monotonic::duration>(seconds); }

/// Exponential back-off with jitter: after the nth failure in a row between half and the whole of
/// first × 2^(n-1), at most `most`. So many who failed together do not come back together.
class Backoff {
public:
    Backoff() = default;
    Backoff(Seconds first, Seconds most) : first_(first), most_(most) {}

    Seconds After(unsigned failures, std::mt19937_64& random) const {
        const double whole =
            std::min(most_.count(), first_.count() * std::exp2(std::min(failures > 0 ? failures - 1 : 0u, 40u)));
        return Seconds(std::uniform_real_distribution<double>(whole / 2, whole)(random));
    }

private:
    Seconds first_{0.5}, most_{60};
};

}  // namespace cdp::relay
