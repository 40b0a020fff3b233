// connector_network_test.cpp: each shipped connector's requests, and what its network's answers mean: partial errors,
// throttling, refusals.
#include <gtest/gtest.h>

#include "connector_rows.hpp"
#include "relay/digest.hpp"

namespace cdp::relay {
namespace {

using Json = nlohmann::json;

std::string Sha256(const std::string& text) { return Hex(Hash(Digest::kSha256, text)); }

/// The batch's next request, with what has been answered.
Request Built(const Connector& connector, const std::vector<Change>& batch, const std::vector<Response>& answers = {}) {
    auto request = connector.Build(batch, answers, kNow);
    EXPECT_TRUE(request);
    return request.value_or(Request());
}

const std::vector<Change> kTwo = {Upsert("ann@example.com", {{"first_name", "Ann"}, {"orders", 3}, {"vip", true}, {"city", nullptr}}),
                                  Upsert("bob@example.com", {{"first_name", "Bob"}, {"since", "2026-11-25 10:00:00+00"}})};
const std::vector<Change> kGone = {Gone("ann@example.com"), Gone("bob@example.com")};

TEST(Webhook, SendsOneChangeSigned) {
    Connector connector = Connector::FromRow(ShippedRows().at("webhook"), [] {
        Settings settings = With(Json::object(), {{"HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}});
        settings.secret_env = "HOOK";
        return settings;
    }());
    EXPECT_EQ(connector.Take(kTwo), 1);
    const std::vector<Change> one = {kTwo[0]};
    const Request request = Built(connector, one);
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.url, "http://127.0.0.1:9");
    EXPECT_EQ(BodyOf(request), Json({{"type", "insert"}, {"destination", "vip"}, {"key", "ann@example.com"}, {"row", one[0].row}, {"id", one[0].id}}));
    EXPECT_EQ(HeaderOf(request, "webhook-id"), one[0].id);
    EXPECT_EQ(HeaderOf(request, "webhook-timestamp"), "1700000000");
    EXPECT_EQ(HeaderOf(request, "webhook-signature"),
              SignWebhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", one[0].id, "1700000000", request.body));
    EXPECT_EQ(HeaderOf(request, "Content-Type"), "application/json");
    EXPECT_FALSE(connector.Build(one, std::vector<Response>{{200, {}, ""}}, kNow));
    EXPECT_EQ(Verdicts(connector, one, {{503, {{"retry-after", "5"}}, ""}}), Words({"retry: HTTP 503 (5 s)"}));
    EXPECT_EQ(Verdicts(connector, one, {{400, {}, "no such customer"}}), Words({"refused: HTTP 400: no such customer"}));
}

TEST(Webhook, SendsBatchesWithAnIdThatStays) {
    Connector connector = Shipped("webhook", {{"batch", 100}});
    std::vector<Change> batch = {kTwo[0], kGone[0], kTwo[0]};  // of one key, in order, whatever became of it
    EXPECT_EQ(connector.Take(batch), 3);
    const Request request = Built(connector, batch);
    ASSERT_EQ(BodyOf(request).size(), 3);
    EXPECT_EQ(BodyOf(request)[1], Json({{"type", "delete"}, {"destination", "vip"}, {"key", "ann@example.com"},
                                        {"row", {{"email", "ann@example.com"}}}, {"id", kGone[0].id}}));
    EXPECT_EQ(HeaderOf(request, "webhook-signature"), "(none)");  // no secret was named
    EXPECT_EQ(HeaderOf(request, "webhook-id"), HeaderOf(Built(connector, batch), "webhook-id"));
    batch.pop_back();
    EXPECT_NE(HeaderOf(request, "webhook-id"), HeaderOf(Built(connector, batch), "webhook-id"));
    EXPECT_EQ(Verdicts(connector, batch, {{422, {}, "bad"}}), Words({"split: HTTP 422: bad", "split: HTTP 422: bad"}));
}

TEST(HubSpot, UpsertsByEmail) {
    Connector connector = Shipped("hubspot", Json::object());
    const Request request = Built(connector, kTwo);
    EXPECT_EQ(request.url, "http://127.0.0.1:9/crm/v3/objects/contacts/batch/upsert");
    EXPECT_EQ(HeaderOf(request, "Authorization"), "Bearer s3cret");
    EXPECT_EQ(BodyOf(request)["inputs"],
              Json::parse(R"([{"idProperty": "email", "id": "ann@example.com", "objectWriteTraceId": "vip-ann@example.com-1",
                               "properties": {"first_name": "Ann", "orders": "3", "vip": "true", "city": ""}},
                              {"idProperty": "email", "id": "bob@example.com", "objectWriteTraceId": "vip-bob@example.com-1",
                               "properties": {"first_name": "Bob", "since": "2026-11-25T10:00:00.000Z"}}])"));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(200, {{"status", "COMPLETE"}, {"results", Json::array()}})}), Words({"delivered", "delivered"}));
}

TEST(HubSpot, KnowsWhichOfABatchFailed) {
    Connector connector = Shipped("hubspot", Json::object());
    const Json errors = Json::parse(R"({"status": "COMPLETE", "numErrors": 1, "errors": [{"status": "error", "category": "VALIDATION_ERROR",
        "message": "Property \"vip\" does not exist", "context": {"objectWriteTraceId": ["vip-bob@example.com-1"]}}]})");
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(207, errors)}),
              Words({"delivered", "refused: VALIDATION_ERROR: Property \"vip\" does not exist"}));
    const Json by_id = Json::parse(R"({"errors": [{"category": "OBJECT_NOT_FOUND", "message": "gone", "context": {"ids": ["ann@example.com"]}}]})");
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(207, by_id)}), Words({"refused: OBJECT_NOT_FOUND: gone", "delivered"}));
    const Json unnamed = Json::parse(R"({"errors": [{"category": "VALIDATION_ERROR", "message": "bad", "context": {}}]})");
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(207, unnamed)}), Words({"split: VALIDATION_ERROR: bad", "split: VALIDATION_ERROR: bad"}));
    const Json whole = Json::parse(R"({"status": "error", "category": "VALIDATION_ERROR", "message": "Duplicate IDs found"})");
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(400, whole)}),
              Words({"split: HTTP 400: VALIDATION_ERROR: Duplicate IDs found", "split: HTTP 400: VALIDATION_ERROR: Duplicate IDs found"}));
    const Json limit = Json::parse(R"({"status": "error", "message": "You have reached your ten_secondly_rolling limit.", "errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"})");
    EXPECT_EQ(Verdicts(connector, {kTwo[0]}, {Answered(429, limit, {{"retry-after", "10"}})})[0].substr(0, 15), "retry: HTTP 429");
}

TEST(HubSpot, ArchivesByTheIdsThatItLooksUp) {
    Connector connector = Shipped("hubspot", Json::object());
    const Request read = Built(connector, kGone);
    EXPECT_EQ(read.url, "http://127.0.0.1:9/crm/v3/objects/contacts/batch/read");
    EXPECT_EQ(BodyOf(read)["inputs"], Json::parse(R"([{"id": "ann@example.com"}, {"id": "bob@example.com"}])"));
    const Response found = Answered(207, Json::parse(R"({"results": [{"id": "51"}], "errors": [{"category": "OBJECT_NOT_FOUND", "context": {"ids": ["bob@example.com"]}}]})"));
    const Request archive = Built(connector, kGone, {found});
    EXPECT_EQ(archive.url, "http://127.0.0.1:9/crm/v3/objects/contacts/batch/archive");
    EXPECT_EQ(BodyOf(archive), Json::parse(R"({"inputs": [{"id": "51"}]})"));
    EXPECT_EQ(Verdicts(connector, kGone, {found, {204, {}, ""}}), Words({"delivered", "delivered"}));
    const Response none = Answered(200, Json::parse(R"({"results": []})"));
    EXPECT_FALSE(connector.Build(kGone, std::vector<Response>{none}, kNow));  // nobody is there: nothing to archive
    EXPECT_EQ(Verdicts(connector, kGone, {none}), Words({"delivered", "delivered"}));
    EXPECT_FALSE(connector.Build(kGone, std::vector<Response>{{500, {}, ""}}, kNow));
    EXPECT_EQ(Verdicts(connector, kGone, {{500, {}, ""}}), Words({"retry: HTTP 500", "retry: HTTP 500"}));
}

TEST(Salesforce, UpsertsByAnExternalId) {
    Connector connector = Shipped("salesforce", {{"external_id", "Email__c"}, {"fields", {{"FirstName", "first_name"}, {"Since__c", "since"}, {"City__c", "city"}}}});
    const Request request = Built(connector, kTwo);
    EXPECT_EQ(request.method, "PATCH");
    EXPECT_EQ(request.url, "http://127.0.0.1:9/services/data/v60.0/composite/sobjects/Contact/Email__c");
    EXPECT_EQ(HeaderOf(request, "Authorization"), "Bearer static");
    EXPECT_EQ(BodyOf(request), Json::parse(R"({"allOrNone": false, "records": [
        {"attributes": {"type": "Contact"}, "Email__c": "ann@example.com", "FirstName": "Ann", "City__c": null},
        {"attributes": {"type": "Contact"}, "Email__c": "bob@example.com", "FirstName": "Bob", "Since__c": "2026-11-25T10:00:00.000Z"}]})"));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(200, Json::parse(R"([{"id": "1", "success": true, "errors": []},
        {"success": false, "errors": [{"statusCode": "REQUIRED_FIELD_MISSING", "message": "Required fields are missing: [LastName]", "fields": ["LastName"]}]}])"))}),
              Words({"delivered", "refused: REQUIRED_FIELD_MISSING: Required fields are missing: [LastName]"}));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(200, Json::parse(R"([{"success": false, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "locked"}]},
        {"id": "2", "success": true, "errors": []}])"))}),
              Words({"retry: UNABLE_TO_LOCK_ROW: locked", "delivered"}));
    const Json limit = Json::parse(R"([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}])");
    EXPECT_EQ(Verdicts(connector, {kTwo[0]}, {Answered(403, limit)}),
              Words({"retry: HTTP 403: REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded."}));
    EXPECT_EQ(Verdicts(connector, {kTwo[0]}, {{200, {}, "<html>maintenance</html>"}})[0].substr(0, 5), "retry");
}

TEST(Salesforce, DeletesOneByOne) {
    Connector connector = Shipped("salesforce", {{"external_id", "Email__c"}});
    EXPECT_EQ(connector.Take(kGone), 1);
    const std::vector<Change> one = {kGone[0]};
    const Request request = Built(connector, one);
    EXPECT_EQ(request.method + " " + request.url, "DELETE http://127.0.0.1:9/services/data/v60.0/sobjects/Contact/Email__c/ann%40example.com");
    EXPECT_EQ(request.body, "");
    EXPECT_EQ(Verdicts(connector, one, {{204, {}, ""}}), Words({"delivered"}));
    EXPECT_EQ(Verdicts(connector, one, {Answered(404, Json::parse(R"([{"errorCode": "NOT_FOUND", "message": "x"}])"))}), Words({"delivered"}));
}

TEST(Mailchimp, AddsAndUpdatesMembers) {
    Connector connector = Shipped("mailchimp", {{"list_id", "a1"}, {"fields", {{"FNAME", "first_name"}, {"ORDERS", "orders"}}}});
    const Request request = Built(connector, kTwo);
    EXPECT_EQ(request.url, "http://127.0.0.1:9/3.0/lists/a1?skip_merge_validation=true");
    EXPECT_EQ(HeaderOf(request, "Authorization"), "Basic " + Base64("cdp:s3cret"));
    EXPECT_EQ(BodyOf(request), Json::parse(R"({"update_existing": true, "members": [
        {"email_address": "ann@example.com", "status": "subscribed", "merge_fields": {"FNAME": "Ann", "ORDERS": "3"}},
        {"email_address": "bob@example.com", "status": "subscribed", "merge_fields": {"FNAME": "Bob"}}]})"));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(200, Json::parse(R"({"new_members": [], "errors": [{"email_address": "Bob@Example.com",
        "error": "bob@example.com looks fake or invalid", "error_code": "ERROR_GENERIC"}], "error_count": 1})"))}),
              Words({"delivered", "refused: ERROR_GENERIC: bob@example.com looks fake or invalid"}));
    EXPECT_EQ(Verdicts(connector, {kTwo[0]}, {Answered(429, Json::parse(R"({"title": "Too Many Requests", "detail": "You have exceeded the limit of 10 simultaneous connections."})"))}),
              Words({"retry: HTTP 429: Too Many Requests: You have exceeded the limit of 10 simultaneous connections."}));
    EXPECT_EQ(connector.Refusal(Upsert("not an address", {})), "the key is no e-mail address");
    EXPECT_EQ(connector.Refusal(kTwo[0]), std::nullopt);
    const Request gone = Built(connector, {kGone[0]});
    EXPECT_EQ(gone.method + " " + gone.url, "DELETE http://127.0.0.1:9/3.0/lists/a1/members/" + Hex(Hash(Digest::kMd5, "ann@example.com")));
    EXPECT_EQ(Verdicts(connector, {kGone[0]}, {{404, {}, ""}}), Words({"delivered"}));
}

TEST(Klaviyo, ImportsProfiles) {
    Connector connector = Shipped("klaviyo", {{"list_id", "XyZ"}});
    const Request request = Built(connector, kTwo);
    EXPECT_EQ(request.url, "http://127.0.0.1:9/api/profile-bulk-import-jobs");
    EXPECT_EQ(HeaderOf(request, "Authorization"), "Klaviyo-API-Key s3cret");
    EXPECT_EQ(HeaderOf(request, "revision"), "2026-07-15");
    EXPECT_EQ(HeaderOf(request, "Content-Type"), "application/vnd.api+json");
    EXPECT_EQ(BodyOf(request), Json::parse(R"({"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": [
        {"type": "profile", "attributes": {"email": "ann@example.com", "first_name": "Ann", "properties": {"orders": 3, "vip": true, "city": null}}},
        {"type": "profile", "attributes": {"email": "bob@example.com", "first_name": "Bob", "properties": {"since": "2026-11-25T10:00:00.000Z"}}}]}},
        "relationships": {"lists": {"data": [{"type": "list", "id": "XyZ"}]}}}})"));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(202, Json::parse(R"({"data": {"type": "profile-bulk-import-job", "id": "j"}})"))}), Words({"delivered", "delivered"}));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(400, Json::parse(R"({"errors": [{"status": 400, "code": "invalid", "detail": "Invalid email address",
        "source": {"pointer": "/data/attributes/profiles/data/1/attributes/email"}}]})"))}),
              Words({"split: HTTP 400: invalid: Invalid email address", "refused: invalid: Invalid email address"}));
    EXPECT_EQ(Verdicts(connector, {kTwo[0]}, {Answered(429, Json::parse(R"({"errors": [{"code": "throttled", "detail": "Request was throttled."}]})"), {{"retry-after", "12"}})}),
              Words({"retry: HTTP 429: throttled: Request was throttled. (12 s)"}));
    EXPECT_FALSE(BodyOf(Built(Shipped("klaviyo", Json::object()), kTwo))["data"].contains("relationships"));
}

TEST(Klaviyo, TakesProfilesOffTheList) {
    Connector connector = Shipped("klaviyo", {{"list_id", "XyZ"}});
    const Request look = Built(connector, kGone);
    EXPECT_EQ(look.method, "GET");
    EXPECT_EQ(look.url, "http://127.0.0.1:9/api/profiles?fields%5Bprofile%5D=email&page%5Bsize%5D=100&filter="
                        "any%28email%2C%5B%22ann%40example.com%22%2C%22bob%40example.com%22%5D%29");
    const Response found = Answered(200, Json::parse(R"({"data": [{"type": "profile", "id": "01A"}, {"type": "profile", "id": "01B"}]})"));
    const Request off = Built(connector, kGone, {found});
    EXPECT_EQ(off.method + " " + off.url, "DELETE http://127.0.0.1:9/api/lists/XyZ/relationships/profiles");
    EXPECT_EQ(BodyOf(off), Json::parse(R"({"data": [{"type": "profile", "id": "01A"}, {"type": "profile", "id": "01B"}]})"));
    EXPECT_EQ(Verdicts(connector, kGone, {found, {204, {}, ""}}), Words({"delivered", "delivered"}));
    Connector without = Shipped("klaviyo", Json::object());
    EXPECT_FALSE(without.Build(kGone, {}, kNow));
    EXPECT_EQ(Verdicts(without, kGone, {}), Words({"delivered", "delivered"}));
}

TEST(Braze, SetsAttributesAndDeletesUsers) {
    Connector connector = Shipped("braze", Json::object());
    const Request request = Built(connector, kTwo);
    EXPECT_EQ(request.url, "http://127.0.0.1:9/users/track");
    EXPECT_EQ(BodyOf(request), Json::parse(R"({"attributes": [
        {"external_id": "ann@example.com", "first_name": "Ann", "orders": 3, "vip": true, "city": null},
        {"external_id": "bob@example.com", "first_name": "Bob", "since": "2026-11-25T10:00:00.000Z"}]})"));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(201, Json::parse(R"({"message": "success", "attributes_processed": 1,
        "errors": [{"type": "The value provided for the 'email' field is not valid.", "input_array": "attributes", "index": 0}]})"))}),
              Words({"refused: The value provided for the 'email' field is not valid.", "delivered"}));
    EXPECT_EQ(Verdicts(connector, kTwo, {Answered(201, Json::parse(R"({"message": "success", "errors": ["something minor"]})"))}),
              Words({"split: something minor", "split: something minor"}));
    EXPECT_EQ(Verdicts(connector, {kTwo[0]}, {Answered(429, Json::parse(R"({"message": "Rate limited"})"), {{"x-ratelimit-reset", "1700000030"}})}),
              Words({"retry: HTTP 429: Rate limited (30 s)"}));
    EXPECT_EQ(Verdicts(connector, {kTwo[0]}, {Answered(401, Json::parse(R"({"message": "Invalid API Key"})"))}), Words({"retry: HTTP 401: Invalid API Key"}));
    EXPECT_EQ(BodyOf(Built(connector, kGone)), Json::parse(R"({"external_ids": ["ann@example.com", "bob@example.com"]})"));
    EXPECT_EQ(Verdicts(connector, kGone, {Answered(200, Json::parse(R"({"deleted": 2, "message": "success"})"))}), Words({"delivered", "delivered"}));
}

const std::vector<Change> kPeople = {
    Upsert("Jane.Doe+x@gmail.com", {{"phone", "(650) 555-1212"}, {"first_name", " Mary "}, {"last_name", "Smith"}, {"country", "us"}, {"postal_code", "94025"}}),
    Upsert("bob@example.com", {{"phone", nullptr}})};
const Json kGoogleOptions = {{"customer_id", "123"}, {"user_list_id", "9"}, {"region", "US"}};

TEST(GoogleCustomerMatch, RunsAJobABatch) {
    Connector connector = Shipped("google_customer_match", kGoogleOptions);
    const Request create = Built(connector, kPeople);
    EXPECT_EQ(create.url, "http://127.0.0.1:9/v25/customers/123/offlineUserDataJobs:create");
    EXPECT_EQ(HeaderOf(create, "developer-token"), "dev");
    EXPECT_EQ(HeaderOf(create, "login-customer-id"), "(none)");
    EXPECT_EQ(BodyOf(create), Json::parse(R"({"job": {"type": "CUSTOMER_MATCH_USER_LIST", "customerMatchUserListMetadata": {
        "userList": "customers/123/userLists/9", "consent": {"adUserData": "GRANTED", "adPersonalization": "GRANTED"}}}})"));
    const Response created = Answered(200, {{"resourceName", "customers/123/offlineUserDataJobs/77"}});
    const Request add = Built(connector, kPeople, {created});
    EXPECT_EQ(add.url, "http://127.0.0.1:9/v25/customers/123/offlineUserDataJobs/77:addOperations");
    const Json operations = BodyOf(add)["operations"];
    EXPECT_EQ(BodyOf(add)["enablePartialFailure"], true);
    ASSERT_EQ(operations.size(), 2);
    const Json first = operations[0]["create"]["userIdentifiers"];
    ASSERT_EQ(first.size(), 3);
    EXPECT_EQ(first[0]["hashedEmail"], Sha256("janedoe@gmail.com"));
    EXPECT_EQ(first[1]["hashedPhoneNumber"], Sha256("+16505551212"));
    EXPECT_EQ(first[2]["addressInfo"]["hashedFirstName"], Sha256("mary"));
    EXPECT_EQ(first[2]["addressInfo"]["hashedLastName"], Sha256("smith"));
    EXPECT_EQ(first[2]["addressInfo"]["countryCode"], "US");
    EXPECT_EQ(first[2]["addressInfo"]["postalCode"], "94025");
    const Json second = operations[1]["create"]["userIdentifiers"];
    ASSERT_EQ(second.size(), 1);
    EXPECT_EQ(second[0]["hashedEmail"], Sha256("bob@example.com"));
    const Response added = Answered(200, Json::object());
    EXPECT_EQ(Built(connector, kPeople, {created, added}).url, "http://127.0.0.1:9/v25/customers/123/offlineUserDataJobs/77:run");
    EXPECT_EQ(Verdicts(connector, kPeople, {created, added, Answered(200, {{"name", "operations/1"}})}), Words({"delivered", "delivered"}));
    EXPECT_EQ(Verdicts(connector, kPeople, {created, added, {503, {}, ""}}), Words({"retry: HTTP 503", "retry: HTTP 503"}));
    EXPECT_EQ(BodyOf(Built(connector, {Gone("bob@example.com")}, {created}))["operations"][0]["remove"]["userIdentifiers"][0]["hashedEmail"], Sha256("bob@example.com"));
}

TEST(GoogleCustomerMatch, KnowsWhichOperationFailed) {
    Connector connector = Shipped("google_customer_match", kGoogleOptions);
    const Response created = Answered(200, {{"resourceName", "customers/123/offlineUserDataJobs/77"}});
    const Response partial = Answered(200, Json::parse(R"({"partialFailureError": {"code": 3, "message": "m", "details": [{"errors": [
        {"errorCode": {"offlineUserDataJobError": "INVALID_SHA256_FORMAT"}, "message": "bad hash",
         "location": {"fieldPathElements": [{"fieldName": "operations", "index": 1}, {"fieldName": "create"}]}}]}]}})"));
    EXPECT_EQ(Verdicts(connector, kPeople, {created, partial, Answered(200, Json::object())}),
              Words({"delivered", "refused: {\"offlineUserDataJobError\":\"INVALID_SHA256_FORMAT\"}: bad hash"}));
    const Response quota = Answered(429, Json::parse(R"({"error": {"code": 429, "message": "Resource has been exhausted", "status": "RESOURCE_EXHAUSTED",
        "details": [{"errors": [{"errorCode": {"quotaError": "RESOURCE_EXHAUSTED"}, "message": "Too many requests.", "details": {"quotaErrorDetails": {"retryDelay": "30s"}}}]}]}})"));
    EXPECT_EQ(Verdicts(connector, {kPeople[1]}, {quota}), Words({"retry: HTTP 429: RESOURCE_EXHAUSTED: Too many requests. (30 s)"}));
    const Response busy = Answered(400, Json::parse(R"({"error": {"status": "INVALID_ARGUMENT", "details": [{"errors": [{"errorCode": {"databaseError": "CONCURRENT_MODIFICATION"}, "message": "busy"}]}]}})"));
    EXPECT_EQ(Verdicts(connector, {kPeople[1]}, {busy}), Words({"retry: HTTP 400: INVALID_ARGUMENT: busy"}));
    EXPECT_EQ(connector.Refusal(Upsert("nobody", {{"phone", "12"}})), "nothing that Google knows people by");
    EXPECT_EQ(connector.Refusal(Upsert("+x@gmail.com", {})), "nothing that Google knows people by");
    EXPECT_EQ(connector.Refusal(Upsert("x", {{"first_name", " "}, {"last_name", "Doe"}, {"country", "US"}, {"postal_code", "1"}})), "nothing that Google knows people by");
    // What is no fault of the change's, however the answer puts it.
    const Response passing = Answered(200, Json::parse(R"({"partialFailureError": {"details": [{"errors": [
        {"errorCode": {"databaseError": "CONCURRENT_MODIFICATION"}, "message": "busy", "location": {"fieldPathElements": [{"fieldName": "operations", "index": 0}]}}]}]}})"));
    EXPECT_EQ(Verdicts(connector, kPeople, {created, passing, Answered(200, Json::object())}),
              Words({"retry: {\"databaseError\":\"CONCURRENT_MODIFICATION\"}: busy", "delivered"}));
    const Words page = {"retry: HTTP 200: <html>", "retry: HTTP 200: <html>"};
    EXPECT_EQ(Verdicts(connector, kPeople, {created, {200, {}, "<html>"}}), page);
    EXPECT_EQ(Verdicts(connector, kPeople, {{200, {}, "<html>"}}), page);
    for (const auto& verdict : Verdicts(connector, kPeople, {Answered(200, Json::object())})) EXPECT_EQ(verdict.substr(0, 6), "retry:");
}

TEST(GoogleDataManager, IngestsInOneRequest) {
    Connector connector = Shipped("google_data_manager", kGoogleOptions);
    const Request request = Built(connector, kPeople);
    EXPECT_EQ(request.url, "http://127.0.0.1:9/v1/audienceMembers:ingest");
    const Json body = BodyOf(request);
    EXPECT_EQ(body["encoding"], "HEX");
    EXPECT_EQ(body["destinations"], Json::parse(R"([{"operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "123"}, "productDestinationId": "9"}])"));
    EXPECT_EQ(body["audienceMembers"][0]["userData"]["userIdentifiers"][1], Json({{"phoneNumber", Sha256("+16505551212")}}));
    EXPECT_EQ(body["audienceMembers"][1]["userData"]["userIdentifiers"], Json::array({{{"emailAddress", Sha256("bob@example.com")}}}));
    EXPECT_EQ(Verdicts(connector, kPeople, {Answered(200, {{"requestId", "r1"}})}), Words({"delivered", "delivered"}));
    EXPECT_EQ(Verdicts(connector, kPeople, {Answered(400, Json::parse(R"({"error": {"code": 400, "message": "There was a problem with the request.", "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "audience_members[1].user_data.user_identifiers",
        "description": "Email is not hex encoded.", "reason": "INVALID_HEX_ENCODING"}]}]}})"))})[1],
              "refused: INVALID_HEX_ENCODING: audience_members[1].user_data.user_identifiers Email is not hex encoded.");
    const Request gone = Built(connector, {Gone("bob@example.com")});
    EXPECT_EQ(gone.url, "http://127.0.0.1:9/v1/audienceMembers:remove");
    EXPECT_FALSE(BodyOf(gone).contains("consent"));
    const std::vector<Response> slow = {Answered(429, Json::parse(R"({"error": {"status": "RESOURCE_EXHAUSTED", "message": "m", "details": [{"retryDelay": "2.5s"}]}})"))};
    EXPECT_EQ(connector.Judge(kPeople, slow, kNow)[0].retry_after_seconds, 2.5);
    EXPECT_EQ(connector.Refusal(Upsert("x", {{"first_name", "123"}, {"last_name", "---"}, {"country", "US"}, {"postal_code", "1"}})), "nothing that Google knows people by");
    Json options = kGoogleOptions;
    options["login_customer_id"] = "777";
    Connector managed = Shipped("google_data_manager", options);
    for (const auto& change : {kPeople[0], Gone("bob@example.com")})
        EXPECT_EQ(BodyOf(Built(managed, {change}))["destinations"][0]["loginAccount"], Json({{"accountType", "GOOGLE_ADS"}, {"accountId", "777"}}));
}

TEST(MetaCustomAudiences, SendsHashes) {
    Connector connector = Shipped("meta_custom_audiences", {{"audience_id", "55"}, {"region", "US"}});
    const Request request = Built(connector, kPeople);
    EXPECT_EQ(request.method + " " + request.url, "POST http://127.0.0.1:9/v25.0/55/users");
    const Json payload = BodyOf(request)["payload"];
    ASSERT_EQ(payload["data"].size(), 2);
    for (const Json& row : payload["data"]) EXPECT_EQ(row.size(), payload["schema"].size());
    EXPECT_EQ(payload["data"][0], Json({Sha256("jane.doe+x@gmail.com"), Sha256("16505551212"), Sha256("mary"), Sha256("smith"), "", "",
                                        Sha256("94025"), Sha256("us"), "", "", "", "", ""}));
    EXPECT_EQ(payload["data"][1][1], "");
    EXPECT_EQ(Verdicts(connector, kPeople, {Answered(200, Json::parse(R"({"audience_id": "55", "num_received": 2, "num_invalid_entries": 0, "invalid_entry_samples": {}})"))}),
              Words({"delivered", "delivered"}));
    const auto invalid = Verdicts(connector, kPeople, {Answered(200, Json::parse(R"({"num_received": 2, "num_invalid_entries": 1, "invalid_entry_samples": {"x": "EMAIL"}})"))});
    EXPECT_EQ(invalid[0], "split: Meta takes 1 of 2 rows as invalid: {\"x\":\"EMAIL\"}");
    const Request gone = Built(connector, {Gone("bob@example.com")});
    EXPECT_EQ(gone.method, "DELETE");
    EXPECT_EQ(BodyOf(gone)["payload"]["data"][0][0], Sha256("bob@example.com"));
    EXPECT_EQ(connector.Refusal(Gone("42")), "nothing that Meta knows people by");
}

TEST(MetaCustomAudiences, KnowsThrottlingByItsCodes) {
    Connector connector = Shipped("meta_custom_audiences", {{"audience_id", "55"}});
    const std::vector<Change> one = {kPeople[1]};
    for (const int code : {17, 613, 80003}) {
        const Response throttled = Answered(400, {{"error", {{"message", "limit"}, {"code", code}}}},
                                            {{"x-business-use-case-usage", R"({"7": [{"type": "custom_audience", "estimated_time_to_regain_access": 3}]})"}});
        EXPECT_EQ(Verdicts(connector, one, {throttled}), Words({"retry: HTTP 400: " + std::to_string(code) + ": limit (180 s)"}));
    }
    EXPECT_EQ(Verdicts(connector, one, {Answered(400, {{"error", {{"message", "again"}, {"code", 2}, {"is_transient", true}}}})}), Words({"retry: HTTP 400: 2: again"}));
    EXPECT_EQ(Verdicts(connector, one, {Answered(400, {{"error", {{"message", "Invalid parameter"}, {"code", 100}, {"error_user_msg", "Bad payload"}}}})}),
              Words({"refused: HTTP 400: 100: Bad payload"}));
}

TEST(Shipped, RowsAreAllTried) {
    std::string names;
    for (const auto& [name, row] : ShippedRows()) {
        names += name + " ";
        EXPECT_TRUE(row["shipped"] == true) << name;
    }
    EXPECT_EQ(names, "braze google_customer_match google_data_manager hubspot klaviyo mailchimp meta_custom_audiences salesforce webhook ");
}

}  // namespace
}  // namespace cdp::relay
