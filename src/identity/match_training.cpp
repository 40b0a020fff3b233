// identity/match_training.cpp: expectation maximisation. See match_training.hpp; match_dependence.cpp and match_related.cpp are parts of it.
#include "identity/match_training.hpp"

#include <algorithm>
#include <cmath>

#include "pg/error.hpp"

namespace cdp::matching {

namespace {

constexpr int kMostRounds = 100;
constexpr int kDependenceRounds = 3;
constexpr int kMostDependenceRounds = 7;  // where others turn out to be related after that
constexpr int kRoundsOfAll = 3;           // the first ones look at all patterns, to see which can be one person
constexpr float kHopeless = 1e-7F;        // as a pattern's probability
constexpr double kStill = 1e-4;           // a round that changes no parameter by more is the last
constexpr double kPriorMatches = 5;       // so many pairs that are one person we have seen elsewhere
constexpr double kGivenMatches = 20;      // so many have to be seen until a dependence among them counts half
constexpr double kUsuallyEqual = 0.85, kUsuallyDifferent = 0.05;

double SumFrom1(const std::vector<double>& sums) {
    double sum = 0;
    for (size_t i = 1; i < sums.size(); ++i) sum += sums[i];
    return sum;
}

}  // namespace

std::vector<double> Training::UsualM(size_t levels) {
    std::vector<double> m(levels);
    if (levels == 2) return {0.9, 0.1};
    m.front() = kUsuallyEqual;
    m.back() = kUsuallyDifferent;
    for (size_t i = 1; i + 1 < levels; ++i) m[i] = (1 - kUsuallyEqual - kUsuallyDifferent) / static_cast<double>(levels - 2);
    return m;
}

// Pool adjacent violators: Ayer, Brunk, Ewing, Reid and Silverman 1955.
void Training::KeepOrder(const std::vector<double>& m, std::vector<double>& u) {
    double sum = 0;
    for (const double x : u) sum += x;
    for (double& x : u) x /= sum;
    struct Levels {
        double m, u;
        size_t count;
    };
    std::vector<Levels> pools;
    for (size_t i = 0; i < m.size(); ++i) {
        pools.push_back({m[i], u[i], 1});
        while (pools.size() > 1 && pools.back().m * pools[pools.size() - 2].u > pools[pools.size() - 2].m * pools.back().u) {
            const Levels last = pools.back();
            pools.pop_back();
            pools.back().m += last.m;
            pools.back().u += last.u;
            pools.back().count += last.count;
        }
    }
    size_t i = 0;
    for (const Levels& pool : pools)
        for (const size_t end = i + pool.count; i < end; ++i)
            if (pool.count > 1) u[i] = pool.u * m[i] / pool.m;
}

Training::Training(const PairComparer& comparer, std::span<const Comparison> comparisons, const Sample& sample, double rate)
    : comparer_(comparer), comparisons_(comparisons.begin(), comparisons.end()), sample_(sample), rate_(rate),
      pairs_(0.5 * comparer.records() * (comparer.records() - 1.0)), weights_(comparisons.size()), related_weights_(comparisons.size()) {
    if (comparer.records() < 2)
        throw Error(sqlstate::object_not_in_prerequisite_state, "there are not two records to compare");
    CountValues();
    for (const auto& comparison : comparisons_) random_.emplace_back(comparison.otherwise() + 1);
    sample_.random().ForEach([&](uint32_t number, double count) {
        const std::string_view pattern = sample_.patterns()[number];
        for (size_t c = 0; c < pattern.size(); ++c) random_[c][LevelIn(pattern[c])] += count;
    });
}

void Training::CountValues() {
    for (size_t c = 0; c < comparisons_.size(); ++c) {
        auto& buckets = buckets_.emplace_back();
        for (const uint32_t count : comparer_.comparer(c).counts()) {
            const double pairs = 0.5 * count * (count - 1.0);
            if (count < 2) continue;
            Bucket& bucket = buckets[BucketOf(count)];
            bucket.pairs += pairs;
            bucket.others += pairs * count;
        }
        for (Bucket& bucket : buckets)
            if (bucket.pairs > 0) bucket.others /= bucket.pairs;
    }
}

Model Training::Start() const {
    Model model;
    model.records = comparer_.records();
    model.expected_matches = std::min(0.1 * comparer_.records(), 0.5 * pairs_);
    model.prior = model.expected_matches / pairs_;
    for (size_t c = 0; c < comparisons_.size(); ++c) {
        ModelComparison parameters;
        parameters.comparison = comparisons_[c];
        parameters.m = UsualM(comparisons_[c].otherwise());
        parameters.strangers.assign(kBuckets, 1);
        parameters.u.resize(parameters.m.size());
        ImproveChance(&parameters, c, 0);
        model.comparisons.push_back(std::move(parameters));
    }
    return model;
}

void Training::Weigh(const Model& model) {
    prior_ = model.PriorWeight();
    has_related_ = model.related > 0;
    related_prior_ = model.RelatedPriorWeight();
    parents_.clear();
    for (size_t c = 0; c < comparisons_.size(); ++c) {
        const auto& parameters = model.comparisons[c];
        const uint64_t filled = comparer_.comparer(c).filled();
        parents_.push_back(parameters.parent);
        for (const Given given : {kGivenEqual, kGivenAlike, kGivenDifferent, kGivenNothing})
            for (int code = 0; code < 256; ++code) {
                const LevelNumber level = LevelIn(static_cast<char>(code));
                const bool possible = level <= comparisons_[c].otherwise();
                double frequency = 0;
                if (level == 1 && comparisons_[c].term_frequency) {
                    const Bucket& bucket = buckets_[c][code >> 4];
                    if (bucket.pairs > 0)
                        frequency = parameters.FrequencyShare(given) * std::log2(parameters.u[0] / parameters.FrequencyOf(bucket.others, filled));
                }
                weights_[c][given][code] = possible ? parameters.Weight(level, given) + frequency : 0;
                if (has_related_) related_weights_[c][given][code] = possible ? parameters.RelatedWeight(level, given) + frequency : 0;
            }
    }
}

Training::Weights Training::PatternWeights(std::string_view pattern) const {
    Weights weights{prior_, related_prior_};
    for (size_t c = 0; c < pattern.size(); ++c) {
        const int parent = parents_[c];
        const Given given = parent < 0 ? kGivenNothing : GivenBy(LevelIn(pattern[parent]), comparisons_[parent].otherwise());
        weights.match += weights_[c][given][static_cast<uint8_t>(pattern[c])];
        if (has_related_) weights.related += related_weights_[c][given][static_cast<uint8_t>(pattern[c])];
    }
    return weights;
}

void Training::WeighPatterns(bool all) {
    const Texts& patterns = sample_.patterns();
    const auto weigh = [&](uint32_t number) {
        const Weights weights = PatternWeights(patterns[number]);
        const double match = std::exp2(std::min(weights.match, 200.0)), related = has_related_ ? std::exp2(std::min(weights.related, 200.0)) : 0;
        probability_[number] = static_cast<float>(match / (1 + match + related));
        related_[number] = static_cast<float>(related / (1 + match + related));
    };
    if (!all) {
        for (const uint32_t number : possible_) weigh(number);
        return;
    }
    probability_.resize(patterns.size() + 1);
    related_.resize(patterns.size() + 1);
    possible_.clear();
    for (uint32_t number = 1; number <= patterns.size(); ++number) {
        if ((number & 0xFFFF) == 0) poll_stop();
        weigh(number);
        if (probability_[number] > kHopeless || related_[number] > kHopeless) possible_.push_back(number);
    }
}

double Training::Expect() {
    expected_.assign(comparisons_.size(), {});
    for (size_t c = 0; c < comparisons_.size(); ++c) {
        expected_[c].strangers = random_[c];
        for (Sums* sums : {&expected_[c].matched, &expected_[c].related, &expected_[c].matched_given[0], &expected_[c].matched_given[1], &expected_[c].matched_given[2]})
            sums->resize(comparisons_[c].otherwise() + 1);
    }
    double matches = 0;
    expected_related_ = 0;
    for (const uint32_t number : possible_) {
        const std::string_view pattern = sample_.patterns()[number];
        const double candidates = sample_.candidates().Count(number) / rate_;
        const double expected = probability_[number] * candidates, related = related_[number] * candidates;
        const double no_strangers = (probability_[number] + related_[number]) * sample_.random().Count(number);
        matches += expected;
        expected_related_ += related;
        for (size_t c = 0; c < pattern.size(); ++c) {
            const LevelNumber level = LevelIn(pattern[c]);
            expected_[c].strangers[level] -= no_strangers;
            expected_[c].matched[level] += expected;
            expected_[c].related[level] += related;
            if (level == 1) expected_[c].matched_bucket[BucketIn(pattern[c])] += expected + related;
            if (parents_[c] < 0) continue;
            const Given given = GivenBy(LevelIn(pattern[parents_[c]]), comparisons_[parents_[c]].otherwise());
            if (given != kGivenNothing) expected_[c].matched_given[given][level] += expected;
        }
    }
    return matches;
}

void Training::ImproveChance(ModelComparison* of, size_t c, double matches) const {
    const auto& comparer = comparer_.comparer(c);
    const double filled = std::max(2.0, static_cast<double>(comparer.filled()));
    const bool first = expected_.empty();
    const Sums& strangers = first ? random_[c] : expected_[c].strangers;
    const double all = SumFrom1(strangers);
    for (size_t level = 1; level < strangers.size(); ++level) of->u[level - 1] = (std::max(strangers[level], 0.0) + 0.5) / (all + 0.5 * strangers.size());
    // How many agree we know of all pairs, not only of the random ones.
    double agree = 0;
    for (size_t b = 0; b < kBuckets; ++b) {
        const double pairs = buckets_[c][b].pairs;
        agree += pairs;
        const double matched = first ? 0 : expected_[c].matched_bucket[b];
        // As if half a pair of strangers had agreed beyond those seen.
        of->strangers[b] = pairs > 0 ? std::min(1.0, (std::max(pairs - matched, 0.0) + 0.5) / (pairs + 0.5)) : 1;
    }
    const double matched = first ? 0 : expected_[c].matched[1] + expected_[c].related[1];
    const double compared = std::max(0.5 * filled * (filled - 1) - (first ? 0 : matches - expected_[c].matched[kMissing]), 1.0);
    of->u[0] = std::clamp(std::max(agree - matched, 0.0) / compared + 0.1 / filled, 0.0, 0.999);
    if (comparer.swapped() != 0) of->u[comparer.swapped() - 1] = std::max(comparer.SwappedByChance(), 0.01 / filled / filled);
    KeepOrder(of->m, of->u);
}

double Training::Improve(Model* model, bool all) {
    Weigh(*model);
    WeighPatterns(all);
    const double matches = Expect();
    double change = std::abs(std::log(std::max(matches, 1e-3) / std::max(model->expected_matches, 1e-3)));
    model->expected_matches = matches;
    model->prior = std::clamp(matches, 0.1, 0.9 * pairs_) / pairs_;
    if (model->related > 0) model->related = std::clamp(expected_related_, 0.1, 0.9 * pairs_) / pairs_;
    for (size_t c = 0; c < comparisons_.size(); ++c) {
        auto& parameters = model->comparisons[c];
        const auto usual = UsualM(parameters.m.size());
        const auto& matched = expected_[c].matched;
        const double sum = SumFrom1(matched) + kPriorMatches;
        for (size_t level = 1; level < matched.size(); ++level) {
            const double m = (matched[level] + kPriorMatches * usual[level - 1]) / sum;
            change = std::max(change, std::abs(m - parameters.m[level - 1]));
            parameters.m[level - 1] = m;
        }
        ImproveChance(&parameters, c, matches);
        if (model->related > 0) {
            const auto& related = expected_[c].related;
            const double all = SumFrom1(related) + kPriorMatches;
            for (size_t level = 1; level < related.size(); ++level)
                parameters.h[level - 1] = (related[level] + kPriorMatches * parameters.u[level - 1]) / all;
        }
        for (size_t given = 0; parameters.parent >= 0 && given < 3; ++given) {
            const auto& sums = expected_[c].matched_given[given];
            const double all = SumFrom1(sums) + kGivenMatches;
            for (size_t level = 1; level < sums.size(); ++level)
                parameters.m_given[given][level - 1] = (sums[level] + kGivenMatches * parameters.m[level - 1]) / all;
            KeepOrder(parameters.m_given[given], parameters.u_given[given]);
        }
    }
    return change;
}

Model Training::Run() {
    Model model = Start();
    for (int around = 0;; ++around) {
        for (int round = 0; round < kMostRounds; ++round)
            if (Improve(&model, round < kRoundsOfAll) < kStill) break;
        // Neighbours and the like are told by the dependences; who is related, among what is left then.
        const bool found = around > 0 && FindRelated(&model);
        if (around >= kMostDependenceRounds || (around >= kDependenceRounds && !found)) return model;
        FindDependences(&model);
    }
}

}  // namespace cdp::matching
