// profile/sequence.hpp: whether events of certain names came to pass one after the other.
//
// Exact in whatever order events arrive and people are joined, within bounded memory: the latest events are remembered
// one by one, what is older as how far chains of events had got by then. What comes too late for that, and only that,
// must be told from the log.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "profile/window.hpp"

namespace cdp::profile {

/// Are there events e1, …, en with the names in order, each strictly later than the one before, the last at most `within`
/// after the first (nothing: whenever), and with `same` all with the same value of a property?
class Sequence {
public:
    static constexpr size_t kMostSteps = 20;

    Sequence(std::vector<std::string> names, std::optional<Span> within, bool same)
        : names_(std::move(names)), within_(within), same_(same) {}

    size_t size() const { return names_.size(); }
    bool same() const { return same_; }
    /// Which steps an event of that name can be, a bit each.
    uint32_t Steps(std::string_view name) const;
    /// Until when a chain that begins at `first` may end. Where `within` has months, one that begins later may have to end
    /// earlier: a month after January 30th at noon is the noon of February 28th, one after the 31st's midnight its midnight.
    int64_t Deadline(int64_t first) const { return within_ ? Later(first, *within_) : INT64_MAX; }

private:
    std::vector<std::string> names_;
    std::optional<Span> within_;
    bool same_;
};

class SequenceState {
public:
    /// How many events are remembered one by one, and for how many values chains are.
    static constexpr size_t kMost = 256;

    /// An unbounded one takes all of somebody's events, by occurred_at, and always knows the answer; then Bound() it.
    explicit SequenceState(size_t most = kMost) : most_(most) {}
    static SequenceState Unbounded() { return SequenceState(SIZE_MAX); }
    void Bound(const Sequence& sequence);

    /// Adds an event that can be those steps. `same`: the property's value, if that matters.
    void Add(const Sequence& sequence, int64_t occurred_at, uint32_t steps, std::string_view same = {});
    void Merge(const Sequence& sequence, const SequenceState& other);

    /// Whether it came to pass; what is added later never changes a yes.
    bool Done() const { return kind_ == Kind::kDone; }
    /// Whether that cannot be told from what is remembered, after the last Add or Merge: only from the log.
    bool MustRecompute() const { return kind_ == Kind::kUnknown; }

    void Write(Writer& out) const;
    static SequenceState Read(std::string_view bytes);

private:
    enum class Kind { kEvents, kDone, kUnknown };
    struct Event {
        int64_t at;
        std::string same;
        uint32_t steps;
        auto Key() const { return std::tie(at, same); }
    };
    /// For each length of a chain (from 1) the latest deadline of one; kNone: there is no such chain.
    using Chains = std::vector<int64_t>;
    using ChainsOfValues = std::map<std::string, Chains, std::less<>>;

    static bool Extend(const Sequence& sequence, const Event& event, ChainsOfValues* chains);
    bool Runs(const Sequence& sequence);
    void Fold(const Sequence& sequence);
    void Become(Kind kind);

    size_t most_;
    Kind kind_ = Kind::kEvents;
    std::vector<Event> events_;  // by time and value
    int64_t folded_until_ = 0;   // events until then are in `folded_` alone; if there are any
    bool is_folded_ = false;
    ChainsOfValues folded_;
    ChainsOfValues running_;     // folded_ and all events
    bool is_running_ = false;    //   if they are
};

}  // namespace cdp::profile
