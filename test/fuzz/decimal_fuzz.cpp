// decimal_fuzz.cpp: any text as a number. What is taken is written as it was read, but for its sign and leading zeros.
#include "fuzz.hpp"
#include "profile/value.hpp"

using namespace cdp;
using namespace cdp::profile;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto number = Decimal::Parse(text);
    if (!number) return 0;

    std::string plain(text);
    const bool negative = plain[0] == '-';
    if (plain[0] == '-' || plain[0] == '+') plain.erase(0, 1);
    if (plain.back() == '.') plain.pop_back();
    plain.erase(0, std::min(plain.find_first_not_of('0'), plain.size()));
    if (plain.empty() || plain[0] == '.') plain.insert(0, "0");
    if (negative && plain.find_first_not_of("0.") != std::string::npos) plain.insert(0, "-");
    const std::string written = number->ToString();
    CDP_MUST(written == plain);

    const auto again = Decimal::Parse(written);
    CDP_MUST(again && again->Compare(*number) == 0 && again->scale() == number->scale());
    Writer out;
    number->Write(out);
    Reader in(out.bytes());
    CDP_MUST(Decimal::Read(in).ToString() == written && in.AtEnd());
    Decimal twice = *number;
    twice += *number;
    CDP_MUST(twice.Compare(*number) == number->Compare(Decimal()));
    return 0;
}
