// profile/aggregate.cpp: see aggregate.hpp.
#include "profile/aggregate.hpp"

#include <array>
#include <utility>

namespace cdp::profile {

namespace {

constexpr int64_t kMostCounted = int64_t{1} << 60;  // more was never counted, and sums of it do not overflow

constexpr std::array<std::pair<std::string_view, Aggregate>, 11> kNames{{
    {"count", Aggregate::kCount},
    {"sum", Aggregate::kSum},
    {"avg", Aggregate::kAvg},
    {"min", Aggregate::kMin},
    {"max", Aggregate::kMax},
    {"first", Aggregate::kFirst},
    {"last", Aggregate::kLast},
    {"distinct_count", Aggregate::kDistinctCount},
    {"most_frequent", Aggregate::kMostFrequent},
    {"unique_list", Aggregate::kUniqueList},
    {"source_priority", Aggregate::kSourcePriority},
}};

int64_t ReadCount(Reader& in) {
    const int64_t count = in.Signed();
    if (count < 1 || count > kMostCounted) Reader::Corrupt();
    return count;
}

}  // namespace

std::optional<Aggregate> AggregateNamed(std::string_view name) {
    for (const auto& [known, aggregate] : kNames)
        if (known == name) return aggregate;
    return std::nullopt;
}

bool AggregateState::Beats(const Value& value, const Stamp& stamp, int rank) const {
    if (count_ == 0) return true;
    switch (aggregate_) {
        case Aggregate::kMin: {
            const int order = Compare(value, single_);
            return order < 0 || (order == 0 && stamp < stamp_);
        }
        case Aggregate::kMax: {
            const int order = Compare(value, single_);
            return order > 0 || (order == 0 && stamp < stamp_);
        }
        case Aggregate::kFirst: return stamp < stamp_;
        case Aggregate::kLast: return stamp_ < stamp;
        case Aggregate::kSourcePriority: return rank < rank_ || (rank == rank_ && stamp_ < stamp);
        default: return false;
    }
}

void AggregateState::AddTimes(const Value& value, int64_t times) {
    auto [entry, fresh] = values_.try_emplace(value, 0);
    if (!fresh && IsPlainer(value, entry->first)) {  // whichever of them came first
        auto node = values_.extract(entry);
        node.key() = value;
        entry = values_.insert(std::move(node)).position;
    }
    entry->second += times;
}

void AggregateState::Add(const Stamp& stamp, const Value& value, int rank) {
    switch (aggregate_) {
        case Aggregate::kCount:
            ++count_;
            break;
        case Aggregate::kSum:
        case Aggregate::kAvg:
            ++count_;
            sum_ += std::get<Decimal>(value);
            break;
        case Aggregate::kDistinctCount:
        case Aggregate::kUniqueList:
            AddTimes(value, 0);
            break;
        case Aggregate::kMostFrequent:
            AddTimes(value, 1);
            break;
        default:
            if (Beats(value, stamp, rank)) {
                single_ = value;
                stamp_ = stamp;
                rank_ = rank;
                count_ = 1;
            }
    }
}

void AggregateState::Merge(const AggregateState& other) {
    switch (aggregate_) {
        case Aggregate::kCount:
        case Aggregate::kSum:
        case Aggregate::kAvg:
            count_ += other.count_;
            sum_ += other.sum_;
            break;
        case Aggregate::kDistinctCount:
        case Aggregate::kUniqueList:
        case Aggregate::kMostFrequent:
            for (const auto& [value, count] : other.values_) AddTimes(value, count);
            break;
        default:
            if (other.count_ > 0) Add(other.stamp_, other.single_, other.rank_);
    }
}

std::optional<Value> AggregateState::Single() const {
    if (aggregate_ == Aggregate::kMostFrequent) {
        const std::pair<const Value, int64_t>* best = nullptr;
        for (const auto& entry : values_)
            if (best == nullptr || entry.second > best->second ||
                (entry.second == best->second && Compare(entry.first, best->first) < 0))
                best = &entry;
        return best ? std::optional(best->first) : std::nullopt;
    }
    return count_ > 0 ? std::optional(single_) : std::nullopt;
}

void AggregateState::Write(Writer& out) const {
    switch (aggregate_) {
        case Aggregate::kCount:
            if (count_ != 0) out.Signed(count_);
            break;
        case Aggregate::kSum:
        case Aggregate::kAvg:
            if (count_ == 0) return;
            out.Signed(count_);
            sum_.Write(out);
            break;
        case Aggregate::kDistinctCount:
        case Aggregate::kUniqueList:
            for (const auto& entry : values_) profile::Write(out, entry.first);
            break;
        case Aggregate::kMostFrequent:
            for (const auto& [value, count] : values_) {
                profile::Write(out, value);
                out.Signed(count);
            }
            break;
        default:
            if (count_ == 0) return;
            profile::Write(out, single_);
            out.Signed(stamp_.occurred_at);
            out.Signed(stamp_.event_id);
            if (aggregate_ == Aggregate::kSourcePriority) out.Signed(rank_);
    }
}

AggregateState AggregateState::Read(Aggregate aggregate, std::string_view bytes) {
    AggregateState state(aggregate);
    Reader in(bytes);
    if (in.AtEnd()) return state;
    switch (aggregate) {
        case Aggregate::kCount:
            state.count_ = ReadCount(in);
            break;
        case Aggregate::kSum:
        case Aggregate::kAvg:
            state.count_ = ReadCount(in);
            state.sum_ = Decimal::Read(in);
            break;
        case Aggregate::kDistinctCount:
        case Aggregate::kUniqueList:
            while (!in.AtEnd()) state.values_.emplace_hint(state.values_.end(), ReadValue(in), 0);
            break;
        case Aggregate::kMostFrequent:
            while (!in.AtEnd()) {
                const auto entry = state.values_.emplace_hint(state.values_.end(), ReadValue(in), 0);
                entry->second = ReadCount(in);
            }
            break;
        default:
            state.single_ = ReadValue(in);
            state.stamp_.occurred_at = in.Signed();
            state.stamp_.event_id = in.Signed();
            if (aggregate == Aggregate::kSourcePriority) state.rank_ = static_cast<int>(in.Signed());
            state.count_ = 1;
    }
    if (!in.AtEnd()) Reader::Corrupt();
    return state;
}

}  // namespace cdp::profile
