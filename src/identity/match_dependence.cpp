// identity/match_dependence.cpp: which comparisons depend on each other among strangers, as the town does on the postcode.
// Counted as independent, they would be counted twice. A comparison may depend on one other (Chow and Liu 1968, with the
// bits that would be counted twice in the place of mutual information). See match_training.hpp.
#include <algorithm>
#include <boost/pending/disjoint_sets.hpp>
#include <cmath>
#include <numeric>

#include "identity/match_training.hpp"
#include "pg/error.hpp"

namespace cdp::matching {

namespace {

constexpr double kLeastShare = 0.1;       // of the pairs that agree: where fewer are strangers, these are not well told apart
constexpr double kLeastPairs = 20;        // of strangers: fewer show nothing
constexpr double kLeastAgreeing = 10;     // more than by chance
constexpr double kDeviations = 4;         // of chance, that they must be beyond it
constexpr double kUsual = 5;              // so many of a level have to be seen until they count half
constexpr double kLeastTimes = 2;         // as often as by chance: more seldom is no dependence
constexpr double kStranger = 0.5;         // who is less probable than that one person, the rest being known

struct Tie {
    double bits;
    size_t a, b;
};

}  // namespace

double Training::Dependence::Strangers(size_t level, const ModelComparison& d) const {
    return std::max(0.0, levels[level] - matched * d.m[level - 1]);
}

/// By what the others say, leaving d out: else who agrees in both would never be taken for a stranger, and the
/// dependence never be seen.
std::vector<std::vector<Training::Dependence>> Training::LookForDependences(const Model& model) const {
    const size_t count = comparisons_.size();
    std::vector<std::vector<Dependence>> found(count, std::vector<Dependence>(count));
    for (auto& row : found)
        for (size_t d = 0; d < count; ++d) row[d].levels.resize(comparisons_[d].otherwise() + 1);
    std::vector<double> says(count), related_says(count), freed(count);
    for (size_t c = 0; c < count; ++c) {
        poll_stop();
        sample_.agreeing(c).ForEach([&](uint32_t number, double pairs) {
            const std::string_view pattern = sample_.patterns()[number];
            double weight = prior_, as_related = related_prior_;
            std::fill(freed.begin(), freed.end(), 0);
            for (size_t e = 0; e < count; ++e) {
                const int parent = model.comparisons[e].parent;
                const Given given = parent < 0 ? kGivenNothing : GivenBy(LevelIn(pattern[parent]), comparisons_[parent].otherwise());
                const auto code = static_cast<uint8_t>(pattern[e]);
                says[e] = weights_[e][given][code];
                weight += says[e];
                if (has_related_) as_related += related_says[e] = related_weights_[e][given][code];
                // What depended on one that is left out stands for itself.
                if (parent >= 0) freed[parent] += weights_[e][kGivenNothing][code] - says[e];
            }
            for (size_t d = 0; d < count; ++d) {
                const LevelNumber level = LevelIn(pattern[d]);
                if (d == c || level == kMissing) continue;
                const double match = std::exp2(std::min(weight - says[d] + freed[d], 200.0));
                const double related = has_related_ ? std::exp2(std::min(as_related - related_says[d], 200.0)) : 0;
                const double probability = (match + related) / (1 + match + related);
                if (probability >= kStranger) continue;
                found[c][d].levels[level] += pairs;
                found[c][d].pairs += pairs;
                found[c][d].matched += probability * pairs;
            }
        });
    }
    return found;
}

void Training::Depend(Model* model, size_t child, size_t parent, const Dependence& given, double times) const {
    auto& parameters = model->comparisons[child];
    parameters.parent = static_cast<int>(parent);
    for (size_t state = 0; state < 3; ++state) {
        parameters.m_given[state] = parameters.m;
        parameters.u_given[state] = parameters.u;
    }
    // What was seen so rarely that it could be chance is drawn to what is usual.
    const auto rate = [&](double seen, double pairs, double usual) { return (seen + kUsual) / (pairs + kUsual / std::max(usual, kLeastProbability)); };
    // Where the parent agrees: as seen, or, if that was too little, so that both agree as often as the other way round;
    // never less often than elsewhere.
    auto& equal = parameters.u_given[kGivenEqual];
    double strangers = 0;
    for (size_t level = 1; level <= equal.size(); ++level) strangers += given.Strangers(level, parameters);
    const bool seen = strangers >= kLeastShare * static_cast<double>(sample_.agreeing(parent).size());
    for (size_t level = 1; level <= equal.size(); ++level) {
        const double usual = parameters.u[level - 1];
        double u = seen ? rate(given.Strangers(level, parameters), strangers, usual) : level == 1 ? std::min(0.9, times * usual) : usual;
        if (level < equal.size()) u = std::max(u, usual);
        equal[level - 1] = u;
    }
    // Elsewhere as the random pairs show.
    double pairs[3] = {};
    std::vector<double> levels[3];
    for (auto& sums : levels) sums.resize(equal.size() + 1);
    sample_.random().ForEach([&](uint32_t number, double count) {
        const std::string_view pattern = sample_.patterns()[number];
        const Given state = GivenBy(LevelIn(pattern[parent]), comparisons_[parent].otherwise());
        const LevelNumber level = LevelIn(pattern[child]);
        if (state == kGivenNothing || level == kMissing) return;
        levels[state][level] += (1 - probability_[number] - related_[number]) * count;
        pairs[state] += (1 - probability_[number] - related_[number]) * count;
    });
    for (const Given state : {kGivenAlike, kGivenDifferent})
        for (size_t level = 1; level <= equal.size(); ++level)
            parameters.u_given[state][level - 1] = rate(levels[state][level], pairs[state], parameters.u[level - 1]);
    for (size_t state = 0; state < 3; ++state) KeepOrder(parameters.m_given[state], parameters.u_given[state]);
}

void Training::FindDependences(Model* model) {
    const size_t count = comparisons_.size();
    Weigh(*model);
    const auto found = LookForDependences(*model);
    // How many times more often than by chance strangers who agree in c reach a level of d, or a better one: of the level
    // where that is most.
    const auto times = [&](size_t c, size_t d) {
        const Dependence& seen = found[c][d];
        const auto& other = model->comparisons[d];
        const double strangers = seen.pairs - seen.matched;
        if (strangers < std::max(kLeastPairs, kLeastShare * static_cast<double>(sample_.agreeing(c).size()))) return 0.0;
        double most = 0, reached = 0, by_strangers = 0, by_matches = 0;
        for (size_t level = 1; level < other.comparison.otherwise(); ++level) {
            reached += seen.levels[level];
            by_strangers += strangers * other.u[level - 1];
            by_matches += seen.matched * other.m[level - 1];
            const double chance = by_strangers + by_matches;
            if (reached >= kLeastTimes * chance && reached >= chance + kDeviations * std::sqrt(chance) + kLeastAgreeing)
                most = std::max(most, (reached - by_matches) / by_strangers);
        }
        return most;
    };
    std::vector<Tie> ties;
    for (size_t a = 0; a < count; ++a)
        for (size_t b = a + 1; b < count; ++b)
            if (const double most = std::max(times(a, b), times(b, a)); most > 0) ties.push_back({std::log2(most), a, b});
    std::stable_sort(ties.begin(), ties.end(), [](const Tie& x, const Tie& y) { return x.bits > y.bits; });

    std::vector<size_t> rank(count), tree(count);
    std::iota(tree.begin(), tree.end(), size_t{0});
    boost::disjoint_sets sets(rank.data(), tree.data());
    std::vector<std::vector<size_t>> tied(count);
    for (const Tie& tie : ties) {
        if (sets.find_set(tie.a) == sets.find_set(tie.b)) continue;
        sets.union_set(tie.a, tie.b);
        tied[tie.a].push_back(tie.b);
        tied[tie.b].push_back(tie.a);
    }
    for (auto& comparison : model->comparisons) comparison.parent = -1;
    // From the one in which strangers agree most often, of which most is known.
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return model->comparisons[a].u[0] > model->comparisons[b].u[0]; });
    std::vector<bool> seen(count);
    for (const size_t root : order) {
        if (seen[root]) continue;
        std::vector<size_t> reached{root};
        seen[root] = true;
        for (size_t i = 0; i < reached.size(); ++i)
            for (const size_t child : tied[reached[i]]) {
                if (seen[child]) continue;
                seen[child] = true;
                reached.push_back(child);
                Depend(model, child, reached[i], found[reached[i]][child], times(child, reached[i]));
            }
    }
}

}  // namespace cdp::matching
