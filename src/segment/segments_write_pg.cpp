// segment/segments_write_pg.cpp: writing who entered and left in a batch; see segments_pg.hpp.
#include <map>

#include "segment/segments_pg.hpp"

namespace cdp::segment {

void Segments::Write(bool any_gone) {
    if (any_gone) {
        static pg::Statement of_gone("SELECT m.profile_id, m.segment_id FROM cdp.segment_member m JOIN cdp_batch_merge b ON m.profile_id = b.gone");
        const auto rows = of_gone.Query();
        for (uint64 i = 0; i < rows.size(); ++i) changes_.push_back({rows.Int8(i, 1), rows.Int8(i, 2), false, Cause::kMerge});
        SortByPerson(&changes_);
    }
    if (changes_.empty()) return;
    std::map<int64, int64> growth;
    pg::TableWriter members("cdp.segment_member", {"profile_id", "segment_id", "entered_at"}, pg::TableWriter::Duplicates::kIgnore);
    pg::StagedRows left("cdp_batch_left", {{"profile_id", INT8OID}, {"segment_id", INT8OID}});
    const Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
    for (const Transition& change : changes_) {
        const Datum profile_id = Int64GetDatum(change.profile_id), segment_id = Int64GetDatum(change.segment_id);
        if (change.entered)
            members.Insert({profile_id, segment_id, now});
        else
            left.Add({profile_id, segment_id});
        growth[change.segment_id] += change.entered ? 1 : -1;
    }
    static pg::Statement leave(
        "DELETE FROM cdp.segment_member m USING cdp_batch_left b WHERE m.profile_id = b.profile_id AND m.segment_id = b.segment_id");
    if (left.size() > 0) leave.Execute();  // first: it would wait for the index entries of who enters
    members.Write();
    Transitions transitions;
    for (const Transition& change : changes_) transitions.Add(change);
    transitions.Write();
    static pg::Statement resize("UPDATE cdp.segment s SET size = s.size + b.growth FROM cdp_batch_growth b WHERE s.segment_id = b.segment_id");
    pg::StagedRows sizes("cdp_batch_growth", {{"segment_id", INT8OID}, {"growth", INT8OID}});
    for (const auto& [segment_id, by] : growth)
        if (by != 0) sizes.Add({Int64GetDatum(segment_id), Int64GetDatum(by)});
    if (sizes.size() > 0) resize.Execute();
}

}  // namespace cdp::segment
