// identity/match_related.cpp: two persons who have much in common: a household, namesakes. In data where they are many,
// expectation maximisation with two classes takes them for one person; hence a third class (as W. E. Winkler, "Improved
// Decision Rules in the Fellegi-Sunter Model of Record Linkage", 1993, has one for non-matches of one household). See
// match_training.hpp.
#include <algorithm>
#include <cmath>

#include "identity/match_training.hpp"
#include "pg/error.hpp"

namespace cdp::matching {

namespace {

constexpr int kRounds = 60;
constexpr double kLeastRelated = 20;        // pairs
constexpr double kLeastPart = 0.02;         // of all that look like matches
constexpr double kUsuallyDifferent = 0.6;   // of related pairs in what is a person's own
constexpr double kSeldomDifferent = 0.3;    // of pairs that are one person
constexpr double kHalf = 0.5;
constexpr double kLeastCompared = 5;        // pairs
constexpr double kFewMatches = 5;           // to begin with, where there seemed to be none
constexpr double kCommon = 0.01;            // what so many strangers come to is no agreement
constexpr double kFewDiffer = 0.25;         // of what is compared: more makes a pair look related, to begin with

/// What a person does not share with others: a date of birth; where there is none, an e-mail address or a number of
/// one's own, though people have several of these.
bool IsOwn(const Comparison& comparison, double u, bool dates) {
    if (dates) return comparison.kind == Kind::kDate;
    return comparison.kind == Kind::kEmail || (comparison.kind == Kind::kDamerau && u < 1e-4);
}

/// A number for each level of each comparison; of a class: how often it comes up.
using Levels = std::vector<std::vector<double>>;

}  // namespace

/// Whether those whom expectation maximisation took for matches are not one person at all: there are none, and it found
/// the next best. They differ in what a person does not share, and in something more; if that is no date, in half of all.
bool Training::AreAllRelated(const Model& model, const std::vector<bool>& own, bool dates) const {
    double differ = 0, compared = 0;
    size_t usually = 0;
    bool in_own = false;
    for (size_t c = 0; c < comparisons_.size(); ++c) {
        double all = 1e-9, different = 0;
        for (LevelNumber level = 1; level <= comparisons_[c].otherwise(); ++level) {
            all += expected_[c].matched[level];
            if (Differs(model, c, level)) different += expected_[c].matched[level];
        }
        differ += different;
        compared += all;
        if (different < kUsuallyDifferent * all || all < kLeastCompared) continue;
        ++usually;
        in_own = in_own || own[c];
    }
    return in_own && usually >= 2 && (dates || differ >= kHalf * compared);
}

bool Training::Differs(const Model& model, size_t c, LevelNumber level) const {
    return level == comparisons_[c].otherwise() || (level > 1 && model.comparisons[c].u[level - 1] >= kCommon);
}

bool Training::FindRelated(Model* model) {
    const size_t count = comparisons_.size();
    bool dates = false;
    for (size_t c = 0; c < count; ++c)
        dates = dates || (comparisons_[c].kind == Kind::kDate && comparer_.comparer(c).filled() * 4 >= comparer_.records());
    std::vector<bool> own;
    for (size_t c = 0; c < count; ++c) own.push_back(IsOwn(comparisons_[c], model->comparisons[c].u[0], dates));
    if (AreAllRelated(*model, own, dates)) {
        // Beside those who are known to be related, as households are beside neighbours.
        const double known = model->related, more = model->prior, all = known + more;
        model->related = std::min(all, 0.4);
        model->expected_matches = std::min(kFewMatches, 0.1 * pairs_);
        model->prior = model->expected_matches / pairs_;
        for (auto& parameters : model->comparisons) {
            parameters.h.resize(parameters.m.size());
            for (size_t level = 0; level < parameters.m.size(); ++level)
                parameters.h[level] = (known * parameters.h[level] + more * parameters.m[level]) / all;
            parameters.m = UsualM(parameters.m.size());
            for (auto& m : parameters.m_given) m = parameters.m;
        }
        return true;
    }
    if (model->related > 0) return false;
    // What looks like matches.
    struct Seen {
        std::string_view pattern;
        double pairs, related;   // how probably it is of the second class
    };
    std::vector<Seen> seen;
    for (const uint32_t number : possible_) {
        const double pairs = probability_[number] * sample_.candidates().Count(number) / rate_;
        if (pairs < 1e-3) continue;
        const std::string_view pattern = sample_.patterns()[number];
        double compared = 0, different = 0;
        for (size_t c = 0; c < count; ++c) {
            compared += LevelIn(pattern[c]) != kMissing;
            different += LevelIn(pattern[c]) != kMissing && Differs(*model, c, LevelIn(pattern[c]));
        }
        seen.push_back({pattern, pairs, different > kFewDiffer * compared ? 1.0 : 0.0});
    }
    // Two classes among them, by expectation maximisation.
    Levels same, related;
    double matches = 0, relatives = 0;
    for (int round = 0; round < kRounds; ++round) {
        poll_stop();
        same.assign(count, {});
        related.assign(count, {});
        for (size_t c = 0; c < count; ++c) {
            same[c].assign(comparisons_[c].otherwise() + 1, 0.1);
            related[c].assign(comparisons_[c].otherwise() + 1, 0.1);
        }
        matches = relatives = 1e-9;
        for (const Seen& s : seen) {
            matches += s.pairs * (1 - s.related);
            relatives += s.pairs * s.related;
            for (size_t c = 0; c < count; ++c) {
                same[c][LevelIn(s.pattern[c])] += s.pairs * (1 - s.related);
                related[c][LevelIn(s.pattern[c])] += s.pairs * s.related;
            }
        }
        for (Levels* of : {&same, &related})
            for (auto& levels : *of) {
                levels[kMissing] = 0;
                double sum = 0;
                for (const double x : levels) sum += x;
                for (double& x : levels) x /= sum;
            }
        Levels says(count);  // what each level adds to the weight
        for (size_t c = 0; c < count; ++c) {
            says[c].push_back(0);
            for (size_t level = 1; level < same[c].size(); ++level) says[c].push_back(std::log2(related[c][level] / same[c][level]));
        }
        const double prior = std::log2(relatives / matches);
        for (Seen& s : seen) {
            double weight = prior;
            for (size_t c = 0; c < count; ++c) weight += says[c][LevelIn(s.pattern[c])];
            s.related = ProbabilityOf(weight);
        }
    }
    // Only if they differ in what a person does not share, and in something else beside.
    size_t differ = 0;
    bool in_own = false;
    for (size_t c = 0; c < count; ++c) {
        double of_related = 0, of_same = 0;
        for (LevelNumber level = 1; level <= comparisons_[c].otherwise(); ++level)
            if (Differs(*model, c, level)) {
                of_related += related[c][level];
                of_same += same[c][level];
            }
        if (of_related < kUsuallyDifferent || of_same > kSeldomDifferent) continue;
        ++differ;
        in_own = in_own || own[c];
    }
    if (differ < 2 || !in_own || relatives < std::max(kLeastRelated, kLeastPart * (matches + relatives))) return false;
    model->related = std::min(relatives, 0.4 * pairs_) / pairs_;
    model->expected_matches = matches;
    model->prior = std::clamp(matches, 0.1, 0.4 * pairs_) / pairs_;
    for (size_t c = 0; c < count; ++c) {
        auto& parameters = model->comparisons[c];
        parameters.m.assign(same[c].begin() + 1, same[c].end());
        parameters.h.assign(related[c].begin() + 1, related[c].end());
        for (auto& m : parameters.m_given) m = parameters.m;
    }
    return true;
}

}  // namespace cdp::matching
