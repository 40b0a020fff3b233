// relay/log.cpp: see log.hpp.
#include "relay/log.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <mutex>

namespace cdp::relay {

namespace {
std::atomic<Level> least{Level::kInfo};
constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
}  // namespace

void SetLogLevel(Level level) { least = level; }

void Log(Level level, std::string_view message, const nlohmann::json& fields) {
    if (level < least) return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
    const long milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count() % 1000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char time[40];
    const size_t length = std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(time + length, sizeof time - length, ".%03ldZ", milliseconds);

    nlohmann::ordered_json line;
    line["time"] = time;
    line["level"] = kNames[static_cast<int>(level)];
    line["message"] = message;
    for (const auto& [name, value] : fields.items()) line[name] = value;
    const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";

    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace cdp::relay
