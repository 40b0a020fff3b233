// text_fuzz.cpp: any bytes as the texts that a message carries.
#include "collect/message.hpp"
#include "collect/message_time.hpp"
#include "fuzz.hpp"
#include "govern/personal.hpp"
#include "identity/blocked.hpp"
#include "identity/phone.hpp"

using namespace cdp;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::string_view half = text.substr(0, size / 2), rest = text.substr(size / 2);

    const auto refusal = collect::Refuse({.type = half, .user_id = rest, .event = text});
    CDP_MUST(!refusal || !refusal->reason.empty());
    CDP_MUST(collect::Characters(half) <= half.size());
    const auto beginning = collect::Beginning(text, 10);
    CDP_MUST(text.starts_with(beginning) && collect::Characters(beginning) <= 10);
    if (const auto time = collect::ParseIsoTime(text)) CDP_MUST(*time >= collect::kFirstTime && *time < collect::kEndOfTime);

    if (collect::IsBlank(text)) CDP_MUST(!identity::IsBlockedEverywhere(text) || text.empty());
    CDP_MUST(collect::CompactJsonBytes(text) <= text.size());
    const auto trimmed = collect::Trimmed(text);
    CDP_MUST(trimmed.empty() == collect::IsBlank(text) && collect::Trimmed(trimmed) == trimmed);
    (void)govern::LooksPersonal(text);
    (void)govern::HoldsEmail(text);

    const auto phone = identity::NormalisePhone(half, "GB");
    if (phone) {
        CDP_MUST(phone->size() >= 4 && phone->size() <= 17 && phone->front() == '+');
        CDP_MUST(identity::NormalisePhone(*phone, "") == phone);  // normal is normal everywhere
    }
    return 0;
}
