// segment/transitions_pg.cpp: see transitions_pg.hpp.
#include "segment/transitions_pg.hpp"

namespace cdp::segment {

namespace {

/// In the order of Cause. The comment on cdp.segment_transition tells users of them.
constexpr const char* kNames[] = {"event",   "clock",  "merge", "split",   "rules",   "row",    "import",
                                  "consent", "create", "alter", "refresh", "mended", "rebuild"};
static_assert(std::size(kNames) == kCauses);

}  // namespace

void SortByPerson(std::vector<Transition>* transitions) {
    std::sort(transitions->begin(), transitions->end(), [](const Transition& a, const Transition& b) {
        return std::tie(a.profile_id, a.segment_id) < std::tie(b.profile_id, b.segment_id);
    });
}

void Transitions::Add(const Transition& t) {
    Datum& cause = names_[static_cast<size_t>(t.cause)];
    if (cause == 0) cause = pg::TextDatum(kNames[static_cast<size_t>(t.cause)]);
    const bool by_clock = t.cause == Cause::kClock, by_message = t.since != 0;
    const Datum values[] = {Int64GetDatum(t.profile_id), Int64GetDatum(t.segment_id), BoolGetDatum(t.entered), at_, cause,
                            Int64GetDatum(t.event_id), TimestampTzGetDatum(t.clock), TimestampTzGetDatum(t.since), written_at_};
    const bool nulls[] = {false, false, false, false, false, t.event_id == 0, !by_clock, !by_message, !by_clock && !by_message};
    writer_.Insert(values, nulls);
}

}  // namespace cdp::segment
