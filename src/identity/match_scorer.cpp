// identity/match_scorer.cpp: see match_scorer.hpp.
#include "identity/match_scorer.hpp"

#include <cmath>

namespace cdp::matching {

PairComparer::PairComparer(const Records& records, std::span<const Comparison> comparisons, const std::string& region)
    : records_(records.size()), stride_(comparisons.size()), partner_slot_(comparisons.size()), partner_of_(comparisons.size(), -1) {
    for (size_t c = 0; c < comparisons.size(); ++c) {
        comparers_.push_back(std::make_unique<Comparer>(records, comparisons[c], region));
        if (comparers_[c]->swapped() == 0) continue;
        partner_slot_[c] = stride_++;
        for (size_t other = 0; other < comparisons.size(); ++other)
            if (comparisons[other].column == comparisons[c].partner) partner_of_[c] = static_cast<int>(other);
    }
    values_.resize(records_ * stride_);
    for (size_t c = 0; c < comparers_.size(); ++c) {
        for (uint32_t record = 0; record < records_; ++record) {
            values_[record * stride_ + c] = comparers_[c]->Value(record);
            if (partner_slot_[c] != 0) values_[record * stride_ + partner_slot_[c]] = comparers_[c]->Partner(record);
        }
        comparers_[c]->ForgetRecords();
    }
}

void PairComparer::Levels(Pair pair, LevelNumber* levels) {
    const uint32_t* a = &values_[pair.a * stride_];
    const uint32_t* b = &values_[pair.b * stride_];
    const size_t count = comparers_.size();
    for (size_t c = 0; c < count; ++c) {
        const size_t slot = partner_slot_[c];
        levels[c] = comparers_[c]->Level(a[c], b[c], slot == 0 ? 0 : a[slot], slot == 0 ? 0 : b[slot]);
    }
    for (size_t c = 0; c < count; ++c)
        if (partner_of_[c] >= 0 && levels[c] == comparers_[c]->swapped()) levels[partner_of_[c]] = kMissing;
}

void PairComparer::Fetch(std::span<const Pair> pairs) const {
    for (const Pair pair : pairs) {
        __builtin_prefetch(&values_[pair.a * stride_]);
        __builtin_prefetch(&values_[pair.b * stride_]);
    }
    for (const Pair pair : pairs)
        for (size_t c = 0; c < comparers_.size(); ++c) {
            const uint32_t x = values_[pair.a * stride_ + c], y = values_[pair.b * stride_ + c];
            if (x != y) comparers_[c]->Fetch(x, y);
        }
}

Scorer::Scorer(PairComparer& comparer, const Model& model)
    : comparer_(comparer), model_(model), prior_(model.PriorWeight()),
      related_prior_(model.RelatedPriorWeight()), has_related_(model.related > 0), count_(comparer.comparisons()),
      shares_(count_), adjusts_(count_), levels_(count_) {
    for (size_t c = 0; c < comparer.comparisons(); ++c) {
        const auto& parameters = model.comparisons[c];
        const auto& one = comparer.comparer(c);
        std::vector<double> weights(4 * kLevelSlots);
        for (const Given given : {kGivenEqual, kGivenAlike, kGivenDifferent, kGivenNothing}) {
            shares_[c][given] = parameters.FrequencyShare(given);
            for (LevelNumber level = 0; level <= parameters.comparison.otherwise(); ++level)
                weights[given * kLevelSlots + level] = parameters.Weight(level, given);
        }
        weights_.push_back(std::move(weights));
        std::vector<double> related(4 * kLevelSlots);
        for (const Given given : {kGivenEqual, kGivenAlike, kGivenDifferent, kGivenNothing})
            for (LevelNumber level = 1; has_related_ && level <= parameters.comparison.otherwise(); ++level)
                related[given * kLevelSlots + level] = parameters.RelatedWeight(level, given);
        related_weights_.push_back(std::move(related));
        std::vector<float> frequency;
        if (parameters.comparison.term_frequency) {
            adjusts_[c] = std::max<LevelNumber>(1, one.swapped());
            for (const uint32_t count : one.counts())
                frequency.push_back(static_cast<float>(std::log2(std::max(parameters.u[0], kLeastProbability) / parameters.FrequencyOf(count, one.filled()))));
        }
        frequency_.push_back(std::move(frequency));
    }
}

double Scorer::FrequencyWeight(Pair pair, size_t c, LevelNumber level) const {
    const uint32_t x = comparer_.Value(pair.a, c);
    if (level == 1) return frequency_[c][x];
    const auto& one = comparer_.comparer(c);
    if (level != one.swapped()) return 0;
    // That a stranger has the two values in each other's place.
    const double filled = static_cast<double>(one.filled());
    const double here = std::max(one.counts()[comparer_.Partner(pair.a, c)], 1u) / filled;
    const double there = std::max(one.PartnerCount(x), 1u) / filled;
    return std::log2(std::max(model_.comparisons[c].u[level - 1], kLeastProbability) / (here * there));
}

void Scorer::Explain(Pair pair, std::vector<Part>* parts, double* related) {
    comparer_.Levels(pair, levels_.data());
    parts->clear();
    double as_related = related_prior_;
    for (size_t c = 0; c < count_; ++c) {
        const LevelNumber level = levels_[c];
        const Given given = model_.GivenFor(c, levels_.data());
        const size_t slot = given * kLevelSlots + level;
        const bool adjusted = level != kMissing && adjusts_[c] >= level;
        const double frequency = adjusted ? FrequencyWeight(pair, c, level) * shares_[c][given] : 0;
        parts->push_back({level, weights_[c][slot], frequency});
        as_related += related_weights_[c][slot] + frequency;
    }
    *related = has_related_ ? RelatedAdjustment(as_related) : 0;
}

}  // namespace cdp::matching
