// profile/codec.hpp: compact bytes for states: varints, zigzag, length-prefixed text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pg/error.hpp"

namespace cdp::profile {

class Writer {
public:
    void Unsigned(uint64_t value) {
        for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
        bytes_.push_back(static_cast<char>(value));
    }
    void Signed(int64_t value) { Unsigned((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63)); }
    void Text(std::string_view text) {
        Unsigned(text.size());
        bytes_.append(text);
    }
    void Append(std::string_view bytes) { bytes_.append(bytes); }
    const std::string& bytes() const { return bytes_; }
    std::string Take() { return std::move(bytes_); }

private:
    std::string bytes_;
};

/// Reads what Writer wrote. Throws Error(data_corrupted) where the bytes end too soon.
class Reader {
public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}

    bool AtEnd() const { return bytes_.empty(); }
    uint64_t Unsigned() {
        uint64_t value = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            if (bytes_.empty()) Corrupt();
            const auto byte = static_cast<unsigned char>(bytes_.front());
            bytes_.remove_prefix(1);
            value |= static_cast<uint64_t>(byte & 0x7f) << (shift & 63);
            if ((byte & 0x80) == 0) return value;
        }
        Corrupt();
    }
    int64_t Signed() {
        const uint64_t value = Unsigned();
        return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
    }
    std::string_view Text() {
        const uint64_t size = Unsigned();
        if (size > bytes_.size()) Corrupt();
        const auto text = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return text;
    }

    [[noreturn]] static void Corrupt() { throw Error(sqlstate::data_corrupted, "a profile's state is damaged")
                                             .Hint("Repair it with cdp.rebuild(repair => true)."); }

private:
    std::string_view bytes_;
};

}  // namespace cdp::profile
