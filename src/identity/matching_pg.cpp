// identity/matching_pg.cpp: SQL's doors to matching: making matchers, running them, asking them.
#include "identity/match_blocking.hpp"
#include "identity/match_clusters_pg.hpp"
#include "identity/matcher_pg.hpp"
#include "pg/arguments.hpp"
#include "pg/names.hpp"

using namespace cdp;

namespace {

std::string NameArgument(FunctionCallInfo fcinfo) {
    const auto name = pg::TextArgument(fcinfo, 0);
    if (!name) throw Error(sqlstate::null_value_not_allowed, "the name of a matcher must not be null");
    return *name;
}

double ThresholdArgument(FunctionCallInfo fcinfo, int n) {
    if (PG_ARGISNULL(n)) throw Error(sqlstate::null_value_not_allowed, "the threshold must not be null");
    const double threshold = PG_GETARG_FLOAT8(n);
    if (!(threshold >= 0 && threshold <= 1))
        throw Error(sqlstate::invalid_parameter_value, "a threshold must be between 0 and 1").Hint("It is a probability.");
    return threshold;
}

std::vector<std::string> Blocking(FunctionCallInfo fcinfo, int n) {
    if (PG_ARGISNULL(n)) return {};
    return pg::TextArray(pg::Unpacked(PG_GETARG_DATUM(n)));
}

pg::Json JsonArgument(FunctionCallInfo fcinfo, int n) { return pg::Json(pg::Unpacked(PG_GETARG_DATUM(n))); }

/// Checks what a matcher shall compare and block by, as `owner`.
void Check(const std::optional<std::string>& table, Oid owner, std::span<const std::string> columns, std::span<const std::string> rules) {
    matching::Source source(table, owner);
    for (const auto& column : columns) source.Need(column);
    for (const auto& rule : rules) {
        for (const auto& name : matching::EqualColumnsOf(rule).value_or(std::vector<std::string>())) source.Need(name);
        source.Check(rule);
    }
}

std::vector<std::string> ColumnsOf(const std::vector<matching::AskedComparison>& asked) {
    std::vector<std::string> columns;
    for (const auto& comparison : asked) columns.push_back(comparison.column);
    return columns;
}

}  // namespace

CDP_FUNCTION(cdp_create_matcher)  // cdp.create_matcher(name, comparisons, blocking, source)
{
    const Oid caller = GetUserId();
    const std::string name = NameArgument(fcinfo);
    if (name.empty() || name.size() >= NAMEDATALEN)
        throw Error(sqlstate::invalid_parameter_value, "invalid name of a matcher: \"" + name + "\"").Hint("1 to 63 bytes.");
    const auto asked = PG_ARGISNULL(1) ? std::vector<matching::AskedComparison>() : matching::ReadComparisons(JsonArgument(fcinfo, 1));
    const auto rules = Blocking(fcinfo, 2);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    std::optional<std::string> table;
    if (!PG_ARGISNULL(3)) {
        const auto found = pg::Query("SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c"
                                     " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1", {pg::Value(OIDOID, PG_GETARG_DATUM(3))}, true);
        if (found.empty()) throw Error(sqlstate::undefined_table, "the source of matcher \"" + name + "\" does not exist");
        table = found.Text(0, 1);
    }
    if (!pg::Query("SELECT FROM cdp.matcher WHERE name = $1", {pg::Text(name)}).empty())
        throw Error(sqlstate::duplicate_object, "matcher \"" + name + "\" already exists").Hint("Change it with cdp.alter_matcher.");
    Check(table, caller, ColumnsOf(asked), rules);
    pg::Execute("INSERT INTO cdp.matcher (matcher_id, name, source, comparisons, blocking, owner)"
                " VALUES (nextval('cdp.matcher_id_seq'), $1, $2, $3, nullif($4, '{}'), $5)",
                {pg::Text(name), pg::TextOrNull(table), asked.empty() ? pg::Null(JSONBOID) : pg::Passed(fcinfo, 1, JSONBOID),
                 pg::Passed(fcinfo, 2, TEXTARRAYOID), pg::Text(pg::RoleName(caller))});
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_alter_matcher)  // cdp.alter_matcher(name, comparisons, blocking, model, review)
{
    const Oid caller = GetUserId();
    const std::string name = NameArgument(fcinfo);
    const bool new_comparisons = !PG_ARGISNULL(1), new_blocking = !PG_ARGISNULL(2), new_model = !PG_ARGISNULL(3);
    if (!PG_ARGISNULL(4) && !(PG_GETARG_FLOAT8(4) > 0 && PG_GETARG_FLOAT8(4) < 1))
        throw Error(sqlstate::invalid_parameter_value, "review must be over 0 and under 1").Hint("It is a probability.");
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto table = pg::Query("SELECT source, comparisons, blocking FROM cdp.matcher WHERE name = $1 FOR UPDATE", {pg::Text(name)});
    if (table.empty()) throw Error(sqlstate::undefined_object, "matcher \"" + name + "\" does not exist");
    // All of it is checked anew: it will run with the caller's rights.
    std::vector<matching::AskedComparison> asked;
    if (new_comparisons) asked = matching::ReadComparisons(JsonArgument(fcinfo, 1));
    else if (table.Get(0, 2)) asked = matching::ReadComparisons(pg::Json(pg::Unpacked(*table.Get(0, 2))));
    std::vector<std::string> rules = new_blocking ? Blocking(fcinfo, 2) : table.Get(0, 3) ? pg::TextArray(*table.Get(0, 3)) : std::vector<std::string>();
    std::vector<std::string> columns = ColumnsOf(asked);
    if (new_model) {
        const auto kept = matching::ReadModel(JsonArgument(fcinfo, 3));
        for (const auto& one : kept.model.comparisons) columns.push_back(one.comparison.column);
        rules.insert(rules.end(), kept.rules.begin(), kept.rules.end());
    }
    Check(table.OptionalText(0, 1), caller, columns, rules);
    pg::Execute("UPDATE cdp.matcher SET owner = $2, comparisons = CASE WHEN $3 IS NULL THEN comparisons ELSE nullif($3, '[]') END,"
                " blocking = CASE WHEN $4 IS NULL THEN blocking ELSE nullif($4, '{}') END,"
                " model = coalesce($5, CASE WHEN $3 IS NULL AND $4 IS NULL THEN model END), review = coalesce($6, review),"
                " matched_at = NULL WHERE name = $1",
                {pg::Text(name), pg::Text(pg::RoleName(caller)), pg::Passed(fcinfo, 1, JSONBOID), pg::Passed(fcinfo, 2, TEXTARRAYOID),
                 pg::Passed(fcinfo, 3, JSONBOID), pg::Passed(fcinfo, 4, FLOAT8OID)});
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_drop_matcher)  // cdp.drop_matcher(name)
{
    const std::string name = NameArgument(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto dropped = pg::Query("DELETE FROM cdp.matcher WHERE name = $1 RETURNING matcher_id", {pg::Text(name)});
    if (dropped.empty()) throw Error(sqlstate::undefined_object, "matcher \"" + name + "\" does not exist");
    pg::Execute("DELETE FROM cdp.matcher_seen WHERE matcher_id = $1", {pg::Int8(dropped.Int8(0, 1))});
    pg::Execute("DELETE FROM cdp.match WHERE matcher = $1", {pg::Text(name)});
    PG_RETURN_VOID();
}

CDP_FUNCTION(cdp_train_matcher)  // cdp.train_matcher(name) → jsonb
{
    const std::string name = NameArgument(fcinfo);
    const MemoryContext caller = CurrentMemoryContext;
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    auto matcher = matching::LoadMatcher(name, true);
    matching::Train(matcher);
    const auto model = pg::Query("SELECT model FROM cdp.matcher WHERE matcher_id = $1", {pg::Int8(matcher.matcher_id)});
    const MemoryContext outer = MemoryContextSwitchTo(caller);
    const Datum result = pg::Call([&] { return PointerGetDatum(PG_DETOAST_DATUM_COPY(*model.Get(0, 1))); });
    MemoryContextSwitchTo(outer);
    return result;
}

CDP_FUNCTION(cdp_find_matches)  // cdp.find_matches(name, threshold) → bigint
{
    const std::string name = NameArgument(fcinfo);
    const double threshold = ThresholdArgument(fcinfo, 1);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    auto matcher = matching::LoadMatcher(name, true);
    matching::Find(matcher);
    const auto count = pg::Query("SELECT count(*) FROM cdp.match WHERE matcher = $1 AND probability >= $2 AND status <> 'rejected'",
                                 {pg::Text(name), pg::Value(FLOAT8OID, Float8GetDatum(threshold))});
    PG_RETURN_INT64(count.Int8(0, 1));
}

CDP_FUNCTION(cdp_cluster_matches)  // cdp.cluster_matches(name, threshold) → TABLE(id, cluster_id)
{
    const std::string name = NameArgument(fcinfo);
    const double threshold = ThresholdArgument(fcinfo, 1);
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto matcher = matching::LoadMatcher(name, false);
    const auto people = matching::ClustersOf(matcher, threshold);
    pg::Scratch memory;
    for (uint32_t i = 0; i < people.ids.size(); ++i) {
        const pg::Scratch::Use use(memory);
        result.Add({pg::TextDatum(people.ids[i]), pg::TextDatum(people.ids[people.cluster[i]])});
        if ((i & 1023) == 0) memory.Reset();
    }
    return result.Done();
}

CDP_FUNCTION(cdp_explain_match)  // cdp.explain_match(name, id_a, id_b) → TABLE(comparison, level, weight)
{
    const std::string name = NameArgument(fcinfo);
    const auto id_a = pg::TextArgument(fcinfo, 1), id_b = pg::TextArgument(fcinfo, 2);
    if (!id_a || !id_b) throw Error(sqlstate::null_value_not_allowed, "ids must not be null");
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto matcher = matching::LoadMatcher(name, false);
    if (!matcher.model)
        throw Error(sqlstate::object_not_in_prerequisite_state, "matcher \"" + name + "\" is not trained").Hint("Call cdp.train_matcher or cdp.find_matches.");
    const auto& model = matcher.model->model;
    const size_t count = model.comparisons.size();
    // As they were when the match was found, unless the model has changed since.
    matching::Explanation explanation;
    const auto kept = pg::Query("SELECT m.levels[i], m.weights[i], m.weights[i + $4], m.weights[2 * $4 + 1] FROM cdp.match m, generate_subscripts(m.levels, 1) i"
                                " WHERE m.matcher = $1 AND m.id_a IN ($2, $3) AND m.id_b IN ($2, $3) AND cardinality(m.levels) = $4 ORDER BY i",
                                {pg::Text(name), pg::Text(*id_a), pg::Text(*id_b), pg::Int4(static_cast<int32>(count))}, true);
    if (matcher.matched && kept.size() == count) {
        for (uint64 i = 0; i < count; ++i) {
            explanation.levels.push_back(static_cast<matching::LevelNumber>(DatumGetInt16(*kept.Get(i, 1))));
            explanation.weights.push_back(DatumGetFloat4(*kept.Get(i, 2)));
        }
        for (uint64 i = 0; i < count; ++i) explanation.weights.push_back(DatumGetFloat4(*kept.Get(i, 3)));
        explanation.weights.push_back(DatumGetFloat4(kept.Get(0, 4).value_or(Float4GetDatum(0))));
    } else {
        explanation = matching::Explain(matcher, *id_a, *id_b);
    }
    double sum = 0;
    const auto add = [&](const std::string& comparison, const std::string& level, double weight) {
        result.Add({pg::TextDatum(comparison), pg::TextDatum(level), Float8GetDatum(weight)});
        sum += weight;
    };
    add("prior", "any two records", model.PriorWeight());
    for (size_t c = 0; c < count; ++c) {
        const auto& comparison = model.comparisons[c].comparison;
        const auto level = std::min(explanation.levels[c], comparison.otherwise());
        add(comparison.column, comparison.Label(level), explanation.weights[c]);
        if (const double frequency = explanation.weights[count + c]; frequency != 0)
            add(comparison.column, frequency > 0 ? "term frequency: a rare value" : "term frequency: a common value", frequency);
    }
    if (model.related > 0) add("related", "two persons with much in common", explanation.weights[2 * count]);
    const double total = sum;
    add("sum", "", total);
    return result.Done();
}
