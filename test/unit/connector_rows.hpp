// connector_rows.hpp: the connectors that ship, read from where they stand, and what their tests share.
#pragma once

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "pg/error.hpp"
#include "relay/connector.hpp"

namespace cdp::relay {

/// name → row, from src/activate/connectors.sql.
inline const std::map<std::string, nlohmann::json>& ShippedRows() {
    static const auto rows = [] {
        std::map<std::string, nlohmann::json> result;
        std::ifstream file(CDP_SOURCE_DIR "/src/activate/connectors.sql");
        std::stringstream text;
        text << file.rdbuf();
        const std::string sql = text.str();
        constexpr std::string_view kQuote = "$json$";
        for (size_t at = 0; (at = sql.find(kQuote, at)) != std::string::npos;) {
            const size_t from = at + kQuote.size(), to = sql.find(kQuote, from);
            auto row = nlohmann::json::parse(sql.substr(from, to - from));
            result.emplace(row["name"].get<std::string>(), row);
            at = to + kQuote.size();
        }
        return result;
    }();
    return rows;
}

inline const Clock::time_point kNow{std::chrono::seconds(1'700'000'000)};

/// The secrets that the shipped connectors ask for, and those of `more`.
inline Settings With(nlohmann::json options, std::map<std::string, std::string> more = {}) {
    Settings settings;
    settings.destination = "vip";
    settings.key_column = "email";
    settings.options = std::move(options);
    settings.endpoint = "http://127.0.0.1:9";
    settings.environment = [more](const std::string& name) -> std::optional<std::string> {
        if (const auto found = more.find(name); found != more.end()) return found->second;
        if (name == "CDP_SALESFORCE_SECRET" || name == "CDP_GOOGLE_SECRET") return R"({"access_token": "static", "developer_token": "dev"})";
        if (name.starts_with("CDP_")) return "s3cret";
        return std::nullopt;
    };
    return settings;
}

inline Connector Shipped(const std::string& name, nlohmann::json options, std::map<std::string, std::string> more = {}) {
    return Connector::FromRow(ShippedRows().at(name), With(std::move(options), std::move(more)));
}

inline Change Upsert(const std::string& key, nlohmann::json row) {
    row["email"] = key;
    return {Change::Kind::kInsert, key, std::move(row), 1, "vip-" + key + "-1"};
}
inline Change Gone(const std::string& key) { return {Change::Kind::kDelete, key, {{"email", key}}, 2, "vip-" + key + "-2"}; }

inline std::string HeaderOf(const Request& request, const std::string& name) {
    for (const auto& [header, value] : request.headers)
        if (header == name) return value;
    return "(none)";
}
inline nlohmann::json BodyOf(const Request& request) { return nlohmann::json::parse(request.body); }

inline Response Answered(int status, const nlohmann::json& body, std::vector<std::pair<std::string, std::string>> headers = {}) {
    return {status, std::move(headers), body.is_null() ? "" : body.dump()};
}

/// "delivered", "retry", "refused: why", "split: why" for each change.
inline std::vector<std::string> Verdicts(Connector& connector, const std::vector<Change>& batch, const std::vector<Response>& answers) {
    std::vector<std::string> words;
    for (const Verdict& verdict : connector.Judge(batch, answers, kNow)) {
        constexpr const char* kWords[] = {"delivered", "retry", "refused", "split"};
        std::string word = kWords[static_cast<int>(verdict.kind)];
        if (!verdict.reason.empty()) word += ": " + verdict.reason;
        if (verdict.retry_after_seconds) word += " (" + std::to_string(static_cast<int>(*verdict.retry_after_seconds)) + " s)";
        words.push_back(word);
    }
    return words;
}
using Words = std::vector<std::string>;

}  // namespace cdp::relay
