// snapshot_fuzz.cpp: any text as a snapshot. What is taken comes back from its text.
#include "collect/snapshot.hpp"
#include "fuzz.hpp"

using namespace cdp;
using cdp::collect::TransactionSnapshot;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    fuzz::Takes([&] {
        TransactionSnapshot snapshot = TransactionSnapshot::Parse(text);
        const std::string once = snapshot.ToString();
        const TransactionSnapshot again = TransactionSnapshot::Parse(once);
        CDP_MUST(again.xmin == snapshot.xmin && again.xmax == snapshot.xmax && again.running == snapshot.running);
        for (const uint64_t xid : {uint64_t{0}, snapshot.xmin, snapshot.xmax, snapshot.xmin + 1, UINT64_MAX}) {
            CDP_MUST(again.Ended(xid) == snapshot.Ended(xid));
            TransactionSnapshot more = snapshot;
            more.AddRunning(xid);
            CDP_MUST(!more.Ended(xid));
        }
    });
    return 0;
}
