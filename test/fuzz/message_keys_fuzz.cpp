// message_keys_fuzz.cpp: any bytes as a filter, and bytes as a list of keys that is asked and merged.
#include <algorithm>

#include "collect/message_keys.hpp"
#include "fuzz.hpp"

using namespace cdp;
using namespace cdp::collect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const MessageKey asked = KeyOf(bytes.substr(0, 1), size > 1 ? data[1] : 0);
    fuzz::Takes([&] {
        const KeyFilter filter(bytes);
        if (!filter.empty()) (void)filter.MayHold(asked);
        CDP_MUST(filter.bytes() == bytes);
    });

    std::vector<MessageKey> keys;
    std::vector<int64_t> sizes;
    for (size_t i = 0; i + 1 < size; i += 2) {
        keys.push_back(KeyOf(bytes.substr(i, 1), data[i + 1]));
        sizes.push_back(int64_t{data[i]} << (data[i + 1] & 31));
    }
    const int64_t largest = int64_t{1} << 20;
    const size_t merged = RunsToMerge(sizes, largest);
    CDP_MUST(merged == 0 || (merged >= 2 && merged <= sizes.size()));
    std::sort(keys.begin(), keys.end());
    const int64_t window = size > 2 ? data[2] : 0;
    CDP_MUST(Holds(keys, asked, window) == std::any_of(keys.begin(), keys.end(), [&](const MessageKey& key) {
                 return key.SameId(asked) && std::abs(key.received_at - asked.received_at) <= window;
             }));
    const KeyFilter filter(keys);
    for (const MessageKey& key : keys) CDP_MUST(filter.MayHold(key));
    return 0;
}
