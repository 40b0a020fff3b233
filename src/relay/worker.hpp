// relay/worker.hpp: one destination's delivery, from its replication slot to the answers in the database. README.md
// has its states.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "relay/configuration.hpp"
#include "relay/courier.hpp"
#include "relay/delivery_options.hpp"
#include "relay/http_client.hpp"
#include "relay/replication.hpp"
#include "relay/store.hpp"
#include "relay/watermark.hpp"

namespace cdp::relay {

/// What is told of a destination: counters since the relay began, and how things stand.
struct Metrics {
    std::string destination, state;
    uint64_t delivered = 0, refused = 0, retried = 0, requests = 0, failed_requests = 0, spilled = 0;
    uint64_t waiting = 0, in_flight = 0, lag_bytes = 0;
    double last_delivery = 0;  // Unix time
    bool up = false, spilling = false;
    std::string last_error;
};

/// Not thread-safe; nothing waits for the destination, and for the database only as long as a statement takes.
/// What goes wrong with this destination ends here: it is tried again from where the database says, after a pause.
class Worker {
public:
    Worker(Target target, const Configuration& configuration, Environment secrets, HttpClient& http);
    ~Worker();
    Worker(const Worker&) = delete;

    const Target& target() const { return target_; }
    /// The same destination, read again: whether something waits in the database may have changed.
    void Refresh(const Target& target, uint64_t end_of_log);

    /// Does what can be done now.
    void Work(Store& store, Monotonic::time_point now);
    /// To wait for, if anything. -1: nothing.
    int socket() const;
    /// When Work is to be called at the latest.
    std::optional<Monotonic::time_point> Wake() const;

    /// No more requests; those in flight may end.
    void Stop() { stopping_ = true; }
    /// Whether everything that was answered is stored, and nothing is in flight.
    bool stopped() const;
    /// Whether a thread of any worker, there still or not, waits for the database: nobody waits for that.
    static bool AnyPrepares();

    Metrics metrics() const;

private:
    struct Preparation;
    struct Stream;    // everything that ends when something goes wrong
    struct Shipment;  // a batch on the network

    void Prepare();
    void Begin(const Preparation& preparation);
    void Fail(const std::string& message);
    void Read();
    void Admit(Store& store);
    void DropOld(Store& store, const std::map<std::string, uint64_t>& positions);
    void Note(Store& store, const std::vector<Parcel>& parcels);
    void Amend(Store& store, const std::vector<bool>& settled);
    void Load(Store& store);
    void Spill(Store& store);
    void FeedFromTable(Store& store, const char* why);
    void Dispatch(Monotonic::time_point now);
    void Advance(uint64_t batch);
    void Finish(uint64_t batch, const std::vector<Verdict>& verdicts, int http_status);
    void Send(uint64_t batch, const Request& request, bool renewal);
    bool Persist(Store& store);
    void Confirm(Monotonic::time_point now);
    void Purge(Store& store, Monotonic::time_point now);
    bool Full() const;
    uint64_t Lag() const;

    Target target_;
    DeliveryOptions options_;
    const Configuration& configuration_;
    Environment secrets_;
    HttpClient& http_;
    Backoff backoff_;
    std::mt19937_64 random_;

    std::unique_ptr<Stream> stream_;
    std::shared_ptr<Preparation> preparation_;
    unsigned failures_ = 0;
    Monotonic::time_point retry_at_{};
    uint64_t end_of_log_ = 0;
    bool stopping_ = false, more_to_read_ = false;
    std::optional<std::string> error_;             // of the destination, now
    std::optional<std::string> noted_error_;       // what the database says
    bool error_noted_ = false;
    Monotonic::time_point note_at_{}, store_at_{}, purge_at_{};
    Metrics metrics_;
};

}  // namespace cdp::relay
