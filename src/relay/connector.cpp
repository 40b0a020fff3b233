// relay/connector.cpp: see connector.hpp.
#include "relay/connector.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "pg/error.hpp"
#include "relay/digest.hpp"
#include "relay/functions.hpp"
#include "relay/normalise.hpp"
#include "relay/plan.hpp"
#include "relay/token.hpp"

namespace cdp::relay {
namespace {

constexpr size_t kLargestRow = 256 * 1024;
constexpr size_t kMostSkipped = 10'000;

[[noreturn]] void Fail(const std::string& what) { throw Error(sqlstate::invalid_parameter_value, what); }

std::string TextMember(const Json& json, const char* name) {
    const auto found = json.find(name);
    if (found == json.end() || found->is_null()) return "";
    if (!found->is_string()) Fail("\"" + std::string(name) + "\" is no text");
    return found->get<std::string>();
}

constexpr std::string_view kOfUpserts[] = {"name",  "description", "endpoint", "method",     "url",     "headers", "auth",
                                           "options", "batch_size", "rate_limit", "repeats", "require", "before",  "body",
                                           "after", "deletes",     "success",  "retry",      "refuse",  "shipped"};
constexpr std::string_view kOfDeletes[] = {"method", "url",  "headers", "batch_size", "repeats", "require",
                                           "before", "when", "body",    "after",      "success", "retry",   "refuse"};

void CheckMembers(const Json& json, std::span<const std::string_view> allowed, const std::string& of) {
    for (const auto& [name, value] : json.items())
        if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) Fail(of + "unexpected member \"" + name + "\"");
}

// Those that every connector knows; a row may say more of them (a default, a limit).
constexpr std::string_view kCommonOptions[] = {"batch", "rate_limit", "fields", "deletes"};

void CheckCommonOptions(const Json& options) {
    if (options.contains("fields")) {
        const Json& fields = options["fields"];
        if (!fields.is_object() || std::any_of(fields.begin(), fields.end(), [](const Json& column) { return !column.is_string(); }))
            Fail("option \"fields\" is no object of texts: the network's field → column");
    }
    if (options.contains("rate_limit")) {
        const Json& rate = options["rate_limit"];
        if (!rate.is_number() || rate < 0) Fail("option \"rate_limit\" is no number of requests a second");
    }
    if (options.contains("deletes") && options["deletes"] != "send" && options["deletes"] != "skip")
        Fail("option \"deletes\" is neither \"send\" nor \"skip\"");
}

// The options with defaults for those that are not given.
Json Complete(Json options, const Json& declared) {
    if (options.is_null()) options = Json::object();
    if (!options.is_object()) Fail("the options are no object");
    if (!declared.is_null() && !declared.is_object()) Fail("\"options\" is no object");
    for (const auto& [name, value] : options.items())
        if (!declared.contains(name) && std::find(std::begin(kCommonOptions), std::end(kCommonOptions), name) == std::end(kCommonOptions))
            Fail("there is no option \"" + name + "\"");
    for (const auto& [name, about] : declared.items()) {
        if (!about.is_object()) Fail("option \"" + name + "\" is not described by an object");
        if (options.contains(name) && !options[name].is_null()) continue;
        if (about.contains("default")) options[name] = about["default"];
        else if (about.value("required", Json(false)) == true) Fail("option \"" + name + "\" is missing");
    }
    CheckCommonOptions(options);
    return options;
}

}  // namespace

struct Connector::Parts {
    std::string name, destination;
    double rate_limit = 0;
    // As expressions see them.
    Json options, destination_name, endpoint, key_column, secret;
    Plan upserts;
    std::optional<Plan> deletes;  // nothing: they go as upserts do
    Token token{Json(), Json()};

    Scope ForDestination() const;
    const Plan& PlanOf(const Change& change) const { return change.kind == Change::Kind::kDelete && deletes ? *deletes : upserts; }
    void ReadOptions(const Json& row, Json given);
    void ReadSecret(const Json& auth, const Settings& settings);
};

namespace {

// A batch as expressions see it.
struct BatchValues {
    std::vector<ChangeValues> changes;
    Json now, id, count, keys = Json::array(), answers = Json::array();

    BatchValues(std::span<const Change> batch, std::span<const Response> responses, Clock::time_point time);
    void Bind(Scope& scope) const;
};

BatchValues::BatchValues(std::span<const Change> batch, std::span<const Response> responses, Clock::time_point time)
    : now(std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count()), count(batch.size()) {
    std::string ids;
    changes.reserve(batch.size());
    for (const Change& change : batch) {
        const char* type = change.kind == Change::Kind::kInsert ? "insert" : change.kind == Change::Kind::kUpdate ? "update" : "delete";
        changes.push_back({&change.row, change.key, change.id, type, changes.size()});
        keys.push_back(change.key);
        ids.append(change.id).append("\n");
    }
    id = batch.size() == 1 ? batch.front().id : "batch_" + Hex(Hash(Digest::kSha256, ids)).substr(0, 32);
    for (const Response& response : responses) answers.push_back(ParseJson(response.body));
}

void BatchValues::Bind(Scope& scope) const {
    scope.AllowFor(changes.size());
    scope.Set(Name::kNow, now);
    scope.Set(Name::kBatchId, id);
    scope.Set(Name::kCount, count);
    scope.Set(Name::kKeys, keys);
    scope.Set(Name::kAnswers, answers);
    if (!changes.empty()) changes.front().Bind(scope);
}

}  // namespace

Scope Connector::Parts::ForDestination() const {
    Scope scope;
    scope.Set(Name::kOptions, options);
    scope.Set(Name::kDestination, destination_name);
    scope.Set(Name::kEndpoint, endpoint);
    scope.Set(Name::kKeyColumn, key_column);
    return scope;
}

void Connector::Parts::ReadOptions(const Json& row, Json given) {
    const Json declared = row.value("options", Json());
    options = Complete(std::move(given), declared);
    const Json& rate = options.contains("rate_limit") ? options["rate_limit"] : row.value("rate_limit", Json());
    if (!rate.is_null()) {
        if (!rate.is_number() || rate < 0) Fail("\"rate_limit\" is no number of requests a second");
        rate_limit = rate.get<double>();
    }
    if (options.contains("batch") && !options["batch"].is_null()) {
        size_t most = upserts.batch_size;
        if (declared.is_object() && declared.contains("batch") && declared["batch"].contains("max") && declared["batch"]["max"].is_number_unsigned())
            most = declared["batch"]["max"].get<size_t>();
        const Json& batch = options["batch"];
        if (!batch.is_number_integer() || batch < 1 || batch > most)
            Fail("option \"batch\" is no number from 1 to " + std::to_string(most));
        upserts.batch_size = batch.get<size_t>();
        if (deletes) deletes->batch_size = std::min(deletes->batch_size, upserts.batch_size);
    }
    if (options.value("deletes", Json()) == "skip") {
        deletes.emplace();
        deletes->batch_size = kMostSkipped;
        deletes->repeats = true;
    }
}

void Connector::Parts::ReadSecret(const Json& auth, const Settings& settings) {
    if (!auth.is_null() && !auth.is_object()) Fail("\"auth\" is no object");
    const std::string variable = settings.secret_env ? *settings.secret_env : auth.is_null() ? "" : TextMember(auth, "secret_env");
    if (variable.empty()) return;
    std::string value = (settings.environment ? settings.environment(variable) : std::nullopt).value_or("");
    value.erase(value.find_last_not_of("\r\n") + 1);  // of a file that it was read from
    if (value.empty()) Fail("the environment variable \"" + variable + "\", which holds its secret, is not set");
    secret = value;
    if (value.front() == '{') {
        secret = ParseJson(value);
        if (!secret.is_object()) Fail("the secret in \"" + variable + "\" begins like JSON and is none");
    }
    // What is wrong with it is no fault of the changes'.
    for (const Json& part : secret.is_object() ? secret : Json::array({secret}))
        if (part.is_string() && part.get_ref<const std::string&>().find_first_of("\r\n") != std::string::npos) Fail("the secret in \"" + variable + "\" has a line feed");
    if (secret.is_string()) SignWebhook(value, "", "", "");
}

Connector::Connector(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Connector::Connector(Connector&&) noexcept = default;
Connector& Connector::operator=(Connector&&) noexcept = default;
Connector::~Connector() = default;

Connector Connector::FromRow(const Json& row, Settings settings) {
    auto parts = std::make_unique<Parts>();
    if (!row.is_object()) Fail("a connector's row is no object");
    try {
        Scope().Spend(row);
        if (row.dump(-1, ' ', false, Json::error_handler_t::replace).size() > kLargestRow) Fail("the row is too large");
        CheckMembers(row, kOfUpserts, "");
        parts->name = TextMember(row, "name");
        parts->destination = settings.destination;
        parts->destination_name = settings.destination;
        parts->key_column = settings.key_column;
        const std::string endpoint = settings.endpoint.value_or(TextMember(row, "endpoint"));
        if (!endpoint.empty()) parts->endpoint = endpoint.substr(0, endpoint.find_last_not_of('/') + 1);
        parts->upserts = Plan::Parse(row);
        if (const Json& deletes = row.value("deletes", Json()); !deletes.is_null()) {
            if (!deletes.is_object()) Fail("\"deletes\" is no object");
            CheckMembers(deletes, kOfDeletes, "\"deletes\": ");
            Json merged = row;
            for (const auto& [name, value] : deletes.items()) merged[name] = value;
            parts->deletes = Plan::Parse(merged);
        }
        parts->ReadOptions(row, std::move(settings.options));
        parts->ReadSecret(row.value("auth", Json()), settings);
        parts->token = Token(row.value("auth", Json()), parts->secret);
        // A URL that lacks its endpoint is found now, and not with the first change.
        const std::string url = TextMember(row, "url");
        if (parts->endpoint.is_null() && (url.empty() || url.find("endpoint") != std::string::npos)) Fail("an endpoint is needed");
    } catch (const Error& error) {
        const std::string name = row.contains("name") && row["name"].is_string() ? row["name"].get<std::string>() : "";
        throw Error(sqlstate::invalid_parameter_value, CleanText("connector \"" + name + "\": " + error.message, kLongestReason));
    } catch (const Json::exception& error) {
        Fail(std::string("a connector's row cannot be read: ") + error.what());
    }
    return Connector(std::move(parts));
}

const std::string& Connector::name() const { return parts_->name; }
const std::string& Connector::destination() const { return parts_->destination; }
size_t Connector::batch_size() const { return parts_->upserts.batch_size; }
double Connector::rate_limit() const { return parts_->rate_limit; }

std::optional<std::string> Connector::Refusal(const Change& change) const {
    const Plan& plan = parts_->PlanOf(change);
    if (plan.require.empty()) return std::nullopt;
    const BatchValues values({&change, 1}, {}, {});
    Scope scope = parts_->ForDestination();
    values.Bind(scope);
    for (const auto& [reason, value] : plan.require)
        if (!Truth(value.Render(scope))) return reason;
    return std::nullopt;
}

size_t Connector::Take(std::span<const Change> pending) const {
    if (pending.empty()) return 0;
    const Plan& plan = parts_->PlanOf(pending.front());
    std::unordered_set<std::string_view> keys;
    size_t count = 0;
    for (const Change& change : pending.first(std::min(pending.size(), plan.batch_size))) {
        if (&parts_->PlanOf(change) != &plan) break;
        if (!plan.repeats && !keys.insert(change.key).second) break;
        ++count;
    }
    return count;
}

std::optional<Request> Connector::Renew(Clock::time_point now) const { return parts_->token.Renew(parts_->ForDestination(), now); }

std::optional<Verdict> Connector::Renewed(const Response& answer, Clock::time_point now) {
    const BatchValues values({}, {}, now);
    Scope scope = parts_->ForDestination();
    values.Bind(scope);
    return parts_->token.Renewed(answer, scope, now);
}

std::optional<Request> Connector::Build(std::span<const Change> batch, std::span<const Response> answers, Clock::time_point now) const {
    if (batch.empty()) return std::nullopt;
    const Plan& plan = parts_->PlanOf(batch.front());
    const BatchValues values(batch, answers, now);
    Scope scope = parts_->ForDestination();
    values.Bind(scope);
    size_t answered = 0;
    for (const RequestPlan& request : plan.requests) {
        if (request.when && !Truth(request.when->Render(scope))) continue;
        if (answered < answers.size()) {
            if (Answer(answers[answered], scope).Judge(plan.rules).kind != Outcome::Kind::kTaken) return std::nullopt;
            ++answered;
            continue;
        }
        try {
            Request built = request.Render(scope, values.changes, parts_->secret);
            if (auto header = parts_->token.Header()) built.headers.emplace_back("Authorization", *std::move(header));
            return built;
        } catch (const Error&) {
            return std::nullopt;  // Judge says why
        }
    }
    return std::nullopt;
}

namespace {

// Of a request that has no answer: whether it is the changes' fault. `answered`: others of the batch came before it, whose answers
// say where it goes to.
std::vector<Verdict> WhyNotSent(const RequestPlan& request, const Scope& scope, std::span<const ChangeValues> changes, const Json& secret, bool answered) {
    Verdict verdict{Verdict::Kind::kRetry, "a request of the batch was not sent", std::nullopt};
    bool has_url = !answered;
    try {
        if (answered) request.url.RenderUrl(scope);
        has_url = true;
        request.Render(scope, changes, secret);
    } catch (const Error& error) {
        if (has_url) verdict.kind = changes.size() > 1 ? Verdict::Kind::kSplit : Verdict::Kind::kRefused;
        verdict.reason = CleanText(error.message, kLongestReason);
    }
    return std::vector<Verdict>(changes.size(), verdict);
}

}  // namespace

std::vector<Verdict> Connector::Judge(std::span<const Change> batch, std::span<const Response> answers, Clock::time_point now) {
    if (batch.empty()) return {};
    const Plan& plan = parts_->PlanOf(batch.front());
    std::vector<Verdict> verdicts(batch.size());
    const auto all = [&](std::string reason) {
        return std::vector<Verdict>(batch.size(), {Verdict::Kind::kRetry, std::move(reason), std::nullopt});
    };
    try {
        const BatchValues values(batch, answers, now);
        Scope scope = parts_->ForDestination();
        values.Bind(scope);
        size_t answered = 0;
        for (size_t i = 0; i < plan.requests.size(); ++i) {
            const RequestPlan& request = plan.requests[i];
            if (request.when && !Truth(request.when->Render(scope))) continue;
            if (answered == answers.size()) return WhyNotSent(request, scope, values.changes, parts_->secret, answered > 0);
            const Response& response = answers[answered++];
            if (response.status == 401) parts_->token.Forget();
            const Answer answer(response, scope);
            std::vector<Verdict> found = answer.Judge(plan.rules, values.changes);
            if (answer.Judge(plan.rules).kind != Outcome::Kind::kTaken) return found;
            if (i == plan.main) verdicts = std::move(found);
        }
    } catch (const Error& error) {
        return all(CleanText("the answer cannot be read: " + error.message, kLongestReason));
    }
    return verdicts;
}

}  // namespace cdp::relay
