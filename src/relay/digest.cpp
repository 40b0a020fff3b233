// relay/digest.cpp: see digest.hpp.
#include "relay/digest.hpp"

#include <array>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "pg/error.hpp"

namespace cdp::relay {
namespace {

const unsigned char* Bytes(const char* text) { return reinterpret_cast<const unsigned char*>(text); }

const EVP_MD* Algorithm(Digest digest) {
    switch (digest) {
        case Digest::kMd5: return EVP_md5();
        case Digest::kSha1: return EVP_sha1();
        case Digest::kSha256: return EVP_sha256();
        case Digest::kSha512: return EVP_sha512();
    }
    return nullptr;
}

constexpr std::string_view kWebhookPrefix = "whsec_";

std::string WebhookKey(std::string_view secret) {
    if (!secret.starts_with(kWebhookPrefix)) return std::string(secret);
    auto key = FromBase64(secret.substr(kWebhookPrefix.size()));
    if (!key || key->empty())
        throw Error(sqlstate::invalid_parameter_value, "the webhook secret is whsec_ without valid base64 behind it");
    return *std::move(key);
}

}  // namespace

std::string Hash(Digest digest, std::string_view text) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), bytes.data(), &size, Algorithm(digest), nullptr) != 1)
        throw Error(sqlstate::internal_error, "OpenSSL cannot compute a hash");
    return {reinterpret_cast<char*>(bytes.data()), size};
}

std::string HmacSha256(std::string_view key, std::string_view text) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
    unsigned size = 0;
    if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), Bytes(text.data()), text.size(), bytes.data(), &size) == nullptr)
        throw Error(sqlstate::internal_error, "OpenSSL cannot compute a HMAC");
    return {reinterpret_cast<char*>(bytes.data()), size};
}

std::string Hex(std::string_view bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    hex.reserve(bytes.size() * 2);
    for (const unsigned char byte : bytes) {
        hex += kDigits[byte >> 4];
        hex += kDigits[byte & 15];
    }
    return hex;
}

std::string Base64(std::string_view bytes) {
    std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
    text.resize(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), Bytes(bytes.data()), static_cast<int>(bytes.size())));
    return text;
}

std::optional<std::string> FromBase64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    std::string bytes(text.size() / 4 * 3, '\0');
    // OpenSSL counts padding as bytes, and forgives blanks around: the text has to come back.
    const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), Bytes(text.data()), static_cast<int>(text.size()));
    if (size < 0) return std::nullopt;
    const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
    bytes.resize(static_cast<size_t>(size) - padding);
    if (Base64(bytes) != text) return std::nullopt;
    return bytes;
}

std::string SignWebhook(std::string_view secret, std::string_view id, std::string_view timestamp, std::string_view body) {
    std::string content(id);
    content.append(".").append(timestamp).append(".").append(body);
    std::string signatures;
    while (!secret.empty()) {
        const size_t blank = secret.find(' ');
        const std::string_view one = secret.substr(0, blank);
        secret.remove_prefix(blank == std::string_view::npos ? secret.size() : blank + 1);
        if (one.empty()) continue;
        if (!signatures.empty()) signatures += ' ';
        signatures += "v1," + Base64(HmacSha256(WebhookKey(one), content));
    }
    return signatures;
}

}  // namespace cdp::relay
