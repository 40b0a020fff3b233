// collect/message_time.cpp: see message_time.hpp.
#include "collect/message_time.hpp"

#include <chrono>
#include <cmath>

namespace cdp::collect {

namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr std::chrono::sys_days kEpoch = std::chrono::year{2000} / 1 / 1;

/// Takes a text apart from the left.
class Scanner {
public:
    explicit Scanner(std::string_view text) : rest_(text) {}

    bool AtEnd() const { return rest_.empty(); }
    bool AtDigit() const { return !rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9'; }
    /// One of `characters`, if it is next; else 0.
    char Skip(std::string_view characters) {
        if (rest_.empty() || characters.find(rest_[0]) == std::string_view::npos) return 0;
        const char found = rest_[0];
        rest_.remove_prefix(1);
        return found;
    }
    /// Exactly so many digits, making a number between the bounds.
    bool Number(size_t digits, int least, int greatest, int* value) {
        *value = 0;
        for (; digits > 0; --digits) {
            if (!AtDigit()) return false;
            *value = *value * 10 + (Skip("0123456789") - '0');
        }
        return *value >= least && *value <= greatest;
    }
    /// The digits of a fraction of a second, as microseconds.
    bool Fraction(int64_t* microseconds) {
        if (!AtDigit()) return false;
        *microseconds = 0;
        for (int64_t unit = kSecond / 10; AtDigit(); unit /= 10) *microseconds += (Skip("0123456789") - '0') * unit;
        return true;
    }

private:
    std::string_view rest_;
};

bool ScanTime(Scanner* scanner, int64_t* microseconds) {
    int hour, minute, second = 0;
    int64_t fraction = 0;
    if (!scanner->Number(2, 0, 24, &hour)) return false;
    scanner->Skip(":");
    if (!scanner->Number(2, 0, 59, &minute)) return false;
    if (scanner->Skip(":") || scanner->AtDigit()) {
        if (!scanner->Number(2, 0, 60, &second)) return false;  // 60: a leap second
        if (scanner->Skip(".,") && !scanner->Fraction(&fraction)) return false;
    }
    *microseconds = ((hour * 60 + minute) * 60LL + second) * kSecond + fraction;
    return hour < 24 || *microseconds == 86'400 * kSecond;
}

bool ScanZone(Scanner* scanner, int64_t* microseconds) {
    *microseconds = 0;
    if (scanner->Skip("Zz")) return true;
    const char sign = scanner->Skip("+-");
    int hours, minutes = 0;
    if (sign == 0 || !scanner->Number(2, 0, 23, &hours)) return false;
    if ((scanner->Skip(":") || scanner->AtDigit()) && !scanner->Number(2, 0, 59, &minutes)) return false;
    *microseconds = (sign == '-' ? -1 : 1) * (hours * 60 + minutes) * 60 * kSecond;
    return true;
}

std::optional<int64_t> Storable(__int128 time) {
    if (time < kFirstTime || time >= kEndOfTime) return std::nullopt;
    return static_cast<int64_t>(time);
}

}  // namespace

std::optional<int64_t> ParseIsoTime(std::string_view text) {
    Scanner scanner(text);
    int year, month, day;
    int64_t time = 0, zone = 0;
    if (!scanner.Number(4, 0, 9999, &year)) return std::nullopt;
    const bool extended = scanner.Skip("-");
    if (!scanner.Number(2, 1, 12, &month) || (extended && !scanner.Skip("-")) || !scanner.Number(2, 1, 31, &day))
        return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!date.ok()) return std::nullopt;
    if (scanner.Skip("Tt ")) {
        if (!ScanTime(&scanner, &time)) return std::nullopt;
        scanner.Skip(" ");
        if (!scanner.AtEnd() && !ScanZone(&scanner, &zone)) return std::nullopt;
    }
    if (!scanner.AtEnd()) return std::nullopt;
    return (std::chrono::sys_days(date) - kEpoch).count() * 86'400 * kSecond + time - zone;
}

std::optional<int64_t> FromEpochMilliseconds(double milliseconds) {
    if (!(std::abs(milliseconds) < 1e18)) return std::nullopt;
    const auto since_1970 = static_cast<__int128>(std::floor(milliseconds * 1000 + 0.5));
    return Storable(since_1970 - kEpoch.time_since_epoch().count() * 86'400 * static_cast<__int128>(kSecond));
}

std::optional<int64_t> OccurredAt(const MessageTimes& times, int64_t received_at) {
    if (times.occurred) return times.occurred;
    const auto by_device = times.original ? times.original : times.timestamp;
    if (!by_device) return received_at;
    if (!times.sent) return times.timestamp ? times.timestamp : by_device;
    return Storable(static_cast<__int128>(received_at) - (static_cast<__int128>(*times.sent) - *by_device));
}

}  // namespace cdp::collect
