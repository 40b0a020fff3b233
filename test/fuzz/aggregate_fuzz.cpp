// aggregate_fuzz.cpp: the first byte names the aggregate, the rest are its bytes.
#include "fuzz.hpp"
#include "profile/aggregate.hpp"

using namespace cdp;
using namespace cdp::profile;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const auto aggregate = static_cast<Aggregate>(data[0] % 11);
    const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
    fuzz::Takes([&] {
        const AggregateState state = AggregateState::Read(aggregate, bytes);
        (void)state.Count();
        if (const auto single = state.Single()) (void)Compare(*single, *single);
        (void)state.Sum().ToString();
        Writer once, twice;
        state.Write(once);
        AggregateState again = AggregateState::Read(aggregate, once.bytes());
        again.Write(twice);
        CDP_MUST(twice.bytes() == once.bytes());
        AggregateState empty(aggregate);
        empty.Merge(state);
        Writer merged;
        empty.Write(merged);
        CDP_MUST(merged.bytes() == once.bytes());
        again.Merge(state);
    });
    return 0;
}
