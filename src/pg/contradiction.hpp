// pg/contradiction.hpp: conditions that no row can ever meet.
#pragma once

#include <string>

namespace cdp::pg {

class Condition;

/// Warns with `message` of a condition that no row can ever meet, as far as the planner sees, and says why. Throws what
/// folding its constants raises.
void WarnOfContradiction(const Condition& condition, const std::string& message);

}  // namespace cdp::pg
