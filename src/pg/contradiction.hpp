// pg/contradiction.hpp: conditions that no row can ever meet.
#pragma once

#include <optional>
#include <string>

namespace cdp::pg {

class Condition;

/// Why no row can ever meet a condition, as far as PostgreSQL's planner sees by itself: it folds to false, or its parts
/// exclude each other (plan = 'a' AND plan = 'b'). Nothing if one may. Throws what folding its constants raises.
std::optional<std::string> Contradiction(const Condition& condition);

/// Warns with `message` of a condition that no row can ever meet.
void WarnOfContradiction(const Condition& condition, const std::string& message);

}  // namespace cdp::pg
