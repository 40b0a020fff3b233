// collect/message_keys.hpp: which messages have been seen, in a few bytes each.
//
// A key is 128 bits of a message_id's hash, so that two different ids never meet in practice (64 bits are
// too few: a false duplicate is a lost message). Keys live in sorted runs, one a batch, merged as they
// add up (a log-structured merge: O'Neil et al. 1996), so that a batch writes a run in one go instead of
// touching a random leaf of an index for each message. Old runs are asked through a Bloom filter, blocked
// by cache line (Putze, Sanders, Singler 2009). Large runs are merged a piece at a time, with each batch, so that none
// of them waits for a million keys to be rewritten.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cdp::collect {

struct MessageKey {
    uint64_t high = 0, low = 0;
    int64_t received_at = 0;  // microseconds, PostgreSQL's epoch
    std::strong_ordering operator<=>(const MessageKey&) const = default;
    bool SameId(const MessageKey& other) const { return high == other.high && low == other.low; }
};
static_assert(sizeof(MessageKey) == 24);

/// The key of a message id (XXH3, 128 bits).
MessageKey KeyOf(std::string_view message_id, int64_t received_at);

/// Whether a sorted list holds `key`'s id, received at most `window` microseconds before or after it.
bool Holds(std::span<const MessageKey> sorted, const MessageKey& key, int64_t window);

/// A set that may say yes wrongly (some 0.5 % at 12 bits a key) but never no.
class KeyFilter {
public:
    KeyFilter() = default;
    explicit KeyFilter(std::span<const MessageKey> keys);
    /// Of nothing yet, with room for `keys` of them.
    explicit KeyFilter(size_t keys);
    void Add(const MessageKey& key);
    /// From `bytes()`. Throws Error(data_corrupted) if they cannot be that.
    explicit KeyFilter(std::string_view bytes);

    bool MayHold(const MessageKey& key) const;
    std::string_view bytes() const;
    bool empty() const { return words_.empty(); }

private:
    size_t Line(const MessageKey& key) const;
    std::vector<uint64_t> words_;  // lines of 8
};

/// How many runs at the end of `sizes` (oldest first) to merge into one now: 0, or at least 2. Runs of like
/// size are merged four at a time, and none grows beyond `largest`: a key is rewritten log4 times.
size_t RunsToMerge(std::span<const int64_t> sizes, int64_t largest);

}  // namespace cdp::collect
