// relay/rules.hpp: what a network's answers mean, as a connector's row says it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "relay/connector.hpp"
#include "relay/template.hpp"

namespace cdp::relay {

/// HTTP statuses, one by one or by the hundred (["2xx", 409]).
class Statuses {
public:
    static Statuses Parse(const Json& list);
    bool Has(int status) const;

private:
    std::vector<std::pair<int, int>> ranges_;  // first and last
};

/// Where an answer says which changes it did not take.
struct ErrorRule {
    TextTemplate list;                   // the errors; item and index are what follows of each
    std::optional<TextTemplate> where;   // which of them count
    std::optional<TextTemplate> position;  // of the change in the batch
    std::optional<TextTemplate> keys;    // or what identifies it: one or several
    std::optional<TextTemplate> as;      // … and the same of a change
    TextTemplate reason;
    std::optional<TextTemplate> retry;   // whether the change is to be sent again
};

/// The members success, retry and refuse of a row.
struct Rules {
    Statuses success, retry, refuse;
    std::optional<TextTemplate> success_when, retry_when, refuse_when, retry_after, reason;
    std::vector<ErrorRule> errors;

    static Rules Parse(const Json& row);
};

/// What an answer means for its batch as a whole.
struct Outcome {
    enum class Kind { kTaken, kRetry, kRefused } kind = Kind::kTaken;
    std::string reason;
    std::optional<double> retry_after_seconds;
};

/// An answer as expressions see it. `scope`: what is known beside it.
class Answer {
public:
    Answer(const Response& response, const Scope& scope);
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;

    Outcome Judge(const Rules& rules) const;
    /// Change by change; what the outcome says unless the answer names the changes concerned.
    std::vector<Verdict> Judge(const Rules& rules, std::span<const ChangeValues> changes) const;
    const Json& json() const { return answer_; }

private:
    std::string Reason(const Rules& rules) const;
    std::optional<double> RetryAfter(const Rules& rules) const;
    struct Findings;
    void Find(const ErrorRule& rule, std::span<const ChangeValues> changes, Findings& findings) const;

    const Response& response_;
    Json answer_, status_, headers_, body_;
    Scope scope_;
};

/// The longest reason, in characters.
inline constexpr size_t kLongestReason = 500;

}  // namespace cdp::relay
