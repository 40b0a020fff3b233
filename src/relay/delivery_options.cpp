// relay/delivery_options.cpp: see delivery_options.hpp.
#include "relay/delivery_options.hpp"

#include <algorithm>

#include "pg/error.hpp"

namespace cdp::relay {

namespace {

double Number(const nlohmann::json& options, const char* name, double otherwise, double least) {
    const auto found = options.find(name);
    if (found == options.end() || found->is_null()) return otherwise;
    if (!found->is_number() || found->get<double>() < least)
        throw Error(sqlstate::invalid_parameter_value, std::string("option \"") + name + "\" is no number of at least " + std::to_string(least));
    return found->get<double>();
}

}  // namespace

DeliveryOptions DeliveryOptions::Read(const nlohmann::json& options) {
    DeliveryOptions read;
    read.in_flight = static_cast<size_t>(std::min(100.0, Number(options, "in_flight", 4, 1)));
    read.timeout = Number(options, "timeout", read.timeout, 0.001);
    read.rate_limit = Number(options, "rate_limit", 0, 0);
    read.max_lag = Number(options, "max_lag", read.max_lag, 0);
    read.others = options;
    for (const char* ours : {"in_flight", "timeout", "max_lag"}) read.others.erase(ours);
    return read;
}

}  // namespace cdp::relay
