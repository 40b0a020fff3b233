// collect/message_time.hpp: when a message happened. Knows no PostgreSQL.
// Times are microseconds since 2000-01-01 UTC, PostgreSQL's epoch.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace cdp::collect {

// What PostgreSQL can store: from 4714 BC until before 294277 AD.
inline constexpr int64_t kFirstTime = -211'813'488'000'000'000;
inline constexpr int64_t kEndOfTime = 9'223'371'331'200'000'000;

/// An ISO 8601 date, or date and time, in the basic or the extended format, with a space for the T if need be;
/// in UTC unless it says otherwise. Unlike PostgreSQL's own input it does not depend on the session's settings.
/// Digits beyond microseconds are dropped.
std::optional<int64_t> ParseIsoTime(std::string_view text);

/// JavaScript's time: milliseconds since 1970.
std::optional<int64_t> FromEpochMilliseconds(double milliseconds);

/// The times that a message may carry.
struct MessageTimes {
    std::optional<int64_t> occurred;   // occurred_at: said outright, as a row of the inbox says it
    std::optional<int64_t> original;   // originalTimestamp: by the clock of the device
    std::optional<int64_t> timestamp;  // of an SDK: the same; of Segment: corrected already
    std::optional<int64_t> sent;       // sentAt: by the clock of the device
};

/// When the message happened. If the device says when it sent the message, its clock is only trusted for the
/// time between the two: received_at − (sentAt − originalTimestamp). Nothing if that cannot be stored.
std::optional<int64_t> OccurredAt(const MessageTimes& times, int64_t received_at);

}  // namespace cdp::collect
