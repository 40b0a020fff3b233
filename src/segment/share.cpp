// segment/share.cpp: see share.hpp.
#include "segment/share.hpp"

#include <xxhash.h>

#include <string>

namespace cdp::segment {

double ShareOf(std::string_view split, int64_t profile_id) {
    std::string bytes(split);
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(static_cast<uint64_t>(profile_id) >> shift));
    return static_cast<double>(XXH3_64bits(bytes.data(), bytes.size()) >> 11) * 0x1p-53 * 100;
}

}  // namespace cdp::segment
