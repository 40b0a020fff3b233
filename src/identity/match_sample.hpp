// identity/match_sample.hpp: pairs to learn from, as the patterns of their levels.
// Knows no PostgreSQL.
#pragma once

#include "identity/match_scorer.hpp"

namespace cdp::matching {

/// A pattern is a byte a comparison: the level, and in the upper half the bucket of the value that is agreed on.
inline LevelNumber LevelIn(char code) { return static_cast<LevelNumber>(code & 15); }
inline uint8_t BucketIn(char code) { return static_cast<uint8_t>(code) >> 4; }

/// How often patterns come up among some pairs.
class Pool {
public:
    void Add(uint32_t pattern) {
        if (pattern >= counts_.size()) counts_.resize(pattern + 1 + pattern / 2);
        ++counts_[pattern];
        ++size_;
    }
    uint64_t size() const { return size_; }
    double Count(uint32_t pattern) const { return pattern < counts_.size() ? counts_[pattern] : 0; }
    /// Calls `visit(pattern, count)` for each, in order.
    template <class F>
    void ForEach(F&& visit) const {
        for (uint32_t pattern = 1; pattern < counts_.size(); ++pattern)
            if (counts_[pattern] != 0) visit(pattern, static_cast<double>(counts_[pattern]));
    }

private:
    std::vector<uint32_t> counts_;
    uint64_t size_ = 0;
};

class Random;

/// Patterns of the candidates that blocking finds, of random pairs, and of random pairs among those that agree in one
/// comparison. Random with a fixed seed: the same records give the same sample.
class Sample {
public:
    /// `comparer` was made with `comparisons`. It must outlive this.
    Sample(PairComparer& comparer, std::span<const Comparison> comparisons);

    void AddCandidate(Pair pair) { candidates_.Add(PatternOf(pair)); }
    /// Draws the random pairs. Throws where it is stopped.
    void Draw();

    const Texts& patterns() const { return patterns_; }
    const Pool& candidates() const { return candidates_; }
    const Pool& random() const { return random_; }
    /// Pairs that agree in comparison `c`.
    const Pool& agreeing(size_t c) const { return agreeing_[c]; }

private:
    uint32_t PatternOf(Pair pair);
    void DrawAgreeing(size_t c, Random& random);

    PairComparer& comparer_;
    std::vector<bool> by_frequency_;
    std::vector<LevelNumber> levels_;
    Texts patterns_;
    Pool candidates_, random_;
    std::vector<Pool> agreeing_;
};

}  // namespace cdp::matching
