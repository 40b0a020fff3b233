// connector_answer_fuzz.cpp: any answer, to every connector that ships. Each change gets a verdict, a reason that
// PostgreSQL takes, and a wait of at most a day; nothing is thrown.
#include <cmath>

#include "../unit/connector_rows.hpp"
#include "json_edits.hpp"
#include "relay/normalise.hpp"

using namespace cdp;
using namespace cdp::relay;

namespace {

std::vector<Connector> AllShipped() {
    std::vector<Connector> connectors;
    for (const auto& [name, row] : ShippedRows()) {
        nlohmann::json options = nlohmann::json::object();
        const nlohmann::json declared = row.value("options", nlohmann::json::object());
        for (const auto& [option, about] : declared.items())
            if (about.value("required", false)) options[option] = "x1";
        connectors.push_back(Connector::FromRow(row, With(options)));
    }
    return connectors;
}

const char* const kFragments[] = {"success", "ann@example.com", "vip-bob@example.com-1", "operations", "audience_members[1].x", "30s", "true",
                                  "/data/attributes/profiles/data/1/attributes", "customers/1/offlineUserDataJobs/2", "..", "\r\n", "1e308", "errors"};

// Answers of all kinds, as the networks document them.
const nlohmann::json kAnswers = R"([
    {"status": "COMPLETE", "results": [{"id": "51"}], "errors": [{"category": "C", "message": "m", "context": {"objectWriteTraceId": ["vip-bob@example.com-1"], "ids": ["ann@example.com"]}}]},
    [{"success": true, "errors": []}, {"success": false, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "m"}]}, {"success": false}],
    [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "m"}],
    {"errors": [{"email_address": "Ann@example.com", "error": "e", "error_code": "ERROR_GENERIC", "field_message": ""}], "title": "t", "detail": "d"},
    {"data": [{"type": "profile", "id": "01"}], "errors": [{"code": "c", "detail": "d", "source": {"pointer": "/data/attributes/profiles/data/1/attributes/email"}}]},
    {"message": "success", "deleted": 1, "errors": [{"type": "t", "input_array": "attributes", "index": 0}, "plain"]},
    {"resourceName": "customers/1/offlineUserDataJobs/2", "partialFailureError": {"details": [{"errors": [{"errorCode": {"a": "B"}, "message": "m", "location": {"fieldPathElements": [{"fieldName": "operations", "index": 1}]}}]}]}},
    {"error": {"status": "S", "message": "m", "details": [{"retryDelay": "30s", "fieldViolations": [{"field": "audience_members[1].x", "description": "d", "reason": "r"}],
        "errors": [{"errorCode": {"databaseError": "CONCURRENT_MODIFICATION"}, "message": "m", "details": {"quotaErrorDetails": {"retryDelay": "30s"}}}]}]}},
    {"error": {"code": 80003, "message": "m", "error_user_msg": "u", "is_transient": false}},
    {"num_received": 2, "num_invalid_entries": 1, "invalid_entry_samples": {"x": "y"}, "requestId": "r", "access_token": "t", "expires_in": 3600}
])"_json;

std::string AnswerOf(fuzz::Input& input) {
    if (input.Below(2) == 0) return std::string(input.Rest());
    nlohmann::json answer = kAnswers[input.Below(static_cast<unsigned>(kAnswers.size()))];
    for (int i = 0; i < 12 && !input.empty(); ++i) fuzz::Edit(answer, kFragments, input);
    return answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static std::vector<Connector> connectors = AllShipped();
    static const std::vector<Change> upserts = {Upsert("ann@example.com", {{"n", 1}}), Upsert("bob@example.com", {}), Upsert("eve@example.com", {})};
    static const std::vector<Change> gone = {Gone("ann@example.com"), Gone("bob@example.com")};
    fuzz::Input input(data, size);
    Connector& connector = connectors[input.Below(static_cast<unsigned>(connectors.size()))];
    constexpr int kStatuses[] = {0, 200, 201, 202, 204, 207, 301, 400, 401, 403, 404, 409, 422, 429, 500, 503};
    Response response;
    response.status = kStatuses[input.Below(std::size(kStatuses))];
    const unsigned header = input.Below(4);
    const std::string_view rest = input.Rest();
    const std::string_view value = rest.substr(0, std::min<size_t>(rest.find('\n'), 200));
    if (header == 1) response.headers = {{"retry-after", std::string(value)}};
    if (header == 2) response.headers = {{"x-ratelimit-reset", std::string(value)}};
    if (header == 3) response.headers = {{"x-business-use-case-usage", std::string(value)}};
    response.body = AnswerOf(input);
    for (const auto& changes : {std::span<const Change>(upserts), std::span<const Change>(gone)}) {
        const auto batch = changes.first(connector.Take(changes));
        std::vector<Response> answers(1, response);
        while (answers.size() < 4 && connector.Build(batch, answers, kNow)) answers.push_back(response);
        const std::vector<Verdict> verdicts = connector.Judge(batch, answers, kNow);
        CDP_MUST(verdicts.size() == batch.size());
        for (const Verdict& verdict : verdicts) {
            CDP_MUST(CleanText(verdict.reason, 500) == verdict.reason);
            CDP_MUST((verdict.kind == Verdict::Kind::kDelivered) == verdict.reason.empty());
            CDP_MUST(verdict.kind != Verdict::Kind::kSplit || batch.size() > 1);
            if (verdict.retry_after_seconds) CDP_MUST(*verdict.retry_after_seconds >= 0 && *verdict.retry_after_seconds <= 86400);
        }
    }
    connector.Renewed(response, kNow);
    return 0;
}
