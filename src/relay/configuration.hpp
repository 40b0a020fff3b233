// relay/configuration.hpp: what the relay is told: by its command line, else by CDP_* variables, else by its file.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "relay/log.hpp"

namespace cdp::relay {

using Environment = std::function<std::optional<std::string>(const std::string& name)>;

struct Configuration {
    std::string dsn;                        // --dsn, CDP_DSN, "dsn": a libpq connection string
    std::vector<std::string> destinations;  // --destination …, CDP_DESTINATIONS (a,b), "destinations"; none: all
    std::string listen;                     // --listen, CDP_LISTEN, "listen": address:port of /health and /metrics; empty: none
    Level log_level = Level::kInfo;         // CDP_LOG_LEVEL, "log_level": debug, info, warning, error
    std::string ca_file;                    // --ca-file, CDP_CA_FILE, "ca_file": the certificates of those who vouch for receivers; empty: the system's
    double longest_pause = 60;              // CDP_LONGEST_PAUSE, "longest_pause": between attempts, in seconds
    double stop_timeout = 10;               // CDP_STOP_TIMEOUT, "stop_timeout": for requests in flight when stopped, in seconds
    std::vector<std::string> secrets;       // CDP_SECRETS (a,b), "secrets": the variables that connectors may read; none: all but our own

    /// Throws Error(invalid_parameter_value).
    static Configuration Read(std::span<const std::string> arguments, const Environment& environment);

    /// What connectors may read of `environment`: never PG* or our own CDP_DSN.
    Environment SecretsOf(Environment environment) const;
};

}  // namespace cdp::relay
