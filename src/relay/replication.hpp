// relay/replication.hpp: a replication slot and its stream of changes (libpq; pgoutput).
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace cdp::relay {

/// The settings of every session: what a value is as text must not depend on the role or the database.
/// As those of cdp.delivery_rows.
inline constexpr const char* kSessionOptions =
    "-c datestyle=ISO,MDY -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex"
    " -c lc_monetary=C -c search_path=pg_catalog";

/// A connection for replication. Not thread-safe. Errors are thrown as Error, with PostgreSQL's message and SQLSTATE.
class Replication {
public:
    explicit Replication(const std::string& conninfo);

    /// Makes the slot, for pgoutput. Blocks until the transactions that run now have ended.
    void CreateSlot(const std::string& slot);
    void DropSlot(const std::string& slot);

    /// Begins to stream what was committed since the slot was confirmed last.
    void Start(const std::string& slot, const std::string& publication);

    int socket() const { return PQsocket(connection_.get()); }

    struct Frame {
        uint64_t lsn = 0;         // of the change; of a keepalive: all before it has been sent
        bool keepalive = false;
        bool wants_reply = false;
        std::string_view message;  // pgoutput's; valid until the next call
    };
    /// What has arrived, without waiting. Throws when the stream has ended.
    std::optional<Frame> Next();

    /// Tells the server that everything before `lsn` is settled; `ask`: and asks for a keepalive.
    void Confirm(uint64_t lsn, bool ask);

private:
    struct Finish {
        void operator()(PGconn* connection) const { PQfinish(connection); }
    };
    struct Free {
        void operator()(char* buffer) const { PQfreemem(buffer); }
    };

    void Command(const std::string& command);
    [[noreturn]] void Fail(PGresult* result);

    std::unique_ptr<PGconn, Finish> connection_;
    std::unique_ptr<char, Free> buffer_;
};

/// `conninfo` with what every session of ours has: settings, time limits, a name.
std::string OurConninfo(const std::string& conninfo, const char* application_name);

}  // namespace cdp::relay
