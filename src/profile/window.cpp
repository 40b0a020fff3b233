// profile/window.cpp: see window.hpp.
#include "profile/window.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace cdp::profile {

namespace {

constexpr int64_t kMinute = 60'000'000, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr int64_t kNever = INT64_MAX;
constexpr int kFirstYear = -32'767, kLastYear = 32'767;  // that std::chrono knows

constexpr std::chrono::sys_days kEpoch{std::chrono::year{2000} / 1 / 1};

int64_t Floor(int64_t value, int64_t by) { return value / by - (value % by < 0); }

/// a + b; INT64_MAX or INT64_MIN beyond them.
int64_t Plus(int64_t a, int64_t b) {
    int64_t sum;
    if (!__builtin_add_overflow(a, b, &sum)) return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

int64_t Ceiling(int64_t time, int64_t step) {
    const int64_t over = time % step;
    return over == 0 ? time : Plus(time, over < 0 ? -over : step - over);
}

/// The days and the microseconds of a span.
int64_t Fixed(const Span& span) {
    int64_t days;
    if (__builtin_mul_overflow(int64_t{span.days}, kDay, &days)) return INT64_MAX;
    return Plus(days, span.microseconds);
}

struct Civil {
    std::chrono::year_month_day date;
    int64_t of_day;
};

/// Nothing for times that std::chrono does not know.
std::optional<Civil> CivilOf(int64_t time) {
    const int64_t day = Floor(time, kDay);
    constexpr int64_t limit = 366 * int64_t{30'000};
    if (day < -limit || day > limit) return std::nullopt;
    return Civil{std::chrono::year_month_day(kEpoch + std::chrono::days(day)), time - day * kDay};
}

int64_t TimeOf(std::chrono::sys_days day) { return (day - kEpoch).count() * kDay; }

/// The month that many months later; nothing beyond the years that std::chrono knows.
std::optional<std::chrono::year_month> MonthsLater(const std::chrono::year_month_day& date, int32_t months) {
    const int64_t month = int64_t{static_cast<int>(date.year())} * 12 + static_cast<unsigned>(date.month()) - 1 + months;
    const int64_t year = Floor(month, 12);
    if (year < kFirstYear || year >= kLastYear) return std::nullopt;
    return std::chrono::year(static_cast<int>(year)) / std::chrono::month(static_cast<unsigned>(month - year * 12 + 1));
}

unsigned LengthOf(std::chrono::year_month month) {
    return static_cast<unsigned>((month / std::chrono::last).day());
}

/// The next midnight.
int64_t Midnight(int64_t time) { return (Floor(time, kDay) + 1) * kDay; }

bool Infinite(int64_t time) { return time == INT64_MIN || time == INT64_MAX; }

}  // namespace

int64_t Later(int64_t time, const Span& span) {
    if (Infinite(time)) return time;
    if (span.months != 0) {
        const auto civil = CivilOf(time);
        const auto month = civil ? MonthsLater(civil->date, span.months) : std::nullopt;
        if (!month) return INT64_MAX;
        const auto day = std::min(static_cast<unsigned>(civil->date.day()), LengthOf(*month));
        time = TimeOf(*month / std::chrono::day(day)) + civil->of_day;
    }
    return Plus(time, Fixed(span));
}

Window::Window(const Span& span) : span_(span), step_(span.months == 0 && Fixed(span) <= kDay ? kMinute : kHour) {}

bool Window::Positive() const {
    return span_.months >= 0 && span_.days >= 0 && span_.microseconds >= 0 && span_ != Span{};
}

int64_t Window::Leaves(int64_t occurred_at) const {
    if (Infinite(occurred_at)) return occurred_at;
    return span_.months == 0 ? Ceiling(Plus(occurred_at, Fixed(span_)), step_) : CalendarLeaves(occurred_at);
}

// A window's edge is a day of the month as many months before the clock's, the month's last one if there is no such day; then
// the days and microseconds are taken off, which are added to events instead.

int64_t Window::CalendarLeaves(int64_t occurred_at) const {
    const auto civil = CivilOf(Ceiling(Plus(occurred_at, Fixed(span_)), step_));
    const auto month = civil ? MonthsLater(civil->date, span_.months) : std::nullopt;
    if (!month) return kNever;
    const auto day = static_cast<unsigned>(civil->date.day());
    const unsigned length = LengthOf(*month);
    if (day > length) return TimeOf(*month / std::chrono::last) + kDay;
    const bool comes_back = civil->of_day != 0 && day == LengthOf(civil->date.year() / civil->date.month());
    return TimeOf(*month / std::chrono::day(comes_back ? length : day)) + civil->of_day;
}

int64_t Window::CalendarHorizon(int64_t clock) const {
    const auto civil = CivilOf(clock);
    const auto month = civil ? MonthsLater(civil->date, -span_.months) : std::nullopt;
    if (!month) return clock;
    const int64_t of_day = civil->of_day - civil->of_day % step_;
    if (static_cast<unsigned>(civil->date.day()) < LengthOf(*month) || of_day == 0) return clock;
    return std::max(clock, TimeOf(civil->date.year() / civil->date.month() / std::chrono::last) + of_day);
}

/// On the days that stand for the last one of the month that the window begins in, the last of which is that of `leaves`.
int64_t Window::CalendarStops(int64_t leaves, int64_t clock) const {
    const auto civil = CivilOf(leaves);
    const auto month = civil ? MonthsLater(civil->date, -span_.months) : std::nullopt;
    if (!month || civil->of_day == 0) return leaves;
    const unsigned length = LengthOf(*month);
    const auto last = static_cast<unsigned>(civil->date.day());
    for (unsigned day = length; day < last; ++day) {
        const int64_t stops = leaves - (last - day) * kDay;
        if (stops > clock) return stops;
    }
    return leaves;
}

bool WindowState::Exactly::operator()(const Value& a, const Value& b) const {
    if (ByBytes()(a, b)) return true;
    return !ByBytes()(b, a) && IsPlainer(a, b);
}

/// Returns where.
std::ptrdiff_t WindowState::Add(std::vector<Tally>& tallies, int64_t leaves, int64_t count) {
    auto at = tallies.end();
    if (at != tallies.begin() && (at - 1)->leaves == leaves)  // most leave last
        --at;
    else if (at != tallies.begin() && (at - 1)->leaves > leaves)
        at = std::lower_bound(tallies.begin(), at, leaves, [](const Tally& t, int64_t l) { return t.leaves < l; });
    if (at != tallies.end() && at->leaves == leaves)
        at->count += count;
    else
        at = tallies.insert(at, {leaves, count});
    return at - tallies.begin();
}

void WindowState::AddSum(int64_t leaves, const Decimal& sum) {
    const size_t before = tallies_.size();
    const auto at = Add(tallies_, leaves, 1);
    if (tallies_.size() > before) sums_.insert(sums_.begin() + at, Decimal());
    sums_[static_cast<size_t>(at)] += sum;
}

/// Goes through both lists once: a person may have an entry for each hour of many years.
void WindowState::MergeTallies(const WindowState& other) {
    const auto mine = std::exchange(tallies_, {});
    const auto my_sums = std::exchange(sums_, {});
    tallies_.reserve(mine.size() + other.tallies_.size());
    const auto append = [this](const std::vector<Tally>& tallies, const std::vector<Decimal>& sums, size_t i) {
        const bool again = !tallies_.empty() && tallies_.back().leaves == tallies[i].leaves;
        if (again)
            tallies_.back().count += tallies[i].count;
        else
            tallies_.push_back(tallies[i]);
        if (sums.empty()) return;
        if (again)
            sums_.back() += sums[i];
        else
            sums_.push_back(sums[i]);
    };
    size_t i = 0, j = 0;
    while (i < mine.size() || j < other.tallies_.size()) {
        if (j == other.tallies_.size() || (i < mine.size() && mine[i].leaves <= other.tallies_[j].leaves))
            append(mine, my_sums, i++);
        else
            append(other.tallies_, other.sums_, j++);
    }
}

/// Keeps what is better than all that leaves later: so the first that still counts is the best.
void WindowState::AddExtreme(int64_t leaves, const Value& value) {
    const int sign = aggregate_ == Aggregate::kMin ? 1 : -1;
    auto at = std::lower_bound(singles_.begin(), singles_.end(), leaves, [](const Single& s, int64_t l) { return s.leaves < l; });
    if (at != singles_.end()) {  // the best of those that leave no earlier
        const int order = sign * Compare(value, at->value);
        if (order > 0 || (order == 0 && (at->leaves > leaves || !IsPlainer(value, at->value)))) return;
        if (at->leaves == leaves) at = singles_.erase(at);
    }
    auto worse = at;
    while (worse != singles_.begin() && sign * Compare((worse - 1)->value, value) >= 0) --worse;
    at = singles_.erase(worse, at);
    singles_.insert(at, {leaves, {}, value});
}

void WindowState::AddFirst(int64_t leaves, const Stamp& stamp, const Value& value) {
    const auto at = std::lower_bound(singles_.begin(), singles_.end(), leaves, [](const Single& s, int64_t l) { return s.leaves < l; });
    if (at == singles_.end() || at->leaves != leaves)
        singles_.insert(at, {leaves, stamp, value});
    else if (stamp < at->stamp)
        *at = {leaves, stamp, value};
}

void WindowState::AddLast(int64_t leaves, const Stamp& stamp, const Value& value) {
    if (singles_.empty())
        singles_.push_back({leaves, stamp, value});
    else if (singles_.front().stamp < stamp)
        singles_.front() = {leaves, stamp, value};
}

void WindowState::AddOfValue(const Value& value, int64_t leaves, int64_t count) {
    auto& tallies = values_[value];
    if (aggregate_ == Aggregate::kMostFrequent)
        Add(tallies, leaves, count);
    else if (tallies.empty())
        tallies.push_back({leaves, 1});
    else
        tallies.front().leaves = std::max(tallies.front().leaves, leaves);
}

void WindowState::Add(int64_t leaves, const Stamp& stamp, const Value& value) {
    if (leaves == INT64_MIN) return;
    switch (aggregate_) {
        case Aggregate::kCount: Add(tallies_, leaves, 1); break;
        case Aggregate::kSum:
        case Aggregate::kAvg: return AddSum(leaves, std::get<Decimal>(value));
        case Aggregate::kMin:
        case Aggregate::kMax: return AddExtreme(leaves, value);
        case Aggregate::kFirst: return AddFirst(leaves, stamp, value);
        case Aggregate::kDistinctCount:
        case Aggregate::kUniqueList:
        case Aggregate::kMostFrequent: return AddOfValue(value, leaves, 1);
        default: return AddLast(leaves, stamp, value);
    }
}

void WindowState::Merge(const WindowState& other) {
    if (!other.tallies_.empty()) MergeTallies(other);
    for (const Single& single : other.singles_) Add(single.leaves, single.stamp, single.value);
    for (const auto& [value, tallies] : other.values_)
        for (const auto& [leaves, count] : tallies) AddOfValue(value, leaves, count);
}

void WindowState::Expire(int64_t clock) {
    const auto old = [clock](const auto& entry) { return entry.leaves <= clock; };
    const auto kept = std::find_if_not(tallies_.begin(), tallies_.end(), old);
    if (!sums_.empty()) sums_.erase(sums_.begin(), sums_.begin() + (kept - tallies_.begin()));
    tallies_.erase(tallies_.begin(), kept);
    singles_.erase(singles_.begin(), std::find_if_not(singles_.begin(), singles_.end(), old));
    for (auto entry = values_.begin(); entry != values_.end();) {
        auto& tallies = entry->second;
        tallies.erase(tallies.begin(), std::find_if_not(tallies.begin(), tallies.end(), old));
        entry = tallies.empty() ? values_.erase(entry) : std::next(entry);
    }
}

AggregateState WindowState::Beyond(int64_t horizon) const {
    AggregateState state(aggregate_);
    for (size_t i = 0; i < tallies_.size(); ++i) {
        if (tallies_[i].leaves <= horizon) continue;
        state.count_ += tallies_[i].count;
        if (!sums_.empty()) state.sum_ += sums_[i];
    }
    for (const Single& single : singles_) {
        if (single.leaves <= horizon) continue;
        state.Add(single.stamp, single.value);
        break;
    }
    for (const auto& [value, tallies] : values_) {
        int64_t count = 0;
        for (const auto& tally : tallies) count += tally.leaves > horizon ? tally.count : 0;
        if (count > 0) state.AddTimes(value, aggregate_ == Aggregate::kMostFrequent ? count : 0);
    }
    return state;
}

/// Of tallies by `leaves`, ascending.
template <class Tallies>
static int64_t SumBeyond(const Tallies& tallies, int64_t horizon) {
    int64_t count = 0;
    for (auto tally = tallies.rbegin(); tally != tallies.rend() && tally->leaves > horizon; ++tally) count += tally->count;
    return count;
}

int64_t WindowState::CountBeyond(int64_t horizon) const {
    return aggregate_ == Aggregate::kDistinctCount ? SumBeyond(TallyOfValues(), horizon) : SumBeyond(tallies_, horizon);
}

/// When each value leaves, ascending. Equal ones, which are neighbours, are one value.
std::vector<WindowState::Tally> WindowState::TallyOfValues() const {
    std::vector<Tally> result;
    const Value* before = nullptr;
    for (const auto& [value, tallies] : values_) {
        if (before != nullptr && !ByBytes()(*before, value))
            result.back().leaves = std::max(result.back().leaves, tallies.back().leaves);
        else
            result.push_back({tallies.back().leaves, 1});
        before = &value;
    }
    std::sort(result.begin(), result.end(), [](const Tally& a, const Tally& b) { return a.leaves < b.leaves; });
    return result;
}

int64_t WindowState::NextChange(const Window& window, int64_t clock) const {
    const int64_t horizon = window.Horizon(clock);
    int64_t next = kNever;
    const auto look = [&](const auto& entries) {
        const auto kept = std::find_if(entries.begin(), entries.end(), [clock](const auto& entry) { return entry.leaves > clock; });
        const auto counts = std::find_if(kept, entries.end(), [horizon](const auto& entry) { return entry.leaves > horizon; });
        if (kept != counts) next = std::min(next, Midnight(clock));
        if (counts != entries.end()) next = std::min(next, window.StopsCounting(counts->leaves, clock));
    };
    look(tallies_);
    look(singles_);
    for (const auto& entry : values_) look(entry.second);
    return next;
}

int64_t WindowState::WhenCountLeaves(const Window& window, int64_t clock, int64_t least, int64_t most) const {
    const auto holds = [&](int64_t count) { return least <= count && count <= most; };
    const auto of_values = aggregate_ == Aggregate::kDistinctCount ? TallyOfValues() : std::vector<Tally>();
    const auto& tallies = aggregate_ == Aggregate::kDistinctCount ? of_values : tallies_;
    std::optional<bool> now;
    // From one midnight at which something counts again to the next.
    for (int64_t from = clock;;) {
        const int64_t horizon = window.Horizon(from);
        int64_t count = SumBeyond(tallies, horizon), back = kNever;
        if (now && holds(count) != *now) return from;
        now = holds(count);
        for (auto tally = tallies.begin(); tally != tallies.end(); ++tally) {
            if (tally->leaves <= from) continue;
            const int64_t stops = tally->leaves <= horizon ? from : window.StopsCounting(tally->leaves, from);
            if (stops >= back) break;
            if (stops < tally->leaves) back = std::min(back, Midnight(stops));
            if (stops == from) continue;  // did not count to begin with
            count -= tally->count;
            const bool others_too = tally + 1 != tallies.end() && (tally + 1)->leaves == tally->leaves;
            if (!others_too && holds(count) != *now) return stops;
        }
        if (back == kNever) return kNever;
        from = back;
    }
}

namespace {

/// Instants as minutes, which they are multiples of, each as its distance from the one before.
class Instants {
public:
    void Write(Writer& out, int64_t leaves) {
        const int64_t minutes = leaves == kNever ? kForEver : leaves / kMinute;
        out.Signed(minutes - last_);
        last_ = minutes;
    }
    int64_t Read(Reader& in) {
        if (__builtin_add_overflow(last_, in.Signed(), &last_) || last_ > kForEver || last_ <= -kForEver) Reader::Corrupt();
        return last_ == kForEver ? kNever : last_ * kMinute;
    }

private:
    static constexpr int64_t kForEver = kNever / kMinute + 1;
    int64_t last_ = 0;
};

/// Adds to the `total`, too.
int64_t ReadCount(Reader& in, uint64_t* total) {
    constexpr uint64_t most = uint64_t{1} << 60;  // as of an aggregate without a window
    const uint64_t count = in.Unsigned();
    if (count < 1 || count > most - *total) Reader::Corrupt();
    *total += count;
    return static_cast<int64_t>(count);
}

/// The next of a list that is written in order.
template <class Entries>
void CheckOrder(const Entries& entries, int64_t leaves) {
    if (!entries.empty() && entries.back().leaves >= leaves) Reader::Corrupt();
}

}  // namespace

void WindowState::Write(Writer& out) const {
    Instants instants;
    for (size_t i = 0; i < tallies_.size(); ++i) {
        instants.Write(out, tallies_[i].leaves);
        out.Unsigned(static_cast<uint64_t>(tallies_[i].count));
        if (!sums_.empty()) sums_[i].Write(out);
    }
    const bool stamped = aggregate_ == Aggregate::kFirst || aggregate_ == Aggregate::kLast;
    for (const Single& single : singles_) {
        instants.Write(out, single.leaves);
        if (stamped) out.Signed(single.stamp.occurred_at);
        if (stamped) out.Signed(single.stamp.event_id);
        profile::Write(out, single.value);
    }
    for (const auto& [value, tallies] : values_) {
        profile::Write(out, value);
        out.Unsigned(tallies.size());
        for (const auto& [leaves, count] : tallies) {
            instants.Write(out, leaves);
            out.Unsigned(static_cast<uint64_t>(count));
        }
    }
}

WindowState WindowState::Read(Aggregate aggregate, std::string_view bytes) {
    WindowState state(aggregate);
    Reader in(bytes);
    Instants instants;
    uint64_t total = 0;
    while (!in.AtEnd()) {
        switch (aggregate) {
            case Aggregate::kCount:
            case Aggregate::kSum:
            case Aggregate::kAvg: {
                const int64_t leaves = instants.Read(in);
                CheckOrder(state.tallies_, leaves);
                state.tallies_.push_back({leaves, ReadCount(in, &total)});
                if (aggregate != Aggregate::kCount) state.sums_.push_back(Decimal::Read(in));
                break;
            }
            case Aggregate::kDistinctCount:
            case Aggregate::kUniqueList:
            case Aggregate::kMostFrequent: {
                auto& tallies = state.values_[ReadValue(in)];
                if (!tallies.empty()) Reader::Corrupt();
                uint64_t left = in.Unsigned();
                if (left == 0 || (left > 1 && aggregate != Aggregate::kMostFrequent)) Reader::Corrupt();
                for (; left > 0; --left) {
                    const int64_t leaves = instants.Read(in);
                    CheckOrder(tallies, leaves);
                    tallies.push_back({leaves, ReadCount(in, &total)});
                }
                break;
            }
            default: {
                const int64_t leaves = instants.Read(in);
                CheckOrder(state.singles_, leaves);
                if (aggregate == Aggregate::kLast && !state.singles_.empty()) Reader::Corrupt();
                Stamp stamp;
                if (aggregate == Aggregate::kFirst || aggregate == Aggregate::kLast) {
                    stamp.occurred_at = in.Signed();
                    stamp.event_id = in.Signed();
                }
                state.singles_.push_back({leaves, stamp, ReadValue(in)});
            }
        }
    }
    return state;
}

}  // namespace cdp::profile
