// profile/window.hpp: aggregates over a rolling window, whose events grow too old by the clock alone.
//
// An event counts at an instant `now` if occurred_at > date_trunc(step, now) - window; the step is a minute for windows
// of up to a day, an hour for longer ones. All of it in UTC: a day has 24 hours. So each event leaves the window at an
// instant that can be told when it comes; events that leave together are remembered together.
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
    /// The first instant at which an event of that time does not count: INT64_MIN if it never does, INT64_MAX if it always
    /// does. A later event never leaves before an earlier one: where months are of different lengths, the edge of the
    /// window waits rather than going back.
    int64_t Leaves(int64_t occurred_at) const;

private:
    int64_t CalendarLeaves(int64_t occurred_at) const;

    Span span_;
    int64_t step_;
};

/// What a windowed trait remembers: at most one entry for each step of the window (and value, where values count).
class WindowState {
public:
    explicit WindowState(Aggregate aggregate) : aggregate_(aggregate) {}

    /// Adds an event that counts until `leaves`.
    void Add(int64_t leaves, const Stamp& stamp, const Value& value);
    void Merge(const WindowState& other);
    /// Forgets what does not count at `clock` any more.
    void Expire(int64_t clock);

    /// The aggregate of what counts at `clock`.
    AggregateState At(int64_t clock) const;
    /// The count (or distinct_count) at `clock`.
    int64_t Count(int64_t clock) const;
    /// The first instant after `clock` at which something does not count any more; INT64_MAX: never.
    int64_t NextChange(int64_t clock) const;
    /// The first instant after `clock` at which whether the count is from `least` to `most` changes, if nothing is added.
    int64_t WhenCountLeaves(int64_t clock, int64_t least, int64_t most) const;

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
    std::vector<int64_t> LeavesOfValues(int64_t clock) const;

    Aggregate aggregate_;
    // All by `leaves`, ascending.
    std::vector<Tally> tallies_;                           // count, sum, avg
    std::vector<Decimal> sums_;                            //   sum, avg: of each tally
    std::vector<Single> singles_;                          // min, max: each better than all that leave later; first; last: one
    std::map<Value, std::vector<Tally>, Exactly> values_;  // most_frequent; distinct_count, unique_list: the last only
};

}  // namespace cdp::profile
