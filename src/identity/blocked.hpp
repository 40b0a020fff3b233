// identity/blocked.hpp: values that identify nobody, whatever their type.
#pragma once

#include <string_view>

namespace cdp::identity {

/// Whether `value` is one of the built-in blocked ones, whatever the case: empty, null, none, nil, nan,
/// undefined, unknown, anonymous, guest, not_authenticated, [object object], true, false, id, distinct_id,
/// 0, -1, and whatever consists of zeros and dashes alone.
bool IsBlockedEverywhere(std::string_view value);

}  // namespace cdp::identity
