// relay/status_server.cpp: see status_server.hpp.
#include <utility>  // Boost 1.74's Asio needs it first

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <mutex>
#include <thread>

#include "pg/error.hpp"
#include "relay/status_server.hpp"

namespace cdp::relay {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using nlohmann::json;

constexpr auto kTooLong = std::chrono::seconds(15);  // without a round of the relay
constexpr size_t kMostConnections = 50;

/// A label's value.
std::string Escaped(const std::string& text) {
    std::string escaped;
    for (const char c : text) {
        if (c == '\\' || c == '"') escaped += '\\';
        if (c == '\n')
            escaped += "\\n";
        else
            escaped += c;
    }
    return escaped;
}

}  // namespace

struct Status::State {
    mutable std::mutex mutex;
    std::vector<Metrics> destinations;
    bool database = false;
    Monotonic::time_point at = Monotonic::now();
};

Status::Status() : state_(std::make_unique<State>()) {}
Status::~Status() = default;

void Status::Set(std::vector<Metrics> destinations, bool database) {
    const std::lock_guard lock(state_->mutex);
    state_->destinations = std::move(destinations);
    state_->database = database;
    state_->at = Monotonic::now();
}

std::string Status::Health(bool& well) const {
    const std::lock_guard lock(state_->mutex);
    well = state_->database && Monotonic::now() - state_->at < kTooLong;
    json destinations = json::object();
    for (const Metrics& m : state_->destinations)
        destinations[m.destination] = {{"state", m.state}, {"well", m.up}, {"last_error", m.last_error.empty() ? json() : json(m.last_error)}};
    return json{{"status", well ? "ok" : "failing"}, {"database", state_->database}, {"destinations", destinations}}
        .dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string Status::Prometheus() const {
    const std::lock_guard lock(state_->mutex);
    std::string text;
    const auto head = [&](const char* name, const char* type, const char* help) {
        text += std::string("# HELP cdp_relay_") + name + " " + help + "\n# TYPE cdp_relay_" + name + " " + type + "\n";
    };
    head("database_up", "gauge", "Whether the relay has its database.");
    text += std::string("cdp_relay_database_up ") + (state_->database ? "1" : "0") + "\n";
    const auto each = [&](const char* name, const char* type, const char* help, auto value) {
        head(name, type, help);
        for (const Metrics& m : state_->destinations)
            text += std::string("cdp_relay_") + name + "{destination=\"" + Escaped(m.destination) + "\"} " + json(value(m)).dump() + "\n";
    };
    each("up", "gauge", "Whether the destination takes what it is sent.", [](const Metrics& m) { return m.up ? 1 : 0; });
    each("delivered_total", "counter", "Changes that the destination has confirmed.", [](const Metrics& m) { return m.delivered; });
    each("refused_total", "counter", "Changes that it has refused.", [](const Metrics& m) { return m.refused; });
    each("retried_total", "counter", "Requests whose changes, or some of them, have to be sent again.", [](const Metrics& m) { return m.retried; });
    each("requests_total", "counter", "Requests.", [](const Metrics& m) { return m.requests; });
    each("failed_requests_total", "counter", "Requests without any answer.", [](const Metrics& m) { return m.failed_requests; });
    each("spilled_total", "counter", "Changes kept in cdp.delivery instead of the write-ahead log.", [](const Metrics& m) { return m.spilled; });
    each("waiting", "gauge", "Changes in memory that are not settled.", [](const Metrics& m) { return m.waiting; });
    each("in_flight", "gauge", "Requests that wait for their answer.", [](const Metrics& m) { return m.in_flight; });
    each("lag_bytes", "gauge", "Write-ahead log that is kept for the destination.", [](const Metrics& m) { return m.lag_bytes; });
    each("catching_up", "gauge", "Whether it is too far behind for the log, and fed from cdp.delivery.", [](const Metrics& m) { return m.spilling ? 1 : 0; });
    each("last_delivery_timestamp_seconds", "gauge", "When it confirmed a change last.", [](const Metrics& m) { return m.last_delivery; });
    return text;
}

namespace {

/// One client, request after request.
class Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, const Status& status, std::shared_ptr<size_t> connections)
        : stream_(std::move(socket)), status_(status), connections_(std::move(connections)) {
        ++*connections_;
    }
    ~Session() { --*connections_; }

    void Read() {
        parser_.emplace();
        parser_->header_limit(8192);
        parser_->body_limit(1024);
        stream_.expires_after(std::chrono::seconds(30));
        http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](beast::error_code error, size_t) {
            if (!error) self->Answer();
        });
    }

private:
    void Answer() {
        const auto& request = parser_->get();
        response_ = {http::status::ok, request.version()};
        response_.keep_alive(request.keep_alive());
        response_.set(http::field::server, "cdp-relay");
        if (request.method() != http::verb::get && request.method() != http::verb::head) {
            response_.result(http::status::method_not_allowed);
            response_.set(http::field::allow, "GET, HEAD");
        } else if (request.target() == "/health") {
            bool well = false;
            response_.body() = status_.Health(well);
            response_.set(http::field::content_type, "application/json");
            if (!well) response_.result(http::status::service_unavailable);
        } else if (request.target() == "/metrics") {
            response_.body() = status_.Prometheus();
            response_.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
        } else {
            response_.result(http::status::not_found);
            response_.body() = "There are /health and /metrics.\n";
        }
        response_.prepare_payload();
        if (request.method() == http::verb::head) response_.body().clear();
        http::async_write(stream_, response_, [self = shared_from_this()](beast::error_code error, size_t) {
            if (!error && self->response_.keep_alive()) self->Read();
        });
    }

    beast::tcp_stream stream_;
    const Status& status_;
    std::shared_ptr<size_t> connections_;
    beast::flat_buffer buffer_{16384};
    std::optional<http::request_parser<http::string_body>> parser_;
    http::response<http::string_body> response_;
};

}  // namespace

struct StatusServer::Impl {
    explicit Impl(const Status& status) : status(status) {}

    void Accept() {
        acceptor.async_accept([this](beast::error_code error, tcp::socket socket) {
            if (error == boost::asio::error::operation_aborted) return;
            if (!error && *connections < kMostConnections) std::make_shared<Session>(std::move(socket), status, connections)->Read();
            Accept();
        });
    }

    const Status& status;
    boost::asio::io_context context{1};
    tcp::acceptor acceptor{context};
    std::shared_ptr<size_t> connections = std::make_shared<size_t>(0);
    std::thread thread;
};

StatusServer::StatusServer(const std::string& listen, const Status& status) : impl_(std::make_unique<Impl>(status)) {
    try {
        const size_t colon = listen.rfind(':');
        std::string address = listen.substr(0, colon == std::string::npos ? 0 : colon);
        if (address.size() > 1 && address.front() == '[' && address.back() == ']') address = address.substr(1, address.size() - 2);
        const std::string port = colon == std::string::npos ? listen : listen.substr(colon + 1);
        size_t read = 0;
        const unsigned long number = std::stoul(port, &read);
        if (read != port.size() || number > 65535) throw std::invalid_argument(port);
        const tcp::endpoint endpoint(boost::asio::ip::make_address(address.empty() || address == "localhost" ? "127.0.0.1" : address), static_cast<unsigned short>(number));
        impl_->acceptor.open(endpoint.protocol());
        impl_->acceptor.set_option(tcp::acceptor::reuse_address(true));
        impl_->acceptor.bind(endpoint);
        impl_->acceptor.listen();
    } catch (const std::exception& error) {
        throw Error(sqlstate::invalid_parameter_value, "cannot listen on \"" + listen + "\": " + error.what());
    }
    impl_->Accept();
    impl_->thread = std::thread([impl = impl_.get()] { impl->context.run(); });
}

StatusServer::~StatusServer() {
    impl_->context.stop();
    impl_->thread.join();
}

}  // namespace cdp::relay
