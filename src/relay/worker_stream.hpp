// relay/worker_stream.hpp: what a Worker has while it delivers. For its own files.
#pragma once

#include "relay/arrival.hpp"
#include "relay/worker.hpp"

namespace cdp::relay {

struct Worker::Shipment {
    Batch* batch;
    std::vector<Response> answers;
    uint64_t request = 0;
};

struct Worker::Stream {
    static constexpr size_t kWindow = 10'000;         // changes in memory
    static constexpr size_t kWindowBytes = 64 << 20;  // or so many bytes
    static constexpr size_t kAtATime = 2'000;         // frames, rows and answers between two looks at everything else

    Stream(Connector connector, const std::string& dsn, const std::string& destination, const std::string& key_column)
        : connector(std::move(connector)), replication(dsn), arrivals(destination, key_column) {}

    Connector connector;
    Replication replication;
    Courier courier{Courier::Rules(), 0};
    Arrivals arrivals;
    Watermark watermark;
    Past past;
    std::vector<Arrival> arrived;               // not looked at yet
    std::map<uint64_t, Shipment> shipments;     // by batch
    bool renewing = false;
    std::vector<Settled> unstored;
    uint64_t started = 0, last_position = 0;    // as in Store::Known; cdp.delivery may know of changes up to the latter
    std::string loaded;                         // of what waits in cdp.delivery: the last key
    bool waiting = false, spilling = false, truncated = false, asked = false;
    uint64_t confirmed = 0;
    Monotonic::time_point confirm_at{}, heartbeat_at{};
};

}  // namespace cdp::relay
