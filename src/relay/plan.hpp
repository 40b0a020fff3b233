// relay/plan.hpp: the requests that a batch takes, as a connector's row says it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "relay/connector.hpp"
#include "relay/rules.hpp"
#include "relay/template.hpp"

namespace cdp::relay {

struct RequestPlan {
    std::string method;
    TextTemplate url;
    std::vector<std::pair<std::string, TextTemplate>> headers;
    std::optional<Template> body;
    std::optional<TextTemplate> when;  // otherwise it is left out

    /// Throws if it cannot be built. `scope` without secrets; `secret` for the headers.
    Request Render(const Scope& scope, std::span<const ChangeValues> changes, const Json& secret) const;
};

/// How changes of one kind are sent.
struct Plan {
    std::vector<RequestPlan> requests;  // none: nothing is sent
    size_t main = 0;                    // the one whose answer tells of single changes
    size_t batch_size = 1;
    bool repeats = false;  // a key may be twice in a batch
    Rules rules;
    std::vector<std::pair<std::string, TextTemplate>> require;  // what a change must have, and what is said where not

    /// From a row's members. Throws Error (invalid_parameter_value).
    static Plan Parse(const Json& row);
};

}  // namespace cdp::relay
