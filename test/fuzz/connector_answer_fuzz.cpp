// connector_answer_fuzz.cpp: any answer, to every connector that ships. Each change gets a verdict, a reason that
// PostgreSQL takes, and a wait of at most a day; nothing is thrown.
#include <cmath>

#include "../unit/connector_rows.hpp"
#include "fuzz.hpp"
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
    const std::string_view value = rest.substr(0, rest.find('\n'));
    if (header == 1) response.headers = {{"retry-after", std::string(value)}};
    if (header == 2) response.headers = {{"x-ratelimit-reset", std::string(value)}};
    if (header == 3) response.headers = {{"x-business-use-case-usage", std::string(value)}};
    response.body = rest;
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
