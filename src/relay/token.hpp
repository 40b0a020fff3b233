// relay/token.hpp: how a connector says who it is: a secret of the environment, or an access token got for one.
#pragma once

#include <optional>
#include <string>

#include "relay/connector.hpp"
#include "relay/template.hpp"

namespace cdp::relay {

class Token {
public:
    /// `auth`: the row's member. `secret`: a text, an object, or null where there is none.
    /// Throws Error (invalid_parameter_value).
    Token(const Json& auth, const Json& secret);

    /// The header authorization; nothing where there is none. `scope`: for the request's templates.
    std::optional<std::string> Header() const;
    /// The request for an access token, where one is needed and none is there that lasts.
    std::optional<Request> Renew(const Scope& scope, Clock::time_point now) const;
    /// Takes the token; otherwise says why there is none.
    std::optional<Verdict> Renewed(const Response& answer, const Scope& scope, Clock::time_point now);
    /// It was not taken.
    void Forget();

private:
    enum class Kind { kNone, kBearer, kBasic, kOauth } kind_ = Kind::kNone;
    std::string MemberOf(const Json& secret, const char* name) const;

    std::string secret_, user_;
    std::optional<TextTemplate> url_;
    std::string form_;  // the request's body
    std::string token_;
    Clock::time_point ends_;
};

}  // namespace cdp::relay
