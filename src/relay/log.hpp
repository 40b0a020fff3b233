// relay/log.hpp: what happens, as lines of JSON on standard error.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace cdp::relay {

enum class Level { kDebug, kInfo, kWarning, kError };

/// The least that is written.
void SetLogLevel(Level level);
/// {"time": …, "level": …, "message": …, and the fields}. Callable from any thread. Fields must hold no secrets and no
/// rows: keys and answers at most.
void Log(Level level, std::string_view message, const nlohmann::json& fields = nlohmann::json::object());

}  // namespace cdp::relay
