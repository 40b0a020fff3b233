// profile/timers_pg.cpp: see timers_pg.hpp.
#include "profile/timers_pg.hpp"

#include "pg/table_writer.hpp"

namespace cdp::profile {

void ArmTimers(std::span<Person* const> people) {
    std::vector<Due> timers;
    for (Person* person : people)
        if (const auto at = person->Arm()) timers.push_back({person->profile_id(), *at});
    WriteTimers(std::move(timers));
}

void WriteTimers(std::vector<Due> timers) {
    if (timers.empty()) return;
    std::sort(timers.begin(), timers.end(), [](const Due& a, const Due& b) { return std::tie(a.at, a.profile_id) < std::tie(b.at, b.profile_id); });
    pg::TableWriter writer("cdp.timer", {"due_at", "profile_id"}, pg::TableWriter::Duplicates::kIgnore);
    for (const Due& due : timers) writer.Insert({TimestampTzGetDatum(due.at), Int64GetDatum(due.profile_id)});
    writer.Write();
}

std::vector<Due> TakeTimers(int64 until, int64 most, int64* taken) {
    static pg::Statement take(
        "DELETE FROM cdp.timer t USING (SELECT due_at, profile_id FROM cdp.timer WHERE due_at <= $1 ORDER BY due_at, profile_id LIMIT $2) d"
        " WHERE t.due_at = d.due_at AND t.profile_id = d.profile_id RETURNING t.profile_id, t.due_at", {TIMESTAMPTZOID, INT8OID});
    pg::StagedRows staged("cdp_batch_timer", {{"profile_id", INT8OID}, {"due_at", TIMESTAMPTZOID}});
    {
        const auto rows = take.Query({pg::Time(until), pg::Int8(most)});
        *taken = static_cast<int64>(rows.size());
        for (uint64 i = 0; i < rows.size(); ++i) staged.Add({*rows.Get(i, 1), *rows.Get(i, 2)});
    }
    if (staged.size() == 0) return {};
    static pg::Statement there("SELECT p.profile_id, min(b.due_at) FROM cdp_batch_timer b JOIN cdp.profile p ON p.profile_id = b.profile_id GROUP BY 1");
    const auto rows = there.Query();
    std::vector<Due> due;
    for (uint64 i = 0; i < rows.size(); ++i) due.push_back({rows.Int8(i, 1), rows.Int8(i, 2)});
    return due;
}

int64 NextTimer() {
    static pg::Statement next("SELECT due_at FROM cdp.timer ORDER BY due_at LIMIT 1");
    const auto rows = next.Query();
    return rows.empty() ? Person::kNever : rows.Int8(0, 1);
}

}  // namespace cdp::profile
