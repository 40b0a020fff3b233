// identity/matcher_pg.cpp: what cdp.matcher says. See matcher_pg.hpp.
#include "identity/matcher_pg.hpp"

#include <cmath>
#include <set>

#include "identity/match_report.hpp"

extern "C" {
#include "utils/acl.h"
}

namespace cdp::matching {

namespace {

Error Wrong(const std::string& what) { return Error(sqlstate::invalid_parameter_value, what); }

double NumberOf(const pg::Json& json, const std::string& what) {
    if (!json.IsNumber()) throw Wrong(what + " must be a number");
    return std::strtod(json.NumberText().c_str(), nullptr);
}

double ProbabilityIn(const pg::Json& object, const char* key, const std::string& where) {
    const auto value = object.Find(key);
    if (!value) throw Wrong(where + " has no \"" + key + "\"");
    const double probability = NumberOf(*value, std::string("\"") + key + "\" of " + where);
    if (!(probability >= 0 && probability <= 1)) throw Wrong(std::string("\"") + key + "\" of " + where + " must be between 0 and 1");
    return probability;
}

std::string StringIn(const pg::Json& object, const char* key, const std::string& where) {
    const auto value = object.Find(key);
    if (!value || !value->IsString()) throw Wrong(where + " has no text \"" + key + "\"");
    return std::string(value->String());
}

/// A level that the user wrote: a threshold of the kind's test, or {"test": threshold}.
void ReadLevel(const pg::Json& json, std::vector<std::string>* thresholds, std::vector<Level>* levels) {
    if (json.IsObject()) {
        json.ForEach([&](std::string_view key, const pg::Json& value) {
            levels->push_back(MakeLevel(TestNamed(key), NumberOf(value, "the threshold of \"" + std::string(key) + "\"")));
        });
    } else if (json.IsNumber() || json.IsString()) {
        thresholds->push_back(json.ToText());
    } else {
        throw Wrong("a level must be a number, a text or an object").Hint("As in 0.92, \"1 month\" or {\"levenshtein\": 1}.");
    }
}

AskedComparison ReadComparison(const pg::Json& json) {
    AskedComparison asked;
    if (json.IsString()) {
        asked.column = json.String();
        return asked;
    }
    if (!json.IsObject()) throw Wrong("a comparison must be an object").Hint("As in {\"column\": \"surname\", \"kind\": \"jaro_winkler\"}.");
    asked.column = StringIn(json, "column", "a comparison");
    const std::string where = "the comparison of \"" + asked.column + "\"";
    std::optional<pg::Json> levels;
    json.ForEach([&](std::string_view key, const pg::Json& value) {
        if (key == "kind") {
            if (!value.IsNull()) asked.kind = KindNamed(value.ToText());
        } else if (key == "term_frequency") {
            if (!value.IsBool()) throw Wrong("\"term_frequency\" of " + where + " must be true or false");
            asked.term_frequency = value.Boolean();
        } else if (key == "swapped_with") {
            asked.partner = value.IsNull() ? std::string() : value.ToText();
        } else if (key == "levels") {
            if (!value.IsArray()) throw Wrong("\"levels\" of " + where + " must be an array");
            levels = value;
        } else if (key != "column") {
            throw Wrong(where + " has an unknown key \"" + std::string(key) + "\"")
                .Hint("There are column, kind, levels, term_frequency and swapped_with.");
        }
    });
    if (levels) {
        std::vector<std::string> thresholds;
        std::vector<Level> tested;
        for (uint32 i = 0; i < levels->ArraySize(); ++i) ReadLevel(levels->Element(i), &thresholds, &tested);
        if (!thresholds.empty() && !asked.kind) asked.kind = Kind::kJaroWinkler;
        if (!thresholds.empty() && std::any_of(thresholds.begin(), thresholds.end(), [](const auto& t) { return std::strtod(t.c_str(), nullptr) > 1; }) && !json.Find("kind"))
            throw Wrong(where + " has levels but no kind").Hint("What a level means depends on the kind.");
        asked.levels = LevelsAt(asked.kind.value_or(Kind::kExact), thresholds);
        for (auto& level : tested)
            if (level.test != Test::kEqual && level.test != Test::kSwapped) asked.levels->push_back(std::move(level));
    }
    return asked;
}

void CheckSize(size_t comparisons) {
    if (comparisons > kMostComparisons)
        throw Error(sqlstate::program_limit_exceeded, "a matcher has at most " + std::to_string(kMostComparisons) + " comparisons");
}

ModelComparison ReadModelComparison(const pg::Json& json) {
    ModelComparison result;
    auto& comparison = result.comparison;
    comparison.column = StringIn(json, "column", "a comparison of the model");
    const std::string where = "the model's comparison of \"" + comparison.column + "\"";
    comparison.kind = KindNamed(StringIn(json, "kind", where));
    const auto frequency = json.Find("term_frequency");
    comparison.term_frequency = frequency && frequency->IsBool() && frequency->Boolean();
    if (const auto partner = json.Find("swapped_with")) comparison.partner = partner->ToText();
    const auto levels = json.Find("levels");
    if (!levels || !levels->IsArray() || levels->ArraySize() < 2 || levels->ArraySize() > kMostLevels + 1)
        throw Wrong(where + " must have 2 to " + std::to_string(kMostLevels + 1) + " levels");
    for (uint32 i = 0; i < levels->ArraySize(); ++i) {
        const pg::Json level = levels->Element(i);
        if (i + 1 < levels->ArraySize()) {
            const auto at = level.Find("at");
            comparison.levels.push_back(MakeLevel(TestNamed(StringIn(level, "test", where)), at ? NumberOf(*at, "\"at\" of " + where) : 0));
        }
        result.m.push_back(ProbabilityIn(level, "m", where));
        result.u.push_back(ProbabilityIn(level, "u", where));
        if (level.Find("h")) result.h.push_back(ProbabilityIn(level, "h", where));
        const auto given = level.Find("given");
        for (size_t state = 0; state < 3; ++state) {
            const auto one = given ? given->Find(kGivenNames[state]) : std::nullopt;
            result.m_given[state].push_back(one ? ProbabilityIn(*one, "m", where) : result.m.back());
            result.u_given[state].push_back(one ? ProbabilityIn(*one, "u", where) : result.u.back());
        }
    }
    if (comparison.levels[0].test != Test::kEqual) throw Wrong("the first level of " + where + " must be \"equal\"");
    for (const auto& level : comparison.levels)
        if (level.test == Test::kSwapped && comparison.partner.empty()) throw Wrong(where + " has no \"swapped_with\"");
    if (!result.h.empty() && result.h.size() != result.m.size()) throw Wrong("not all levels of " + where + " have \"h\"");
    result.strangers.assign(kBuckets, 1);
    if (const auto strangers = json.Find("strangers"); strangers && strangers->IsArray())
        for (uint32 b = 0; b < std::min<uint32>(strangers->ArraySize(), kBuckets); ++b)
            result.strangers[b] = std::clamp(NumberOf(strangers->Element(b), "\"strangers\" of " + where), 0.0, 1.0);
    return result;
}

}  // namespace

void Tell(const std::string& what) {
    pg::Call([&] { ereport(NOTICE, (errmsg_internal("%s", what.c_str()))); });
}

std::vector<AskedComparison> ReadComparisons(const pg::Json& json) {
    if (!json.IsArray()) throw Wrong("comparisons must be an array").Hint("As in [{\"column\": \"surname\"}, {\"column\": \"email\", \"kind\": \"email\"}].");
    std::vector<AskedComparison> asked;
    CheckSize(json.ArraySize());
    for (uint32 i = 0; i < json.ArraySize(); ++i) asked.push_back(ReadComparison(json.Element(i)));
    std::set<std::string> columns;
    for (const auto& comparison : asked)
        if (!columns.insert(comparison.column).second) throw Error(sqlstate::duplicate_object, "column \"" + comparison.column + "\" is compared twice");
    for (const auto& comparison : asked)
        if (comparison.partner && !comparison.partner->empty() && columns.count(*comparison.partner) == 0)
            throw Error(sqlstate::undefined_column, "column \"" + *comparison.partner + "\" is not compared itself")
                .Hint("\"swapped_with\" names another comparison's column.");
    return asked;
}

KeptModel ReadModel(const pg::Json& json) {
    if (!json.IsObject()) throw Wrong("a model must be an object");
    KeptModel kept;
    const double prior = ProbabilityIn(json, "prior", "the model");
    if (prior <= 0 || prior >= 1) throw Wrong("\"prior\" of the model must be over 0 and under 1");
    kept.model.prior = prior;
    if (json.Find("related")) kept.model.related = ProbabilityIn(json, "related", "the model");
    if (const auto records = json.Find("records")) kept.model.records = static_cast<uint64_t>(NumberOf(*records, "\"records\""));
    if (const auto matches = json.Find("expected_matches")) kept.model.expected_matches = NumberOf(*matches, "\"expected_matches\"");
    if (const auto rules = json.Find("blocking"); rules && rules->IsArray())
        for (uint32 i = 0; i < rules->ArraySize(); ++i) kept.rules.push_back(rules->Element(i).ToText());
    const auto comparisons = json.Find("comparisons");
    if (!comparisons || !comparisons->IsArray() || comparisons->ArraySize() == 0) throw Wrong("the model has no comparisons");
    CheckSize(comparisons->ArraySize());
    std::vector<std::string> depends;
    for (uint32 i = 0; i < comparisons->ArraySize(); ++i) {
        const pg::Json one = comparisons->Element(i);
        kept.model.comparisons.push_back(ReadModelComparison(one));
        if (kept.model.related > 0 && kept.model.comparisons.back().h.empty())
            throw Wrong("the model has \"related\", but not every level \"h\"");
        const auto on = one.Find("depends_on");
        depends.push_back(on ? on->ToText() : std::string());
    }
    for (size_t c = 0; c < depends.size(); ++c) {
        if (depends[c].empty()) continue;
        for (size_t other = 0; other < depends.size(); ++other)
            if (other != c && kept.model.comparisons[other].comparison.column == depends[c]) kept.model.comparisons[c].parent = static_cast<int>(other);
        if (kept.model.comparisons[c].parent < 0) throw Wrong("the model has no comparison of \"" + depends[c] + "\" to depend on");
    }
    return kept;
}

std::vector<Comparison> Choose(const std::vector<AskedComparison>& asked, const Records& records) {
    std::vector<Comparison> chosen;
    std::vector<Looks> looks;
    std::vector<bool> usual;
    const auto add = [&](const AskedComparison& a, Looks look) {
        Comparison comparison;
        comparison.column = a.column;
        comparison.kind = a.kind.value_or(look.kind);
        comparison.levels = a.levels ? *a.levels : a.kind && *a.kind != look.kind ? UsualLevels(*a.kind) : look.levels;
        comparison.term_frequency = a.term_frequency.value_or(look.term_frequency && comparison.kind != Kind::kArray);
        if (a.partner && !a.partner->empty()) {
            comparison.partner = *a.partner;
            comparison.levels.insert(comparison.levels.begin() + 1, MakeLevel(Test::kSwapped, 0));
        }
        if (comparison.levels.size() > kMostLevels)
            throw Error(sqlstate::program_limit_exceeded, "a comparison has at most " + std::to_string(kMostLevels) + " levels");
        usual.push_back(!a.kind && !a.levels && !a.partner);
        chosen.push_back(std::move(comparison));
        looks.push_back(std::move(look));
    };
    for (const auto& a : asked) add(a, LookAt(records.columns()[records.Find(a.column)]));
    if (asked.empty())
        for (const auto& column : records.columns())
            if (Looks look = LookAt(column); look.worth_comparing && chosen.size() < kMostComparisons) {
                AskedComparison nothing;
                nothing.column = column.name;
                add(nothing, std::move(look));
            }
    FindPartners(records, looks, usual, chosen);
    return chosen;
}

Matcher LoadMatcher(const std::string& name, bool lock) {
    const auto rows = pg::Query(std::string("SELECT matcher_id, source, owner::text, review, comparisons, blocking, model, matched_at IS NOT NULL"
                                            " FROM cdp.matcher WHERE name = $1") + (lock ? " FOR UPDATE" : ""), {pg::Text(name)});
    if (rows.empty())
        throw Error(sqlstate::undefined_object, "matcher \"" + name + "\" does not exist").Hint("Make it with cdp.create_matcher.");
    Matcher matcher{};
    matcher.matcher_id = rows.Int8(0, 1);
    matcher.name = name;
    matcher.table = rows.OptionalText(0, 2);
    const std::string owner = rows.Text(0, 3);
    matcher.owner = pg::Call([&] { return get_role_oid(owner.c_str(), true); });
    if (!OidIsValid(matcher.owner))
        throw Error(sqlstate::undefined_object, "role \"" + owner + "\", which matcher \"" + name + "\" belongs to, does not exist")
            .Hint("cdp.alter_matcher gives it to who calls that.");
    matcher.review = DatumGetFloat8(*rows.Get(0, 4));
    if (const auto comparisons = rows.Get(0, 5)) matcher.asked = ReadComparisons(pg::Json(pg::Unpacked(*comparisons)));
    if (const auto blocking = rows.Get(0, 6)) matcher.blocking = pg::TextArray(*blocking);
    if (const auto model = rows.Get(0, 7)) matcher.model = ReadModel(pg::Json(pg::Unpacked(*model)));
    matcher.matched = rows.Bool(0, 8);
    return matcher;
}

}  // namespace cdp::matching
