// identity/match_model.cpp: see match_model.hpp.
#include "identity/match_model.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace cdp::matching {

namespace {

/// Seen in no record of a stranger's yet, a value is taken to be in so many.
constexpr double kUnseen = 0.1;

}  // namespace

uint8_t BucketOf(uint32_t count) {
    return count == 0 ? 0 : static_cast<uint8_t>(std::min<int>(std::bit_width(count) - 1, kBuckets - 1));
}

double WeightOf(double probability) {
    const double p = std::clamp(probability, 1e-15, 1 - 1e-15);
    return std::log2(p / (1 - p));
}

double ProbabilityOf(double weight) { return 1 / (1 + std::exp2(-weight)); }

Given GivenBy(LevelNumber level, LevelNumber otherwise) {
    return level == kMissing ? kGivenNothing : level == 1 ? kGivenEqual : level == otherwise ? kGivenDifferent : kGivenAlike;
}

double ModelComparison::Weight(LevelNumber level, Given given) const {
    if (level == kMissing) return 0;  // says nothing, either way
    const bool depends = parent >= 0 && given != kGivenNothing;
    const double by_m = depends ? m_given[given][level - 1] : m[level - 1];
    const double by_u = depends ? u_given[given][level - 1] : u[level - 1];
    return std::log2(std::max(by_m, kLeastProbability) / std::max(by_u, kLeastProbability));
}

double ModelComparison::RelatedWeight(LevelNumber level, Given given) const {
    if (level == kMissing) return 0;
    const double by_u = parent >= 0 && given != kGivenNothing ? u_given[given][level - 1] : u[level - 1];
    return std::log2(std::max(h[level - 1], kLeastProbability) / std::max(by_u, kLeastProbability));
}

double ModelComparison::FrequencyOf(double count, uint64_t filled) const {
    // Of the other records that have the value, those of strangers.
    const double others = count > 1 ? (count - 1) * strangers[BucketOf(static_cast<uint32_t>(count))] : 0;
    return std::min(1.0, (others + kUnseen) / static_cast<double>(std::max<uint64_t>(filled, 2)));
}

double ModelComparison::FrequencyShare(Given given) const {
    if (parent < 0 || given != kGivenEqual) return 1;
    const double alone = std::log(std::clamp(u[0], kLeastProbability, 1 - 1e-6));
    return std::clamp(std::log(std::clamp(u_given[given][0], kLeastProbability, 1.0)) / alone, 0.0, 1.0);
}

double Model::PriorWeight() const { return WeightOf(prior); }

}  // namespace cdp::matching
