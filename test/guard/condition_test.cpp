// condition_test.cpp: conditions (src/pg/expression.hpp) on rows that a test gives.
#include <chrono>
#include <random>

#include "pg/expression.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "utils/lsyscache.h"
#include "utils/typcache.h"
}

using namespace cdp;

namespace {

constexpr const char* kSpecials[] = {"did", "did_times", "last_time", "in_segment"};

std::string TextArg(FunctionCallInfo fcinfo, int i) { return std::string(pg::Bytes(PG_GETARG_DATUM(i))); }

pg::Condition::Clock ClockArg(FunctionCallInfo fcinfo, int i) {
    const std::string word = TextArg(fcinfo, i);
    return word == "refused" ? pg::Condition::Clock::kRefused : word == "any" ? pg::Condition::Clock::kAnyUse : pg::Condition::Clock::kAllowed;
}

/// A row of a table, and the table.
struct GivenRow {
    explicit GivenRow(HeapTupleHeader header) {
        const Oid type = HeapTupleHeaderGetTypeId(header);
        relation = pg::Call([&] { return get_typ_typrelid(type); });
        descriptor = pg::Call([&] { return lookup_rowtype_tupdesc_copy(type, -1); });
        values.resize(static_cast<size_t>(descriptor->natts));
        nulls = std::make_unique<bool[]>(values.size());
        HeapTupleData tuple{};
        tuple.t_len = HeapTupleHeaderGetDatumLength(header);
        tuple.t_data = header;
        pg::Call([&] { heap_deform_tuple(&tuple, descriptor, values.data(), nulls.get()); });
    }
    pg::Condition::Row At(int64 clock) const { return {values.data(), nulls.get(), clock}; }

    Oid relation;
    TupleDesc descriptor;
    std::vector<Datum> values;
    std::unique_ptr<bool[]> nulls;
};

std::vector<pg::Condition::Input> Inputs(const pg::Condition& condition, ArrayType* texts) {
    Datum* elements;
    bool* nulls;
    int count;
    pg::Call([&] { deconstruct_array(texts, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count); });
    std::vector<pg::Condition::Input> inputs;
    for (size_t i = 0; i < condition.specials().size(); ++i) {
        if (static_cast<int>(i) >= count || nulls[i]) {
            inputs.push_back({0, true});
            continue;
        }
        const Datum value = pg::Call([&] {
            Oid input, parameter;
            getTypeInputInfo(condition.specials()[i].type, &input, &parameter);
            return OidInputFunctionCall(input, TextDatumGetCString(elements[i]), parameter, -1);
        });
        inputs.push_back({value, false});
    }
    return inputs;
}

}  // namespace

/// What is found in a condition over the rows of a table.
CDP_FUNCTION(guard_condition) {  // (condition, relation, clock, subqueries, as_of)
    const pg::Condition condition(TextArg(fcinfo, 0), "the condition", PG_GETARG_OID(1), "t", GetUserId(), kSpecials,
                                  {.clock = ClockArg(fcinfo, 2), .subqueries = PG_GETARG_BOOL(3) ? pg::Condition::Subqueries::kAnyUse : pg::Condition::Subqueries::kRefused});
    std::string result = condition.Rewritten(
        [](const pg::SpecialCall& call) {
            std::string text = "<" + call.function;
            for (const auto& argument : call.arguments) text += " " + (argument ? "[" + *argument + "]" : "NULL");
            return text + ">";
        },
        PG_ARGISNULL(4) ? std::nullopt : std::optional<int64>(PG_GETARG_TIMESTAMPTZ(4)));
    result += " columns";
    for (const int column : condition.columns()) result += " " + std::to_string(column);
    if (condition.UsesClock()) result += ", clock";
    if (condition.HasSubquery()) result += ", subquery of";
    for (const Oid relation : condition.relations()) result += std::string(" ") + pg::Call([&] { return get_rel_name(relation); });
    return pg::TextDatum(result);
}

CDP_FUNCTION(guard_holds) {  // (condition, row, clock, inputs, use)
    const GivenRow row(PG_GETARG_HEAPTUPLEHEADER(1));
    pg::Condition condition(TextArg(fcinfo, 0), "the condition", row.relation, "t", GetUserId(), kSpecials, {.clock = ClockArg(fcinfo, 4)});
    const auto given = row.At(PG_GETARG_TIMESTAMPTZ(2));
    std::vector<char> holds;
    condition.Evaluate({&given, 1}, Inputs(condition, PG_GETARG_ARRAYTYPE_P(3)), &holds);
    PG_RETURN_BOOL(holds[0]);
}

CDP_FUNCTION(guard_next_flip) {  // (condition, row, clock, inputs, use) → timestamptz, infinity: never
    const GivenRow row(PG_GETARG_HEAPTUPLEHEADER(1));
    pg::Condition condition(TextArg(fcinfo, 0), "the condition", row.relation, "t", GetUserId(), kSpecials, {.clock = ClockArg(fcinfo, 4)});
    PG_RETURN_TIMESTAMPTZ(condition.NextFlip(row.At(PG_GETARG_TIMESTAMPTZ(2)), Inputs(condition, PG_GETARG_ARRAYTYPE_P(3))));
}

/// Goes from flip to flip, and looks at random instants between whether anything changed that was not foreseen, and just
/// before each flip. How many flips, and how many of them changed something.
CDP_FUNCTION(guard_flips) {  // (condition, row, begin, end, samples, seed) → text
    const GivenRow row(PG_GETARG_HEAPTUPLEHEADER(1));
    const std::string text = TextArg(fcinfo, 0);
    pg::Condition condition(text, "the condition", row.relation, "t", GetUserId(), {}, {.clock = pg::Condition::Clock::kAllowed});
    const int64 end = PG_GETARG_TIMESTAMPTZ(3);
    std::mt19937_64 random(static_cast<uint64>(PG_GETARG_INT32(5)));
    int64 clock = PG_GETARG_TIMESTAMPTZ(2), flips = 0, changes = 0;
    while (clock < end) {
        const int64 next = condition.NextFlip(row.At(clock), {});
        if (next <= clock) throw Error(sqlstate::data_corrupted, "no way on");
        std::vector<pg::Condition::Row> rows{row.At(clock)};
        const int64 last = std::min(next, end) - 1;
        const auto look = [&](int64 until) {
            for (int32 i = 0; i < PG_GETARG_INT32(4); ++i) rows.push_back(row.At(std::uniform_int_distribution<int64>(clock, until)(random)));
        };
        look(last);
        // What goes to and fro does so within days of the last change.
        look(std::min(last, clock + 6 * USECS_PER_DAY));
        look(std::min(last, clock + 3 * USECS_PER_HOUR));
        rows.push_back(row.At(last));
        rows.push_back(row.At(std::min(next, end)));
        std::vector<char> holds;
        condition.Evaluate(rows, {}, &holds);
        for (size_t i = 1; i + 1 < rows.size(); ++i)
            if (holds[i] != holds[0])
                throw Error(sqlstate::data_corrupted, "changes unforeseen: " + text)
                    .Detail("From " + pg::OutputText(TIMESTAMPTZOID, TimestampTzGetDatum(clock)) + " none before " +
                            (next == INT64_MAX ? "the end" : pg::OutputText(TIMESTAMPTZOID, TimestampTzGetDatum(next))) + ", but at " +
                            pg::OutputText(TIMESTAMPTZOID, TimestampTzGetDatum(rows[i].clock)) + ".");
        if (next < end) {
            ++flips;
            changes += holds.back() != holds[0];
        }
        clock = next;
    }
    return pg::TextDatum(std::to_string(flips) + " flips, " + std::to_string(changes) + " changes");
}

/// How long an evaluation and a look ahead take, in nanoseconds, on so many equal rows.
CDP_FUNCTION(guard_condition_nanoseconds) {  // (condition, row, clock, rows) → float8[]
    const GivenRow row(PG_GETARG_HEAPTUPLEHEADER(1));
    pg::Condition condition(TextArg(fcinfo, 0), "the condition", row.relation, "t", GetUserId(), {},
                            {.clock = pg::Condition::Clock::kAllowed});
    const std::vector<pg::Condition::Row> rows(static_cast<size_t>(PG_GETARG_INT32(3)), row.At(PG_GETARG_TIMESTAMPTZ(2)));
    const auto timed = [&](auto&& work) {
        const auto begin = std::chrono::steady_clock::now();
        work();
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
        return Float8GetDatum(took.count() / static_cast<double>(rows.size()));
    };
    std::vector<char> holds;
    std::vector<int64> flips;
    Datum values[] = {timed([&] { condition.Evaluate(rows, {}, &holds); }), timed([&] { condition.NextFlips(rows, {}, &flips); })};
    PG_RETURN_ARRAYTYPE_P(pg::Call([&] { return construct_array(values, 2, FLOAT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE); }));
}
