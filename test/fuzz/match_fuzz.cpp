// match_fuzz.cpp: any bytes as values that are compared, as rules and as thresholds.
#include "fuzz.hpp"
#include "identity/match_blocking.hpp"
#include "identity/match_clusters.hpp"
#include "identity/match_text.hpp"
#include "identity/match_training.hpp"

using namespace cdp;
using namespace cdp::matching;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::string_view a = text.substr(0, size / 2), b = text.substr(size / 2);

    const int edits = Levenshtein(a, b, 1000);
    CDP_MUST(edits == Levenshtein(b, a, 1000) && Damerau(a, b, 1000) <= edits && Damerau(b, a, 1000) == Damerau(a, b, 1000));
    CDP_MUST(Levenshtein(a, b, 2) == std::min(edits, 3));
    CDP_MUST(JaroWinkler(a, b) >= 0 && JaroWinkler(a, b) <= 1 && JaroWinkler(a, a) == 1);
    CDP_MUST(PlainText(PlainText(a)) == PlainText(a));
    CDP_MUST(Soundex(a).empty() || Soundex(a).size() == 4);
    (void)ParseDate(a);
    (void)ParseNumber(b);
    if (const auto columns = EqualColumnsOf(text)) CDP_MUST(EqualColumnsOf(RuleOf(*columns)) == columns || RuleOf(*columns).find('"') == std::string::npos);

    // Records of three columns, of every kind in turn.
    fuzz::Input input(data, size);
    const auto kind = static_cast<Kind>(input.Below(11));
    Records records({{"a", "text"}, {"b", "text"}, {"c", ""}});
    std::string_view rest = input.Rest();
    while (rest.size() >= 6 && records.size() < 40) {
        std::optional<std::string_view> values[3];
        for (auto& value : values) {
            const size_t length = static_cast<unsigned char>(rest.empty() ? 0 : rest.front()) % 12;
            value = rest.substr(0, std::min(length, rest.size()));
            rest.remove_prefix(std::min(length + 1, rest.size()));
            if (value->empty()) value.reset();
        }
        records.Add(std::to_string(records.size()), values);
    }
    if (records.size() < 2) return 0;
    std::vector<Comparison> comparisons{{"a", Kind::kJaroWinkler, UsualLevels(Kind::kJaroWinkler), true, "b"},
                                        {"b", Kind::kJaroWinkler, UsualLevels(Kind::kJaroWinkler), true, ""},
                                        {"c", kind, UsualLevels(kind), kind != Kind::kArray, ""}};
    comparisons[0].levels.insert(comparisons[0].levels.begin() + 1, MakeLevel(Test::kSwapped, 0));
    for (const auto& column : records.columns()) (void)LookAt(column);
    PairComparer comparer(records, comparisons, "GB");
    Sample sample(comparer, comparisons);
    const Blocks blocks(records, {{0}, {}});
    for (size_t rule = 0; rule < 2; ++rule) blocks.ForEach(rule, {}, [&](Pair pair) { sample.AddCandidate(pair); });
    CDP_MUST(sample.candidates().size() == uint64_t{records.size()} * (records.size() - 1) / 2);
    sample.Draw();
    const Model model = Training(comparer, comparisons, sample, 1).Run();
    Scorer scorer(comparer, model);
    std::vector<Edge> edges;
    for (uint32_t i = 0; i < records.size(); ++i)
        for (uint32_t j = i + 1; j < records.size(); ++j) {
            const double weight = scorer.Weight({i, j});
            CDP_MUST(std::isfinite(weight));
            edges.push_back({i, j, weight});
        }
    for (const uint32_t first : Cluster(records.size(), edges, {3, -6})) CDP_MUST(first < records.size());
    return 0;
}
