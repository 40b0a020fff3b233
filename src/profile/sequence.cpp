// profile/sequence.cpp: see sequence.hpp.
#include "profile/sequence.hpp"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace cdp::profile {

namespace {

constexpr int64_t kNone = INT64_MIN;  // before every event

}  // namespace

uint32_t Sequence::Steps(std::string_view name) const {
    uint32_t steps = 0;
    for (size_t i = 0; i < names_.size(); ++i)
        if (names_[i] == name) steps |= 1U << i;
    return steps;
}

/// Goes on by one event. Whether a chain is complete by it. Of chains of one length the one of the latest deadline is the best.
bool SequenceState::Extend(const Sequence& sequence, const Event& event, ChainsOfValues* chains) {
    const size_t last = sequence.size() - 1;
    auto of_value = chains->find(event.same);
    if (of_value == chains->end()) {
        if ((event.steps & 1) == 0) return false;
        of_value = chains->emplace(event.same, Chains(sequence.size(), kNone)).first;
    }
    Chains& latest = of_value->second;
    if (latest.size() != sequence.size()) Reader::Corrupt();
    for (size_t step = last; step > 0; --step) {  // downwards, so that one event is one step of a chain
        if ((event.steps >> step & 1) == 0 || latest[step - 1] < event.at) continue;
        if (step == last) return true;
        latest[step] = std::max(latest[step], latest[step - 1]);
    }
    if ((event.steps & 1) != 0) {
        if (last == 0) return true;
        latest[0] = std::max(latest[0], sequence.Deadline(event.at));
    }
    return false;
}

void SequenceState::Become(Kind kind) {
    kind_ = kind;
    events_.clear();
    folded_.clear();
    running_.clear();
    is_folded_ = is_running_ = false;
}

/// Brings `running_` up to date, from the beginning. Whether a chain is complete.
bool SequenceState::Runs(const Sequence& sequence) {
    running_ = folded_;
    is_running_ = true;
    for (const Event& event : events_)
        if (Extend(sequence, event, &running_)) return true;
    return false;
}

void SequenceState::Add(const Sequence& sequence, int64_t occurred_at, uint32_t steps, std::string_view same) {
    if (kind_ != Kind::kEvents || steps == 0 || occurred_at == kNone) return;
    if (is_folded_ && occurred_at <= folded_until_) return Become(Kind::kUnknown);
    Event event{occurred_at, std::string(sequence.same() ? same : std::string_view()), steps};
    const bool is_last = events_.empty() || events_.back().at < occurred_at;
    if (is_last) {
        if (!is_running_ && Runs(sequence)) return Become(Kind::kDone);
        if (Extend(sequence, event, &running_)) return Become(Kind::kDone);
        events_.push_back(std::move(event));
    } else {
        const auto at = std::lower_bound(events_.begin(), events_.end(), event, [](const Event& a, const Event& b) { return a.Key() < b.Key(); });
        if (at != events_.end() && at->Key() == event.Key())
            at->steps |= steps;
        else
            events_.insert(at, std::move(event));
        if (Runs(sequence)) return Become(Kind::kDone);
    }
    if (events_.size() > most_) Fold(sequence);
}

/// Folds the older half of the events, never between events of the same time.
void SequenceState::Fold(const Sequence& sequence) {
    size_t count = events_.size() / 2;
    while (count < events_.size() && events_[count].at == events_[count - 1].at) ++count;
    for (size_t i = 0; i < count; ++i) Extend(sequence, events_[i], &folded_);
    folded_until_ = events_[count - 1].at;
    is_folded_ = true;
    is_running_ = false;  // so that it forgets, too
    events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(count));
    for (auto of_value = folded_.begin(); of_value != folded_.end();) {
        bool any = false;
        for (int64_t& deadline : of_value->second) {
            if (deadline <= folded_until_) deadline = kNone;  // nobody can complete it any more
            any = any || deadline != kNone;
        }
        of_value = any ? std::next(of_value) : folded_.erase(of_value);
    }
    if (folded_.size() > most_) Become(Kind::kUnknown);
}

void SequenceState::Bound(const Sequence& sequence) {
    most_ = kMost;
    while (kind_ == Kind::kEvents && events_.size() > most_) Fold(sequence);
}

void SequenceState::Merge(const Sequence& sequence, const SequenceState& other) {
    if (Done() || other.Done()) return Become(Kind::kDone);
    if (MustRecompute() || other.MustRecompute() || (is_folded_ && other.is_folded_)) return Become(Kind::kUnknown);
    if (other.is_folded_) {
        folded_ = other.folded_;
        folded_until_ = other.folded_until_;
        is_folded_ = true;
    }
    // All of them before any is folded: else those of the one were too late for the other's.
    std::vector<Event> events;
    events.reserve(events_.size() + other.events_.size());
    std::merge(events_.begin(), events_.end(), other.events_.begin(), other.events_.end(), std::back_inserter(events),
               [](const Event& a, const Event& b) { return a.Key() < b.Key(); });
    events_.clear();
    for (Event& event : events) {
        Event* last = events_.empty() ? nullptr : &events_.back();
        if (last != nullptr && last->Key() == event.Key())
            last->steps |= event.steps;
        else
            events_.push_back(std::move(event));
    }
    if (is_folded_ && !events_.empty() && events_.front().at <= folded_until_) return Become(Kind::kUnknown);
    if (Runs(sequence)) return Become(Kind::kDone);
    while (kind_ == Kind::kEvents && events_.size() > most_) Fold(sequence);
}

void SequenceState::Write(Writer& out) const {
    if (kind_ == Kind::kEvents && events_.empty() && !is_folded_) return;
    out.Unsigned(static_cast<uint64_t>(kind_));
    if (kind_ != Kind::kEvents) return;
    out.Unsigned(is_folded_ ? 1 : 0);
    if (is_folded_) {
        out.Signed(folded_until_);
        out.Unsigned(folded_.size());
        for (const auto& [value, chains] : folded_) {
            out.Text(value);
            out.Unsigned(chains.size());
            for (const int64_t deadline : chains) out.Signed(deadline);
        }
    }
    uint64_t last = 0;
    for (const Event& event : events_) {
        out.Unsigned(static_cast<uint64_t>(event.at) - last);
        out.Unsigned(event.steps);
        out.Text(event.same);
        last = static_cast<uint64_t>(event.at);
    }
}

SequenceState SequenceState::Read(std::string_view bytes) {
    SequenceState state;
    Reader in(bytes);
    if (in.AtEnd()) return state;
    const uint64_t kind = in.Unsigned();
    if (kind > static_cast<uint64_t>(Kind::kUnknown)) Reader::Corrupt();
    state.kind_ = static_cast<Kind>(kind);
    if (state.kind_ != Kind::kEvents) {
        if (!in.AtEnd()) Reader::Corrupt();
        return state;
    }
    state.is_folded_ = in.Unsigned() != 0;
    if (state.is_folded_) {
        state.folded_until_ = in.Signed();
        for (uint64_t left = in.Unsigned(); left > 0; --left) {
            Chains& chains = state.folded_[std::string(in.Text())];
            const uint64_t size = in.Unsigned();
            if (!chains.empty() || size == 0 || size > Sequence::kMostSteps) Reader::Corrupt();
            for (uint64_t i = 0; i < size; ++i) chains.push_back(in.Signed());
        }
    }
    uint64_t last = 0;
    while (!in.AtEnd()) {
        Event event;
        last += in.Unsigned();
        event.at = static_cast<int64_t>(last);
        event.steps = static_cast<uint32_t>(in.Unsigned());
        event.same = in.Text();
        if (!state.events_.empty() && !(state.events_.back().Key() < event.Key())) Reader::Corrupt();
        state.events_.push_back(std::move(event));
    }
    return state;
}

}  // namespace cdp::profile
