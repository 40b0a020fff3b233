// pipeline/retry.hpp: when to try again after a failure, and when to speak of it. Times are microseconds.
// Knows no PostgreSQL.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

namespace cdp::pipeline {

/// Waits one second after the first failure, twice as long after each further one, a minute at most.
class BackOff {
public:
    void Failed(int64_t now) {
        delay_ = delay_ == 0 ? kFirst : std::min(delay_ * 2, kLongest);
        until_ = now + delay_;
    }
    void Succeeded() { delay_ = until_ = 0; }
    /// Tries again at once; the delay goes on growing if that fails too.
    void Cut() { until_ = 0; }
    int64_t until() const { return until_; }

private:
    static constexpr int64_t kFirst = 1'000'000, kLongest = 60'000'000;
    int64_t delay_ = 0, until_ = 0;
};

/// Lets one report of each distinct failure pass at once, and a repeated one once a minute.
class Repeats {
public:
    /// How many failures a report made now would stand for, itself included; 0: stay silent.
    int64_t Report(const std::string& what, int64_t now) {
        ++count_;
        if (what == last_ && now < reported_ + kPause) return 0;
        last_ = what;
        reported_ = now;
        return std::exchange(count_, 0);
    }

private:
    static constexpr int64_t kPause = 60'000'000;
    std::string last_;
    int64_t reported_ = 0, count_ = 0;
};

/// Messages a second over the last minute. Zero bytes are an empty one, so it can live in shared memory.
struct Meter {
    static constexpr int kSeconds = 60;

    void Add(int64_t now, int64_t messages) {
        const auto second = static_cast<uint32_t>(now / 1'000'000);
        Bucket& bucket = buckets[second % kSeconds];
        if (bucket.second != second) bucket = {second, 0};
        bucket.messages += static_cast<uint32_t>(messages);
    }
    /// `since`: when counting began, if less than a minute ago.
    double PerSecond(int64_t now, int64_t since) const {
        int64_t messages = 0;
        for (const Bucket& bucket : buckets)
            if (bucket.second > now / 1'000'000 - kSeconds) messages += bucket.messages;
        const int64_t span = std::clamp<int64_t>((now - since) / 1'000'000, 1, kSeconds);
        return static_cast<double>(messages) / static_cast<double>(span);
    }

    struct Bucket {
        uint32_t second, messages;
    } buckets[kSeconds];
};

}  // namespace cdp::pipeline
