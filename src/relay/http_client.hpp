// relay/http_client.hpp: requests over HTTP, many at a time, in one thread (libcurl's multi interface).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "relay/connector.hpp"

namespace cdp::relay {

/// Connections are kept and used again. Redirects are not followed; an answer of more than 8 MiB is given up, as none.
class HttpClient {
public:
    /// `ca_file`: the certificates of those who vouch for receivers (PEM); empty: the system's.
    explicit HttpClient(std::string ca_file);
    ~HttpClient();

    /// What became of a request: the answer, or status 0 and why there is none.
    using Done = std::function<void(const Response& response, const std::string& failure)>;

    /// Sends it. `done` is called by Run, once, unless Cancel came first. Returns its number. Throws Error if it is no
    /// request that could be sent.
    uint64_t Send(const Request& request, double timeout_seconds, Done done);
    void Cancel(uint64_t number);
    size_t in_flight() const;

    /// Waits for the network, for these descriptors to become readable, or for the time to pass; then calls what is done.
    void Run(std::span<const int> descriptors, int timeout_milliseconds);

private:
    struct Transfer;
    struct State;
    std::string ca_file_;
    std::unique_ptr<State> state_;
};

}  // namespace cdp::relay
