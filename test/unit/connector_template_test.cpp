// connector_template_test.cpp: the language of connectors' rows, and what a row may not say.
#include <gtest/gtest.h>

#include "connector_rows.hpp"
#include "relay/functions.hpp"
#include "relay/template.hpp"

namespace cdp::relay {
namespace {

constexpr Names kAll{Name::kRow,  Name::kKey,   Name::kId,      Name::kType, Name::kPosition, Name::kOptions, Name::kEndpoint,
                     Name::kItem, Name::kIndex, Name::kAnswer, Name::kNow,  Name::kKeyColumn, Name::kHeaders};

const Json kRow = R"({"email": "a@b.c", "n": 3, "flag": true, "none": null, "list": ["x", "y"], "deep": {"a b": [{"id": 1}, {"id": 2}, {}]}})"_json;
const Json kOptions = R"({"fields": {"mail": "email", "count": "n", "gone": "no_such"}})"_json;
const Json kNowJson = 1000;
const Json kKeyColumn = "email";

Json Value(const std::string& expression) {
    Scope scope;
    scope.Set(Name::kRow, kRow);
    scope.Set(Name::kNow, kNowJson);
    return Expression::Parse(expression, kAll).Evaluate(scope);
}

Json Rendered(const Json& json, const Json& options = Json::object()) {
    const std::vector<ChangeValues> changes = {{&kRow, "k1", "id1", "insert", 0}, {&kRow, "k2", "id2", "update", 1}};
    Scope scope;
    scope.Set(Name::kOptions, options);
    scope.Set(Name::kKeyColumn, kKeyColumn);
    changes.front().Bind(scope);
    return Template::Parse(json, kAll).Render(scope, changes);
}

std::string Complaint(const std::function<void()>& work) {
    try {
        work();
        return "none";
    } catch (const Error& error) {
        EXPECT_EQ(error.sqlstate, sqlstate::invalid_parameter_value);
        return error.message;
    }
}

TEST(Expression, FollowsPaths) {
    EXPECT_EQ(Value("row.email"), "a@b.c");
    EXPECT_EQ(Value(" row . list [1] "), "y");
    EXPECT_EQ(Value("row.list[9]"), nullptr);
    EXPECT_EQ(Value("row.email.x"), nullptr);
    EXPECT_EQ(Value("row.deep['a b'][*].id"), Json({1, 2}));
    EXPECT_EQ(Value("parse_json('{\"a\": [1, 2]}').a[1]"), 2);
    EXPECT_EQ(Value("key"), nullptr);
}

TEST(Expression, CallsFunctions) {
    EXPECT_EQ(Value("row.none | lower | sha256"), nullptr);
    EXPECT_EQ(Value("row.none | default('x')"), "x");
    EXPECT_EQ(Value("concat('a', row.n, row.flag)"), "a3true");
    EXPECT_EQ(Value("concat('a', row.none)"), nullptr);
    EXPECT_EQ(Value("row.n | in(1, 2, 3)"), true);
    EXPECT_EQ(Value("any(row.none, 0, '', row.flag)"), true);
    EXPECT_EQ(Value("all(row.flag, row.none) | not"), true);
    EXPECT_EQ(Value("if(row.flag, 'yes', 'no')"), "yes");
    EXPECT_EQ(Value("'/a/b/12/c' | after('/b/') | integer"), 12);
    EXPECT_EQ(Value("'x' | after('/b/') | integer"), nullptr);
    EXPECT_EQ(Value("'30s' | integer"), 30);
    EXPECT_EQ(Value("1060.5 | seconds_until"), 60.5);
    EXPECT_EQ(Value("list(1, '7', 3) | max | times(60)"), 420);
    EXPECT_EQ(Value("list() | max"), nullptr);
    EXPECT_EQ(Value("row.list | join('+')"), "x+y");
    EXPECT_EQ(Value("'äöü' | beginning(2)"), "äö");
    EXPECT_EQ(Value("'aXbX' | replace('X', 'yy')"), "ayybyy");
    EXPECT_EQ(Value("row | at('n')"), 3);
    EXPECT_EQ(Value("row.list | contains('y')"), true);
    EXPECT_EQ(Value("'a\\'b'"), "a'b");
    EXPECT_EQ(Value("row.list | size | above(1)"), true);
    EXPECT_EQ(Value("'a/b?' | url"), "a%2Fb%3F");
    EXPECT_EQ(Value("'' | unless_empty"), nullptr);
}

TEST(Expression, SaysWhatIsWrong) {
    const auto complaint = [](const std::string& text) { return Complaint([&] { Expression::Parse(text, {Name::kRow}); }); };
    EXPECT_EQ(complaint("rwo.email"), "no \"rwo\" here in {{rwo.email}}");
    EXPECT_EQ(complaint("secret"), "no \"secret\" here in {{secret}}");
    EXPECT_EQ(complaint("row.email | sha265"), "no function \"sha265\" in {{row.email | sha265}}");
    EXPECT_EQ(complaint("lower()"), "a wrong number of arguments for \"lower\" in {{lower()}}");
    EXPECT_EQ(complaint("row.email row"), "unexpected \"row\" in {{row.email row}}");
    EXPECT_EQ(complaint("row.email |"), "a name is missing in {{row.email |}}");
    EXPECT_EQ(complaint("'x"), "\"'\" is missing in {{'x}}");
    EXPECT_EQ(complaint(""), "a value is missing in {{}}");
    EXPECT_EQ(complaint("1x"), "\"1x\" is no number in {{1x}}");
    EXPECT_NE(complaint(std::string(10'000, '(')), "none");
    std::string nested;
    for (int i = 0; i < 1000; ++i) nested += "any(";
    EXPECT_NE(complaint(nested).find("too deeply nested"), std::string::npos);
}

TEST(Template, KeepsTypesAndLeavesOutWhatIsNot) {
    EXPECT_EQ(Rendered(R"({"n": "{{ row.n }}", "t": "n={{ row.n }}", "x": "{{ row.none }}", "y": "a{{ row.none }}", "lit": 1.5})"_json),
              R"({"n": 3, "t": "n=3", "lit": 1.5})"_json);
    EXPECT_EQ(Rendered(R"({"a": {"b": "{{ row.none }}"}, "c": {}, "l": ["{{ row.none }}", 1]})"_json), R"({"c": {}, "l": [1]})"_json);
    EXPECT_EQ(Rendered(R"({"{{ row.email }}": 1, "{{ row.none }}": 2})"_json), R"({"a@b.c": 1})"_json);
    EXPECT_EQ(Rendered("{{ '}}' }}"), "}}");
    EXPECT_EQ(Rendered(""), "");
}

TEST(Template, LoopsAndChooses) {
    EXPECT_EQ(Rendered(R"({"$changes": {"k": "{{ key }}", "p": "{{ position }}"}})"_json), R"([{"k": "k1", "p": 0}, {"k": "k2", "p": 1}])"_json);
    EXPECT_EQ(Rendered(R"({"$each": "{{ row.list }}", "$give": "{{ index }}{{ item }}"})"_json), R"(["0x", "1y"])"_json);
    EXPECT_EQ(Rendered(R"({"$each": "{{ row.none }}", "$give": 1})"_json), Json::array());
    EXPECT_EQ(Rendered(R"({"$if": "{{ row.flag }}", "$then": 1, "$else": 2})"_json), 1);
    EXPECT_EQ(Rendered(R"({"$if": "{{ row.none }}", "$then": 1})"_json), nullptr);
    EXPECT_EQ(Rendered(R"({"$all": {"a": "{{ row.n }}", "b": "{{ row.none }}"}})"_json), nullptr);
    EXPECT_EQ(Rendered(R"({"$merge": [{"a": 1, "b": 1}, "{{ row.none }}", {"b": 2}]})"_json), R"({"a": 1, "b": 2})"_json);
}

TEST(Template, TakesTheRowsColumns) {
    EXPECT_EQ(Rendered(R"({"$fields": {"except": ["deep", "list"], "nulls": true}})"_json), R"({"n": 3, "flag": true, "none": null})"_json);
    EXPECT_EQ(Rendered(R"({"$fields": {"only": ["n", "none"], "value": "{{ value | text }}"}})"_json), R"({"n": "3"})"_json);
    EXPECT_EQ(Rendered(R"({"$fields": {}})"_json, kOptions), R"({"mail": "a@b.c", "count": 3})"_json);
}

TEST(Template, SaysWhatIsWrong) {
    const auto complaint = [](const char* json) { return Complaint([&] { Template::Parse(Json::parse(json), kAll); }); };
    EXPECT_EQ(complaint(R"({"$chagnes": 1})"), "no directive \"$chagnes\" here");
    EXPECT_EQ(complaint(R"({"$changes": 1, "x": 2})"), "unexpected \"x\" beside a directive");
    EXPECT_EQ(complaint(R"({"$each": "{{ row }}"})"), "\"$give\" is missing beside \"$each\"");
    EXPECT_EQ(complaint(R"({"a": "{{ row"})"), "\"}}\" is missing behind \" row\"");
    EXPECT_EQ(complaint(R"({"$fields": {"value": 1, "onyl": []}})"), "unexpected \"onyl\" beside a directive");
    EXPECT_NE(complaint((std::string(500, '[') + std::string(500, ']')).c_str()), "none");
}

TEST(Template, EndsWhereARequestBecomesTooLarge) {
    Json loops = std::string(10'000, 'x');
    for (int i = 0; i < 24; ++i) loops = {{"$changes", loops}};
    try {
        Rendered(loops);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.sqlstate, sqlstate::program_limit_exceeded);
    }
}

// Rows ---------------------------------------------------------------------------------------------------------------

std::string RowComplaint(const Json& row, const Json& options = Json::object()) {
    return Complaint([&] { Connector::FromRow(row, With(options)); });
}

TEST(Row, SaysWhatIsWrong) {
    EXPECT_EQ(RowComplaint({{"name", "x"}}), "none");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"ulr", ""}}), "connector \"x\": unexpected member \"ulr\"");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"method", "FETCH"}}),
              "connector \"x\": \"method\" is \"FETCH\", which is none of GET, POST, PUT, PATCH and DELETE");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"batch_size", 0}}), "connector \"x\": \"batch_size\" is no number of changes");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"batch_size", 2}, {"body", "{{ key }}"}}), "connector \"x\": no \"key\" here in {{ key }}");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"body", "{{ secret }}"}}), "connector \"x\": no \"secret\" here in {{ secret }}");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"success", {{"status", {"2x"}}}}}), "connector \"x\": \"2x\" is no HTTP status, and nothing like \"2xx\"");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"success", {{"stauts", 1}}}}), "connector \"x\": \"success\" has no member \"stauts\"");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"auth", {{"type", "magic"}, {"secret_env", "CDP_X"}}}}),
              "connector \"x\": \"type\" of \"auth\" is none of none, bearer, basic and oauth2");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"auth", {{"type", "bearer"}, {"secret_env", "OTHER"}}}}),
              "connector \"x\": the environment variable \"OTHER\", which holds its secret, is not set");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"auth", {{"type", "bearer"}}}}),
              "connector \"x\": \"auth\" needs a secret, and no environment variable is named for it");
    EXPECT_EQ(RowComplaint({{"name", "x"}}, {{"lsit", 1}}), "connector \"x\": there is no option \"lsit\"");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"options", {{"list", {{"required", true}}}}}}), "connector \"x\": option \"list\" is missing");
    EXPECT_EQ(RowComplaint({{"name", "x"}, {"batch_size", 5}}, {{"batch", 6}}), "connector \"x\": option \"batch\" is no number from 1 to 5");
    EXPECT_EQ(RowComplaint({{"name", "x"}}, {{"deletes", "maybe"}}), "connector \"x\": option \"deletes\" is neither \"send\" nor \"skip\"");
    EXPECT_EQ(RowComplaint({{"name", "x"}}, {{"fields", {{"a", 1}}}}), "connector \"x\": option \"fields\" is no object of texts: the network's field → column");
    Settings without = With(Json::object());
    without.endpoint.reset();
    EXPECT_EQ(Complaint([&] { Connector::FromRow({{"name", "x"}}, without); }), "connector \"x\": an endpoint is needed");
}

TEST(Row, TakesOptions) {
    const Json row = {{"name", "x"}, {"batch_size", 5}, {"rate_limit", 2.0}, {"deletes", {{"method", "DELETE"}, {"url", "{{ endpoint }}/x"}}}};
    Connector connector = Connector::FromRow(row, With({{"batch", 3}, {"rate_limit", 7}}));
    EXPECT_EQ(connector.batch_size(), 3);
    EXPECT_EQ(connector.rate_limit(), 7);
    const std::vector<Change> pending = {Upsert("a", {}), Upsert("b", {}), Gone("c"), Upsert("d", {})};
    EXPECT_EQ(connector.Take(pending), 2);  // deletes are requests of their own
    EXPECT_EQ(connector.Take(std::span(pending).subspan(2)), 1);
    const std::vector<Change> twice = {Upsert("a", {}), Upsert("b", {}), Upsert("a", {})};
    EXPECT_EQ(connector.Take(twice), 2);  // no key twice in a request
    EXPECT_EQ(connector.Take({}), 0);

    Connector skips = Connector::FromRow(row, With({{"deletes", "skip"}}));
    const std::vector<Change> gone = {Gone("a"), Gone("a"), Gone("b"), Upsert("c", {})};
    EXPECT_EQ(skips.Take(gone), 3);
    const std::vector<Change> batch(gone.begin(), gone.begin() + 3);
    EXPECT_FALSE(skips.Build(batch, {}, kNow));
    EXPECT_EQ(Verdicts(skips, batch, {}), Words({"delivered", "delivered", "delivered"}));
}

TEST(Row, RefusesWhatCannotBePutIntoAUrlOrAHeader) {
    Connector connector = Connector::FromRow(
        {{"name", "x"}, {"method", "DELETE"}, {"url", "{{ endpoint }}/{{ key }}"}, {"headers", {{"x-name", "{{ row.name }}"}}}}, With({}));
    std::vector<Change> batch = {Upsert("a/../b?c", {})};
    EXPECT_EQ(connector.Build(batch, {}, kNow)->url, "http://127.0.0.1:9/a%2F..%2Fb%3Fc");
    for (const char* key : {"", "..", "."}) {
        batch = {Upsert(key, {})};
        EXPECT_FALSE(connector.Build(batch, {}, kNow));
        EXPECT_EQ(Verdicts(connector, batch, {})[0].substr(0, 8), "refused:");
    }
    batch = {Upsert("a", {{"name", "x\r\nEvil: y"}})};
    EXPECT_FALSE(connector.Build(batch, {}, kNow));
    EXPECT_EQ(Verdicts(connector, batch, {}), Words({"refused: the header \"x-name\" would have a line break or the like"}));
}

TEST(Row, JudgesStatuses) {
    Connector connector = Connector::FromRow({{"name", "x"}, {"batch_size", 2}}, With({}));
    const std::vector<Change> one = {Upsert("a", {})}, two = {Upsert("a", {}), Upsert("b", {})};
    for (const int status : {200, 201, 202, 204}) EXPECT_EQ(Verdicts(connector, one, {{status, {}, ""}}), Words({"delivered"})) << status;
    for (const int status : {100, 301, 401, 403, 408, 425, 429, 500, 502, 503, 504, 600, -1, 99})
        EXPECT_EQ(Verdicts(connector, one, {{status, {}, ""}}), Words({"retry: HTTP " + std::to_string(status)})) << status;
    for (const int status : {400, 404, 409, 410, 413, 422})
        EXPECT_EQ(Verdicts(connector, one, {{status, {}, "no"}}), Words({"refused: HTTP " + std::to_string(status) + ": no"})) << status;
    EXPECT_EQ(Verdicts(connector, two, {{422, {}, "no"}}), Words({"split: HTTP 422: no", "split: HTTP 422: no"}));
    EXPECT_EQ(Verdicts(connector, one, {{0, {}, ""}}), Words({"retry: no answer"}));
    EXPECT_EQ(Verdicts(connector, one, {{0, {}, std::string(600, 'x')}}), Words({"retry: no answer: " + std::string(489, 'x')}));
    EXPECT_EQ(Verdicts(connector, one, {}), Words({"retry: a request of the batch was not sent"}));
    EXPECT_EQ(Verdicts(connector, one, {{503, {{"retry-after", "7"}}, ""}}), Words({"retry: HTTP 503 (7 s)"}));
    EXPECT_EQ(Verdicts(connector, one, {{503, {{"retry-after", "Tue, 14 Nov 2023 22:14:20 GMT"}}, ""}}), Words({"retry: HTTP 503 (60 s)"}));
    EXPECT_EQ(Verdicts(connector, one, {{503, {{"retry-after", "99999999999"}}, ""}}), Words({"retry: HTTP 503 (86400 s)"}));
    EXPECT_EQ(Verdicts(connector, one, {{503, {{"retry-after", "soon"}}, ""}}), Words({"retry: HTTP 503"}));
    EXPECT_EQ(Verdicts(connector, {}, {{200, {}, ""}}), Words());
}

TEST(Row, WantsASecretThatCanBeUsed) {
    const Json row = {{"name", "x"}, {"auth", {{"secret_env", "CDP_X"}}}, {"headers", {{"x-token", "{{ secret }}"}}}};
    const auto token = [&](const char* secret) {
        const std::vector<Change> batch = {Upsert("a", {})};
        const auto request = Connector::FromRow(row, With(Json::object(), {{"CDP_X", secret}})).Build(batch, {}, kNow);
        return request->headers.front().second;
    };
    EXPECT_EQ(token("s3cret\n"), "s3cret");
    for (const char* bad : {"\n", "two\nlines", "whsec_", "whsec_abc!", R"({"token": "a\nb"})"}) EXPECT_THROW(token(bad), Error) << bad;
}

TEST(Row, GetsAnAccessToken) {
    const Json row = {{"name", "x"}, {"auth", {{"type", "oauth2"}, {"token_url", "{{ options.at }}/token"}, {"secret_env", "CDP_X"}}},
                      {"options", {{"at", {{"default", "http://127.0.0.1:9"}}}}}};
    Settings settings = With(Json::object(), {{"CDP_X", R"({"client_id": "me", "client_secret": "a&b"})"}});
    Connector connector = Connector::FromRow(row, settings);
    const auto request = connector.Renew(kNow);
    ASSERT_TRUE(request);
    EXPECT_EQ(request->url, "http://127.0.0.1:9/token");
    EXPECT_EQ(request->body, "grant_type=client_credentials&client_id=me&client_secret=a%26b");
    const auto failed = connector.Renewed(Answered(400, {{"error", "invalid_client"}}), kNow);
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->reason, "no access token: HTTP 400: invalid_client");
    EXPECT_TRUE(connector.Renew(kNow));
    EXPECT_FALSE(connector.Renewed(Answered(200, {{"access_token", "t0k3n"}, {"expires_in", 3600}}), kNow));
    EXPECT_FALSE(connector.Renew(kNow + std::chrono::seconds(3500)));
    EXPECT_TRUE(connector.Renew(kNow + std::chrono::seconds(3541)));
    const std::vector<Change> batch = {Upsert("a", {})};
    EXPECT_EQ(HeaderOf(*connector.Build(batch, {}, kNow), "Authorization"), "Bearer t0k3n");
    EXPECT_EQ(Verdicts(connector, batch, {{401, {}, ""}}), Words({"retry: HTTP 401"}));
    EXPECT_TRUE(connector.Renew(kNow));  // a token that was not taken is forgotten
}

}  // namespace
}  // namespace cdp::relay
