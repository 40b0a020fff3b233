// govern/consent.hpp: what follows from what people said of a purpose. Knows no PostgreSQL. Rules: docs/consent.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cdp::govern {

/// What somebody said of a purpose, on one channel or on all of them.
struct Statement {
    int64_t occurred_at;
    bool granted;
};

/// Whether `a` holds where both were said: it is more recent; at the same instant, the refusal.
inline bool Outweighs(const Statement& a, const Statement& b) {
    return a.occurred_at != b.occurred_at ? a.occurred_at > b.occurred_at : !a.granted && b.granted;
}

/// What one person said of one purpose.
class Answers {
public:
    /// `channel`: nothing is all channels.
    void Say(std::optional<std::string_view> channel, const Statement& statement);

    /// Whether it covers a channel, or without one every channel there may be. `opt_out`: unless somebody says no.
    bool Covers(std::optional<std::string_view> channel, bool opt_out) const;

private:
    bool CoversChannel(const std::optional<Statement>& on_channel, bool opt_out) const;

    std::optional<Statement> everywhere_;
    std::vector<std::pair<std::string, std::optional<Statement>>> channels_;
};

}  // namespace cdp::govern
