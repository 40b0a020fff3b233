// collect/message.hpp: a message as the pipeline sees it, and what makes it unacceptable.
// Knows no PostgreSQL; the three jsonb fields are opaque here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cdp::collect {

inline constexpr size_t kLongestIdentifier = 200;            // characters
inline constexpr size_t kLongestName = 500;                  // characters
inline constexpr size_t kLargestMessage = 32 * 1024;         // bytes, as JSON or as jsonb, whichever is less
inline constexpr int64_t kFarthestAhead = 86'400'000'000;    // microseconds: a day

struct Message {
    std::string_view message_id, type, source, user_id, anonymous_id, previous_id, group_id, event;
    int64_t occurred_at = 0, received_at = 0;  // microseconds, PostgreSQL's epoch
    size_t bytes = 0;                          // of all fields together
};

/// Why a message is refused: a short code-like reason, and the facts.
struct Refusal {
    std::string reason, detail;
};

/// The first rule of the Segment spec and of ours that the message breaks, if any. Whether any identifier
/// is usable is not decided here: that takes the identifier types.
std::optional<Refusal> Refuse(const Message& message);

/// Why a message is refused that has no identifier left: all absent, blocked or of unknown types.
Refusal NoIdentifier();

/// The bytes of the text fields. Message::bytes is these and those of the three jsonb fields.
size_t TextBytes(const Message& message);

/// The bytes of a JSON text without white space between its tokens.
size_t CompactJsonBytes(std::string_view json);

/// True for a field that counts as absent: empty, or white space only (Unicode's, and what is as invisible).
bool IsBlank(std::string_view text);
/// The text without white space around it.
std::string_view Trimmed(std::string_view text);

/// The number of UTF-8 characters.
size_t Characters(std::string_view text);
/// The first `characters` of them.
std::string_view Beginning(std::string_view text, size_t characters);

}  // namespace cdp::collect
