// collect/message.cpp: see message.hpp.
#include "collect/message.hpp"

#include <algorithm>
#include <array>

namespace cdp::collect {

namespace {

constexpr std::array<std::string_view, 6> kTypes{"identify", "track", "page", "screen", "group", "alias"};

std::optional<Refusal> TooLong(std::string_view field, std::string_view value, size_t limit) {
    if (value.size() <= limit || Characters(value) <= limit) return std::nullopt;
    return Refusal{std::string(field) + " is too long",
                   std::to_string(Characters(value)) + " characters; at most " + std::to_string(limit) + " are allowed"};
}

/// The length of the white space that `text` begins with: of one character, in UTF-8; 0 if it begins with none.
size_t SpaceAhead(std::string_view text) {
    if (text.empty()) return 0;
    if (static_cast<unsigned char>(text[0]) < 0x80) return std::string_view(" \t\n\r\f\v").find(text[0]) != std::string_view::npos;
    for (const std::string_view space : {"\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005",
                                         "\u2006", "\u2007", "\u2008", "\u2009", "\u200a", "\u200b", "\u2028", "\u2029",
                                         "\u202f", "\u205f", "\u3000", "\ufeff"})
        if (text.starts_with(space)) return space.size();
    return 0;
}

}  // namespace

bool IsBlank(std::string_view text) {
    while (const size_t space = SpaceAhead(text)) text.remove_prefix(space);
    return text.empty();
}

std::string_view Trimmed(std::string_view text) {
    while (const size_t space = SpaceAhead(text)) text.remove_prefix(space);
    for (;;) {
        size_t last = text.size();
        while (last > 0 && (text[--last] & 0xc0) == 0x80) continue;
        const size_t space = SpaceAhead(text.substr(last));
        if (space == 0 || last + space != text.size()) return text;
        text.remove_suffix(space);
    }
}

size_t Characters(std::string_view text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string_view Beginning(std::string_view text, size_t characters) {
    size_t end = 0;
    for (; end < text.size(); ++end)
        if ((text[end] & 0xc0) != 0x80 && characters-- == 0) break;
    return text.substr(0, end);
}

size_t TextBytes(const Message& m) {
    return m.message_id.size() + m.type.size() + m.source.size() + m.user_id.size() + m.anonymous_id.size() +
           m.previous_id.size() + m.group_id.size() + m.event.size();
}

size_t CompactJsonBytes(std::string_view json) {
    size_t bytes = 0;
    bool in_string = false;
    for (size_t i = 0; i < json.size(); ++i) {
        if (in_string && json[i] == '\\' && i + 1 < json.size()) {
            bytes += 2;
            ++i;
            continue;
        }
        if (json[i] == '"') in_string = !in_string;
        bytes += in_string || (json[i] != ' ' && json[i] != '\n' && json[i] != '\t' && json[i] != '\r');
    }
    return bytes;
}

Refusal NoIdentifier() { return {"no identifier", "all its identifiers are absent, blocked or of unknown types"}; }

std::optional<Refusal> Refuse(const Message& m) {
    if (std::find(kTypes.begin(), kTypes.end(), m.type) == kTypes.end())
        return Refusal{"unknown type", "type \"" + std::string(Beginning(m.type, 100)) +
                                           "\" is none of identify, track, page, screen, group, alias"};
    if (m.type == "track" && IsBlank(m.event)) return Refusal{"track without event", ""};
    if (m.type == "group" && IsBlank(m.group_id)) return Refusal{"group without group_id", ""};
    if (m.type == "alias" && IsBlank(m.previous_id)) return Refusal{"alias without previous_id", ""};
    if (m.type == "alias" && IsBlank(m.user_id)) return Refusal{"alias without user_id", ""};
    for (const auto& [field, value] : {std::pair{"message_id", m.message_id}, {"user_id", m.user_id},
                                       {"anonymous_id", m.anonymous_id}, {"previous_id", m.previous_id},
                                       {"group_id", m.group_id}})
        if (auto refusal = TooLong(field, value, kLongestIdentifier)) return refusal;
    for (const auto& [field, value] : {std::pair{"event", m.event}, {"source", m.source}})
        if (auto refusal = TooLong(field, value, kLongestName)) return refusal;
    if (m.bytes > kLargestMessage)
        return Refusal{"message is too large",
                       std::to_string(m.bytes) + " bytes; at most " + std::to_string(kLargestMessage) + " are allowed"};
    if (m.received_at == INT64_MIN || m.received_at == INT64_MAX) return Refusal{"received_at is infinite", ""};
    if (m.occurred_at == INT64_MIN) return Refusal{"occurred_at is infinite", ""};
    if (static_cast<__int128>(m.occurred_at) - m.received_at > kFarthestAhead)
        return Refusal{"occurred_at is in the future", "it is more than a day ahead of received_at"};
    return std::nullopt;
}

}  // namespace cdp::collect
