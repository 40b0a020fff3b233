// identity/match_model.hpp: what it says of two records that they agree or differ: Fellegi and Sunter's model.
// Knows no PostgreSQL. The method, with its sources: docs/matching.md.
#pragma once

#include <span>

#include "identity/match_comparison.hpp"

namespace cdp::matching {

/// log2 of the odds, and back.
double WeightOf(double probability);
double ProbabilityOf(double weight);

/// Beyond these no weight goes, whatever the data say.
inline constexpr double kLeastProbability = 1e-9;

/// Values are sorted by how many records have them, in powers of two; kMissing's and other levels' bucket is 0.
inline constexpr size_t kBuckets = 16;
uint8_t BucketOf(uint32_t count);

/// What a comparison that another depends on came to.
enum Given : uint8_t { kGivenEqual, kGivenAlike, kGivenDifferent, kGivenNothing };
Given GivenBy(LevelNumber level, LevelNumber otherwise);

/// One comparison with its parameters.
struct ModelComparison {
    Comparison comparison;
    /// By level, from level 1 to otherwise(): how probable it is among pairs that are one person (m), and among
    /// others (u). Each sums to 1.
    std::vector<double> m, u;
    /// Which part of the pairs that agree on a value are not one person, by the value's bucket: 1 in clean data, less
    /// where the people in question have many records.
    std::vector<double> strangers;
    /// The comparison that it depends on among strangers, as the town does on the postcode; -1: none. Then m and u
    /// where that one is equal, alike or different; where it is missing those above hold.
    int parent = -1;
    std::vector<double> m_given[3], u_given[3];
    /// By level: among pairs that are related, see Model::related.
    std::vector<double> h;

    double Weight(LevelNumber level, Given given = kGivenNothing) const;
    /// The same for being related rather than strangers.
    double RelatedWeight(LevelNumber level, Given given) const;
    /// u of agreeing on a value that `count` of `filled` records have (Splink calls it the term frequency).
    double FrequencyOf(double count, uint64_t filled) const;
    /// Which part of the term frequency's weight counts: all of it, but where strangers who agree in the parent agree here
    /// anyway, nothing.
    double FrequencyShare(Given given) const;
};

struct Model {
    double prior = 0;   // how probable it is of any two records that they are one person
    uint64_t records = 0;
    double expected_matches = 0;
    /// How probable it is of any two records that they are two persons who have much in common, such as a household,
    /// or a name. 0: there are no such pairs to speak of.
    double related = 0;
    std::vector<ModelComparison> comparisons;

    double PriorWeight() const;
    double RelatedPriorWeight() const { return WeightOf(related); }
    Given GivenFor(size_t comparison, const LevelNumber* levels) const {
        const int parent = comparisons[comparison].parent;
        return parent < 0 ? kGivenNothing : GivenBy(levels[parent], comparisons[parent].comparison.otherwise());
    }
};

}  // namespace cdp::matching
