// relay/connector.hpp: what a destination's changes are to a network: requests, and what its answers mean.
// Knows no PostgreSQL and sends nothing. The rows' format: docs/connectors.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace cdp::relay {

using Clock = std::chrono::system_clock;

/// A row of a destination's table that came, changed or went.
struct Change {
    enum class Kind { kInsert, kUpdate, kDelete };
    Kind kind = Kind::kInsert;
    std::string key;     // the primary key, as text
    nlohmann::json row;  // column → typed value; of a delete at least the key's column
    uint64_t lsn = 0;
    std::string id;  // idempotency key: the same in every attempt
};

struct Request {
    std::string method, url;
    std::vector<std::pair<std::string, std::string>> headers;  // may hold secrets: not for logs
    std::string body;
};

struct Response {
    int status = 0;  // 0: no answer
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    std::string body;
};

/// What became of a change.
struct Verdict {
    enum class Kind {
        kDelivered,
        kRetry,    // later, unchanged: the network is away, busy or does not let us in
        kRefused,  // this change will never be taken as it is
        kSplit     // the batch was refused and nothing says for which change: send its halves. Never for a batch of one.
    };
    Kind kind = Kind::kDelivered;
    std::string reason;                          // empty when delivered
    std::optional<double> retry_after_seconds;   // kRetry: what the network asked for
};

/// How a destination uses its connector: the arguments of cdp.set_delivery.
struct Settings {
    std::string destination;
    std::string key_column;  // of the destination's table
    nlohmann::json options = nlohmann::json::object();  // without those that are the relay's own
    std::optional<std::string> endpoint;
    std::optional<std::string> secret_env;
    /// The relay's environment. Which variables a row may ask for is decided there.
    std::function<std::optional<std::string>(const std::string& name)> environment;
};

/// A row of cdp.connector, for one destination. Not thread-safe.
///
/// A batch is delivered so:
///
///     size_t count = connector.Take(pending);                  // pending without those that Refusal() names
///     if (auto request = connector.Renew(now)) {               // an access token, where one is needed
///         if (auto verdict = connector.Renewed(Send(*request), now)) → that verdict is every change's
///     }
///     std::vector<Response> answers;                           // most connectors need one request a batch
///     while (auto request = connector.Build(batch, answers, now)) answers.push_back(Send(*request));
///     std::vector<Verdict> verdicts = connector.Judge(batch, answers, now);
class Connector {
public:
    /// `row`: to_jsonb of a row of cdp.connector. Its columns: name, description, endpoint, method, url text; batch_size int;
    /// rate_limit float8; repeats boolean; headers, auth, options, require, before, body, after, deletes, success, retry,
    /// refuse jsonb. Those absent or null have defaults, but for name.
    /// Throws Error (invalid_parameter_value) that names the connector and the member or option that is wrong, or the
    /// environment variable that is missing.
    static Connector FromRow(const nlohmann::json& row, Settings settings);

    Connector(Connector&&) noexcept;
    Connector& operator=(Connector&&) noexcept;
    ~Connector();

    const std::string& name() const;
    const std::string& destination() const;
    /// The most changes that a request takes.
    size_t batch_size() const;
    /// Requests a second; 0: no limit.
    double rate_limit() const;

    /// Why nothing can be sent for this change, if so (no e-mail address for a network that knows people by it): it is
    /// refused without a request.
    std::optional<std::string> Refusal(const Change& change) const;

    /// How many of the first of `pending` can go in one request: at most batch_size, of one kind where upserts and
    /// deletes are different requests, no key twice where the network's answers or rules need that. At least one of any.
    size_t Take(std::span<const Change> pending) const;

    /// The request that fetches an access token, if the connector needs one and has none that lasts.
    std::optional<Request> Renew(Clock::time_point now) const;
    /// Takes the token out of the answer; if there is none, the verdict on everything that waits for it.
    std::optional<Verdict> Renewed(const Response& answer, Clock::time_point now);

    /// The next request of a batch whose earlier requests have these answers; nothing: that was all, or an answer or the
    /// changes do not let the batch go on. The same batch and answers give the same request (but for times and signatures).
    /// `batch` is as Take allows, without changes that Refusal names.
    std::optional<Request> Build(std::span<const Change> batch, std::span<const Response> answers,
                                 Clock::time_point now) const;

    /// What the answers mean, change by change. An access token that the network did not take is forgotten. Any answer
    /// is taken, of any form.
    std::vector<Verdict> Judge(std::span<const Change> batch, std::span<const Response> answers, Clock::time_point now);

private:
    struct Parts;
    explicit Connector(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace cdp::relay
