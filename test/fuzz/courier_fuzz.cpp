// courier_fuzz.cpp: any verdicts in any order: nothing is lost, nothing twice, no two changes of a key under way, none before
// one that it follows.
#include <map>
#include <set>

#include "fuzz.hpp"
#include "relay/courier.hpp"

using namespace cdp;
using namespace cdp::relay;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    Courier::Rules rules;
    rules.batch_size = 1 + data[0] % 8;
    rules.in_flight = 1 + data[1] % 4;
    Courier courier(std::move(rules), 1);
    Monotonic::time_point now{std::chrono::hours(1)};
    std::map<uint64_t, std::vector<Change>> under_way;
    std::map<std::string, uint64_t> last;
    std::map<std::string, std::set<uint64_t>> open;                     // of each key what is not settled
    std::map<uint64_t, std::pair<std::string, std::set<uint64_t>>> follows;  // of each change that follows a key, that key and what was open of it
    size_t added = 0, settled = 0;
    for (size_t i = 2; i < size; ++i) {
        const unsigned what = data[i] & 7, value = data[i] >> 3;
        if (what < 2) {
            Parcel parcel;
            parcel.change.key = std::to_string(value % 8);
            parcel.change.lsn = ++added;
            if (what == 1 && value >= 8) {
                parcel.after = {std::to_string(value / 8)};
                follows[added] = {parcel.after[0], open[parcel.after[0]]};
            }
            open[parcel.change.key].insert(added);
            courier.Add(std::move(parcel));
        } else if (what == 2) {
            if (const Batch* batch = courier.Next(now)) {
                under_way[batch->number] = batch->changes;
                for (const Change& change : batch->changes)
                    if (const auto found = follows.find(change.lsn); found != follows.end())
                        for (const uint64_t before : found->second.second) CDP_MUST(!open[found->second.first].contains(before) || before >= change.lsn);
                std::set<std::string> keys;
                for (const auto& [number, changes] : under_way)
                    for (const Change& change : changes) CDP_MUST(keys.insert(change.key).second);
            }
        } else if (what < 6 && !under_way.empty()) {
            const auto [number, changes] = *std::next(under_way.begin(), value % under_way.size());
            std::vector<Verdict> verdicts;
            for (size_t n = 0; n + value % 3 < changes.size() + 1; ++n)
                verdicts.push_back({static_cast<Verdict::Kind>((value + n * what) % 4), "", value % 5 == 0 ? std::optional(1e300) : std::nullopt});
            under_way.erase(number);
            courier.Answer(number, verdicts, 200, now);
        } else if (what == 6) {
            const auto some = courier.TakeSettled();
            for (const Settled& one : some) {
                CDP_MUST(one.parcel.change.lsn > last[one.parcel.change.key]);
                last[one.parcel.change.key] = one.parcel.change.lsn;
                open[one.parcel.change.key].erase(one.parcel.change.lsn);
            }
            settled += some.size();
            courier.Stored(some);
        } else {
            now += std::chrono::milliseconds(value * value * value);
        }
        CDP_MUST(courier.size() + settled == added);
    }
    CDP_MUST(courier.Empty().size() + settled == added);
    return 0;
}
