// pg/clock_breaks.hpp: the instants about which a part of a condition does not simply go on rising or falling.
#pragma once

#include "pg/clock_leaf.hpp"

namespace cdp::pg {

/// Instants that come again and again: those that leave one of `residues` when divided by `modulus`. A C structure.
struct Cycle {
    int64 modulus = 0;
    int64* residues = nullptr;
    int count = 0, room = 0;

    void add(int64 residue);
    void sort();
    int64 After(int64 instant) const;
};

/// All instants at which local days begin, the zone changes its offset, or a count of days or months goes on, anywhere
/// along the chains of a leaf; and of a leaf with a step, where each step begins. There may be some more than need be.
struct Breaks {
    Cycle daily, steps;
    bool zone_changes = false;  // its offset, somewhere about

    /// For [from, to], for the row. May ereport.
    void collect(const ClockLeaf& leaf, const ClockRow& row, int64 from, int64 to);
    /// The first after `instant`; INT64_MAX: there are none.
    int64 After(int64 instant) const { return std::min(daily.After(instant), steps.After(instant)); }
    void release();
};

}  // namespace cdp::pg
