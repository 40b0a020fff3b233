// pg/clock_rules.cpp: see clock_rules.hpp.
#include "pg/clock_rules.hpp"

#include "pg/guard.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/numeric.h"
}

namespace cdp::pg {

namespace {

constexpr Rule kRules[] = {
    // Points in time, local times, dates
    {F_TIMESTAMPTZ_PL_INTERVAL, 0, 1, Effect::kZonedShift},
    {F_TIMESTAMPTZ_MI_INTERVAL, 0, 1, Effect::kZonedShift, -1},
    {F_TIMESTAMP_PL_INTERVAL, 0, 1, Effect::kShift},
    {F_TIMESTAMP_MI_INTERVAL, 0, 1, Effect::kShift, -1},
    {F_DATE_PL_INTERVAL, 0, 1, Effect::kShift},
    {F_DATE_MI_INTERVAL, 0, 1, Effect::kShift, -1},
    {F_DATE_PLI, 0, 1, Effect::kPlain},
    {F_DATE_MII, 0, 1, Effect::kPlain},
    {F_TIMESTAMPTZ_MI, 0, 1, Effect::kElapsed},
    {F_TIMESTAMPTZ_MI, 1, -1, Effect::kElapsed},
    {F_TIMESTAMP_MI, 0, 1, Effect::kElapsed},
    {F_TIMESTAMP_MI, 1, -1, Effect::kElapsed},
    {F_DATE_MI, 0, 1, Effect::kPlain},
    {F_DATE_MI, 1, -1, Effect::kPlain},
    {F_AGE_TIMESTAMPTZ_TIMESTAMPTZ, 0, 1, Effect::kAge},
    {F_AGE_TIMESTAMPTZ_TIMESTAMPTZ, 1, -1, Effect::kAge},
    {F_AGE_TIMESTAMP_TIMESTAMP, 0, 1, Effect::kAge},
    {F_AGE_TIMESTAMP_TIMESTAMP, 1, -1, Effect::kAge},
    {F_TIMESTAMP_TIMESTAMPTZ, 0, 1, Effect::kZone},
    {F_TIMESTAMPTZ_TIMESTAMP, 0, 1, Effect::kZone},
    {F_TIMESTAMPTZ_DATE, 0, 1, Effect::kZone},
    {F_TIMEZONE_TEXT_TIMESTAMPTZ, 1, 1, Effect::kNamedZone},
    {F_TIMEZONE_TEXT_TIMESTAMP, 1, 1, Effect::kNamedZone},
    {F_DATE_TIMESTAMPTZ, 0, 1, Effect::kZoneCut},
    {F_DATE_TIMESTAMP, 0, 1, Effect::kCut},
    {F_TIMESTAMP_DATE, 0, 1, Effect::kPlain},
    {F_DATE_TRUNC_TEXT_TIMESTAMPTZ, 1, 1, Effect::kZoneTrunc},
    {F_DATE_TRUNC_TEXT_TIMESTAMP, 1, 1, Effect::kTrunc},
    {F_EXTRACT_TEXT_TIMESTAMPTZ, 1, 1, Effect::kField},
    {F_EXTRACT_TEXT_TIMESTAMP, 1, 1, Effect::kField},
    {F_EXTRACT_TEXT_DATE, 1, 1, Effect::kField},
    {F_DATE_PART_TEXT_TIMESTAMPTZ, 1, 1, Effect::kField},
    {F_DATE_PART_TEXT_TIMESTAMP, 1, 1, Effect::kField},
    // Intervals
    {F_INTERVAL_PL, 0, 1, Effect::kPlain},
    {F_INTERVAL_PL, 1, 1, Effect::kPlain},
    {F_INTERVAL_MI, 0, 1, Effect::kPlain},
    {F_INTERVAL_MI, 1, -1, Effect::kPlain},
    {F_INTERVAL_UM, 0, -1, Effect::kPlain},
    {F_EXTRACT_TEXT_INTERVAL, 1, 1, Effect::kSpanField},
    {F_DATE_PART_TEXT_INTERVAL, 1, 1, Effect::kSpanField},
    // Numbers
    {F_INT4PL, 0, 1, Effect::kWhole},
    {F_INT4PL, 1, 1, Effect::kWhole},
    {F_INT4MI, 0, 1, Effect::kWhole},
    {F_INT4MI, 1, -1, Effect::kWhole},
    {F_INT4DIV, 0, 1, Effect::kBy},
    {F_INT8PL, 0, 1, Effect::kPlain},
    {F_INT8PL, 1, 1, Effect::kPlain},
    {F_INT8MI, 0, 1, Effect::kPlain},
    {F_INT8MI, 1, -1, Effect::kPlain},
    {F_INT8MUL, 0, 1, Effect::kTimes},
    {F_INT8MUL, 1, 1, Effect::kTimes},
    {F_INT8DIV, 0, 1, Effect::kBy},
    {F_FLOAT8PL, 0, 1, Effect::kPlain},
    {F_FLOAT8PL, 1, 1, Effect::kPlain},
    {F_FLOAT8MI, 0, 1, Effect::kPlain},
    {F_FLOAT8MI, 1, -1, Effect::kPlain},
    {F_FLOAT8MUL, 0, 1, Effect::kTimes},
    {F_FLOAT8MUL, 1, 1, Effect::kTimes},
    {F_FLOAT8DIV, 0, 1, Effect::kBy},
    {F_NUMERIC_ADD, 0, 1, Effect::kPlain},
    {F_NUMERIC_ADD, 1, 1, Effect::kPlain},
    {F_NUMERIC_SUB, 0, 1, Effect::kPlain},
    {F_NUMERIC_SUB, 1, -1, Effect::kPlain},
    {F_NUMERIC_MUL, 0, 1, Effect::kTimes},
    {F_NUMERIC_MUL, 1, 1, Effect::kTimes},
    {F_NUMERIC_DIV, 0, 1, Effect::kBy},
    {F_INT4_NUMERIC, 0, 1, Effect::kWhole},
    {F_INT4_FLOAT8, 0, 1, Effect::kWhole},
    {F_INT4_INT8, 0, 1, Effect::kWhole},
    {F_INT8_NUMERIC, 0, 1, Effect::kPlain},
    {F_INT8_FLOAT8, 0, 1, Effect::kPlain},
    {F_INT8_INT4, 0, 1, Effect::kPlain},
    {F_FLOAT8_NUMERIC, 0, 1, Effect::kPlain},
    {F_FLOAT8_INT4, 0, 1, Effect::kPlain},
    {F_FLOAT8_INT8, 0, 1, Effect::kPlain},
    {F_NUMERIC_INT4, 0, 1, Effect::kPlain},
    {F_NUMERIC_INT8, 0, 1, Effect::kPlain},
    {F_NUMERIC_FLOAT8, 0, 1, Effect::kPlain},
    {F_FLOOR_NUMERIC, 0, 1, Effect::kPlain},
    {F_FLOOR_FLOAT8, 0, 1, Effect::kPlain},
    {F_CEIL_NUMERIC, 0, 1, Effect::kPlain},
    {F_CEIL_FLOAT8, 0, 1, Effect::kPlain},
    {F_CEILING_NUMERIC, 0, 1, Effect::kPlain},
    {F_CEILING_FLOAT8, 0, 1, Effect::kPlain},
    {F_ROUND_NUMERIC_INT4, 0, 1, Effect::kPlain},
    {F_ROUND_FLOAT8, 0, 1, Effect::kPlain},
    {F_TRUNC_NUMERIC_INT4, 0, 1, Effect::kPlain},
    {F_TRUNC_FLOAT8, 0, 1, Effect::kPlain},
};

constexpr StepRule kStepRules[] = {
    {F_DATE_TIMESTAMPTZ, 0, StepKind::kDay},
    {F_DATE_TIMESTAMP, 0, StepKind::kDay},
    {F_EXTRACT_TEXT_TIMESTAMPTZ, 1, StepKind::kField},
    {F_EXTRACT_TEXT_TIMESTAMP, 1, StepKind::kField},
    {F_DATE_PART_TEXT_TIMESTAMPTZ, 1, StepKind::kField},
    {F_DATE_PART_TEXT_TIMESTAMP, 1, StepKind::kField},
    {F_DATE_TRUNC_TEXT_TIMESTAMPTZ, 1, StepKind::kTrunc},
    {F_DATE_TRUNC_TEXT_TIMESTAMP, 1, StepKind::kTrunc},
    {F_EXTRACT_TEXT_INTERVAL, 1, StepKind::kSpanField},
    {F_DATE_PART_TEXT_INTERVAL, 1, StepKind::kSpanField},
    {F_TO_CHAR_TIMESTAMPTZ_TEXT, 0, StepKind::kFormat},
    {F_TO_CHAR_TIMESTAMP_TEXT, 0, StepKind::kFormat},
};

bool IsOneOf(const std::string& word, std::initializer_list<const char*> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

bool IsYears(const std::string& field) { return IsOneOf(field, {"year", "years", "decade", "decades", "century", "millennium"}); }

}  // namespace

const Rule* FindRule(Oid function, int argument) {
    for (const Rule& rule : kRules)
        if (rule.function == function && rule.argument == argument) return &rule;
    return nullptr;
}

const StepRule* FindStepRule(Oid function) {
    for (const StepRule& rule : kStepRules)
        if (rule.function == function) return &rule;
    return nullptr;
}

bool IsTruncUnit(const std::string& unit) {
    return IsYears(unit) || IsOneOf(unit, {"quarter", "month", "months", "week", "weeks", "day", "days", "hour", "hours", "minute", "minutes",
                                           "second", "seconds", "milliseconds", "microseconds"});
}

bool IsRisingField(const std::string& field) { return IsYears(field) || IsOneOf(field, {"epoch", "isoyear", "julian"}); }

bool IsRisingSpanField(const std::string& field, bool elapsed) {
    return IsYears(field) || field == "epoch" || (elapsed && IsOneOf(field, {"day", "days"}));
}

int64 StepOfField(const std::string& field) {
    if (IsYears(field) || IsOneOf(field, {"isoyear", "quarter", "month", "months", "week", "weeks", "day", "days", "doy", "dow", "isodow"}))
        return USECS_PER_DAY;
    if (IsOneOf(field, {"hour", "hours"})) return USECS_PER_HOUR;
    return IsOneOf(field, {"minute", "minutes"}) ? USECS_PER_MINUTE : 0;
}

int64 StepOfTrunc(const std::string& unit) {
    if (IsYears(unit) || IsOneOf(unit, {"quarter", "month", "months", "week", "weeks", "day", "days"})) return USECS_PER_DAY;
    if (IsOneOf(unit, {"hour", "hours"})) return USECS_PER_HOUR;
    return IsOneOf(unit, {"minute", "minutes"}) ? USECS_PER_MINUTE : 0;
}

int64 StepOfSpanField(const std::string& field) {
    return IsYears(field) || IsOneOf(field, {"quarter", "month", "months", "day", "days"}) ? USECS_PER_DAY : 0;
}

int64 StepOfFormat(const std::string& format) {
    const auto has = [&](std::initializer_list<const char*> patterns) {
        return std::any_of(patterns.begin(), patterns.end(), [&](const char* p) { return format.find(p) != std::string::npos; });
    };
    if (format.empty()) return USECS_PER_DAY;
    if (has({"ss", "ms", "us", "ff"})) return 0;
    if (has({"mi"})) return USECS_PER_MINUTE;
    return has({"hh", "am", "pm", "a.m", "p.m"}) ? USECS_PER_HOUR : USECS_PER_DAY;
}

double NumberOf(const Const* number) {
    if (number == nullptr) return 0;
    switch (number->consttype) {
        case INT4OID: return DatumGetInt32(number->constvalue);
        case INT8OID: return static_cast<double>(DatumGetInt64(number->constvalue));
        case FLOAT8OID: return DatumGetFloat8(number->constvalue);
        case NUMERICOID:
            return Call([&] { return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, number->constvalue)); });
        default: return 0;
    }
}

}  // namespace cdp::pg
