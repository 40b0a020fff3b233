// relay/digest.hpp: hashes and encodings, by OpenSSL.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cdp::relay {

enum class Digest { kMd5, kSha1, kSha256, kSha512 };

/// The hash's bytes.
std::string Hash(Digest digest, std::string_view text);
std::string HmacSha256(std::string_view key, std::string_view text);

std::string Hex(std::string_view bytes);  // in lower case
std::string Base64(std::string_view bytes);
/// Nothing if `text` is no base64 of the standard alphabet with its padding.
std::optional<std::string> FromBase64(std::string_view text);

/// The value of the header webhook-signature (Standard Webhooks): "v1,<signature>". `secret`: whsec_ and base64, or any
/// text; several, with blanks between them, while one takes the place of another, give as many signatures.
std::string SignWebhook(std::string_view secret, std::string_view id, std::string_view timestamp, std::string_view body);

}  // namespace cdp::relay
