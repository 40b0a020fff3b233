// identity/matcher_pg.hpp: a matcher as it is configured in cdp.matcher, and its model.
#pragma once

#include "identity/match_model.hpp"
#include "identity/match_source_pg.hpp"
#include "pg/json.hpp"

namespace cdp::matching {

/// A comparison as the user asked for it; what is nothing is chosen from the column.
struct AskedComparison {
    std::string column;
    std::optional<Kind> kind;
    std::optional<std::vector<Level>> levels;
    std::optional<bool> term_frequency;
    std::optional<std::string> partner;
};

/// Reads create_matcher's comparisons. Throws what is wrong with them.
std::vector<AskedComparison> ReadComparisons(const pg::Json& json);

/// A model and its blocking rules, from JSON. Throws what is wrong with it.
struct KeptModel {
    Model model;
    std::vector<std::string> rules;
};
KeptModel ReadModel(const pg::Json& json);

/// The comparisons of `asked` with what is chosen for them; of all columns worth comparing where nothing was asked for.
std::vector<Comparison> Choose(const std::vector<AskedComparison>& asked, const Records& records);

struct Matcher {
    int64 matcher_id;
    std::string name;
    std::optional<std::string> table;        // nothing: the profiles
    Oid owner;
    double review;                           // a probability
    std::vector<AskedComparison> asked;      // empty: chosen
    std::vector<std::string> blocking;       // empty: chosen
    std::optional<KeptModel> model;
    bool matched;                            // find_matches ran since the model changed
};

/// The matcher of that name; with `lock` nobody else changes or runs it until the transaction ends. Throws
/// Error(undefined_object).
Matcher LoadMatcher(const std::string& name, bool lock);

/// Learns a model and keeps it; tells its steps.
void Train(Matcher& matcher);

/// Looks at the pairs that have to be looked at, and keeps those that are worth it; learns a model first if there is none.
/// Tells its steps.
void Find(Matcher& matcher);

/// One pair's parts as explain_match shows them: from the records as they are.
struct Explanation {
    std::vector<LevelNumber> levels;
    std::vector<float> weights;              // of the comparisons, then of their term frequencies, then of being related
};
/// Throws Error(undefined_object) if there is no such record.
Explanation Explain(const Matcher& matcher, const std::string& id_a, const std::string& id_b);

/// A NOTICE that tells how far it is.
void Tell(const std::string& what);

}  // namespace cdp::matching
