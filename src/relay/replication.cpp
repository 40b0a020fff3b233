// relay/replication.cpp: see replication.hpp.
#include "relay/replication.hpp"

#include <chrono>

#include "pg/error.hpp"

namespace cdp::relay {

namespace {

constexpr const char* kConnectionFailure = "08006";

struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, Clear>;

std::string Trimmed(const char* message) {
    std::string text = message == nullptr ? "" : message;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    return text;
}

std::string Quoted(const std::string& name) {
    std::string quoted = "\"";
    for (const char c : name) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + '"';
}

std::string Literal(const std::string& text) {
    std::string quoted = "'";
    for (const char c : text) {
        if (c == '\'') quoted += '\'';
        quoted += c;
    }
    return quoted + '\'';
}

void Append(std::string& out, uint64_t number) {
    for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}

uint64_t Read(const char* bytes) {
    uint64_t number = 0;
    for (int i = 0; i < 8; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
    return number;
}

std::string Value(const std::string& text) {
    std::string quoted = "'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return quoted + '\'';
}

}  // namespace

std::string OurConninfo(const std::string& conninfo, const char* application_name) {
    char* message = nullptr;
    PQconninfoOption* const options = PQconninfoParse(conninfo.c_str(), &message);
    if (options == nullptr) {
        PQfreemem(message);  // which may quote the password
        throw Error(sqlstate::invalid_parameter_value, "the connection string is none that libpq can read");
    }
    std::string result, theirs;
    bool has_timeout = false;
    for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
        if (option->val == nullptr) continue;
        const std::string keyword = option->keyword;
        if (keyword == "options") {
            theirs = std::string(option->val) + " ";
            continue;
        }
        if (keyword == "application_name" || keyword == "client_encoding" || keyword == "replication") continue;
        has_timeout |= keyword == "connect_timeout";
        result += keyword + "=" + Value(option->val) + " ";
    }
    PQconninfoFree(options);
    if (!has_timeout) result += "connect_timeout='10' ";
    return result + "client_encoding='UTF8' application_name=" + Value(application_name) + " options=" +
           Value(theirs + kSessionOptions);
}

Replication::Replication(const std::string& conninfo)
    : connection_(PQconnectdb((OurConninfo(conninfo, "cdp-relay") + " replication='database'").c_str())) {
    if (PQstatus(connection_.get()) != CONNECTION_OK) Fail(nullptr);
}

void Replication::Fail(PGresult* result) {
    const char* state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char* primary = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    throw Error(state == nullptr ? kConnectionFailure : state,
                Trimmed(primary != nullptr ? primary : PQerrorMessage(connection_.get())));
}

void Replication::Command(const std::string& command) {
    const Result result(PQexec(connection_.get(), command.c_str()));
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_BOTH) Fail(result.get());
}

void Replication::CreateSlot(const std::string& slot) {
    Command("CREATE_REPLICATION_SLOT " + Quoted(slot) + " LOGICAL pgoutput NOEXPORT_SNAPSHOT");
}

void Replication::DropSlot(const std::string& slot) { Command("DROP_REPLICATION_SLOT " + Quoted(slot)); }

void Replication::Start(const std::string& slot, const std::string& publication) {
    Command("START_REPLICATION SLOT " + Quoted(slot) + " LOGICAL 0/0 (proto_version '1', messages 'true', publication_names " +
            Literal(Quoted(publication)) + ")");
    if (PQsetnonblocking(connection_.get(), 1) != 0) Fail(nullptr);
}

std::optional<Replication::Frame> Replication::Next() {
    char* received = nullptr;
    int length = PQgetCopyData(connection_.get(), &received, 1);
    if (length == 0) {
        if (PQconsumeInput(connection_.get()) == 0) Fail(nullptr);
        length = PQgetCopyData(connection_.get(), &received, 1);
    }
    buffer_.reset(received);
    if (length == 0) return std::nullopt;
    if (length < 0) {
        const Result result(PQgetResult(connection_.get()));
        if (PQresultStatus(result.get()) == PGRES_FATAL_ERROR) Fail(result.get());
        throw Error(kConnectionFailure, "the server has ended the replication stream");
    }
    const std::string_view bytes(received, static_cast<size_t>(length));
    if (bytes[0] == 'w' && bytes.size() >= 25) return Frame{Read(received + 1), false, false, bytes.substr(25)};
    if (bytes[0] == 'k' && bytes.size() >= 18) return Frame{Read(received + 1), true, received[17] != 0, {}};
    throw Error(sqlstate::data_corrupted, "the replication stream has a frame of an unknown kind");
}

void Replication::Confirm(uint64_t lsn, bool ask) {
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::system_clock::now().time_since_epoch() - std::chrono::seconds(946684800));  // PostgreSQL's epoch
    std::string reply = "r";
    for (int i = 0; i < 3; ++i) Append(reply, lsn);
    Append(reply, static_cast<uint64_t>(now.count()));
    reply += ask ? '\1' : '\0';
    if (PQputCopyData(connection_.get(), reply.data(), static_cast<int>(reply.size())) < 0 || PQflush(connection_.get()) < 0)
        Fail(nullptr);
}

}  // namespace cdp::relay
