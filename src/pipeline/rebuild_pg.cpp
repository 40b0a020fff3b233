// pipeline/rebuild_pg.cpp: all derived state computed afresh, beside the live one: the law of equality, checked.
#include <functional>
#include <map>
#include <unordered_map>

#include "govern/consent_pg.hpp"
#include "identity/stitch_pg.hpp"
#include "pg/names.hpp"
#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/clock_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "pipeline/primary_pg.hpp"
#include "profile/accounts_pg.hpp"
#include "profile/history_pg.hpp"
#include "profile/people_pg.hpp"
#include "segment/fill_pg.hpp"

using namespace cdp;

namespace {

constexpr long kRowsAFetch = 50'000;
constexpr size_t kPeopleAWrite = 10'000;

const segment::Tables kFresh{"cdp_fresh_profile", "cdp_fresh_member", "cdp_fresh_identifier", "cdp_fresh_consent"};

/// Lets what stands still be tried again, where its definition can be read.
template <class T>
void TryAgain(std::vector<T>& defined) {
    for (T& one : defined) {
        one.standing.noted = false;
        one.standing.unreadable = one.standing.failure.has_value();
    }
}

template <class T>
size_t StandingStill(const std::vector<T>& defined) {
    return static_cast<size_t>(std::count_if(defined.begin(), defined.end(), [](const T& one) { return one.standing.Still(); }));
}

void Notice(const std::string& what) {
    pg::Call([&] { ereport(NOTICE, (errmsg_internal("cdp.rebuild: %s", what.c_str()))); });
}

/// Whose every identifier is by the ledger alone. Makes cdp_fresh_identifier.
void FreshIdentifiers() {
    identity::StitchLinks("cdp_stitched");
    // When each was seen, by the events that carried it; one that none did keeps its times.
    pg::Execute(
        "CREATE TEMP TABLE cdp_fresh_identifier ON COMMIT DROP AS"
        " SELECT i.identifier_id, i.type, f.profile_id, coalesce(s.first, i.first_seen_at) AS first_seen_at, coalesce(s.last, i.last_seen_at) AS last_seen_at"
        " FROM cdp_stitched f JOIN cdp.identifier i USING (identifier_id)"
        " LEFT JOIN (SELECT identifier_id, min(occurred_at) AS first, max(occurred_at) AS last FROM ("
        "   SELECT identifier_id, occurred_at FROM cdp.event"
        "   UNION ALL SELECT unnest(linked_ids), occurred_at FROM cdp.event WHERE linked_ids IS NOT NULL) e GROUP BY 1) s USING (identifier_id)");
    pg::Execute("DROP TABLE cdp_stitched");
    pg::Execute("CREATE UNIQUE INDEX ON cdp_fresh_identifier (identifier_id)");
    pg::Execute("CREATE INDEX ON cdp_fresh_identifier (profile_id)");
    pg::Execute("ANALYZE cdp_fresh_identifier");
}

/// Traits that stand still keep what they remember.
void CarryOver(const profile::Traits& traits, std::deque<profile::Person>& people) {
    std::unordered_map<int64, profile::Person*> by_id;
    pg::StagedRows staged("cdp_fresh_people", {{"profile_id", INT8OID}}, pg::StagedRows::kMany);
    for (auto& person : people) {
        by_id[person.profile_id()] = &person;
        staged.Add({Int64GetDatum(person.profile_id())});
    }
    const auto rows = pg::Query("SELECT profile_id, p.state FROM cdp.profile p JOIN cdp_fresh_people USING (profile_id) WHERE p.state IS NOT NULL");
    for (uint64 i = 0; i < rows.size(); ++i) {
        profile::ProfileState live(pg::Bytes(*rows.Get(i, 2)));
        const auto remembered = live.TraitIds();
        for (size_t t = 0; t < traits.all().size(); ++t) {
            const auto& trait = traits.all()[t];
            if (!trait.standing.Still() || std::find(remembered.begin(), remembered.end(), trait.trait_id) == remembered.end()) continue;
            by_id[rows.Int8(i, 1)]->SetTrait(static_cast<int>(t), live.Trait(trait.trait_id, trait.shape()));
        }
    }
    for (auto& person : people) person.Finish();
}

/// Everybody from their events. Makes cdp_fresh_profile.
void FreshPeople(profile::Traits& traits, int64 clock) {
    pg::Execute("CREATE TEMP TABLE cdp_fresh_profile (LIKE cdp.profile INCLUDING DEFAULTS) ON COMMIT DROP");
    std::unordered_map<int64, std::map<int, int64>> counts;
    {
        pg::Cursor cursor("SELECT f.profile_id, t.type_id::bigint, count(*) FROM cdp_fresh_identifier f"
                          " JOIN cdp.identifier_type t ON t.name = f.type GROUP BY 1, 2 UNION ALL"
                          " SELECT f.profile_id, " + std::to_string(profile::kMarkedTypeId) + ", 1 FROM cdp.identity_separation s"
                          " JOIN cdp_fresh_identifier f USING (identifier_id) GROUP BY 1");
        for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();)
            for (uint64 i = 0; i < rows.size(); ++i) counts[rows.Int8(i, 1)][static_cast<int>(rows.Int8(i, 2))] = rows.Int8(i, 3);
    }
    std::deque<profile::Person> people;
    pg::Scratch memory;
    const auto write = [&] {
        const pg::Scratch::Use use(memory);
        if (StandingStill(traits.all()) > 0) CarryOver(traits, people);
        profile::People::Insert(traits, people, "cdp_fresh_profile");
        people.clear();
        memory.Reset();
    };
    const auto add = [&](int64 profile_id, std::span<const profile::EventRow> events) {
        auto& person = people.emplace_back(traits, profile_id, clock);
        const profile::FilterResults filters(traits, events);
        for (size_t i = 0; i < events.size(); ++i) person.Add(events[i], i, filters);
        if (const auto known = counts.find(profile_id); known != counts.end()) {
            for (const auto& [type, count] : known->second) person.state().SetIdentifierCount(type, count);
            counts.erase(known);
        }
        // The row must outlive the person's events.
        const pg::Scratch::Use use(memory);
        person.Finish();
        if (person.must_recompute()) person.ReadSequences(events);
        person.Detach();
        if (people.size() == kPeopleAWrite) write();
    };
    profile::ForEachPersonsEvents("", "cdp_fresh_identifier", "true", profile::AllColumns(), add);
    // People of whom no event is kept.
    auto eventless = std::exchange(counts, {});
    for (const auto& entry : eventless) {
        counts[entry.first] = entry.second;
        add(entry.first, {});
    }
    if (!people.empty()) write();
}

/// The columns that users added to cdp.profile: conditions may read them.
void CarryOverColumns(const profile::Traits& traits) {
    std::string names, values;
    for (int column = 0; column < traits.column_count(); ++column) {
        const auto* attribute = TupleDescAttr(traits.descriptor(), column);
        if (attribute->attisdropped || attribute->attgenerated != '\0' || !traits.IsForeign(column)) continue;
        const std::string name = pg::Identifier(NameStr(attribute->attname));
        names += (names.empty() ? "" : ", ") + name;
        values += (values.empty() ? "p." : ", p.") + name;
    }
    if (!names.empty())
        pg::Execute("UPDATE cdp_fresh_profile f SET (" + names + ") = ROW(" + values + ") FROM cdp.profile p WHERE p.profile_id = f.profile_id");
}

void FreshProfiles(profile::Traits& traits, int64 clock) {
    // A filter that fails on the way makes its trait stand still from the beginning.
    for (size_t still = traits.all().size() + 1; still != StandingStill(traits.all());) {
        if (still <= traits.all().size()) pg::Execute("DROP TABLE cdp_fresh_profile");
        still = StandingStill(traits.all());
        FreshPeople(traits, clock);
    }
    pg::Execute("CREATE UNIQUE INDEX ON cdp_fresh_profile (profile_id)");
    CarryOverColumns(traits);
    pg::Execute("ANALYZE cdp_fresh_profile");
}

void FreshAccounts() {
    pg::Execute("CREATE TEMP TABLE cdp_fresh_account (LIKE cdp.account) ON COMMIT DROP");
    profile::RebuildAccounts("cdp_fresh_account");
    pg::Execute("CREATE TEMP TABLE cdp_fresh_account_member ON COMMIT DROP AS"
                " SELECT f.profile_id, e.group_id, min(e.occurred_at) AS since FROM cdp.event e JOIN cdp_fresh_identifier f USING (identifier_id)"
                " WHERE e.type = 'group' GROUP BY 1, 2");
}

/// Those whom rows of the users' tables concern that have changed and not been followed yet stay in a live segment, or out of it, as they
/// are: the next batch looks at them. Whoever wrote such a row since the segment was computed afresh is among them.
void LeavePending(const segment::Segments& segments, const segment::Segment& segment) {
    pg::StagedRows people("cdp_pending", {{"profile_id", INT8OID}}, pg::StagedRows::kMany);
    const auto pending = pg::Query(
        "SELECT source, user_id IS NULL AND previous_id IS NULL, coalesce(i.profile_id, CASE WHEN previous_id ~ '^[0-9]{1,18}$' THEN previous_id::bigint END)"
        " FROM cdp.inbox b LEFT JOIN cdp.identifier i ON i.value = b.user_id"
        " WHERE b.type = '" + std::string(collect::kRowChange) + "' AND cdp.is_pending(inbox_xid, inbox_id)");
    bool everybody = false;
    for (uint64 i = 0; i < pending.size(); ++i) {
        if ((segments.Readers(pending.Text(i, 1)) & segment.tables) == 0) continue;
        everybody = everybody || pending.Bool(i, 2);
        if (const auto profile_id = pending.Get(i, 3)) people.Add({*profile_id});
    }
    const auto id = pg::Int8(segment.segment_id);
    const std::string concerned = everybody ? "true" : "profile_id IN (SELECT profile_id FROM cdp_pending)";
    pg::Execute("DELETE FROM cdp_fresh_member WHERE segment_id = $1 AND " + concerned, {id});
    pg::Execute("INSERT INTO cdp_fresh_member SELECT profile_id, segment_id FROM cdp.segment_member m JOIN cdp_fresh_profile USING (profile_id)"
                " WHERE m.segment_id = $1 AND " + concerned, {id});
}

/// Who is in which segment. One whose condition fails keeps its members.
void FreshMembers(segment::Segments& segments, const profile::Traits& traits, int64 clock) {
    pg::Execute("CREATE TEMP TABLE cdp_fresh_member (profile_id bigint, segment_id bigint, PRIMARY KEY (profile_id, segment_id)) ON COMMIT DROP");
    pg::Execute("GRANT SELECT ON cdp_fresh_profile, cdp_fresh_member, cdp_fresh_identifier, cdp_fresh_consent TO PUBLIC");
    for (auto& segment : segments.all()) {
        const auto id = pg::Int8(segment.segment_id);
        if (segment.refreshed) {
            // As of its last refresh; people who have come into being since are in none.
            pg::Execute("INSERT INTO cdp_fresh_member SELECT profile_id, segment_id FROM cdp.segment_member m JOIN cdp_fresh_profile USING (profile_id)"
                        " WHERE m.segment_id = $1", {id});
            continue;
        }
        if (!segment.standing.Still())
            segment.standing.failure = pg::Attempts::One([&] {
                pg::StagedRows staged("cdp_fresh", {{"profile_id", INT8OID}}, pg::StagedRows::kMany);
                {
                    const segment::MembersQuery members(*segment.condition, segment.sources, traits, clock, kFresh);
                    const pg::ActAs owner(segment.owner, true);
                    pg::Cursor cursor(members.sql());
                    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();)
                        for (uint64 i = 0; i < rows.size(); ++i) staged.Add({*rows.Get(i, 1)});
                }
                pg::Execute("INSERT INTO cdp_fresh_member SELECT profile_id, $1 FROM cdp_fresh", {id});
                if (segment.live) LeavePending(segments, segment);
            });
        if (segment.standing.Still())
            pg::Execute("INSERT INTO cdp_fresh_member SELECT profile_id, segment_id FROM cdp.segment_member m JOIN cdp_fresh_profile USING (profile_id)"
                        " WHERE m.segment_id = $1", {id});
    }
}

/// A table of derived state, its fresh counterpart, and how to put the one in the other's place.
struct Comparison {
    const char* table;
    std::string key;                     // columns of the primary key
    std::string columns;                 // that are compared, beside the key
    std::string fresh;
    std::string carried;                 // columns taken over on repair though not compared
};

int64 Compare(const Comparison& c, bool repair, const std::string& inserted_columns, const std::string& inserted_values) {
    const std::string live = std::string("cdp.") + c.table;
    const auto tuple = [](const char* alias, const std::string& columns) {
        std::string result;
        for (size_t from = 0; from <= columns.size();) {
            const size_t comma = std::min(columns.find(", ", from), columns.size());
            result += (result.empty() ? "" : ", ") + std::string(alias) + "." + columns.substr(from, comma - from);
            from = comma + 2;
        }
        return "(" + result + ")";
    };
    const std::string differs = c.columns.empty() ? "false" : "ROW" + tuple("l", c.columns) + " IS DISTINCT FROM ROW" + tuple("f", c.columns);
    const std::string join = live + " l FULL JOIN " + c.fresh + " f USING (" + c.key + ")";
    const std::string first_key = c.key.substr(0, c.key.find(','));
    const int64 differing = pg::Query("SELECT count(*) FROM " + join + " WHERE l." + first_key + " IS NULL OR f." + first_key + " IS NULL OR " + differs).Int8(0, 1);
    if (!repair || differing == 0) return differing;
    const std::string same_key = tuple("l", c.key) + " = " + tuple("f", c.key);
    pg::Execute("DELETE FROM " + live + " l WHERE NOT EXISTS (SELECT FROM " + c.fresh + " f WHERE " + same_key + ")");
    if (!c.columns.empty()) {
        const std::string all = c.columns + (c.carried.empty() ? "" : ", " + c.carried);
        pg::Execute("UPDATE " + live + " l SET (" + all + ") = ROW" + tuple("f", all) + " FROM " + c.fresh + " f WHERE " + same_key + " AND " + differs);
    }
    pg::Execute("INSERT INTO " + live + " (" + inserted_columns + ") SELECT " + inserted_values + " FROM " + c.fresh +
                " f WHERE NOT EXISTS (SELECT FROM " + live + " l WHERE " + same_key + ")");
    return differing;
}

/// How many profiles remember something else than their events give; memberships, which cdp.segment_member has, and
/// traits that are dropped do not count. With `repair`, they remember what is right.
int64 CompareStates(const profile::Traits& traits, int64 clock, bool repair) {
    const auto core = [&](Datum bytes) {
        profile::ProfileState state(pg::Bytes(bytes));
        state.memberships().clear();
        state.membership_epoch() = state.clock() = state.armed() = 0;
        // What has grown too old may still be there, and a sequence depends on the order that its events came in.
        for (const int index : traits.Windowed()) {
            const auto& trait = traits.all()[static_cast<size_t>(index)];
            std::get<profile::WindowState>(state.Trait(trait.trait_id, trait.shape())).Expire(clock);
        }
        std::string done;
        for (const int index : traits.Sequences()) {
            const auto& trait = traits.all()[static_cast<size_t>(index)];
            done += std::get<profile::SequenceState>(state.Peek(trait.trait_id, trait.shape())).Done() ? '1' : '0';
        }
        state.Pack([&](int trait_id) {
            const auto* trait = traits.Find(trait_id);
            return trait != nullptr && !trait->sequence;
        });
        return state.Write() + done;
    };
    pg::StagedRows wrong("cdp_wrong_state", {{"profile_id", INT8OID}}, pg::StagedRows::kMany);
    {
        pg::Cursor cursor("SELECT profile_id, l.state, f.state FROM cdp.profile l JOIN cdp_fresh_profile f USING (profile_id)");
        for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();)
            for (uint64 i = 0; i < rows.size(); ++i) {
                const auto live = rows.Get(i, 2), fresh = rows.Get(i, 3);
                if (!live || core(*live) != core(*fresh)) wrong.Add({*rows.Get(i, 1)});
            }
    }
    if (repair && wrong.size() > 0)
        pg::Execute("UPDATE cdp.profile l SET state = f.state FROM cdp_fresh_profile f JOIN cdp_wrong_state USING (profile_id)"
                    " WHERE l.profile_id = f.profile_id");
    return static_cast<int64>(wrong.size());
}

/// How many people have no timer that is early enough. With `repair`, they get one.
int64 CompareTimers(const pipeline::Definitions& definitions, int64 clock, bool repair) {
    std::vector<profile::Due> missing;
    {
        pg::StagedRows due("cdp_due", {{"profile_id", INT8OID}, {"due_at", TIMESTAMPTZOID}}, pg::StagedRows::kMany);
        segment::ForEachDue(*definitions.segments, nullptr, *definitions.traits, clock, kFresh,
                            [&](profile::Due one) { due.Add({Int64GetDatum(one.profile_id), TimestampTzGetDatum(one.at)}); });
        pg::Cursor cursor("SELECT d.profile_id, d.due_at FROM cdp_due d LEFT JOIN (SELECT profile_id, min(due_at) AS due_at FROM cdp.timer GROUP BY 1) t"
                          " USING (profile_id) WHERE t.due_at IS NULL OR t.due_at > d.due_at");
        for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();)
            for (uint64 i = 0; i < rows.size(); ++i) missing.push_back({rows.Int8(i, 1), rows.Int8(i, 2)});
    }
    const auto count = static_cast<int64>(missing.size());
    if (repair) profile::WriteTimers(std::move(missing));
    return count;
}

using Report = std::function<void(const std::string& table, std::optional<int64> differing)>;

/// Of those whose membership is about to be put right.
void WriteTransitions() {
    pg::Cursor cursor("SELECT profile_id, segment_id, l.profile_id IS NULL"
                      " FROM cdp.segment_member l FULL JOIN cdp_fresh_member f USING (profile_id, segment_id)"
                      " WHERE l.profile_id IS NULL OR f.profile_id IS NULL");
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        segment::Transitions transitions;
        for (uint64 i = 0; i < rows.size(); ++i) transitions.Add({rows.Int8(i, 1), rows.Int8(i, 2), rows.Bool(i, 3), segment::Cause::kRebuild});
        transitions.Write();
    }
}

void RebuildSegments(segment::Segments& segments, const profile::Traits& traits, int64 clock, bool repair, const Report& report) {
    Notice("segments");
    FreshMembers(segments, traits, clock);
    if (repair) WriteTransitions();
    const int64 members = Compare({"segment_member", "profile_id, segment_id", "", "cdp_fresh_member", ""}, repair,
                                  "profile_id, segment_id, entered_at", "profile_id, segment_id, now()");
    report("segment_member", members);
    for (const auto& segment : segments.all())
        if (segment.standing.Still()) report("cdp_segment." + pg::Identifier(segment.name), std::nullopt);
    // Memberships are remembered in the profiles' states too; a new epoch makes everybody look them up again.
    const int64 sizes = pg::Query("SELECT count(*) FROM cdp.segment s WHERE size <> (SELECT count(*) FROM cdp_fresh_member f WHERE f.segment_id = s.segment_id)").Int8(0, 1);
    report("segment", sizes);
    if (repair)
        pg::Execute("UPDATE cdp.segment s SET size = (SELECT count(*) FROM cdp_fresh_member f WHERE f.segment_id = s.segment_id),"
                    " filled_epoch = nextval('cdp.segment_epoch_seq')");
}

}  // namespace

CDP_FUNCTION(cdp_rebuild)  // cdp.rebuild(repair boolean) → TABLE(table_name, differing)
{
    pipeline::RequirePrimary("rebuild");
    const bool repair = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const int64 clock = pg::Now();
    pipeline::CatchUp(clock);
    const auto& definitions = pipeline::Current();
    auto& traits = definitions.traits->all();
    pipeline::TouchConfiguration();  // what changes in memory from here on is ours alone
    TryAgain(traits);
    TryAgain(definitions.segments->all());
    const Report report = [&](const std::string& table, std::optional<int64> differing) {
        const Datum values[] = {pg::TextDatum(table), Int64GetDatum(differing.value_or(0))};
        const bool nulls[] = {false, !differing};
        result.Add(values, nulls);
    };

    Notice("identities from the ledger");
    FreshIdentifiers();
    report("identifier", Compare({"identifier", "identifier_id", "profile_id, first_seen_at, last_seen_at", "cdp_fresh_identifier", ""},
                                 repair, "identifier_id", "identifier_id"));
    Notice("profiles from their events");
    FreshProfiles(*definitions.traits, clock);
    std::string columns, all = "profile_id";
    for (const int column : definitions.traits->access().columns) {
        if (column == profile::kProfileId) continue;
        const std::string name = pg::Identifier(NameStr(TupleDescAttr(definitions.traits->descriptor(), column)->attname));
        if (column != profile::kState) columns += (columns.empty() ? "" : ", ") + name;
        all += ", " + name;
    }
    report("profile", Compare({"profile", "profile_id", columns, "cdp_fresh_profile", ""}, repair, all, all));
    report("profile.state", CompareStates(*definitions.traits, clock, repair));
    for (const auto& trait : traits)
        if (trait.standing.Still()) report(trait.activity ? trait.name : "profile." + pg::Identifier(trait.name), std::nullopt);
    Notice("accounts");
    FreshAccounts();
    report("account", Compare({"account", "group_id", "traits, first_seen_at, last_seen_at, state", "cdp_fresh_account", ""}, repair,
                              "group_id, traits, first_seen_at, last_seen_at, state", "group_id, traits, first_seen_at, last_seen_at, state"));
    report("account_member", Compare({"account_member", "profile_id, group_id", "since", "cdp_fresh_account_member", ""}, repair,
                                     "profile_id, group_id, since", "profile_id, group_id, since"));
    Notice("consents");
    for (const auto& [table, differing] : govern::CompareConsents("cdp_fresh_identifier", repair)) report(table, differing);
    RebuildSegments(*definitions.segments, *definitions.traits, clock, repair, report);
    report("timer", CompareTimers(definitions, clock, repair));
    if (repair) pg::Execute("UPDATE cdp.trait SET problem = NULL WHERE problem IS NOT NULL");
    if (repair) pg::Execute("UPDATE cdp.activity SET problem = NULL WHERE problem IS NOT NULL");
    if (repair) pg::Execute("UPDATE cdp.segment SET problem = NULL WHERE problem IS NOT NULL");
    definitions.traits->NoteProblems();
    definitions.segments->NoteProblems();
    const auto destinations = pg::Query("SELECT table_name, differing FROM cdp.destination_difference($1)", {pg::Bool(repair)});
    for (uint64 i = 0; i < destinations.size(); ++i) report(destinations.Text(i, 1), destinations.Get(i, 2) ? std::optional(destinations.Int8(i, 2)) : std::nullopt);
    pg::Execute("DROP TABLE cdp_fresh_identifier, cdp_fresh_profile, cdp_fresh_account, cdp_fresh_account_member, cdp_fresh_member, cdp_fresh_consent");
    pipeline::TouchConfiguration();
    return result.Done();
}
