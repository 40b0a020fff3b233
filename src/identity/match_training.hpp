// identity/match_training.hpp: a model's parameters from the records themselves, without labels.
// Knows no PostgreSQL. The method, with its sources: docs/matching.md.
#pragma once

#include <array>

#include "identity/match_sample.hpp"

namespace cdp::matching {

/// Finds a model by expectation maximisation over all pairs of records, of which those that are no candidates count as
/// strangers. Which comparisons depend on each other among strangers it finds as well. What it gives depends on what
/// it was given alone.
class Training {
public:
    /// `sample` is drawn, and has the candidates, or a part of them: `rate` of all. `comparer` was made with
    /// `comparisons`. All must outlive this. Throws Error(object_not_in_prerequisite_state) where there is nothing to
    /// learn from.
    Training(const PairComparer& comparer, std::span<const Comparison> comparisons, const Sample& sample, double rate);

    Model Run();

private:
    using Sums = std::vector<double>;   // by level, kMissing too
    struct Bucket {
        double pairs = 0;    // that agree on a value of it
        double others = 0;   // how many records have the value, on average over those pairs
    };
    /// What is expected of one comparison.
    struct Expected {
        Sums matched, strangers;               // candidates that are one person; random pairs that are not
        std::array<Sums, 3> matched_given;     // the same by what the parent came to
        std::array<double, kBuckets> matched_bucket{};   // related ones too, as in what follows
        Sums related;
    };
    /// How comparison d comes out among pairs that agree in comparison c and look like strangers by all others.
    struct Dependence {
        Sums levels;            // so many pairs
        double pairs = 0;       // of all levels
        double matched = 0;     // of these so many are expected to be one person all the same
        /// The pairs of a level that are strangers.
        double Strangers(size_t level, const ModelComparison& d) const;
    };

    /// How often each level comes up among pairs that are one person, as we would guess before looking.
    static std::vector<double> UsualM(size_t levels);
    /// A better level never says less than a worse one: neighbours that would are taken together. Their m stays, their u is
    /// shared out anew.
    static void KeepOrder(const std::vector<double>& m, std::vector<double>& u);
    void CountValues();
    Model Start() const;
    void Weigh(const Model& model);
    struct Weights {
        double match, related;   // rather than strangers
    };
    Weights PatternWeights(std::string_view pattern) const;
    bool FindRelated(Model* model);
    bool AreAllRelated(const Model& model, const std::vector<bool>& own, bool dates) const;
    bool Differs(const Model& model, size_t c, LevelNumber level) const;
    void WeighPatterns(bool all);
    double Expect();
    double Improve(Model* model, bool all);
    void ImproveChance(ModelComparison* of, size_t c, double matches) const;
    void FindDependences(Model* model);
    std::vector<std::vector<Dependence>> LookForDependences(const Model& model) const;
    void Depend(Model* model, size_t child, size_t parent, const Dependence& given, double times) const;

    const PairComparer& comparer_;
    std::vector<Comparison> comparisons_;
    const Sample& sample_;
    double rate_;
    double pairs_;                                           // of all records
    std::vector<std::array<Bucket, kBuckets>> buckets_;      // by comparison
    // Of the current model:
    double prior_ = 0, related_prior_ = 0;
    bool has_related_ = false;
    std::vector<int> parents_;
    std::vector<std::array<std::array<double, 256>, 4>> weights_, related_weights_;   // by comparison, what is given, and code
    std::vector<float> probability_, related_;               // by pattern: of being one person; of being related
    double expected_related_ = 0;
    std::vector<uint32_t> possible_;                         // patterns that may be one person: the others need no second look
    std::vector<Sums> random_;                               // by comparison: levels among the random pairs
    std::vector<Expected> expected_;
};

}  // namespace cdp::matching
