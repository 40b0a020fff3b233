// window_fuzz.cpp: any event's time in any window; then the aggregate, an instant, and any bytes as a windowed trait's state.
#include <cstring>

#include "fuzz.hpp"
#include "profile/window.hpp"

using namespace cdp;
using namespace cdp::profile;

namespace {

template <class T>
T Take(fuzz::Input* input) {
    unsigned char bytes[sizeof(T)];
    for (auto& byte : bytes) byte = static_cast<unsigned char>(input->Byte());
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

std::string BytesOf(const WindowState& state) {
    Writer out;
    state.Write(out);
    return out.Take();
}

void TryWindow(const Window& window, const Span& span, int64_t time) {
    const int64_t leaves = window.Leaves(time);
    CDP_MUST(leaves >= time);
    if (time < INT64_MAX) CDP_MUST(window.Leaves(time + 1) >= leaves);
    CDP_MUST(Later(time, span) >= time);
}

void TryState(const Window& window, Aggregate aggregate, int64_t clock, std::string_view bytes) {
    const WindowState state = WindowState::Read(aggregate, bytes);
    const std::string once = BytesOf(state);
    CDP_MUST(BytesOf(WindowState::Read(aggregate, once)) == once);

    const int64_t horizon = window.Horizon(clock);
    const AggregateState now = state.Beyond(horizon);
    if (aggregate == Aggregate::kCount || aggregate == Aggregate::kDistinctCount) CDP_MUST(now.Count() == state.CountBeyond(horizon));
    const int64_t change = state.WhenCountLeaves(window, clock, 1, 2);
    CDP_MUST(change > clock || clock == INT64_MAX);
    const int64_t next = state.NextChange(window, clock);
    CDP_MUST(next > clock || clock == INT64_MAX);
    WindowState young = state;
    young.Expire(clock);
    CDP_MUST(young.NextChange(window, clock) == next);
    CDP_MUST(young.Beyond(horizon).Count() == now.Count());

    // Whatever it was: once merged it is as if its events had been added, and stays so.
    WindowState merged(aggregate), again(aggregate);
    merged.Merge(state);
    again.Merge(merged);
    CDP_MUST(BytesOf(again) == BytesOf(merged));
    again.Merge(state);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const auto aggregate = static_cast<Aggregate>(input.Below(10));  // all that windows have
    const auto clock = Take<int64_t>(&input);
    Span span;
    span.months = Take<int32_t>(&input);
    span.days = Take<int32_t>(&input);
    span.microseconds = Take<int64_t>(&input);
    const Window window(span);
    if (!window.Positive()) return 0;
    TryWindow(window, span, clock);
    fuzz::Takes([&] { TryState(window, aggregate, clock, input.Rest()); });
    return 0;
}
