// collect/message_keys.cpp: see message_keys.hpp.
#include "collect/message_keys.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "pg/error.hpp"

namespace cdp::collect {

namespace {
constexpr size_t kWordsALine = 8;
constexpr size_t kBitsAKey = 12;
constexpr int kProbes = 6;
}  // namespace

MessageKey KeyOf(std::string_view message_id, int64_t received_at) {
    const XXH128_hash_t hash = XXH3_128bits(message_id.data(), message_id.size());
    return {hash.high64, hash.low64, received_at};
}

bool Holds(std::span<const MessageKey> sorted, const MessageKey& key, int64_t window) {
    const MessageKey least{key.high, key.low, INT64_MIN};
    for (auto it = std::lower_bound(sorted.begin(), sorted.end(), least); it != sorted.end() && it->SameId(key); ++it) {
        // Unsigned: between the infinities lies more than an int64_t holds.
        const auto [earlier, later] = std::minmax(key.received_at, it->received_at);
        if (static_cast<uint64_t>(later) - static_cast<uint64_t>(earlier) <= static_cast<uint64_t>(window)) return true;
    }
    return false;
}

KeyFilter::KeyFilter(size_t keys) : words_((keys * kBitsAKey / (64 * kWordsALine) + 1) * kWordsALine) {}

KeyFilter::KeyFilter(std::span<const MessageKey> keys) : KeyFilter(keys.size()) {
    for (const MessageKey& key : keys) Add(key);
}

void KeyFilter::Add(const MessageKey& key) {
    uint64_t* line = &words_[Line(key)];
    for (uint64_t bits = key.low, i = 0; i < kProbes; ++i, bits >>= 9) line[bits >> 6 & 7] |= 1ULL << (bits & 63);
}

KeyFilter::KeyFilter(std::string_view bytes) : words_(bytes.size() / sizeof(uint64_t)) {
    if (bytes.size() % (kWordsALine * sizeof(uint64_t)) != 0)
        throw Error(sqlstate::data_corrupted, "a filter of message keys is damaged");
    if (!bytes.empty()) memcpy(words_.data(), bytes.data(), bytes.size());
}

size_t KeyFilter::Line(const MessageKey& key) const {
    const size_t lines = words_.size() / kWordsALine;
    return static_cast<size_t>(static_cast<unsigned __int128>(key.high) * lines >> 64) * kWordsALine;
}

bool KeyFilter::MayHold(const MessageKey& key) const {
    const uint64_t* line = &words_[Line(key)];
    for (uint64_t bits = key.low, i = 0; i < kProbes; ++i, bits >>= 9)
        if ((line[bits >> 6 & 7] >> (bits & 63) & 1) == 0) return false;
    return true;
}

std::string_view KeyFilter::bytes() const {
    return {reinterpret_cast<const char*>(words_.data()), words_.size() * sizeof(uint64_t)};
}

size_t RunsToMerge(std::span<const int64_t> sizes, int64_t largest) {
    constexpr size_t kTogether = 4;
    if (sizes.size() < kTogether) return 0;
    int64_t total = 0;
    size_t count = 0;
    // Take in older runs as long as they are not much larger than all the younger ones together.
    for (size_t i = sizes.size(); i-- > 0; ++count) {
        if (total + sizes[i] > largest) break;
        if (count > 0 && sizes[i] > 2 * total && count < kTogether) return 0;
        if (count >= kTogether && sizes[i] > total) break;
        total += sizes[i];
    }
    return count >= kTogether ? count : 0;
}

}  // namespace cdp::collect
