// relay/times.hpp: instants as texts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cdp::relay {

/// A time as PostgreSQL or ISO 8601 writes it (2026-11-25 10:00:00.5+01, 2026-11-25T09:00:00Z; without a zone it is
/// UTC's), in seconds since 1970-01-01 UTC. Nothing where it is none.
std::optional<double> ParseTime(std::string_view text);

/// In ISO 8601, UTC, with milliseconds: 2026-11-25T09:00:00.500Z.
std::string FormatTime(double seconds);

/// A date of HTTP (RFC 9110's preferred form: Wed, 25 Nov 2026 09:00:00 GMT).
std::optional<double> ParseHttpDate(std::string_view text);

}  // namespace cdp::relay
