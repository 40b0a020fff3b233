// relay/token.cpp: see token.hpp.
#include "relay/token.hpp"

#include <algorithm>

#include "pg/error.hpp"
#include "relay/digest.hpp"
#include "relay/functions.hpp"
#include "relay/normalise.hpp"
#include "relay/rules.hpp"

namespace cdp::relay {
namespace {

// A token that ends while a request is on its way is of no use.
constexpr auto kBeforeItEnds = std::chrono::seconds(60);
// Of a token whose end the answer does not tell (Salesforce's); it is forgotten earlier if it is refused.
constexpr double kUnknownLife = 1800;

[[noreturn]] void Fail(const std::string& what) { throw Error(sqlstate::invalid_parameter_value, what); }

std::string Member(const Json& auth, const char* name, const char* otherwise) {
    const auto found = auth.find(name);
    if (found == auth.end() || found->is_null()) return otherwise;
    if (!found->is_string()) Fail("\"" + std::string(name) + "\" of \"auth\" is no text");
    return found->get<std::string>();
}

// Whether the text can stand in a header.
bool IsPlain(const std::string& text) {
    return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

}  // namespace

std::string Token::MemberOf(const Json& secret, const char* name) const {
    const auto found = secret.find(name);
    if (found == secret.end() || !found->is_string()) Fail("the secret has no member \"" + std::string(name) + "\"");
    return found->get<std::string>();
}

Token::Token(const Json& auth, const Json& secret) {
    if (auth.is_null()) return;
    if (!auth.is_object()) Fail("\"auth\" is no object");
    for (const auto& [name, value] : auth.items()) {
        constexpr std::string_view kMembers[] = {"type", "secret_env", "user", "token_url", "grant", "scope"};
        if (std::find(std::begin(kMembers), std::end(kMembers), name) == std::end(kMembers))
            Fail("\"auth\" has no member \"" + name + "\"");
    }
    const std::string type = Member(auth, "type", "none");
    if (type == "none") return;
    if (secret.is_null()) Fail("\"auth\" needs a secret, and no environment variable is named for it");
    // A secret that is no object is a token itself.
    if (type == "bearer" || (type == "oauth2" && (secret.is_string() || secret.contains("access_token")))) {
        kind_ = Kind::kBearer;
        secret_ = secret.is_string() ? secret.get<std::string>() : MemberOf(secret, "access_token");
    } else if (type == "basic") {
        kind_ = Kind::kBasic;
        user_ = Member(auth, "user", "");
        secret_ = secret.is_string() ? secret.get<std::string>() : MemberOf(secret, "password");
        if (secret.is_object() && secret.contains("user")) user_ = MemberOf(secret, "user");
    } else if (type == "oauth2") {
        kind_ = Kind::kOauth;
        const std::string grant = Member(auth, "grant", "client_credentials");
        if (grant != "client_credentials" && grant != "refresh_token") Fail("\"grant\" is neither client_credentials nor refresh_token");
        url_ = TextTemplate::Parse(Member(auth, "token_url", ""), {Name::kEndpoint, Name::kOptions});
        form_ = "grant_type=" + grant + "&client_id=" + PercentEncoded(MemberOf(secret, "client_id")) +
                "&client_secret=" + PercentEncoded(MemberOf(secret, "client_secret"));
        if (grant == "refresh_token") form_ += "&refresh_token=" + PercentEncoded(MemberOf(secret, "refresh_token"));
        if (const std::string scope = Member(auth, "scope", ""); !scope.empty()) form_ += "&scope=" + PercentEncoded(scope);
    } else {
        Fail("\"type\" of \"auth\" is none of none, bearer, basic and oauth2");
    }
    if (!IsPlain(secret_)) Fail("the secret has a line break or the like");
}

std::optional<std::string> Token::Header() const {
    switch (kind_) {
        case Kind::kNone: return std::nullopt;
        case Kind::kBearer: return "Bearer " + secret_;
        case Kind::kBasic: return "Basic " + Base64(user_ + ":" + secret_);
        case Kind::kOauth: return "Bearer " + token_;
    }
    return std::nullopt;
}

std::optional<Request> Token::Renew(const Scope& scope, Clock::time_point now) const {
    if (kind_ != Kind::kOauth || (!token_.empty() && now < ends_)) return std::nullopt;
    // Not encoded: what may stand in it, administrators wrote.
    const std::string url = Text(url_->Render(scope)).value_or("");
    return Request{"POST", url, {{"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}}, form_};
}

std::optional<Verdict> Token::Renewed(const Response& response, const Scope& scope, Clock::time_point now) {
    Forget();
    const Answer answer(response, scope);
    const Json& json = answer.json();
    std::string token;
    if (json.is_object() && json.contains("access_token") && json["access_token"].is_string()) token = json["access_token"];
    if (response.status / 100 == 2 && !token.empty() && IsPlain(token)) {
        token_ = token;
        double life = kUnknownLife;
        if (json.contains("expires_in") && json["expires_in"].is_number()) life = json["expires_in"].get<double>();
        const auto seconds = std::chrono::seconds(static_cast<int64_t>(std::clamp(life, 0.0, 86400.0)));
        ends_ = now + std::max<Clock::duration>(seconds - kBeforeItEnds, seconds / 2);
        return std::nullopt;
    }
    // Not the answer's text, which may hold a token in a form that we do not know; errors have these two members (RFC 6749).
    std::string reason = response.status == 0 ? "no answer" : "HTTP " + std::to_string(response.status);
    for (const char* name : {"error", "error_description"})
        if (json.is_object() && json.contains(name)) reason += ": " + Text(json[name]).value_or("");
    Outcome outcome = answer.Judge(Rules::Parse(Json::object()));
    return Verdict{Verdict::Kind::kRetry, "no access token: " + CleanText(reason, kLongestReason), outcome.retry_after_seconds};
}

void Token::Forget() { token_.clear(); }

}  // namespace cdp::relay
