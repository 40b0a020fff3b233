// identity/match_scorer.hpp: pairs of records in, their levels and weights out.
// Knows no PostgreSQL.
#pragma once

#include <array>
#include <cmath>
#include <utility>

#include "identity/match_comparer.hpp"
#include "identity/match_model.hpp"

namespace cdp::matching {

/// Two records that may be one person, by their numbers.
struct Pair {
    uint32_t a, b;
};

/// Compares pairs of records in all comparisons. Keeps, record by record, the values that are compared: 4 bytes each.
class PairComparer {
public:
    /// `records` may go once this is made. Throws.
    PairComparer(const Records& records, std::span<const Comparison> comparisons, const std::string& region);

    size_t comparisons() const { return comparers_.size(); }
    const Comparer& comparer(size_t c) const { return *comparers_[c]; }
    uint32_t records() const { return records_; }

    /// The levels of a pair, one for each comparison. Where one finds values in each other's place, its partner
    /// counts as missing: the evidence is counted once.
    void Levels(Pair pair, LevelNumber* levels);
    /// Has the processor fetch what Levels() will need for these pairs, all at once instead of one wait after the other.
    void Fetch(std::span<const Pair> pairs) const;
    uint32_t Value(uint32_t record, size_t c) const { return values_[size_t{record} * stride_ + c]; }
    uint32_t Partner(uint32_t record, size_t c) const {
        return partner_slot_[c] == 0 ? 0 : values_[size_t{record} * stride_ + partner_slot_[c]];
    }

private:
    std::vector<std::unique_ptr<Comparer>> comparers_;
    uint32_t records_;
    size_t stride_;
    std::vector<size_t> partner_slot_;   // by comparison: where in a record's row its partner value is; 0: nowhere
    std::vector<int> partner_of_;        // by comparison: which other it silences where it finds a swap; -1: none
    std::vector<uint32_t> values_;
};

/// Hands pairs on to `visit` in small groups, each fetched before.
template <class F>
class Grouped {
public:
    Grouped(const PairComparer& comparer, F visit) : comparer_(comparer), visit_(std::move(visit)) {}
    void Add(Pair pair) {
        pairs_[count_++] = pair;
        if (count_ == pairs_.size()) Finish();
    }
    /// Hands the last ones on.
    void Finish() {
        const auto pairs = std::span(pairs_).first(std::exchange(count_, 0));
        comparer_.Fetch(pairs);
        for (const Pair pair : pairs) visit_(pair);
    }

private:
    const PairComparer& comparer_;
    F visit_;
    std::array<Pair, 32> pairs_;
    size_t count_ = 0;
};

/// Weights of pairs by a model.
class Scorer {
public:
    /// `model` has the comparisons that `comparer` was made with. Both must outlive it.
    Scorer(PairComparer& comparer, const Model& model);

    /// The pair's weight: log2 of the odds that it is one person.
    double Weight(Pair pair) {
        comparer_.Levels(pair, levels_.data());
        return WeightOfLevels(pair);
    }
    /// The parts of a pair's weight: what each comparison says, and its term frequency beyond that; and what it takes
    /// away that the two may be related.
    struct Part {
        LevelNumber level;
        double weight;
        double frequency;  // 0 where it says nothing more
    };
    void Explain(Pair pair, std::vector<Part>* parts, double* related);
    double prior() const { return prior_; }

private:
    static constexpr size_t kLevelSlots = 16;
    double WeightOfLevels(Pair pair) const {
        double weight = prior_, related = related_prior_;
        for (size_t c = 0; c < count_; ++c) {
            const LevelNumber level = levels_[c];
            const Given given = model_.GivenFor(c, levels_.data());
            const size_t slot = given * kLevelSlots + level;
            double says = 0;
            if (level != kMissing && adjusts_[c] >= level) says = FrequencyWeight(pair, c, level) * shares_[c][given];
            weight += weights_[c][slot] + says;
            if (has_related_) related += related_weights_[c][slot] + says;
        }
        return has_related_ ? weight + RelatedAdjustment(related) : weight;
    }
    /// What it takes away that the pair may be related: strangers or related is the other side then.
    static double RelatedAdjustment(double related) { return related > 60 ? -related : -std::log2(1 + std::exp2(related)); }
    double FrequencyWeight(Pair pair, size_t c, LevelNumber level) const;

    PairComparer& comparer_;
    const Model& model_;
    double prior_, related_prior_;
    bool has_related_;
    std::vector<std::vector<double>> related_weights_;     // as weights_
    size_t count_;                                         // of comparisons
    std::vector<std::vector<double>> weights_;             // by comparison; by what is given, and level
    std::vector<std::array<double, 4>> shares_;            // by comparison, by what is given: of the frequency's weight
    std::vector<LevelNumber> adjusts_;                     // the last level that term frequencies matter for; 0: none
    std::vector<std::vector<float>> frequency_;            // by comparison, by value: what is added where they agree on it
    std::vector<LevelNumber> levels_;
};

}  // namespace cdp::matching
