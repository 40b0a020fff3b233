// pgoutput_fuzz.cpp: any bytes as a replication stream: messages, each with its length in front. What is taken becomes
// changes with keys, identities and JSON that can be written.
#include "fuzz.hpp"
#include "relay/arrival.hpp"
#include "relay/row.hpp"
#include "relay/watermark.hpp"

using namespace cdp;
using namespace cdp::relay;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    Arrivals arrivals("d", "k");
    Watermark watermark;
    while (!rest.empty()) {
        const size_t length = std::min<size_t>(static_cast<unsigned char>(rest[0]), rest.size() - 1);
        const std::string_view message = rest.substr(1, length);
        rest.remove_prefix(1 + length);
        fuzz::Takes([&] {
            pgoutput::Message taken = pgoutput::Decode(message);
            const uint64_t before = watermark.confirmed();
            if (std::holds_alternative<pgoutput::Begin>(taken)) watermark.Begin();
            if (const auto* commit = std::get_if<pgoutput::Commit>(&taken)) watermark.Commit(commit->end_lsn);
            CDP_MUST(watermark.confirmed() >= before);
            if (const auto* note = std::get_if<pgoutput::Note>(&taken)) arrivals.Heed(*note);
            if (auto* relation = std::get_if<pgoutput::Relation>(&taken)) arrivals.Know(std::move(*relation));
            const auto* row = std::get_if<pgoutput::Row>(&taken);
            if (row == nullptr) return;
            for (Arrival& arrival : arrivals.Take(*row, 7)) {
                arrival.transaction = watermark.Hold();
                if (arrival.Incomplete()) continue;
                const Parcel parcel = arrival.ToParcel("d", "k");
                CDP_MUST(parcel.hash.empty() == (parcel.change.kind == Change::Kind::kDelete));
                CDP_MUST(parcel.change.id == ChangeId("d", arrival.key, 7));
                parcel.change.row.dump();  // throws for what is no UTF-8
                watermark.Release(arrival.transaction);
            }
        });
    }
    return 0;
}
