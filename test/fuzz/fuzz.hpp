// fuzz.hpp: what the fuzzers share. Each target takes any bytes: what it refuses it refuses with an Error, and what it
// takes comes back the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "pg/error.hpp"

/// Ends the run, in every kind of build, where `holds` is false.
#define CDP_MUST(holds)                                                         \
    do {                                                                        \
        if (!(holds)) {                                                         \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds);    \
            std::abort();                                                       \
        }                                                                       \
    } while (false)

namespace cdp::fuzz {

/// Takes numbers off the front of the input; zeros once it is used up.
class Input {
public:
    Input(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}
    bool empty() const { return left_.empty(); }
    unsigned Byte() {
        if (left_.empty()) return 0;
        const auto byte = static_cast<unsigned char>(left_.front());
        left_.remove_prefix(1);
        return byte;
    }
    unsigned Below(unsigned limit) { return Byte() % limit; }
    std::string_view Rest() const { return left_; }

private:
    std::string_view left_;
};

/// Runs `work`; true unless it threw the Error that damaged input shall give.
template <class F>
bool Takes(F&& work) {
    try {
        work();
        return true;
    } catch (const Error& error) {
        CDP_MUST(error.sqlstate == sqlstate::data_corrupted);
        return false;
    }
}

}  // namespace cdp::fuzz
