// relay/delivery_options.hpp: what cdp.set_delivery may say of a delivery, whatever its connector. Knows no PostgreSQL.
#pragma once

#include <nlohmann/json.hpp>

namespace cdp::relay {

/// The relay's own options of cdp.set_delivery; the others are the connector's.
struct DeliveryOptions {
    size_t in_flight = 4;
    double timeout = 30;      // of a request, in seconds
    double rate_limit = 0;    // requests a second; 0: the connector's
    double max_lag = 1024;    // MB of write-ahead log that may wait for the destination
    nlohmann::json others = nlohmann::json::object();
    /// Throws Error(invalid_parameter_value).
    static DeliveryOptions Read(const nlohmann::json& options);
};

}  // namespace cdp::relay
