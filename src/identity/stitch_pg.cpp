// identity/stitch_pg.cpp: see stitch_pg.hpp.
#include "identity/stitch_pg.hpp"

#include "collect/events_pg.hpp"
#include "identity/stitch.hpp"
#include "pg/table_writer.hpp"

namespace cdp::identity {

namespace {

constexpr long kRowsAFetch = 20'000;
constexpr size_t kRowsAWrite = 200'000;

/// Reads rows of two numbers, neither of them NULL.
template <class F>
void ForEachPair(const std::string& sql, F&& visit) {
    pg::Cursor cursor(sql);
    Datum values[2];
    bool nulls[2];
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        for (uint64 i = 0; i < rows.size(); ++i) {
            rows.Deform(i, values, nulls);
            visit(DatumGetInt64(values[0]), DatumGetInt64(values[1]));
        }
    }
}

}  // namespace

void StitchLinks(const std::string& table) {
    std::vector<int64_t> ids, profiles;
    ForEachPair("SELECT identifier_id, profile_id FROM cdp.identifier ORDER BY identifier_id", [&](int64 id, int64 profile_id) {
        ids.push_back(id);
        profiles.push_back(profile_id);
    });
    Stitch stitch(ids);
    ForEachPair("SELECT identifier_a, identifier_b FROM cdp.identity_link WHERE revoked_at IS NULL", [&](int64 a, int64 b) { stitch.Add(a, b); });
    const auto now = stitch.Profiles(profiles,
                                     [] { return collect::TakeIds("cdp.profile_id_seq", 1); });

    pg::Execute("CREATE TEMP TABLE " + table + " (identifier_id bigint, profile_id bigint) ON COMMIT DROP");
    for (size_t begin = 0; begin < ids.size(); begin += kRowsAWrite) {
        poll_stop();
        pg::TableWriter writer(table, {"identifier_id", "profile_id"});
        for (size_t i = begin; i < std::min(ids.size(), begin + kRowsAWrite); ++i)
            writer.Insert({Int64GetDatum(ids[i]), Int64GetDatum(now[i])});
        writer.Write();
    }
}

}  // namespace cdp::identity
