// identity/joinings_pg.hpp: people whom somebody, or a matcher, says to be one: their links in the ledger.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "identity/resolver.hpp"
#include "pg/spi.hpp"

namespace cdp::identity {

struct Joining {
    int64 a, b;                          // profiles
    const char* cause;                   // of the link: manual, match
    std::string reason, actor;
    std::optional<std::string> matcher;
    double score = 0;                    // the matcher's
    // What became of it.
    int64 link_id = 0;                   // 0: they were one already, or must not be
    Refusal refusal{};
};

/// Links the strongest identifiers of each two profiles, and gives `link_id`. Needs the pipeline's lock.
void LinkByHand(std::span<Joining* const> joinings);

/// Records in cdp.identity_conflict what was refused: by which limit or separation.
void NoteRefusals(std::span<const Joining* const> joinings, const std::function<std::string_view(int type)>& type_name);

}  // namespace cdp::identity
