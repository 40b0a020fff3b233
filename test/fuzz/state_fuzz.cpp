// state_fuzz.cpp: any bytes as a profile's state. Damaged ones are refused; what is taken can be worked on, and once
// written stays the same.
#include "fuzz.hpp"
#include "profile/state.hpp"

using namespace cdp;
using namespace cdp::profile;

namespace {
constexpr Aggregate kAggregates[] = {Aggregate::kCount, Aggregate::kSum, Aggregate::kMin, Aggregate::kMax, Aggregate::kFirst,
                                     Aggregate::kLast, Aggregate::kDistinctCount, Aggregate::kMostFrequent,
                                     Aggregate::kUniqueList, Aggregate::kSourcePriority, Aggregate::kAvg};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    fuzz::Takes([&] {
        ProfileState state(bytes);
        for (const int trait : state.TraitIds()) {
            AggregateState& aggregate = state.Trait(trait, kAggregates[static_cast<unsigned>(trait) % std::size(kAggregates)]);
            const auto single = aggregate.Single();
            if (single && std::holds_alternative<Decimal>(*single)) (void)std::get<Decimal>(*single).ToString();
            AggregateState merged = aggregate;
            merged.Merge(aggregate);
        }
        const auto keep = [](int) { return true; };
        state.Pack(keep);
        const std::string once = state.Write();
        ProfileState again(once);
        for (const int trait : again.TraitIds()) again.Trait(trait, kAggregates[static_cast<unsigned>(trait) % std::size(kAggregates)]);
        again.Pack(keep);
        CDP_MUST(again.Write() == once);
    });
    return 0;
}
