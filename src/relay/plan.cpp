// relay/plan.cpp: see plan.hpp.
#include "relay/plan.hpp"

#include <algorithm>

#include "pg/error.hpp"
#include "relay/functions.hpp"

namespace cdp::relay {
namespace {

constexpr Names kOfBatch{Name::kOptions, Name::kDestination, Name::kEndpoint, Name::kKeyColumn,
                         Name::kNow,     Name::kBatchId,     Name::kCount,    Name::kKeys,      Name::kAnswers};
constexpr Names kOfChange{Name::kRow, Name::kKey, Name::kId, Name::kType, Name::kPosition};
constexpr size_t kMostRequests = 8;
constexpr size_t kLargestBatch = 100'000;

[[noreturn]] void Fail(const std::string& what) { throw Error(sqlstate::invalid_parameter_value, what); }

const Json& Member(const Json& json, const char* name) {
    static const Json kNull;
    const auto found = json.find(name);
    return found == json.end() ? kNull : *found;
}

std::string TextMember(const Json& json, const char* name, const char* otherwise) {
    const Json& value = Member(json, name);
    if (value.is_null() && otherwise) return otherwise;
    if (!value.is_string()) Fail("\"" + std::string(name) + (value.is_null() ? "\" is missing" : "\" is no text"));
    return value.get<std::string>();
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

void CheckHeaderName(const std::string& name) {
    if (name.empty() || std::any_of(name.begin(), name.end(), [](char c) { return IsControl(c) || c == ':' || c == ' '; }))
        Fail("\"" + name + "\" cannot be a header's name");
}

RequestPlan ParseRequest(const Json& json, const Json& common_headers, Names names) {
    RequestPlan request;
    request.method = TextMember(json, "method", "POST");
    constexpr std::string_view kMethods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    if (std::find(std::begin(kMethods), std::end(kMethods), request.method) == std::end(kMethods))
        Fail("\"method\" is \"" + request.method + "\", which is none of GET, POST, PUT, PATCH and DELETE");
    request.url = TextTemplate::Parse(TextMember(json, "url", "{{ endpoint }}"), names);
    for (const Json* headers : {&common_headers, &Member(json, "headers")}) {
        if (headers->is_null()) continue;
        if (!headers->is_object()) Fail("\"headers\" is no object");
        for (const auto& header : headers->items()) {
            const std::string& name = header.key();
            if (!header.value().is_string()) Fail("the header \"" + name + "\" is no text");
            CheckHeaderName(name);
            std::erase_if(request.headers, [&](const auto& before) { return before.first == name; });
            request.headers.emplace_back(name, TextTemplate::Parse(header.value().get<std::string>(),
                                                                   names.And({Name::kSecret, Name::kBody})));
        }
    }
    if (const Json& body = Member(json, "body"); !body.is_null()) request.body = Template::Parse(body, names);
    if (const Json& when = Member(json, "when"); !when.is_null())
        request.when = TextTemplate::Parse(TextMember(json, "when", nullptr), names);
    return request;
}

// The requests before or after the main one.
void ParseRequests(const Json& row, const char* name, Names names, std::vector<RequestPlan>& requests) {
    const Json& list = Member(row, name);
    if (list.is_null()) return;
    if (!list.is_array() || list.size() > kMostRequests) Fail("\"" + std::string(name) + "\" is no list of a few requests");
    for (const Json& request : list) {
        if (!request.is_object()) Fail("an element of \"" + std::string(name) + "\" is no object");
        requests.push_back(ParseRequest(request, Member(row, "headers"), names));
    }
}

bool SameHeader(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

Request RequestPlan::Render(const Scope& scope, std::span<const ChangeValues> changes, const Json& secret) const {
    Request request;
    request.method = method;
    request.url = url.RenderUrl(scope);
    if (body) request.body = body->Render(scope, changes).dump(-1, ' ', false, Json::error_handler_t::replace);
    Scope with_secret = scope;
    const Json body_text = request.body;
    with_secret.Set(Name::kSecret, secret);
    with_secret.Set(Name::kBody, body_text);
    bool has_type = !body;
    for (const auto& [name, value] : headers) {
        const auto text = Text(value.Render(with_secret));
        if (!text) continue;
        if (std::any_of(text->begin(), text->end(), IsControl)) Fail("the header \"" + name + "\" would have a line break or the like");
        has_type = has_type || SameHeader(name, "content-type");
        request.headers.emplace_back(name, *text);
    }
    if (!has_type) request.headers.emplace_back("Content-Type", "application/json");
    return request;
}

Plan Plan::Parse(const Json& row) {
    Plan plan;
    const Json& size = Member(row, "batch_size");
    if (!size.is_null()) {
        if (!size.is_number_integer() || size < 1 || size > kLargestBatch) Fail("\"batch_size\" is no number of changes");
        plan.batch_size = size.get<size_t>();
    }
    const Json& repeats = Member(row, "repeats");
    if (!repeats.is_null() && !repeats.is_boolean()) Fail("\"repeats\" is neither true nor false");
    plan.repeats = repeats == true;
    // In a batch of several, what belongs to a change stands in a loop over the changes.
    const Names names = plan.batch_size == 1 ? kOfBatch.And(kOfChange) : kOfBatch;
    ParseRequests(row, "before", names, plan.requests);
    plan.main = plan.requests.size();
    plan.requests.push_back(ParseRequest(row, nullptr, names));
    ParseRequests(row, "after", names, plan.requests);
    plan.rules = Rules::Parse(row);
    const Json& require = Member(row, "require");
    if (!require.is_null() && !require.is_object()) Fail("\"require\" is no object");
    for (const auto& [reason, value] : require.items()) {
        if (!value.is_string()) Fail("\"require\" is no object of texts");
        plan.require.emplace_back(reason, TextTemplate::Parse(value.get<std::string>(), kOfChange.And({Name::kOptions})));
    }
    return plan;
}

}  // namespace cdp::relay
