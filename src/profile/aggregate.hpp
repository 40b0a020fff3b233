// profile/aggregate.hpp: what a trait remembers of a person's events: small, mergeable, order-independent.
//
// A state is a function of the multiset of (stamp, value) added to it, whatever the order and however the
// adding was split over states that were merged. Equal multisets give equal bytes.
#pragma once

#include <map>
#include <set>

#include "profile/value.hpp"

namespace cdp::profile {

/// When an event happened, ties broken by processing order. `first` and `last` go by it.
struct Stamp {
    int64_t occurred_at = 0;  // microseconds, PostgreSQL's epoch
    int64_t event_id = 0;
    auto operator<=>(const Stamp&) const = default;
};

enum class Aggregate {
    kCount, kSum, kAvg, kMin, kMax, kFirst, kLast, kDistinctCount, kMostFrequent, kUniqueList, kSourcePriority
};

/// The aggregate by its name in SQL ("count", "unique_list", "source_priority", …), or nothing.
std::optional<Aggregate> AggregateNamed(std::string_view name);

class AggregateState {
    friend class WindowState;  // which makes one of what counts at an instant

public:
    explicit AggregateState(Aggregate aggregate) : aggregate_(aggregate) {}

    /// Adds one event's value. `rank` is the place of its source (0 is best), for kSourcePriority alone.
    /// kSum and kAvg take Decimal only; kCount ignores the value.
    void Add(const Stamp& stamp, const Value& value, int rank = 0);
    void Merge(const AggregateState& other);

    int64_t Count() const { return aggregate_ == Aggregate::kDistinctCount ? static_cast<int64_t>(values_.size()) : count_; }
    const Decimal& Sum() const { return sum_; }
    /// The one value of min, max, first, last, most_frequent, source_priority; nothing where there is none.
    std::optional<Value> Single() const;
    /// The values of unique_list and distinct_count, by bytes.
    const std::map<Value, int64_t, ByBytes>& Values() const { return values_; }

    void Write(Writer& out) const;
    static AggregateState Read(Aggregate aggregate, std::string_view bytes);

private:
    bool Beats(const Value& value, const Stamp& stamp, int rank) const;
    void AddTimes(const Value& value, int64_t times);

    Aggregate aggregate_;
    int64_t count_ = 0;                         // count, sum, avg; and whether there is a single value
    Decimal sum_;                               // sum, avg
    Value single_;                              // min, max, first, last, source_priority
    Stamp stamp_;                               //   when it came
    int rank_ = 0;                              //   and from which source
    std::map<Value, int64_t, ByBytes> values_;  // distinct_count, unique_list; most_frequent with their counts
};

}  // namespace cdp::profile
