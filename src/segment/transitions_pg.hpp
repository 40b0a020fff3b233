// segment/transitions_pg.hpp: who enters and leaves segments, and why: what cdp.segment_transition keeps.
#pragma once

#include "pg/table_writer.hpp"

namespace cdp::segment {

/// What makes somebody enter or leave. Their names are in transitions_pg.cpp.
enum class Cause { kEvent, kClock, kMerge, kSplit, kRules, kRow, kImport, kConsent, kCreate, kAlter, kRefresh, kMended, kRebuild };
inline constexpr size_t kCauses = static_cast<size_t>(Cause::kRebuild) + 1;

struct Transition {
    int64 profile_id;
    int64 segment_id;
    bool entered;
    Cause cause;
    int64 event_id = 0;  // of the message that caused it; 0: none
    int64 clock = 0;     // of the person, then
    int64 since = 0;     // when the first of the batch's messages of theirs was committed; 0: there are none
};

/// By person, then segment.
void SortByPerson(std::vector<Transition>* transitions);

/// Takes transitions, and writes them all at once. The only writer of cdp.segment_transition.
class Transitions {
public:
    void Add(const Transition& transition);
    void Write() { writer_.Write(); }

private:
    pg::TableWriter writer_{"cdp.segment_transition",
                            {"profile_id", "segment_id", "entered", "at", "cause", "event_id", "due_at", "received_at", "written_at"}};
    const Datum at_ = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), written_at_ = TimestampTzGetDatum(GetCurrentTimestamp());
    Datum names_[kCauses] = {};  // of causes, once they were wanted
};

}  // namespace cdp::segment
