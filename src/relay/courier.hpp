// relay/courier.hpp: in which order, batches and attempts changes go to one destination. Knows no network, no database
// and no clock of its own. The states of a change: README.md.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "relay/backoff.hpp"
#include "relay/connector.hpp"

namespace cdp::relay {

/// A change on its way.
struct Parcel {
    Change change;
    std::string hash;          // of the row; empty of a delete
    uint64_t transaction = 0;  // Watermark's number; 0: it waits in cdp.delivery, not in the log
    /// Keys that this person's row had before: it is sent once all that was added of them until then is settled.
    std::vector<std::string> after;
};

/// Parcels that go in one request.
struct Batch {
    uint64_t number = 0;
    std::vector<Parcel> parcels;
    std::vector<Change> changes;  // the same, as connectors take them
    unsigned attempts = 0;        // that failed
    uint64_t successes_then = 0;  // of the destination, at the last one
    Monotonic::time_point due;
    Clock::time_point sent_at;
};

/// What is to be stored.
struct Settled {
    Parcel parcel;
    bool refused = false;
    int http_status = 0;
    std::string reason;
    Clock::time_point sent_at;
};

/// Keeps the changes of one key apart, and of a key and those it follows: the next is sent only after the answer to the one
/// before has been stored. So whatever crashes, nobody is told of a change and afterwards of one before it. Where a key's first
/// row was refused, its next change is what brings it, an insert.
///
/// A batch that fails is tried again as it was, after a pause; a destination that fails is tried by one request at a
/// time, with growing pauses. A batch that fails while others succeed, or time and again, may be to blame itself: it goes
/// in halves.
class Courier {
public:
    struct Rules {
        size_t batch_size = 1;
        size_t in_flight = 4;                                                     // requests at a time
        double rate_limit = 0;                                                    // requests a second; 0: no limit
        std::function<size_t(std::span<const Change>)> take;                      // Connector::Take
        std::function<std::optional<std::string>(const Change&)> refusal;         // Connector::Refusal
        Backoff backoff{};
    };
    Courier(Rules rules, uint64_t seed);

    /// Changes of one key in the order of their LSN.
    void Add(Parcel parcel);
    /// Whether a change of that key is on its way.
    bool Has(const std::string& key) const { return keys_.contains(key); }
    /// The keys that it has changes of.
    std::vector<std::string> Keys() const {
        std::vector<std::string> keys;
        for (const auto& entry : keys_) keys.push_back(entry.first);
        return keys;
    }
    /// How many are not stored yet, and their size, roughly.
    size_t size() const { return size_; }
    size_t bytes() const { return bytes_; }
    size_t in_flight() const { return in_flight_.size(); }
    /// Failures of the destination in a row.
    unsigned failures() const { return failures_; }

    /// The next batch to send, if one may be sent now. It is in flight until Answer or Abandon. Valid until then.
    Batch* Next(Monotonic::time_point now);
    /// When Next may have one, if not before something else happens.
    std::optional<Monotonic::time_point> Wake() const;

    /// A batch's verdicts, one a change.
    void Answer(uint64_t batch, const std::vector<Verdict>& verdicts, int http_status, Monotonic::time_point now);
    /// Not sent after all: next time.
    void Abandon(uint64_t batch);

    /// What has been answered since the last call. The keys stay closed until Stored.
    std::vector<Settled> TakeSettled();
    void Stored(const std::vector<Settled>& settled);

    /// Forgets everything but what is in flight or being stored; returns all, those included. Their transactions count as settled.
    std::vector<Parcel> Empty();

private:
    struct Numbered {
        Parcel parcel;
        uint64_t number;  // in the order of Add
    };
    /// Of each key the first change is on its way, or held since it waits for another key's.
    struct Key {
        uint64_t first = 0;  // its number
        std::optional<Parcel> held;
        std::deque<Numbered> waiting;        // behind it
        std::vector<std::string> followers;  // keys whose first one it holds up
    };

    void Open(Key& key, Numbered next);
    void Close(const Settled& outcome);
    void Settle(Parcel parcel, bool refused, int status, std::string reason, Clock::time_point sent_at);
    void Fresh(Batch& batch);
    void Later(Batch batch, std::optional<double> asked, Monotonic::time_point now);
    Batch* Send(Batch batch, Monotonic::time_point now);

    Rules rules_;
    std::mt19937_64 random_;
    std::unordered_map<std::string, Key> keys_;
    std::deque<Parcel> ready_;
    std::list<Batch> retries_;
    std::map<uint64_t, Batch> in_flight_;
    std::vector<Settled> settled_;
    size_t size_ = 0, bytes_ = 0;
    uint64_t next_number_ = 1, next_added_ = 1, successes_ = 0;
    unsigned failures_ = 0;
    bool last_probe_was_retry_ = false;
    Monotonic::time_point not_before_{}, next_slot_{};
};

}  // namespace cdp::relay
