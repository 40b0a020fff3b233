// pg/clock_breaks.cpp: see clock_breaks.hpp.
//
// Adding days and months in a zone leaves the local time of day as it is, so whatever is done with the clock, the local
// time of day of the result is that of the clock, shifted by the hours that were added and by differences between the
// zone's offsets. So the instants at which a local day begins anywhere along the way are known by their time of day
// alone: one for each sum of shifts and each offset that comes into question. A superset does no harm.
#include "pg/clock_breaks.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "parser/scansup.h"
#include "pgtime.h"
#include "utils/date.h"
#include "utils/datetime.h"
}

namespace cdp::pg {

namespace {

constexpr int64 kDay = USECS_PER_DAY;
/// By how much points in time along a chain may be off what they are at the ends of the time looked at.
constexpr int64 kMargin = 5 * kDay;
/// Enough combinations; a zone whose offsets make more has never been.
constexpr int kMostOffsets = 64;

int64 Modulo(int64 value, int64 modulus) {
    const int64 rest = value % modulus;
    return rest < 0 ? rest + modulus : rest;
}

/// The zone's offsets about some points in time, and the local times of day at which it changes them.
struct Zone {
    Cycle offsets, times;
    bool changes = false;
    Cycle differences;  // between offsets, as they come about along a chain

    void look(int64 from, int64 to, const pg_tz* zone) {
        pg_time_t at = timestamptz_to_time_t(from);
        const pg_time_t end = timestamptz_to_time_t(to);
        for (;;) {
            long before, after;
            int is_dst;
            pg_time_t change;
            const int found = pg_next_dst_boundary(&at, &before, &is_dst, &change, &after, &is_dst, zone);
            offsets.add(before * USECS_PER_SEC);
            if (found <= 0 || change > end) return;
            offsets.add(after * USECS_PER_SEC);
            changes = true;
            const int64 instant = time_t_to_timestamptz(change);
            times.add(instant + before * USECS_PER_SEC);
            times.add(instant + after * USECS_PER_SEC);
            at = change;
        }
    }

    /// With as many steps from one side of the offset to the other: the differences, and an offset with each.
    void combine(int steps) {
        differences.add(0);
        const int count = offsets.count;
        for (int done = 0; count > 1 && steps-- > 0 && differences.count < kMostOffsets;) {
            const int until = differences.count;
            for (int i = done; i < until; ++i)
                for (int a = 0; a < count; ++a)
                    for (int b = 0; b < count; ++b) differences.add(differences.residues[i] + offsets.residues[a] - offsets.residues[b]);
            done = until;
        }
        for (int i = 1; i < differences.count; ++i)
            for (int o = 0; o < count; ++o) offsets.add(offsets.residues[o] + differences.residues[i]);
    }

    void release() {
        for (Cycle* cycle : {&offsets, &times, &differences})
            if (cycle->residues != nullptr) pfree(cycle->residues);
    }
};

bool finite_time(const Operand& operand, const ClockRow& row, int64 instant, int64* time) {
    bool null;
    const Datum value = value_at(operand.state, row, instant, &null);
    if (null) return false;
    if (operand.type == DATEOID) {
        if (DATE_NOT_FINITE(DatumGetDateADT(value))) return false;
        *time = DatumGetDateADT(value) * kDay;
        return true;
    }
    *time = DatumGetTimestamp(value);
    return !TIMESTAMP_NOT_FINITE(*time);
}

/// What AT TIME ZONE may take a name for: an abbreviation, or a zone.
const pg_tz* named_zone(const Operand& name, const ClockRow& row, Zone* zone) {
    bool null;
    const Datum value = value_at(name.state, row, row.now, &null);
    if (null) return session_timezone;
    const char* written = TextDatumGetCString(value);
    int seconds_west = 0;
    pg_tz* found = nullptr;
    char* lower = downcase_truncate_identifier(written, static_cast<int>(strlen(written)), false);
    const int kind = DecodeTimezoneAbbrev(0, lower, &seconds_west, &found);
    if (kind == TZ || kind == DTZ) zone->offsets.add(-seconds_west * USECS_PER_SEC);
    if (kind != DYNTZ) found = pg_tzset(written);
    return found != nullptr ? found : session_timezone;
}

void look_around(Zone* zone, const ClockChain& chain, const ClockRow& row, int64 from, int64 to) {
    for (const Operand& probe : chain.probes) {
        int64 first, last;
        if (!finite_time(probe, row, to, &last)) continue;
        first = last;
        if (from != to && !finite_time(probe, row, from, &first)) continue;
        const int64 begin = std::min(first, last) - kMargin, end = std::max(first, last) + kMargin;
        zone->look(begin, end, session_timezone);
        for (const Operand& name : chain.zones) zone->look(begin, end, named_zone(name, row, zone));
    }
}

/// The time of day at which a count from that point goes on. One towards it is complete at that time, and less just after.
void add_mark(Cycle* times, const Operand& mark, const ClockRow& row, bool local) {
    int64 time;
    if (!finite_time(mark, row, row.now, &time)) return;
    if (local && mark.type == TIMESTAMPTZOID)
        time = DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(time)));
    times->add(time);
    times->add(time + 1);
}

}  // namespace

void Cycle::add(int64 residue) {
    residue = Modulo(residue, modulus);
    for (int i = 0; i < count; ++i)
        if (residues[i] == residue) return;
    if (count == room) {
        room = room == 0 ? 16 : 2 * room;
        const Size size = sizeof(int64) * static_cast<Size>(room);
        residues = static_cast<int64*>(residues == nullptr ? palloc(size) : repalloc(residues, size));
    }
    residues[count++] = residue;
}

void Cycle::sort() { std::sort(residues, residues + count); }

int64 Cycle::After(int64 instant) const {
    if (count == 0) return INT64_MAX;
    const int64 rest = Modulo(instant, modulus);
    const int64* found = std::upper_bound(residues, residues + count, rest);
    return instant - rest + (found == residues + count ? modulus + residues[0] : *found);
}

void Breaks::collect(const ClockLeaf& leaf, const ClockRow& row, int64 from, int64 to) {
    daily.modulus = kDay;
    steps.modulus = leaf.step > 0 ? leaf.step : kDay;
    const bool jumps = leaf.cut || leaf.step > 0 || to - from > kMargin - kDay;
    for (const ClockChain& chain : leaf.chains) {
        Zone zone;
        Cycle utc_times;
        for (Cycle* cycle : {&zone.offsets, &zone.times, &zone.differences, &utc_times}) cycle->modulus = kDay;
        zone.times.add(0);
        look_around(&zone, chain, row, jumps ? from : to, to);
        zone_changes |= zone.changes;
        for (const Operand& mark : chain.marks) add_mark(&zone.times, mark, row, true);
        for (const Operand& mark : chain.utc_marks) add_mark(&utc_times, mark, row, false);
        zone.combine(chain.zone_steps);
        const auto add_all = [&](const Cycle& offsets, const Cycle& times, int64 shift) {
            for (int o = 0; o < offsets.count; ++o)
                for (int t = 0; t < times.count; ++t) daily.add(times.residues[t] - offsets.residues[o] - shift);
        };
        int64 shift = 0;
        for (size_t next = 0;; ++next) {
            add_all(zone.offsets, zone.times, shift);
            add_all(zone.differences, utc_times, shift);
            for (int o = 0; leaf.step > 0 && o < zone.offsets.count; ++o) steps.add(-zone.offsets.residues[o] - shift);
            if (next == chain.shifts.size()) break;
            bool null;
            const Datum interval = value_at(chain.shifts[next].state, row, row.now, &null);
            if (!null) shift += chain.shifts[next].sign * DatumGetIntervalP(interval)->time;
        }
        zone.release();
        if (utc_times.residues != nullptr) pfree(utc_times.residues);
    }
    daily.sort();
    steps.sort();
}

void Breaks::release() {
    for (Cycle* cycle : {&daily, &steps})
        if (cycle->residues != nullptr) pfree(cycle->residues);
}

}  // namespace cdp::pg
