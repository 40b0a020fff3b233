// connector_row_fuzz.cpp: any JSON as a connector's row, and rows that ship with any changes. What is taken builds requests of
// sound form, a bounded number of them, the same from the same, and judges their answers.
#include "../unit/connector_rows.hpp"
#include "json_edits.hpp"

using namespace cdp;
using namespace cdp::relay;

namespace {

const nlohmann::json kRow = R"({"email": "Ann@Example.com", "phone": "+442079460000", "n": 3.5, "none": null, "ok": true,
    "since": "2026-11-25 10:00:00+00", "list": ["a", {"b": [1, 2]}]})"_json;

const std::vector<Change> kBatch = {{Change::Kind::kInsert, "ann@example.com", kRow, 1, "id-1"},
                                    {Change::Kind::kUpdate, "bob@example.com", {{"email", "b\r\nx"}, {"list", 7}}, 2, "id-2"},
                                    {Change::Kind::kInsert, "..", nullptr, 3, "id-3"},
                                    {Change::Kind::kDelete, "ann@example.com", {{"email", "ann@example.com"}}, 4, "id-4"}};

void Deliver(Connector& connector, std::span<const Change> pending) {
    const Clock::time_point now{std::chrono::seconds(1'700'000'000)};
    const size_t count = connector.Take(pending);
    CDP_MUST(count >= 1 && count <= pending.size());
    const auto batch = pending.first(count);
    if (connector.Renew(now)) connector.Renewed({200, {}, R"({"access_token": "t"})"}, now);
    std::vector<Response> answers;
    while (const auto request = connector.Build(batch, answers, now)) {
        for (const auto& [name, value] : request->headers) CDP_MUST((name + value).find_first_of(std::string("\r\n\0", 3)) == std::string::npos);
        const auto again = connector.Build(batch, answers, now);
        CDP_MUST(again && again->body == request->body && again->url == request->url);
        answers.push_back({200, {}, R"({"results": [{"id": 1}], "errors": [{"index": 0, "message": "m"}, "x"]})"});
        CDP_MUST(answers.size() <= 20);
    }
    CDP_MUST(connector.Judge(batch, answers, now).size() == count);
    for (const int status : {0, 207, 400, 429}) {
        answers.assign(1, {status, {{"retry-after", "3"}}, R"([{"success": false}])"});
        CDP_MUST(connector.Judge(batch, answers, now).size() == count);
    }
}

const char* const kFragments[] = {"{{ row }}", "{{ row[*] | json }}", "{{ answer }}", "{{ key | sha256 }}", "{{", "}}", " | default('')", " | join",
                                  "{{ item.x[0] }}", "{{ secret }}", "{{ field('email') | email }}", "$changes", "2xx", "{{ list(answer, answers) }}",
                                  "{{ concat(row, row, row) }}", "{{ row | text | replace('e', row) }}", "{{ headers['retry-after'] | integer }}"};

nlohmann::json RowOf(const uint8_t* data, size_t size) {
    if (size == 0 || data[0] % 4 == 0) return nlohmann::json::parse(data, data + size, nullptr, false);
    fuzz::Input input(data, size);
    auto shipped = ShippedRows().begin();
    std::advance(shipped, input.Below(static_cast<unsigned>(ShippedRows().size())));
    nlohmann::json row = shipped->second;
    for (int i = 0; i < 16 && !input.empty(); ++i) fuzz::Edit(row, kFragments, input);
    return row;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto row = RowOf(data, size);
    if (row.is_discarded()) return 0;
    Settings settings;
    settings.destination = "d";
    settings.key_column = "email";
    settings.endpoint = "http://localhost";
    settings.options = {{"fields", {{"mail", "email"}}}};
    if (row.is_object() && row.contains("options") && row["options"].is_object())
        for (const auto& [name, about] : row["options"].items())
            if (about.is_object() && about.contains("required")) settings.options[name] = "x1";
    settings.environment = [](const std::string&) { return std::optional<std::string>(R"({"client_id": "i", "client_secret": "s", "password": "p", "refresh_token": "r", "access_token": "a"})"); };
    try {
        Connector connector = Connector::FromRow(row, settings);
        for (size_t i = 0; i < kBatch.size(); ++i) {
            connector.Refusal(kBatch[i]);
            Deliver(connector, std::span(kBatch).subspan(i));
        }
    } catch (const Error& error) {
        CDP_MUST(error.sqlstate == sqlstate::invalid_parameter_value || error.sqlstate == sqlstate::program_limit_exceeded);
        CDP_MUST(!error.message.empty());
    }
    return 0;
}
