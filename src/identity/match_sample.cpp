// identity/match_sample.cpp: see match_sample.hpp.
#include "identity/match_sample.hpp"

#include <algorithm>

#include "pg/error.hpp"

namespace cdp::matching {

namespace {

constexpr uint64_t kRandomPairs = 500'000;
constexpr uint32_t kAgreeingPairs = 20'000;   // a comparison

}  // namespace

/// splitmix64, of S. Vigna's, in the public domain. The same numbers wherever it runs.
class Random {
public:
    uint64_t Next() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return z ^ z >> 31;
    }
    uint32_t Below(uint32_t limit) { return static_cast<uint32_t>((Next() >> 32) * limit >> 32); }

private:
    uint64_t state_ = 20'240'229;
};

Sample::Sample(PairComparer& comparer, std::span<const Comparison> comparisons)
    : comparer_(comparer), levels_(comparisons.size()), agreeing_(comparisons.size()) {
    for (const auto& comparison : comparisons) by_frequency_.push_back(comparison.term_frequency);
}

uint32_t Sample::PatternOf(Pair pair) {
    comparer_.Levels(pair, levels_.data());
    char pattern[kMostComparisons];
    for (size_t c = 0; c < levels_.size(); ++c) {
        uint8_t bucket = 0;
        if (levels_[c] == 1 && by_frequency_[c]) bucket = BucketOf(comparer_.comparer(c).counts()[comparer_.Value(pair.a, c)]);
        pattern[c] = static_cast<char>(levels_[c] | bucket << 4);
    }
    return patterns_.Add({pattern, levels_.size()});
}

void Sample::Draw() {
    const uint32_t records = comparer_.records();
    Random random;
    if (0.5 * records * (records - 1.0) <= kRandomPairs) {
        for (uint32_t a = 0; a < records; ++a) {
            poll_stop();
            for (uint32_t b = a + 1; b < records; ++b) random_.Add(PatternOf({a, b}));
        }
    } else {
        Grouped pairs(comparer_, [&](Pair pair) { random_.Add(PatternOf(pair)); });
        for (uint64_t i = 0; i < kRandomPairs; ++i) {
            if ((i & 0xFFFF) == 0) poll_stop();
            const uint32_t a = random.Below(records), b = random.Below(records - 1);
            pairs.Add({a, b + (b >= a)});
        }
        pairs.Finish();
    }
    for (size_t c = 0; c < agreeing_.size(); ++c) DrawAgreeing(c, random);
}

void Sample::DrawAgreeing(size_t c, Random& random) {
    poll_stop();
    const auto& counts = comparer_.comparer(c).counts();
    // The records value by value, and how many pairs the values before each have.
    std::vector<uint32_t> begin(counts.size() + 1), place, records;
    std::vector<uint64_t> pairs(counts.size() + 1);
    for (size_t v = 0; v < counts.size(); ++v) {
        begin[v + 1] = begin[v] + counts[v];
        const uint64_t count = counts[v];
        pairs[v + 1] = pairs[v] + count * (count > 0 ? count - 1 : 0) / 2;
    }
    if (pairs.back() == 0) return;
    place = begin;
    records.resize(begin.back());
    for (uint32_t record = 0; record < comparer_.records(); ++record)
        if (const uint32_t value = comparer_.Value(record, c); value != 0) records[place[value]++] = record;
    Grouped drawn(comparer_, [&](Pair pair) { agreeing_[c].Add(PatternOf(pair)); });
    for (uint32_t i = 0; i < kAgreeingPairs; ++i) {
        const uint64_t pair = random.Next() % pairs.back();
        const size_t value = static_cast<size_t>(std::upper_bound(pairs.begin(), pairs.end(), pair) - pairs.begin()) - 1;
        const uint32_t a = random.Below(counts[value]), b = random.Below(counts[value] - 1);
        drawn.Add({records[begin[value] + a], records[begin[value] + b + (b >= a)]});
    }
    drawn.Finish();
}

}  // namespace cdp::matching
