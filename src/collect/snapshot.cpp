// collect/snapshot.cpp: see snapshot.hpp.
#include "collect/snapshot.hpp"

#include <algorithm>
#include <charconv>

#include "pg/error.hpp"

namespace cdp::collect {

TransactionSnapshot TransactionSnapshot::Parse(std::string_view text) {
    const auto corrupt = [&] { return Error(sqlstate::data_corrupted, "not a snapshot: " + std::string(text)); };
    const char* here = text.data();
    const char* end = here + text.size();
    const auto number = [&](char terminator) {
        uint64_t value;
        const auto [next, code] = std::from_chars(here, end, value);
        if (code != std::errc() || (next != end && *next != terminator)) throw corrupt();
        here = next == end ? end : next + 1;
        return value;
    };
    TransactionSnapshot snapshot;
    snapshot.xmin = number(':');
    snapshot.xmax = number(':');
    if (snapshot.xmin > snapshot.xmax) throw corrupt();
    while (here != end) {
        const uint64_t xid = number(',');
        const uint64_t least = snapshot.running.empty() ? snapshot.xmin : snapshot.running.back() + 1;
        if (xid < least || xid >= snapshot.xmax) throw corrupt();
        snapshot.running.push_back(xid);
    }
    return snapshot;
}

std::string TransactionSnapshot::ToString() const {
    std::string text = std::to_string(xmin) + ":" + std::to_string(xmax) + ":";
    for (size_t i = 0; i < running.size(); ++i) text += (i ? "," : "") + std::to_string(running[i]);
    return text;
}

bool TransactionSnapshot::Ended(uint64_t xid) const {
    return xid < xmin || (xid < xmax && !std::binary_search(running.begin(), running.end(), xid));
}

void TransactionSnapshot::AddRunning(uint64_t xid) {
    if (!Ended(xid)) return;
    running.insert(std::lower_bound(running.begin(), running.end(), xid), xid);
    xmin = std::min(xmin, xid);
}

}  // namespace cdp::collect
