// sequence_fuzz.cpp: a sequence, events in some order for a small state and in theirs for one that always knows; then any bytes
// as a state, to which events are added.
#include <algorithm>

#include "fuzz.hpp"
#include "profile/sequence.hpp"

using namespace cdp;
using namespace cdp::profile;

namespace {

struct Event {
    int64_t at;
    uint32_t steps;
    std::string same;
};

std::string BytesOf(const SequenceState& state) {
    Writer out;
    state.Write(out);
    return out.Take();
}

Sequence AnySequence(fuzz::Input* input) {
    std::vector<std::string> names;
    for (unsigned left = 1 + input->Below(5); left > 0; --left) names.emplace_back(1, static_cast<char>('a' + input->Below(3)));
    std::optional<Span> within;
    if (const unsigned length = input->Below(16)) within = length == 15 ? Span{1, 0, 0} : Span{0, 0, length};
    return Sequence(std::move(names), within, input->Below(2) == 1);
}

std::vector<Event> AnyEvents(fuzz::Input* input, const Sequence& sequence) {
    std::vector<Event> events;
    for (unsigned left = input->Below(64); left > 0; --left) {
        const unsigned kind = input->Byte();
        const char name = static_cast<char>('a' + kind % 3);
        events.push_back({static_cast<int64_t>(input->Byte()), sequence.Steps(std::string(1, name)), std::string(kind % 2, 'x')});
    }
    return events;
}

void TryEvents(const Sequence& sequence, std::vector<Event> events, size_t most) {
    SequenceState one(most), other(most), unbounded = SequenceState::Unbounded();
    for (size_t i = 0; i < events.size(); ++i)
        (i % 5 < 3 ? one : other).Add(sequence, events[i].at, events[i].steps, events[i].same);
    one.Merge(sequence, other);
    std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.at < b.at; });
    for (const Event& event : events) unbounded.Add(sequence, event.at, event.steps, event.same);
    CDP_MUST(!unbounded.MustRecompute());
    CDP_MUST(one.MustRecompute() || one.Done() == unbounded.Done());
}

void TryBytes(const Sequence& sequence, const std::vector<Event>& events, std::string_view bytes) {
    SequenceState state = SequenceState::Read(bytes);
    const std::string once = BytesOf(state);
    CDP_MUST(BytesOf(SequenceState::Read(once)) == once);
    const bool was_done = state.Done(), was_unknown = state.MustRecompute();
    SequenceState merged;
    merged.Merge(sequence, state);
    for (const Event& event : events) state.Add(sequence, event.at, event.steps, event.same);
    state.Merge(sequence, merged);
    CDP_MUST(!was_done || state.Done());
    CDP_MUST(!was_unknown || state.MustRecompute());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const Sequence sequence = AnySequence(&input);
    const size_t most = 2 + input.Below(8);
    const auto events = AnyEvents(&input, sequence);
    TryEvents(sequence, events, most);
    fuzz::Takes([&] { TryBytes(sequence, events, input.Rest()); });
    return 0;
}
