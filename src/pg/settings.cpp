// pg/settings.cpp: see settings.hpp.
#include "pg/settings.hpp"

extern "C" {
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
}

namespace cdp::pg {

char* default_region = nullptr;
int64 dedupe_window = 0;
int batch_size = 0;
int batch_memory = 0;
int index_helpers = 0;

namespace {

bool CheckRegion(char** value, void**, GucSource) {
    const std::string_view region(*value);
    if (region.empty()) return true;
    if (region.size() == 2 && isupper(region[0]) && isupper(region[1])) return true;
    GUC_check_errdetail("It is the two capital letters of ISO 3166, such as GB, or empty.");
    return false;
}

char* dedupe_window_text = nullptr;
char* mock_time_text = nullptr;
TimestampTz mock_time = 0;  // 0: none

/// An interval as people write it ('30 days', '1h'), in microseconds. Days have 24 hours, months 30 days.
/// Raises nothing, since the postmaster reads settings too.
bool ParseInterval(const char* text, int64* microseconds) {
    char buffer[256];
    char* field[MAXDATEFIELDS];
    int kind[MAXDATEFIELDS], fields, type;
    struct pg_itm_in span {};
    if (ParseDateTime(text, buffer, sizeof buffer, field, kind, MAXDATEFIELDS, &fields) != 0 ||
        DecodeInterval(field, kind, fields, INTERVAL_FULL_RANGE, &type, &span) != 0 || type != DTK_DELTA)
        return false;
    const int64 days = (static_cast<int64>(span.tm_year) * 12 + span.tm_mon) * 30 + span.tm_mday;
    *microseconds = days * USECS_PER_DAY + span.tm_usec;
    return *microseconds >= 0;
}

bool CheckWindow(char** value, void** extra, GucSource) {
    int64 microseconds;
    if (!ParseInterval(*value, &microseconds)) {
        GUC_check_errdetail("It is an interval, not negative, such as '30 days' or '12 hours'.");
        return false;
    }
    *extra = malloc(sizeof(int64));
    if (*extra == nullptr) return false;
    memcpy(*extra, &microseconds, sizeof microseconds);
    return true;
}

void AssignWindow(const char*, void* extra) { memcpy(&dedupe_window, extra, sizeof dedupe_window); }

/// A point in time as PostgreSQL writes it, with its zone; empty: none. Raises nothing.
bool ParseTime(const char* text, TimestampTz* time) {
    *time = 0;
    if (*text == '\0') return true;
    char buffer[MAXDATELEN + 1];
    char* field[MAXDATEFIELDS];
    int kind[MAXDATEFIELDS], fields, type, zone = 0;
    struct pg_tm parts {};
    fsec_t fraction;
    return ParseDateTime(text, buffer, sizeof buffer, field, kind, MAXDATEFIELDS, &fields) == 0 &&
           DecodeDateTime(field, kind, fields, &type, &parts, &fraction, &zone) == 0 && type == DTK_DATE &&
           tm2timestamp(&parts, fraction, &zone, time) == 0;
}

bool CheckMockTime(char** value, void** extra, GucSource) {
    TimestampTz time;
    if (!ParseTime(*value, &time)) {
        GUC_check_errdetail("It is a point in time such as '2024-05-01 12:00:00+00', or empty.");
        return false;
    }
    *extra = malloc(sizeof time);
    if (*extra == nullptr) return false;
    memcpy(*extra, &time, sizeof time);
    return true;
}

void AssignMockTime(const char*, void* extra) { memcpy(&mock_time, extra, sizeof mock_time); }

}  // namespace

TimestampTz Now() { return mock_time != 0 ? mock_time : GetCurrentTimestamp(); }

void DefineSettings() {
    DefineCustomStringVariable("cdp.default_region", "The region of phone numbers that have no country code.",
                               "Two letters of ISO 3166, e.g. GB; empty: such numbers identify nobody.",
                               &default_region, "", PGC_SUSET, 0, CheckRegion, nullptr, nullptr);
    DefineCustomStringVariable("cdp.dedupe_window", "How long a message_id is remembered.",
                               "A message is dropped as a duplicate if its message_id was accepted with a received_at at most this far from its own.",
                               &dedupe_window_text, "30 days", PGC_SUSET, 0, CheckWindow, AssignWindow, nullptr);
    DefineCustomIntVariable("cdp.batch_size", "The most messages that are processed in one transaction.", nullptr,
                            &batch_size, 200'000, 1, 10'000'000, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cdp.batch_memory", "How much memory one batch may take, roughly.",
                            "A batch ends with the message that exceeds it.",
                            &batch_memory, 512 * 1024, 1024, MAX_KILOBYTES, PGC_SUSET, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cdp.index_helpers", "How many background workers enter rows into indexes beside a large batch.",
                            "They come from max_worker_processes; where none is free a batch goes on without.",
                            &index_helpers, 1, 0, 16, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("cdp.mock_time", "For tests: the time that it is, as far as windows, timers and now() in conditions go.",
                               "Empty: the real time. It does not go backwards: who was looked at at one instant is not looked at as of an earlier one.",
                               &mock_time_text, "", PGC_SUSET, 0, CheckMockTime, AssignMockTime, nullptr);
    MarkGUCPrefixReserved("cdp");
}

}  // namespace cdp::pg
