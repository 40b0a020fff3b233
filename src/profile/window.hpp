// profile/window.hpp: aggregates over a rolling window, whose events grow too old by the clock alone.
//
// An event counts at an instant `now` if occurred_at > date_trunc(step, now) - window; the step is a minute for windows
// of up to a day, an hour for longer ones. All of it in UTC: a day has 24 hours. So each event leaves the window for good
// at an instant that can be told when it comes; events that leave together are remembered together.
//
// Where a month is longer than the one its window begins in, the edge of the window goes back at midnight: on March 28th,
// 29th, 30th and 31st "a month ago" is February 28th. What left in the course of the day counts again until the same time
// of the next one. So at any instant what counts is what leaves for good after some instant, the horizon, which but for
// those days is the clock itself.
#pragma once

#include <vector>

#include "profile/aggregate.hpp"

namespace cdp::profile {

/// A length of time as PostgreSQL's interval has it.
struct Span {
    int32_t months = 0, days = 0;
    int64_t microseconds = 0;
    bool operator==(const Span&) const = default;
};

/// The end of the span that begins at `time`, as `timestamptz + interval` has it at UTC; INT64_MAX beyond what can be told.
int64_t Later(int64_t time, const Span& span);

class Window {
public:
    explicit Window(const Span& span);

    /// Whether it is longer than nothing, no part of it being negative. What is not must not be used.
    bool Positive() const;
    /// The first instant from which on an event of that time does not count any more: INT64_MIN if it never does, INT64_MAX if
    /// it always does. A later event never leaves before an earlier one.
    int64_t Leaves(int64_t occurred_at) const;
    /// Those events count at `clock` that leave after this instant, which is no earlier.
    int64_t Horizon(int64_t clock) const { return span_.months == 0 ? clock : CalendarHorizon(clock); }
    /// The first instant after `clock` at which events do not count that leave for good at `leaves` and count at `clock`.
    int64_t StopsCounting(int64_t leaves, int64_t clock) const { return span_.months == 0 ? leaves : CalendarStops(leaves, clock); }

private:
    int64_t CalendarLeaves(int64_t occurred_at) const;
    int64_t CalendarHorizon(int64_t clock) const;
    int64_t CalendarStops(int64_t leaves, int64_t clock) const;

    Span span_;
    int64_t step_;
};

/// What a windowed trait remembers: at most one entry for each step of the window (and value, where values count).
class WindowState {
public:
    explicit WindowState(Aggregate aggregate) : aggregate_(aggregate) {}

    /// Adds an event that leaves for good at `leaves`.
    void Add(int64_t leaves, const Stamp& stamp, const Value& value);
    void Merge(const WindowState& other);
    /// Forgets what has left for good at `clock`.
    void Expire(int64_t clock);

    /// The aggregate of what leaves after the window's horizon.
    AggregateState Beyond(int64_t horizon) const;
    /// The count (or distinct_count) of it.
    int64_t CountBeyond(int64_t horizon) const;
    /// The first instant after `clock` at which something stops counting or counts again; INT64_MAX: never.
    int64_t NextChange(const Window& window, int64_t clock) const;
    /// The first instant after `clock` at which whether the count is from `least` to `most` changes, if nothing is added.
    int64_t WhenCountLeaves(const Window& window, int64_t clock, int64_t least, int64_t most) const;

    void Write(Writer& out) const;
    static WindowState Read(Aggregate aggregate, std::string_view bytes);

private:
    struct Tally {
        int64_t leaves, count;
    };
    struct Single {
        int64_t leaves;
        Stamp stamp;
        Value value;
    };
    /// Tells values apart that are equal but do not look the same, since of those that count the plainest is shown.
    struct Exactly {
        bool operator()(const Value& a, const Value& b) const;
    };
    static std::ptrdiff_t Add(std::vector<Tally>& tallies, int64_t leaves, int64_t count);
    void AddSum(int64_t leaves, const Decimal& sum);
    void MergeTallies(const WindowState& other);
    void AddExtreme(int64_t leaves, const Value& value);
    void AddFirst(int64_t leaves, const Stamp& stamp, const Value& value);
    void AddLast(int64_t leaves, const Stamp& stamp, const Value& value);
    void AddOfValue(const Value& value, int64_t leaves, int64_t count);
    std::vector<Tally> TallyOfValues() const;

    Aggregate aggregate_;
    // All by `leaves`, ascending.
    std::vector<Tally> tallies_;                           // count, sum, avg
    std::vector<Decimal> sums_;                            //   sum, avg: of each tally
    std::vector<Single> singles_;                          // min, max: each better than all that leave later; first; last: one
    std::map<Value, std::vector<Tally>, Exactly> values_;  // most_frequent; distinct_count, unique_list: the last only
};

}  // namespace cdp::profile
