// relay/status_server.hpp: /health and /metrics over HTTP (Boost.Beast), in a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "relay/worker.hpp"

namespace cdp::relay {

/// How the relay is. Thread-safe.
class Status {
public:
    Status();
    ~Status();
    void Set(std::vector<Metrics> destinations, bool database);

    /// As JSON, and whether all is well: the relay goes round, and has its database.
    std::string Health(bool& well) const;
    /// As Prometheus reads it.
    std::string Prometheus() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Listens until it is destroyed. Takes few, small requests: GET and HEAD.
class StatusServer {
public:
    /// `listen`: address:port; [::1]:port. Throws Error.
    StatusServer(const std::string& listen, const Status& status);
    ~StatusServer();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace cdp::relay
