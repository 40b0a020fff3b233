// segment/lists_pg.cpp: see lists_pg.hpp.
#include "segment/lists_pg.hpp"

#include "pg/names.hpp"
#include "pg/probes.hpp"
#include "segment/segments_pg.hpp"

namespace cdp::segment {

void Lists::Read(std::span<const Touched> touched, const NewIdentifiers& fresh) {
    found_.clear();
    const auto note = [this](const pg::Rows& rows) {
        for (uint64 i = 0; i < rows.size(); ++i) found_[rows.Int8(i, 1)].push_back(rows.Int8(i, 2));
    };
    const pg::Probes probes;
    if (fresh.count > 0) {
        pg::StagedRows staged("cdp_batch_new", {{"identifier_id", INT8OID}});
        for (int64 i = 0; i < fresh.count; ++i) staged.Add({Int64GetDatum(fresh.first + i)});
        static pg::Statement find_new(
            "SELECT i.profile_id, l.segment_id FROM cdp_batch_new b JOIN cdp.identifier i ON i.identifier_id = b.identifier_id"
            " JOIN cdp.segment_list l ON l.value = i.value AND l.type = i.type");
        note(find_new.Query());
    }
    pg::StagedRows moved("cdp_batch_moved", {{"profile_id", INT8OID}});
    for (const Touched& t : touched)
        if (t.moved) moved.Add({Int64GetDatum(t.person->profile_id())});
    if (moved.size() == 0) return;
    static pg::Statement find_all(
        "SELECT i.profile_id, l.segment_id FROM cdp_batch_moved b JOIN cdp.identifier i ON i.profile_id = b.profile_id"
        " JOIN cdp.segment_list l ON l.value = i.value AND l.type = i.type");
    note(find_all.Query());
}

bool Lists::Has(const Touched& person, int64 segment_id, bool before) const {
    if (before && !person.moved) return true;
    const auto found = found_.find(person.person->profile_id());
    return found != found_.end() && std::find(found->second.begin(), found->second.end(), segment_id) != found->second.end();
}

std::string ListCondition(const std::string& name) {
    return "cdp.on_list(" + pg::Literal(name) + ")";
}

void CheckListCall(const pg::Condition& condition, size_t call, const std::string& name) {
    if (condition.text() == ListCondition(name)) return;
    throw condition.At(call, Error(sqlstate::feature_not_supported, "cdp.on_list is the condition of imported segments only"))
        .Hint("Call cdp.in_segment with the segment's name.");
}

}  // namespace cdp::segment
