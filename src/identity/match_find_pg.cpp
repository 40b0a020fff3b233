// identity/match_find_pg.cpp: training, and looking for matches. See matcher_pg.hpp.
#include <algorithm>
#include <boost/pending/disjoint_sets.hpp>
#include <cmath>
#include <numeric>

#include "identity/match_blocking.hpp"
#include "identity/match_prints_pg.hpp"
#include "identity/match_report.hpp"
#include "identity/match_training.hpp"
#include "identity/matcher_pg.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "utils/float.h"
}

namespace cdp::matching {

namespace {

constexpr long kPairsAFetch = 20'000;
constexpr double kTrainingPairs = 5e6;      // are enough to learn from
constexpr size_t kLargestCompleted = 200;   // records of a group whose every pair is looked at

std::string Counted(double number, const char* what) {
    char text[48];
    pg_snprintf(text, sizeof text, "%.0f %s", number, what);
    return text;
}

/// The pairs that blocking rules find, each once.
class Candidates {
public:
    /// `records` has the columns of the rules that ask for equal columns alone; keeps what it needs of them.
    Candidates(const Source& source, const Records& records, std::vector<std::string> rules) : source_(source) {
        std::vector<std::vector<int>> equal;
        for (auto& rule : rules) {
            if (const auto columns = EqualColumns(records, rule)) {
                equal.push_back(*columns);
                equal_rules_.push_back(std::move(rule));
            } else {
                sql_rules_.push_back(std::move(rule));
            }
        }
        blocks_.emplace(records, std::move(equal));
        if (!sql_rules_.empty())
            for (uint32_t i = 0; i < records.size(); ++i) numbers_.Add(records.key(i));
    }

    /// How many pairs there will be, as far as that is known before.
    double Estimate() const {
        double pairs = 0;
        for (size_t i = 0; i < blocks_->rules(); ++i) pairs += blocks_->Estimate(i);
        return pairs;
    }

    template <class F>
    void ForEach(const std::vector<bool>& fresh, bool tell, F&& visit) const {
        uint64_t pairs = 0;
        const auto counted = [&](Pair pair) {
            ++pairs;
            visit(pair);
        };
        const auto done = [&](const std::string& rule) {
            if (tell) Tell("pairs where " + rule + ": " + std::to_string(pairs));
            pairs = 0;
        };
        for (size_t i = 0; i < equal_rules_.size(); ++i) {
            blocks_->ForEach(i, fresh, counted);
            done(equal_rules_[i]);
        }
        for (size_t i = 0; i < sql_rules_.size(); ++i) {
            Stream(i, fresh, counted);
            done(sql_rules_[i]);
        }
    }

private:
    static std::optional<std::vector<int>> EqualColumns(const Records& records, const std::string& rule) {
        const auto names = EqualColumnsOf(rule);
        if (!names) return std::nullopt;
        std::vector<int> columns;
        for (const auto& name : *names) {
            columns.push_back(records.Find(name));
            if (columns.back() < 0 || !records.columns()[columns.back()].whole) return std::nullopt;
        }
        return columns;
    }

    /// The server joins, by a rule of any kind; its rows are never all in memory.
    template <class F>
    void Stream(size_t rule, const std::vector<bool>& fresh, F&& visit) const {
        const pg::ActAs owner(source_.owner(), true);
        pg::Cursor cursor(source_.PairsQuery(sql_rules_[rule], std::span(sql_rules_).first(rule)), {}, true);
        for (pg::Rows rows; !(rows = cursor.Fetch(kPairsAFetch)).empty();) {
            poll_stop();
            for (uint64 i = 0; i < rows.size(); ++i) {
                const uint32_t a = numbers_.Find(pg::Bytes(*rows.Get(i, 1))), b = numbers_.Find(pg::Bytes(*rows.Get(i, 2)));
                if (a == 0 || b == 0 || a == b) continue;
                const Pair pair{std::min(a, b) - 1, std::max(a, b) - 1};
                if (!fresh.empty() && !fresh[pair.a] && !fresh[pair.b]) continue;
                if (!blocks_->HoldsAny(blocks_->rules(), pair)) visit(pair);
            }
        }
    }

    const Source& source_;
    std::vector<std::string> equal_rules_, sql_rules_;
    std::optional<Blocks> blocks_;
    Texts numbers_;   // keys, numbered as the records, from 1
};

/// The columns that a matcher compares, and those that its rules ask to be equal.
std::vector<std::string> ColumnsFor(Source& source, std::vector<std::string> columns, std::span<const std::string> rules) {
    for (const auto& column : columns) source.Need(column);
    for (const auto& rule : rules)
        for (const auto& column : EqualColumnsOf(rule).value_or(std::vector<std::string>()))
            if (source.Has(column) && std::find(columns.begin(), columns.end(), column) == columns.end()) columns.push_back(column);
    return columns;
}

std::vector<Comparison> ComparisonsOf(const Model& model) {
    std::vector<Comparison> comparisons;
    for (const auto& c : model.comparisons) comparisons.push_back(c.comparison);
    return comparisons;
}

std::vector<std::string> ColumnsOf(std::span<const Comparison> comparisons) {
    std::vector<std::string> columns;
    for (const auto& comparison : comparisons) columns.push_back(comparison.column);
    return columns;
}

const std::vector<std::string>& RulesOf(const Matcher& matcher) {
    return matcher.blocking.empty() ? matcher.model->rules : matcher.blocking;
}

std::string Region() { return pg::default_region != nullptr ? pg::default_region : ""; }

/// Matches that were found, with what is known of them.
struct Scored {
    Pair pair;
    float weight;
};

/// Looks at all pairs of records that hang together by matches, and were in no block together: what they weigh decides
/// whether they are one person.
void Complete(std::vector<Scored>& found, uint32_t records, Scorer& scorer, double review) {
    std::vector<uint32_t> rank(records), group(records);
    std::iota(group.begin(), group.end(), 0u);
    boost::disjoint_sets sets(rank.data(), group.data());
    for (const Scored& s : found)
        if (s.weight >= 0) sets.union_set(s.pair.a, s.pair.b);
    std::vector<uint32_t> order(records);
    std::iota(order.begin(), order.end(), 0u);
    for (uint32_t i = 0; i < records; ++i) group[i] = sets.find_set(i);
    std::sort(order.begin(), order.end(), [&](uint32_t x, uint32_t y) { return std::tie(group[x], x) < std::tie(group[y], y); });
    const auto by_pair = [](const Scored& x, const Scored& y) { return std::tie(x.pair.a, x.pair.b) < std::tie(y.pair.a, y.pair.b); };
    std::sort(found.begin(), found.end(), by_pair);
    std::vector<Scored> more;
    for (size_t begin = 0, end; begin < order.size(); begin = end) {
        for (end = begin + 1; end < order.size() && group[order[end]] == group[order[begin]];) ++end;
        if (end - begin < 3 || end - begin > kLargestCompleted) continue;
        poll_stop();
        for (size_t i = begin; i < end; ++i)
            for (size_t j = i + 1; j < end; ++j) {
                const Scored pair{{order[i], order[j]}, 0};
                if (std::binary_search(found.begin(), found.end(), pair, by_pair)) continue;
                if (const double weight = scorer.Weight(pair.pair); weight >= review) more.push_back({pair.pair, static_cast<float>(weight)});
            }
    }
    found.insert(found.end(), more.begin(), more.end());
}

Datum ArrayOf(std::vector<Datum>& elements, Oid type, int16 length, char align) {
    return pg::Call([&] {
        return PointerGetDatum(construct_array(elements.data(), static_cast<int>(elements.size()), type, length, true, align));
    });
}

/// Replaces what was found before and is no more, or has changed. What somebody decided stays decided.
void Keep(const Matcher& matcher, const Records& records, std::vector<Scored>& found, Scorer& scorer, const std::vector<bool>& fresh) {
    const auto name = pg::Text(matcher.name);
    // In the order of the index on their keys.
    std::sort(found.begin(), found.end(), [&](const Scored& x, const Scored& y) {
        return std::pair(records.key(x.pair.a), records.key(x.pair.b)) < std::pair(records.key(y.pair.a), records.key(y.pair.b));
    });
    pg::StagedRows staged("cdp_found", {{"id_a", TEXTOID}, {"id_b", TEXTOID}, {"weight", FLOAT8OID}, {"probability", FLOAT8OID},
                                        {"levels", INT2ARRAYOID}, {"weights", FLOAT4ARRAYOID}}, pg::StagedRows::kMany);
    pg::Scratch memory;
    std::vector<Scorer::Part> parts;
    for (const Scored& s : found) {
        double related;
        scorer.Explain(s.pair, &parts, &related);
        const pg::Scratch::Use use(memory);
        std::vector<Datum> levels, weights;
        double weight = scorer.prior() + related;
        for (const auto& part : parts) {
            levels.push_back(Int16GetDatum(part.level));
            weights.push_back(Float4GetDatum(static_cast<float>(part.weight)));
            weight += part.weight + part.frequency;
        }
        for (const auto& part : parts) weights.push_back(Float4GetDatum(static_cast<float>(part.frequency)));
        weights.push_back(Float4GetDatum(static_cast<float>(related)));
        staged.Add({pg::TextDatum(records.key(s.pair.a)), pg::TextDatum(records.key(s.pair.b)), Float8GetDatum(weight),
                    Float8GetDatum(ProbabilityOf(weight)), ArrayOf(levels, INT2OID, 2, TYPALIGN_SHORT), ArrayOf(weights, FLOAT4OID, 4, TYPALIGN_INT)});
        if ((staged.size() & 1023) == 0) memory.Reset();
    }
    if (fresh.empty()) {
        // Nothing is carried over but decisions: quicker than to look each up.
        pg::Execute("DELETE FROM cdp.match m WHERE matcher = $1 AND status = 'pending'", {name});
    } else {
        pg::StagedRows touched("cdp_unchanged", {{"id", TEXTOID}}, pg::StagedRows::kMany);
        for (uint32_t i = 0; i < records.size(); ++i)
            if (!fresh[i]) {
                const pg::Scratch::Use use(memory);
                touched.Add({pg::TextDatum(records.key(i))});
                if ((i & 1023) == 0) memory.Reset();
            }
        for (const char* id : {"id_a", "id_b"})
            pg::Execute(std::string("DELETE FROM cdp.match m WHERE matcher = $1 AND status = 'pending'"
                                    " AND NOT EXISTS (SELECT FROM cdp_unchanged u WHERE u.id = m.") + id + ")", {name});
    }
    // Where there is nothing to meet, it is quicker not to look.
    const bool alone = pg::Query("SELECT FROM cdp.match WHERE matcher = $1 LIMIT 1", {name}).empty();
    pg::Execute(std::string("INSERT INTO cdp.match AS m (match_id, matcher, id_a, id_b, weight, probability, levels, weights)"
                            " SELECT nextval('cdp.match_id_seq'), $1, id_a, id_b, weight, probability, levels, weights FROM cdp_found") +
                (alone ? "" : " ON CONFLICT (matcher, id_a, id_b) DO UPDATE SET weight = excluded.weight, probability = excluded.probability,"
                              " levels = excluded.levels, weights = excluded.weights"), {name});
}

/// One run over the records: what is prepared to learn from them serves to search them.
class Run {
public:
    explicit Run(Matcher& matcher) : matcher_(matcher), source_(matcher.table, matcher.owner) {}
    /// Learns a model and keeps it.
    void Train();
    /// Needs a model.
    void Find();

private:
    /// What is to be compared: as it was asked for, or chosen among the first `compared` columns of the records.
    std::vector<Comparison> ChooseComparisons(const std::vector<std::string>& columns, size_t compared) const;
    std::vector<std::string> ChooseBlocking(std::span<const Comparison> comparisons) const;
    void Prepare(std::span<const Comparison> comparisons, const std::vector<std::string>& rules);

    Matcher& matcher_;
    Source source_;
    std::optional<Records> records_;       // once prepared, their keys alone
    std::optional<Prints> prints_;
    std::optional<PairComparer> comparer_;
    std::optional<Candidates> candidates_;
};

std::vector<Comparison> Run::ChooseComparisons(const std::vector<std::string>& columns, size_t compared) const {
    auto comparisons = Choose(matcher_.asked, *records_);
    if (matcher_.asked.empty()) {
        // Columns that only rules need are not chosen.
        const auto end = columns.begin() + static_cast<std::ptrdiff_t>(compared);
        std::erase_if(comparisons, [&](const Comparison& c) { return std::find(columns.begin(), end, c.column) == end; });
    }
    if (comparisons.empty())
        throw Error(sqlstate::object_not_in_prerequisite_state, "matcher \"" + matcher_.name + "\" finds nothing to compare")
            .Hint("Every column of " + source_.what() + " is empty, or the same in all records. Name columns to compare.");
    return comparisons;
}

std::vector<std::string> Run::ChooseBlocking(std::span<const Comparison> comparisons) const {
    std::vector<int> usable;
    for (const auto& comparison : comparisons)
        if (const int column = records_->Find(comparison.column); records_->columns()[column].whole) usable.push_back(column);
    std::vector<std::string> rules;
    for (const auto& rule : ChooseRules(*records_, usable)) {
        std::vector<std::string> names;
        for (const int column : rule) names.push_back(records_->columns()[column].name);
        rules.push_back(RuleOf(names));
    }
    return rules;
}

void Run::Prepare(std::span<const Comparison> comparisons, const std::vector<std::string>& rules) {
    prints_.emplace(*records_, ColumnsFor(source_, ColumnsOf(comparisons), rules));
    comparer_.emplace(*records_, comparisons, Region());
    candidates_.emplace(source_, *records_, rules);
    records_->ForgetValues();
}

void Run::Train() {
    std::vector<std::string> columns;
    if (matcher_.asked.empty()) columns = source_.UsualColumns();
    for (const auto& asked : matcher_.asked) columns.push_back(asked.column);
    const size_t compared = columns.size();
    columns = ColumnsFor(source_, std::move(columns), matcher_.blocking);
    records_ = source_.Load(columns);
    Tell("training matcher \"" + matcher_.name + "\": " + Counted(records_->size(), "records of ") + source_.what());

    const auto comparisons = ChooseComparisons(columns, compared);
    const auto rules = matcher_.blocking.empty() ? ChooseBlocking(comparisons) : matcher_.blocking;
    Prepare(comparisons, rules);
    const double rate = std::min(1.0, kTrainingPairs / std::max(candidates_->Estimate(), 1.0));
    const auto limit = static_cast<uint64_t>(rate * 0x1p63);
    Sample sample(*comparer_, comparisons);
    Grouped candidates(*comparer_, [&](Pair pair) { sample.AddCandidate(pair); });
    candidates_->ForEach({}, true, [&](Pair pair) {
        const uint64_t dice = ((uint64_t{pair.a} << 32 | pair.b) * 0x9E3779B97F4A7C15u) >> 1;
        if (rate >= 1 || (dice ^ dice >> 31) % (uint64_t{1} << 63) < limit) candidates.Add(pair);
    });
    candidates.Finish();
    sample.Draw();
    matcher_.model = KeptModel{Training(*comparer_, comparisons, sample, rate).Run(), rules};
    Tell("expected matches: " + Counted(matcher_.model->model.expected_matches, "pairs"));
    pg::Execute("UPDATE cdp.matcher SET model = $2::jsonb, trained_at = now(), matched_at = NULL WHERE matcher_id = $1",
                {pg::Int8(matcher_.matcher_id), pg::Text(ModelJson(matcher_.model->model, rules))});
    matcher_.matched = false;
}

void Run::Find() {
    const Model& model = matcher_.model->model;
    if (!comparer_) {
        const auto& rules = RulesOf(matcher_);
        const auto comparisons = ComparisonsOf(model);
        records_ = source_.Load(ColumnsFor(source_, ColumnsOf(comparisons), rules));
        Prepare(comparisons, rules);
    }
    std::vector<bool> fresh;
    if (matcher_.matched) fresh = prints_->Fresh(matcher_.matcher_id);
    const auto looked = fresh.empty() ? records_->size() : std::count(fresh.begin(), fresh.end(), true);
    Tell("matcher \"" + matcher_.name + "\": " + Counted(records_->size(), "records of ") + source_.what() + ", of which " +
         std::to_string(looked) + " are looked at");

    Scorer scorer(*comparer_, model);
    const double review = WeightOf(matcher_.review);
    std::vector<Scored> found;
    if (looked > 0) {
        Grouped candidates(*comparer_, [&](Pair pair) {
            if (const double weight = scorer.Weight(pair); weight >= review) found.push_back({pair, static_cast<float>(weight)});
        });
        candidates_->ForEach(fresh, true, [&](Pair pair) { candidates.Add(pair); });
        candidates.Finish();
        Complete(found, records_->size(), scorer, review);
    }
    Keep(matcher_, *records_, found, scorer, fresh);
    prints_->Store(matcher_.matcher_id);
    pg::Execute("UPDATE cdp.matcher SET matched_at = now(), records = $2 WHERE matcher_id = $1",
                {pg::Int8(matcher_.matcher_id), pg::Int8(records_->size())});
}

}  // namespace

void Train(Matcher& matcher) { Run(matcher).Train(); }

void Find(Matcher& matcher) {
    Run run(matcher);
    if (!matcher.model) run.Train();
    run.Find();
}

Explanation Explain(const Matcher& matcher, const std::string& id_a, const std::string& id_b) {
    const Model& model = matcher.model->model;
    Source source(matcher.table, matcher.owner);
    const auto comparisons = ComparisonsOf(model);
    const Records records = source.Load(ColumnsFor(source, ColumnsOf(comparisons), {}));
    Pair pair{UINT32_MAX, UINT32_MAX};
    for (uint32_t i = 0; i < records.size(); ++i) {
        if (records.key(i) == id_a) pair.a = i;
        if (records.key(i) == id_b) pair.b = i;
    }
    for (const auto& [number, id] : {std::pair(pair.a, id_a), std::pair(pair.b, id_b)})
        if (number == UINT32_MAX) throw Error(sqlstate::undefined_object, "record \"" + id + "\" of " + source.what() + " does not exist");
    PairComparer comparer(records, comparisons, Region());
    Scorer scorer(comparer, model);
    std::vector<Scorer::Part> parts;
    double related;
    scorer.Explain(pair, &parts, &related);
    Explanation explanation;
    for (const auto& part : parts) {
        explanation.levels.push_back(part.level);
        explanation.weights.push_back(static_cast<float>(part.weight));
    }
    for (const auto& part : parts) explanation.weights.push_back(static_cast<float>(part.frequency));
    explanation.weights.push_back(static_cast<float>(related));
    return explanation;
}

}  // namespace cdp::matching
