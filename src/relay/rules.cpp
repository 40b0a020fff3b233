// relay/rules.cpp: see rules.hpp.
#include "relay/rules.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "pg/error.hpp"
#include "relay/functions.hpp"
#include "relay/normalise.hpp"
#include "relay/times.hpp"

namespace cdp::relay {
namespace {

constexpr double kLongestWait = 86400;
constexpr Names kOfAnswer{Name::kAnswer, Name::kStatus,   Name::kHeaders, Name::kBody, Name::kOptions, Name::kDestination,
                          Name::kEndpoint, Name::kAnswers, Name::kCount,   Name::kNow};

[[noreturn]] void Fail(const std::string& what) { throw Error(sqlstate::invalid_parameter_value, what); }

std::optional<TextTemplate> Optional(const Json& object, const char* name, Names names) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) return std::nullopt;
    if (!found->is_string()) Fail("\"" + std::string(name) + "\" is no text");
    return TextTemplate::Parse(found->get_ref<const std::string&>(), names);
}

// A member of the row: an object with no other members than these; an empty one where it is absent.
const Json& Member(const Json& row, const char* name, std::initializer_list<std::string_view> allowed) {
    static const Json kEmpty = Json::object();
    const auto found = row.find(name);
    if (found == row.end() || found->is_null()) return kEmpty;
    if (!found->is_object()) Fail("\"" + std::string(name) + "\" is no object");
    for (const auto& [member, value] : found->items())
        if (std::find(allowed.begin(), allowed.end(), member) == allowed.end())
            Fail("\"" + std::string(name) + "\" has no member \"" + member + "\"");
    return *found;
}

ErrorRule ParseErrorRule(const Json& json) {
    if (!json.is_object()) Fail("an element of \"errors\" is no object");
    Member(Json{{"errors", json}}, "errors", {"in", "where", "position", "keys", "as", "reason", "retry"});
    const Names of_item = kOfAnswer.And({Name::kItem, Name::kIndex});
    const Names of_change{Name::kRow, Name::kKey, Name::kId, Name::kType, Name::kPosition, Name::kOptions};
    ErrorRule rule;
    const auto list = Optional(json, "in", kOfAnswer);
    const auto reason = Optional(json, "reason", of_item);
    if (!list || !reason) Fail("an element of \"errors\" needs \"in\" and \"reason\"");
    rule.list = *list;
    rule.reason = *reason;
    rule.where = Optional(json, "where", of_item);
    rule.position = Optional(json, "position", of_item);
    rule.keys = Optional(json, "keys", of_item);
    rule.as = Optional(json, "as", of_change);
    rule.retry = Optional(json, "retry", of_item);
    if (rule.as && !rule.keys) Fail("\"as\" needs \"keys\"");
    return rule;
}

}  // namespace

Statuses Statuses::Parse(const Json& list) {
    if (!list.is_array()) Fail("\"status\" is no list");
    Statuses statuses;
    for (const Json& status : list) {
        if (status.is_number_integer() && status >= 100 && status <= 599) {
            statuses.ranges_.emplace_back(status.get<int>(), status.get<int>());
            continue;
        }
        const std::string text = Text(status).value_or("");
        if (text.size() != 3 || !text.ends_with("xx") || text[0] < '1' || text[0] > '5')
            Fail("\"" + text + "\" is no HTTP status, and nothing like \"2xx\"");
        statuses.ranges_.emplace_back((text[0] - '0') * 100, (text[0] - '0') * 100 + 99);
    }
    return statuses;
}

bool Statuses::Has(int status) const {
    return std::any_of(ranges_.begin(), ranges_.end(), [&](auto range) { return range.first <= status && status <= range.second; });
}

Rules Rules::Parse(const Json& row) {
    const Json& success = Member(row, "success", {"status", "when", "errors"});
    const Json& retry = Member(row, "retry", {"status", "when", "after"});
    const Json& refuse = Member(row, "refuse", {"status", "when", "reason"});
    Rules rules;
    rules.success = Statuses::Parse(success.value("status", Json::array({"2xx"})));
    // Who is not let in has a wrong secret, which is no fault of the change's.
    rules.retry = Statuses::Parse(retry.value("status", Json::array({401, 403, 408, 425, 429, "1xx", "3xx", "5xx"})));
    rules.refuse = Statuses::Parse(refuse.value("status", Json::array({"4xx"})));
    rules.success_when = Optional(success, "when", kOfAnswer);
    rules.retry_when = Optional(retry, "when", kOfAnswer);
    rules.retry_after = Optional(retry, "after", kOfAnswer);
    rules.refuse_when = Optional(refuse, "when", kOfAnswer);
    rules.reason = Optional(refuse, "reason", kOfAnswer);
    const Json errors = success.value("errors", Json::array());
    if (!errors.is_array()) Fail("\"errors\" is no list");
    for (const Json& error : errors) rules.errors.push_back(ParseErrorRule(error));
    return rules;
}

Answer::Answer(const Response& response, const Scope& scope)
    : response_(response), answer_(ParseJson(response.body)), status_(response.status), headers_(Json::object()), scope_(scope) {
    for (const auto& [name, value] : response.headers) headers_[CleanText(name, kLongestReason)] = CleanText(value, 8192);
    body_ = CleanText(response.body, 8192);
    scope_.Set(Name::kAnswer, answer_);
    scope_.Set(Name::kStatus, status_);
    scope_.Set(Name::kHeaders, headers_);
    scope_.Set(Name::kBody, body_);
}

std::string Answer::Reason(const Rules& rules) const {
    if (response_.status == 0)
        return response_.body.empty() ? "no answer" : CleanText("no answer: " + response_.body, kLongestReason);
    std::string text = "HTTP " + std::to_string(response_.status);
    auto said = rules.reason ? Text(rules.reason->Render(scope_)) : std::nullopt;
    if (!said) said = body_.get<std::string>();
    if (!said->empty()) text += ": " + *said;
    return CleanText(text, kLongestReason);
}

std::optional<double> Answer::RetryAfter(const Rules& rules) const {
    std::optional<double> seconds;
    if (rules.retry_after)
        if (const Json after = rules.retry_after->Render(scope_); after.is_number()) seconds = after.get<double>();
    if (const auto header = headers_.find("retry-after"); !seconds && header != headers_.end()) {
        const std::string& text = header->get_ref<const std::string&>();
        double number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error == std::errc() && end == text.data() + text.size()) seconds = number;
        else if (const auto then = ParseHttpDate(text); then && scope_[Name::kNow].is_number())
            seconds = *then - scope_[Name::kNow].get<double>();
    }
    if (!seconds || !std::isfinite(*seconds)) return std::nullopt;
    return std::clamp(*seconds, 0.0, kLongestWait);
}

Outcome Answer::Judge(const Rules& rules) const {
    const auto holds = [&](const std::optional<TextTemplate>& condition) { return condition && Truth(condition->Render(scope_)); };
    const int status = response_.status;
    if (status == 0 || holds(rules.retry_when)) return {Outcome::Kind::kRetry, Reason(rules), RetryAfter(rules)};
    if (holds(rules.refuse_when)) return {Outcome::Kind::kRefused, Reason(rules), std::nullopt};
    if (rules.success.Has(status)) {
        // An answer that says it is well and does not look so (a proxy's page) has told us nothing.
        const bool readable = rules.errors.empty() || !answer_.is_null() || response_.body.empty();
        if (readable && (!rules.success_when || holds(rules.success_when))) return {};
        return {Outcome::Kind::kRetry, Reason(rules), RetryAfter(rules)};
    }
    if (!rules.retry.Has(status) && rules.refuse.Has(status)) return {Outcome::Kind::kRefused, Reason(rules), std::nullopt};
    return {Outcome::Kind::kRetry, Reason(rules), RetryAfter(rules)};
}

// What an answer says of single changes.
struct Answer::Findings {
    std::vector<std::optional<Verdict>> named;
    std::optional<Verdict> unnamed;  // of an error that names none of them
};

void Answer::Find(const ErrorRule& rule, std::span<const ChangeValues> changes, Findings& findings) const {
    const Json items = rule.list.Render(scope_);
    if (!items.is_array() || items.empty()) return;
    std::unordered_multimap<std::string, size_t> places;
    Scope scope = scope_;
    for (size_t i = 0; rule.keys && i < changes.size(); ++i) {
        changes[i].Bind(scope);
        if (auto key = rule.as ? Text(rule.as->Render(scope)) : Text(changes[i].key)) places.emplace(*std::move(key), i);
    }
    for (size_t i = 0; i < items.size(); ++i) {
        const Json index = i;
        scope = scope_;
        scope.Set(Name::kItem, items[i]);
        scope.Set(Name::kIndex, index);
        if (rule.where && !Truth(rule.where->Render(scope))) continue;
        Verdict verdict{Verdict::Kind::kRefused, CleanText(Text(rule.reason.Render(scope)).value_or(""), kLongestReason), {}};
        if (verdict.reason.empty()) verdict.reason = "refused without a reason";
        if (rule.retry && Truth(rule.retry->Render(scope))) verdict.kind = Verdict::Kind::kRetry;
        bool found = false;
        const auto name = [&](size_t place) {
            found = true;
            findings.named[place] = verdict;
        };
        if (rule.position)
            if (const Json place = rule.position->Render(scope); place.is_number_integer() && place >= 0 && place < changes.size())
                name(place.get<size_t>());
        if (rule.keys) {
            const Json keys = rule.keys->Render(scope);
            for (const Json& key : keys.is_array() ? keys : Json::array({keys})) {
                const auto [from, to] = places.equal_range(Text(key).value_or(""));
                for (auto place = from; place != to; ++place) name(place->second);
            }
        }
        if (!found) findings.unnamed = verdict;
    }
}

std::vector<Verdict> Answer::Judge(const Rules& rules, std::span<const ChangeValues> changes) const {
    const Outcome outcome = Judge(rules);
    if (outcome.kind == Outcome::Kind::kRetry)
        return std::vector<Verdict>(changes.size(), {Verdict::Kind::kRetry, outcome.reason, outcome.retry_after_seconds});
    Findings findings{std::vector<std::optional<Verdict>>(changes.size()), std::nullopt};
    for (const ErrorRule& rule : rules.errors) Find(rule, changes, findings);
    // Those that no error names: taken, unless the answer refuses the batch or has an error for we do not know which.
    Verdict others;
    if (outcome.kind == Outcome::Kind::kRefused) others = {Verdict::Kind::kRefused, outcome.reason, std::nullopt};
    else if (findings.unnamed) others = *findings.unnamed;
    if (others.kind == Verdict::Kind::kRefused && changes.size() > 1) others.kind = Verdict::Kind::kSplit;
    std::vector<Verdict> verdicts;
    for (auto& named : findings.named) verdicts.push_back(named ? *std::move(named) : others);
    return verdicts;
}

}  // namespace cdp::relay
