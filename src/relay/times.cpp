// relay/times.cpp: see times.hpp.
#include "relay/times.hpp"

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace cdp::relay {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Takes a number of `digits` digits off the front.
bool TakeDigits(std::string_view& text, size_t digits, int& number) {
    if (text.size() < digits) return false;
    number = 0;
    for (size_t i = 0; i < digits; ++i) {
        if (!IsDigit(text[i])) return false;
        number = number * 10 + (text[i] - '0');
    }
    text.remove_prefix(digits);
    return true;
}

bool TakeCharacter(std::string_view& text, std::string_view any_of) {
    if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
    text.remove_prefix(1);
    return true;
}

bool TakeClock(std::string_view& text, double& seconds) {
    int hour, minute, second;
    if (!TakeDigits(text, 2, hour) || !TakeCharacter(text, ":") || !TakeDigits(text, 2, minute) || !TakeCharacter(text, ":") ||
        !TakeDigits(text, 2, second) || hour > 24 || minute > 59 || second > 60)
        return false;
    seconds = hour * 3600 + minute * 60 + second;
    return true;
}

std::optional<double> Midnight(int year, int month, int day) {
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!date.ok()) return std::nullopt;
    return static_cast<double>(std::chrono::sys_days(date).time_since_epoch().count()) * 86400;
}

// Z, or +01, +01:30, +0130, +01:30:15; nothing behind it. Without it: UTC.
std::optional<double> Zone(std::string_view text) {
    if (text.empty() || text == "Z") return 0;
    const double sign = text.starts_with('-') ? -1 : 1;
    if (!TakeCharacter(text, "+-")) return std::nullopt;
    int hours = 0, minutes = 0, seconds = 0;
    if (!TakeDigits(text, 2, hours)) return std::nullopt;
    if (!text.empty()) {
        TakeCharacter(text, ":");
        if (!TakeDigits(text, 2, minutes)) return std::nullopt;
    }
    if (!text.empty() && (!TakeCharacter(text, ":") || !TakeDigits(text, 2, seconds))) return std::nullopt;
    if (!text.empty()) return std::nullopt;
    return sign * (hours * 3600 + minutes * 60 + seconds);
}

constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

}  // namespace

std::optional<double> ParseTime(std::string_view text) {
    int year, month, day;
    if (!TakeDigits(text, 4, year) || !TakeCharacter(text, "-") || !TakeDigits(text, 2, month) || !TakeCharacter(text, "-") ||
        !TakeDigits(text, 2, day))
        return std::nullopt;
    auto midnight = Midnight(year, month, day);
    if (!midnight || text.empty()) return midnight;
    double seconds = 0;
    if (!TakeCharacter(text, " T") || !TakeClock(text, seconds)) return std::nullopt;
    if (TakeCharacter(text, ".")) {
        if (text.empty() || !IsDigit(text.front())) return std::nullopt;
        for (double unit = 0.1; !text.empty() && IsDigit(text.front()); unit /= 10, text.remove_prefix(1))
            seconds += unit * (text.front() - '0');
    }
    const auto zone = Zone(text);
    if (!zone) return std::nullopt;
    return *midnight + seconds - *zone;
}

std::string FormatTime(double seconds) {
    const auto milliseconds = static_cast<int64_t>(std::llround(seconds * 1000));
    const std::chrono::sys_time<std::chrono::milliseconds> time{std::chrono::milliseconds(milliseconds)};
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(day);
    const auto rest = (time - day).count();
    std::array<char, 64> text;
    std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(rest / 3'600'000),
                  static_cast<int>(rest / 60'000 % 60), static_cast<int>(rest / 1000 % 60), static_cast<int>(rest % 1000));
    return text.data();
}

std::optional<double> ParseHttpDate(std::string_view text) {
    const size_t comma = text.find(", ");
    if (comma == std::string_view::npos) return std::nullopt;
    text.remove_prefix(comma + 2);
    int day, year, month = 0;
    if (!TakeDigits(text, 2, day) || !TakeCharacter(text, " ")) return std::nullopt;
    while (month < 12 && !text.starts_with(kMonths[static_cast<size_t>(month)])) ++month;
    if (month == 12) return std::nullopt;
    text.remove_prefix(3);
    double seconds = 0;
    if (!TakeCharacter(text, " ") || !TakeDigits(text, 4, year) || !TakeCharacter(text, " ") || !TakeClock(text, seconds) ||
        text != " GMT")
        return std::nullopt;
    const auto midnight = Midnight(year, month + 1, day);
    if (!midnight) return std::nullopt;
    return *midnight + seconds;
}

}  // namespace cdp::relay
