// relay/store.hpp: what the relay reads and writes in the database (libpqxx). The statements' meaning:
// src/activate/relay_doors.sql.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "relay/courier.hpp"
#include "relay/pgoutput.hpp"

namespace cdp::relay {

/// A destination that is to be delivered.
struct Target {
    std::string destination, generation, slot, publication;
    std::string table, key_column, columns;  // as SQL; key_column as it is
    std::vector<pgoutput::Column> types;     // of the columns
    bool keyed_by_profile = false;
    nlohmann::json connector;  // the row of cdp.connector
    nlohmann::json options;
    std::optional<std::string> endpoint, secret_env;
    bool started = false;
    bool pending = false;  // something waits in cdp.delivery

    /// Whether a worker for the one may go on with the other.
    bool SameAs(const Target& other) const;
};

/// A row of cdp.delivery that is to be sent, with the row of the destination's table as it is now.
struct Wanted {
    std::string key;
    uint64_t lsn = 0;
    bool held = false;   // the destination holds some row of that key
    bool taken = false;  // otherwise somebody is writing to it, or a key that it follows is not gone yet: later
    std::optional<pgoutput::Tuple> row;  // none: it is gone
};

/// One connection. Failures are thrown as Error with SQLSTATE; IsBusy: the same can be tried again on it, a moment later.
/// After any other failure a new one is needed.
class Store {
public:
    explicit Store(const std::string& conninfo);
    ~Store();

    /// False once the connection is broken.
    bool alive() const;
    /// A number of this connection's own.
    uint64_t session() const { return session_; }

    /// Statements of this session may take as long as they need: for what is not in anybody's way.
    void Patiently();

    /// What is to be delivered; none where the extension is not there. Sets where the log ends now.
    std::vector<Target> Targets(uint64_t& end_of_log);
    /// Where the slot stands; nothing if it is not there. Sets whether the server has thrown away the log that it needs.
    std::optional<uint64_t> SlotPosition(const std::string& slot, bool& lost);
    /// Before the slot is made: what is known of the log no longer holds.
    void Unstarted(const Target& target);
    /// After it was made. Returns how many rows are wanted.
    uint64_t Started(const Target& target);
    struct Known {
        uint64_t last_position = 0;  // the last that cdp.delivery knows of
        uint64_t started = 0;        // everything in the log before was in the table when delivery began
        bool follows = false;        // something waits there that follows another key's changes
    };
    Known WhatIsKnown(const Target& target);
    /// Of these keys the last position that cdp.delivery knows of, if any.
    std::map<std::string, uint64_t> Positions(const Target& target, const std::vector<std::string>& keys);

    void RecordAnswers(const Target& target, const std::vector<Settled>& settled);
    /// Changes that will be sent from the table, by their LSN; `only_waiting`: of keys that wait in cdp.delivery already.
    void RecordWanted(const Target& target, const std::vector<Parcel>& parcels, bool only_waiting = false);
    struct Standing {
        bool waits = false;    // anything, in cdp.delivery
        bool refused = false;  // anything
    };
    Standing StandingOf(const Target& target);
    /// Those of these keys under which the destination was offered rows, and holds none.
    std::set<std::string> NeverHeld(const Target& target, const std::vector<std::string>& keys);
    /// The next of what waits in cdp.delivery, after this key. The position of `busy` keys, whose changes are on their way, stays.
    std::vector<Wanted> Waiting(const Target& target, const std::string& after, size_t limit, const std::vector<std::string>& busy);
    /// The row as it is now, if it is there.
    std::optional<pgoutput::Tuple> Current(const Target& target, const std::string& key);
    void Resync(const Target& target);
    /// Forgets removed rows from before `lsn`.
    void Purge(const Target& target, uint64_t lsn);
    /// Where the last checkpoint began (slots are as they were then, or newer, whatever crashes), and where the log ends.
    std::pair<uint64_t, uint64_t> LastCheckpoint();
    void NoteError(const Target& target, const std::optional<std::string>& message);

private:
    template <class F>
    auto Run(F&& work);

    struct Connection;
    std::unique_ptr<Connection> connection_;
    uint64_t session_;
};

/// Whether the statement failed since it would have had to wait for somebody.
bool IsBusy(const std::exception& error);

}  // namespace cdp::relay
