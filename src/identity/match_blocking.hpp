// identity/match_blocking.hpp: which pairs of records are looked at.
// Knows no PostgreSQL. How rules are chosen: docs/matching.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <algorithm>

#include "identity/match_scorer.hpp"
#include "pg/error.hpp"

namespace cdp::matching {

/// The columns that a rule asks to be equal, if it asks for nothing else: `l.a = r.a AND l."b c" = r."b c"`, in any
/// spelling; none of them for `true`, which is all pairs. Nothing for any other condition.
std::optional<std::vector<std::string>> EqualColumnsOf(std::string_view rule);

/// The rule that asks for these columns, as SQL.
std::string RuleOf(std::span<const std::string> columns);

/// Up to so many pairs all of them are looked at.
inline constexpr double kAllPairs = 2e6;

/// Rules that find most pairs of one person though some of their columns differ, at a price in pairs that is some
/// constant a record: the most selective columns, pairs and triples of columns. `usable`: the columns to choose from.
std::vector<std::vector<int>> ChooseRules(const Records& records, std::span<const int> usable);

/// The pairs of rules that ask for equal columns alone.
class Blocks {
public:
    /// `rules` in their order, by numbers of columns. Keeps a copy of those columns' values: `records` may go.
    Blocks(const Records& records, std::vector<std::vector<int>> rules);

    size_t rules() const { return rules_.size(); }
    /// Whether the rule holds for a pair.
    bool Holds(size_t rule, Pair pair) const {
        for (const int slot : rules_[rule])
            if (columns_[slot][pair.a] == 0 || columns_[slot][pair.a] != columns_[slot][pair.b]) return false;
        return true;
    }
    bool HoldsAny(size_t rules, Pair pair) const {
        for (size_t rule = 0; rule < rules; ++rule)
            if (Holds(rule, pair)) return true;
        return false;
    }
    /// About how many pairs the rule holds for, those of earlier rules too.
    double Estimate(size_t rule) const;

    /// Calls `visit(Pair)` for each pair of the rule that no earlier rule holds for, once; only for those with a record that
    /// is `fresh`, unless that is empty. Polls for interrupts.
    template <class F>
    void ForEach(size_t rule, const std::vector<bool>& fresh, F&& visit) const;

private:
    /// Records that have all the rule's columns, with a number that is the same where they are all the same, sorted.
    struct Keyed {
        uint64_t key;
        uint32_t record;
    };
    std::vector<Keyed> Keys(size_t rule) const;
    /// The number; nothing where a column is missing.
    std::optional<uint64_t> KeyOf(size_t rule, uint32_t record) const;

    uint32_t records_;
    std::vector<std::vector<int>> rules_;            // by places in columns_
    std::vector<std::vector<uint32_t>> columns_;
};

template <class F>
void Blocks::ForEach(size_t rule, const std::vector<bool>& fresh, F&& visit) const {
    std::vector<Keyed> keys = Keys(rule);
    uint64_t looked = 0;
    for (size_t begin = 0, end; begin < keys.size(); begin = end) {
        for (end = begin + 1; end < keys.size() && keys[end].key == keys[begin].key;) ++end;
        // The fresh ones in front: they meet everybody behind them.
        size_t fresh_end = end;
        if (!fresh.empty())
            fresh_end = std::stable_partition(keys.begin() + begin, keys.begin() + end, [&](const Keyed& k) { return fresh[k.record]; }) - keys.begin();
        for (size_t i = begin; i < fresh_end; ++i)
            for (size_t j = i + 1; j < end; ++j) {
                if ((++looked & 0xFFFF) == 0) poll_stop();
                Pair pair{keys[i].record, keys[j].record};
                if (pair.a > pair.b) std::swap(pair.a, pair.b);
                if (Holds(rule, pair) && !HoldsAny(rule, pair)) visit(pair);
            }
    }
}

}  // namespace cdp::matching
