// relay/arrival.hpp: what the stream says of a destination's table, as changes of one key each. Knows no PostgreSQL.
#pragma once

#include <map>
#include <memory>

#include "relay/courier.hpp"
#include "relay/pgoutput.hpp"

namespace cdp::relay {

struct Arrival {
    Change::Kind kind;
    std::string key;
    pgoutput::Tuple row;  // empty of a delete
    std::shared_ptr<const pgoutput::Relation> relation;
    uint64_t lsn = 0, transaction = 0;
    std::vector<std::string> after{};  // see Parcel

    /// Has values that were not sent along, since the UPDATE did not touch them.
    bool Incomplete() const;
    /// Takes these values from `now`, another version of the row. False if it does not have them.
    bool Complete(std::span<const pgoutput::Column> columns, const pgoutput::Tuple& now);
    /// Which change it is, and not what is sent: as cdp.delivery notes it.
    Parcel ToNote() const;
    Parcel ToParcel(const std::string& destination, const std::string& key_column) const;
};

/// The idempotency key: it says which change of which row this is, and nothing else of it. The same for ever.
std::string ChangeId(const std::string& destination, const std::string& key, uint64_t lsn);

/// A change from a row of the table as it is now; without one, a removal.
Parcel MakeParcel(Change::Kind kind, const std::string& destination, const std::string& key_column, const std::string& key,
                  uint64_t lsn, std::span<const pgoutput::Column> columns, const pgoutput::Tuple* row);

/// Knows what the tables look like, and in the course of a transaction who is there under another key than before.
class Arrivals {
public:
    Arrivals(std::string destination, std::string key_column) : destination_(std::move(destination)), key_column_(std::move(key_column)) {}

    void Begin() { after_.clear(); }
    void Know(pgoutput::Relation relation);
    /// What the pipeline says of keys: {"destination", "key", "after"}. Anybody may write such notes: others are passed over.
    void Heed(const pgoutput::Note& note);
    /// One change; two where the key changed: the old one goes, the new one comes. Throws Error(data_corrupted) for rows
    /// of a table that was not described, that do not fit it, or that have no key.
    std::vector<Arrival> Take(const pgoutput::Row& row, uint64_t lsn) const;

private:
    std::string destination_, key_column_;
    std::map<std::string, std::vector<std::string>> after_;
    std::map<uint32_t, std::shared_ptr<const pgoutput::Relation>> relations_;
};

}  // namespace cdp::relay
