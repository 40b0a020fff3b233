// segment/segments_write_pg.cpp: writing who entered and left in a batch; see segments_pg.hpp.
#include <map>

#include "pg/table_writer.hpp"
#include "segment/segments_pg.hpp"

namespace cdp::segment {

void Segments::WriteTransitions() const {
    pg::TableWriter transitions("cdp.segment_transition", {"profile_id", "segment_id", "entered", "at", "cause", "event_id", "due_at",
                                                           "received_at", "written_at"});
    const Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), written = TimestampTzGetDatum(GetCurrentTimestamp());
    std::map<const char*, Datum> causes;
    for (const Change& change : changes_) {
        Datum& cause = causes[change.cause];
        if (cause == 0) cause = pg::TextDatum(change.cause);
        const bool by_clock = strcmp(change.cause, "clock") == 0, by_message = change.since != 0;
        const Datum values[] = {Int64GetDatum(change.profile_id), Int64GetDatum(change.segment_id), BoolGetDatum(change.entered), now, cause,
                                Int64GetDatum(change.event_id), TimestampTzGetDatum(change.clock), TimestampTzGetDatum(change.since), written};
        const bool nulls[] = {false, false, false, false, false, change.event_id == 0, !by_clock, !by_message, !by_clock && !by_message};
        transitions.Insert(values, nulls);
    }
    transitions.Write();
}

void Segments::Write(bool any_gone) {
    if (any_gone) {
        static pg::Statement take_out(
            "WITH gone AS (DELETE FROM cdp.segment_member m USING cdp_batch_merge b WHERE m.profile_id = b.gone"
            "              RETURNING m.profile_id, m.segment_id),"
            " sized AS (UPDATE cdp.segment s SET size = s.size - g.n"
            "           FROM (SELECT segment_id, count(*) AS n FROM gone GROUP BY segment_id) g WHERE s.segment_id = g.segment_id)"
            " INSERT INTO cdp.segment_transition (profile_id, segment_id, entered, at, cause)"
            " SELECT profile_id, segment_id, false, now(), 'merge' FROM gone");
        take_out.Execute();
    }
    if (changes_.empty()) return;
    std::sort(changes_.begin(), changes_.end(), [](const Change& a, const Change& b) {
        return std::tie(a.profile_id, a.segment_id) < std::tie(b.profile_id, b.segment_id);
    });
    std::map<int64, int64> growth;
    pg::TableWriter members("cdp.segment_member", {"profile_id", "segment_id", "entered_at"}, pg::TableWriter::Duplicates::kIgnore);
    pg::StagedRows left("cdp_batch_left", {{"profile_id", INT8OID}, {"segment_id", INT8OID}});
    const Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
    for (const Change& change : changes_) {
        const Datum profile_id = Int64GetDatum(change.profile_id), segment_id = Int64GetDatum(change.segment_id);
        if (change.entered)
            members.Insert({profile_id, segment_id, now});
        else
            left.Add({profile_id, segment_id});
        growth[change.segment_id] += change.entered ? 1 : -1;
    }
    static pg::Statement leave(
        "DELETE FROM cdp.segment_member m USING cdp_batch_left b WHERE m.profile_id = b.profile_id AND m.segment_id = b.segment_id");
    members.Write();
    if (left.size() > 0) leave.Execute();
    WriteTransitions();
    static pg::Statement resize("UPDATE cdp.segment s SET size = s.size + b.growth FROM cdp_batch_growth b WHERE s.segment_id = b.segment_id");
    pg::StagedRows sizes("cdp_batch_growth", {{"segment_id", INT8OID}, {"growth", INT8OID}});
    for (const auto& [segment_id, by] : growth)
        if (by != 0) sizes.Add({Int64GetDatum(segment_id), Int64GetDatum(by)});
    if (sizes.size() > 0) resize.Execute();
}

}  // namespace cdp::segment
