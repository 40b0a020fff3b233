// pipeline/identity_rules_pg.cpp: SQL's doors to rules that change: cdp.preview_identity_rules, cdp.apply_identity_rules.
#include <map>
#include <set>

#include "collect/events_pg.hpp"
#include "pg/arguments.hpp"
#include "pg/probes.hpp"
#include "pipeline/batch_pg.hpp"
#include "pipeline/primary_pg.hpp"
#include "pipeline/regroup_pg.hpp"
#include "pipeline/replay_pg.hpp"

using namespace cdp;
using pipeline::Replay;

namespace {

constexpr size_t kRowsAWrite = 50'000;

/// What becomes of one group of identifiers.
struct Group {
    int64 profile_id = 0;            // that it has from now on; 0: a new one
    std::set<int64> before;          // whom its identifiers belonged to
    std::vector<int> members;
    int64 added = 0;                 // identifiers that nobody had
};

/// Who is who now, beside who it would be.
struct Outcome {
    std::vector<Group> groups;                    // those that are not just as they were
    std::map<int64, std::set<size_t>> parts;      // of profiles that are not just as they were: places in groups
    std::vector<std::pair<int64, size_t>> gone;   // profiles that end, and the groups that they become
};

Outcome Compare(Replay& replay) {
    const auto group_of = replay.Groups();
    const auto& identifiers = replay.identifiers();
    // The strongest identifier of each profile takes its id along; of equal ones the one known longest.
    struct Keeper {
        int priority = INT_MAX, group = -1;
    };
    std::unordered_map<int64, Keeper> keepers;
    std::unordered_map<int64, int> first_group;   // of each profile; -1: several
    std::vector<int64> first_profile;             // of each group; -1: several, or new members
    for (size_t i = 0; i < identifiers.size(); ++i) {
        const int group = group_of[i];
        if (group < 0) continue;
        if (first_profile.size() <= static_cast<size_t>(group)) first_profile.resize(static_cast<size_t>(group) + 1);
        const int64 profile_id = identifiers[i].profile_id;
        int64& of_group = first_profile[static_cast<size_t>(group)];
        of_group = profile_id != 0 && (of_group == 0 || of_group == profile_id) ? profile_id : -1;
        if (profile_id == 0) continue;
        Keeper& keeper = keepers[profile_id];
        if (keeper.group < 0 || replay.PriorityOf(static_cast<int>(i)) < keeper.priority)
            keeper = {replay.PriorityOf(static_cast<int>(i)), group};
        const auto [known, is_new] = first_group.try_emplace(profile_id, group);
        if (!is_new && known->second != group) known->second = -1;
    }

    Outcome outcome;
    std::unordered_map<int, size_t> place;
    for (size_t i = 0; i < identifiers.size(); ++i) {
        const int group = group_of[i];
        if (group < 0) continue;
        const int64 of_group = first_profile[static_cast<size_t>(group)];
        if (of_group > 0 && first_group.at(of_group) == group) continue;  // just as it was
        const auto [known, is_new] = place.try_emplace(group, outcome.groups.size());
        if (is_new) outcome.groups.emplace_back();
        Group& now = outcome.groups[known->second];
        now.members.push_back(static_cast<int>(i));
        if (identifiers[i].profile_id == 0) {
            ++now.added;
        } else {
            now.before.insert(identifiers[i].profile_id);
            outcome.parts[identifiers[i].profile_id].insert(known->second);
        }
    }
    for (const auto& [profile_id, parts] : outcome.parts) {
        const size_t keeper = place.at(keepers.at(profile_id).group);
        Group& group = outcome.groups[keeper];
        if (group.profile_id == 0)
            group.profile_id = profile_id;  // the lowest comes first
        else
            outcome.gone.emplace_back(profile_id, keeper);
    }
    return outcome;
}

void Report(const Outcome& outcome, pg::TableResult& result) {
    const auto ids = [](const std::vector<Datum>& elements) {
        return pg::Call([&] {
            return PointerGetDatum(construct_array(const_cast<Datum*>(elements.data()), static_cast<int>(elements.size()), INT8OID, 8, true, TYPALIGN_DOUBLE));
        });
    };
    const auto add = [&](const char* change, int64 profile_id, const std::vector<Datum>& profiles, int64 number) {
        const Datum values[] = {pg::TextDatum(change), Int64GetDatum(profile_id), ids(profiles), Int64GetDatum(number)};
        const bool nulls[] = {false, profile_id == 0, false, false};
        result.Add(values, nulls);
    };
    for (const Group& group : outcome.groups) {
        std::vector<Datum> before;
        for (const int64 profile_id : group.before) before.push_back(Int64GetDatum(profile_id));
        if (before.size() > 1) add("merge", group.profile_id, before, static_cast<int64>(group.members.size()));
        if (group.added > 0) add("grow", group.profile_id, before, group.added);
    }
    for (const auto& [profile_id, parts] : outcome.parts) {
        if (parts.size() < 2) continue;
        std::vector<Datum> after;
        for (const size_t part : parts)
            if (outcome.groups[part].profile_id != 0) after.push_back(Int64GetDatum(outcome.groups[part].profile_id));
        add("split", profile_id, after, static_cast<int64>(parts.size()));
    }
}

/// Gives ids to identifiers as they turn up, and writes what events carry now.
class EventWriter {
public:
    explicit EventWriter(Replay& replay) : replay_(replay) {}
    void Add(const Replay::Relinked& event) {
        for (const int identifier : event.linked) {
            int64& id = replay_.identifiers()[identifier].identifier_id;
            if (id == 0) id = NextId();
        }
        events_.push_back(event);
        if (events_.size() >= kRowsAWrite) Write();
    }
    void Write() {
        if (events_.empty()) return;
        const pg::Probes probes;
        pg::StagedRows staged("cdp_relinked", {{"event_id", INT8OID}, {"occurred_at", TIMESTAMPTZOID}, {"identifier_id", INT8OID}, {"linked_ids", INT8ARRAYOID}});
        for (const auto& event : events_) {
            std::vector<Datum> ids;
            for (const int identifier : event.linked) ids.push_back(Int64GetDatum(replay_.identifiers()[identifier].identifier_id));
            const Datum linked = ids.empty() ? Datum(0) : pg::Call([&] {
                return PointerGetDatum(construct_array(ids.data(), static_cast<int>(ids.size()), INT8OID, 8, true, TYPALIGN_DOUBLE));
            });
            const Datum values[] = {Int64GetDatum(event.event_id), TimestampTzGetDatum(event.occurred_at), Int64GetDatum(event.identifier_id), linked};
            const bool nulls[] = {false, false, false, ids.empty()};
            staged.Add(values, nulls);
        }
        pg::Execute("UPDATE cdp.event e SET linked_ids = r.linked_ids FROM cdp_relinked r"
                    " WHERE e.identifier_id = r.identifier_id AND e.occurred_at = r.occurred_at AND e.event_id = r.event_id");
        events_.clear();
    }

private:
    int64 NextId() {
        constexpr int64 kIdsAtATime = 1000;
        if (next_ == end_) {
            next_ = collect::TakeIds("cdp.identifier_id_seq", kIdsAtATime);
            end_ = next_ + kIdsAtATime;
        }
        return next_++;
    }
    Replay& replay_;
    std::vector<Replay::Relinked> events_;
    int64 next_ = 0, end_ = 0;
};

/// New identifiers, as nobody's, and when each was seen.
void WriteIdentifiers(Replay& replay, const std::vector<std::string>& type_names) {
    pg::StagedRows staged("cdp_seen", {{"identifier_id", INT8OID}, {"type", TEXTOID}, {"value", TEXTOID}, {"first_seen_at", TIMESTAMPTZOID},
                                       {"last_seen_at", TIMESTAMPTZOID}, {"is_new", BOOLOID}}, pg::StagedRows::kMany);
    for (const auto& identifier : replay.identifiers()) {
        const bool is_new = identifier.profile_id == 0;
        if (!identifier.Exists() || identifier.first == PG_INT64_MAX) continue;
        if (!is_new && identifier.first == identifier.stored_first && identifier.last == identifier.stored_last) continue;
        const Datum type = pg::TextDatum(identifier.type < 0 ? std::string() : type_names[identifier.type]), value = pg::TextDatum(identifier.value);
        staged.Add({Int64GetDatum(identifier.identifier_id), type, value, TimestampTzGetDatum(identifier.first), TimestampTzGetDatum(identifier.last), BoolGetDatum(is_new)});
        pfree(DatumGetPointer(type));
        pfree(DatumGetPointer(value));
    }
    if (staged.size() == 0) return;
    pg::Execute("INSERT INTO cdp.identifier (identifier_id, type, value, profile_id, first_seen_at, last_seen_at)"
                " SELECT identifier_id, type, value, 0, first_seen_at, last_seen_at FROM cdp_seen WHERE is_new");
    pg::Execute("UPDATE cdp.identifier i SET first_seen_at = s.first_seen_at, last_seen_at = s.last_seen_at FROM cdp_seen s"
                " WHERE NOT s.is_new AND i.identifier_id = s.identifier_id");
}

void WriteLinks(const Replay& replay, std::vector<Replay::Identifier>& identifiers) {
    const auto outdated = replay.OutdatedLinks();
    if (!outdated.empty()) {
        pg::StagedRows staged("cdp_outdated", {{"link_id", INT8OID}}, pg::StagedRows::kMany);
        for (const int64 link_id : outdated) staged.Add({Int64GetDatum(link_id)});
        pg::Execute("UPDATE cdp.identity_link l SET revoked_at = now(), revoked_reason = 'identity rules' FROM cdp_outdated o WHERE l.link_id = o.link_id");
    }
    const auto fresh = replay.NewLinks();
    if (fresh.empty()) return;
    const int64 act = collect::NumberAct();
    int64 link_id = collect::TakeIds("cdp.identity_link_id_seq", static_cast<int64>(fresh.size()));
    pg::StagedRows staged("cdp_new_link", {{"link_id", INT8OID}, {"a", INT8OID}, {"b", INT8OID}, {"message_id", TEXTOID}, {"event_id", INT8OID},
                                           {"linked_at", TIMESTAMPTZOID}, {"after_event_id", INT8OID}}, pg::StagedRows::kMany);
    for (const auto& link : fresh) {
        const bool by_rule = link.event_id == 0;
        const Datum message_id = by_rule ? Datum(0) : pg::TextDatum(link.message_id);
        const Datum values[] = {Int64GetDatum(link_id++), Int64GetDatum(identifiers[link.a].identifier_id), Int64GetDatum(identifiers[link.b].identifier_id),
                                message_id, Int64GetDatum(link.event_id), TimestampTzGetDatum(by_rule ? GetCurrentTransactionStartTimestamp() : link.at),
                                Int64GetDatum(act)};
        const bool nulls[] = {false, false, false, by_rule, by_rule, false, !by_rule};
        staged.Add(values, nulls);
        if (!by_rule) pfree(DatumGetPointer(message_id));
    }
    pg::Execute("INSERT INTO cdp.identity_link (link_id, identifier_a, identifier_b, cause, message_id, event_id, linked_at, after_event_id, reason)"
                " SELECT link_id, a, b, CASE WHEN event_id IS NULL THEN 'rule' ELSE 'message' END, message_id, event_id, linked_at, after_event_id,"
                " CASE WHEN event_id IS NULL THEN 'the same value, as the type is normalised now' END FROM cdp_new_link");
}

/// Separations as they would be: those that these rules need in addition, and who is on a side since people were joined
/// across one.
void WriteSeparations(const Replay& replay, const std::vector<Replay::Identifier>& identifiers) {
    std::map<int64, int64> number;  // of parts that are new
    const auto part_of = [&](const Replay::Side& side) {
        if (side.part >= 0) return side.part;
        const auto [known, is_new] = number.try_emplace(side.part, 0);
        if (is_new) known->second = collect::TakeIds("cdp.identity_separation_id_seq", 1);
        return known->second;
    };
    pg::StagedRows staged("cdp_side", {{"identifier_id", INT8OID}, {"separation_id", INT8OID}, {"part", INT8OID}, {"first_part", INT8OID}, {"act", INT8OID}});
    for (const auto& side : replay.ChangedSides())
        staged.Add({Int64GetDatum(identifiers[side.identifier].identifier_id), Int64GetDatum(side.separation), Int64GetDatum(part_of(side)), Int64GetDatum(0), Int64GetDatum(0)});
    for (const auto& separation : replay.NewSeparations()) {
        const int64 id = collect::TakeIds("cdp.identity_separation_id_seq", 1);
        for (size_t i = 0; i < separation.first.size(); ++i)
            staged.Add({Int64GetDatum(identifiers[separation.first[i].identifier].identifier_id), Int64GetDatum(id), Int64GetDatum(part_of(separation.now[i])),
                        Int64GetDatum(separation.first[i].part), Int64GetDatum(separation.act)});
    }
    if (staged.size() > 0)
        pg::Execute("INSERT INTO cdp.identity_separation (identifier_id, separation_id, part, first_part, after_event_id) SELECT * FROM cdp_side"
                    " ON CONFLICT (identifier_id, separation_id) DO UPDATE SET part = excluded.part");
}

/// Makes people what the outcome says. Fills in the ids of those who are new.
void ApplyOutcome(Replay& replay, Outcome& outcome) {
    pipeline::Regrouping regrouping;
    regrouping.cause = segment::Cause::kRules;
    const auto fresh = std::count_if(outcome.groups.begin(), outcome.groups.end(), [](const Group& g) { return g.profile_id == 0; });
    int64 next = fresh > 0 ? collect::TakeIds("cdp.profile_id_seq", fresh) : 0;
    for (Group& group : outcome.groups) {
        if (group.profile_id == 0)
            regrouping.made.push_back(group.profile_id = next++);
        else
            regrouping.staying.push_back(group.profile_id);
        for (const int member : group.members) {
            const auto& identifier = replay.identifiers()[member];
            if (identifier.profile_id != group.profile_id) regrouping.moves.push_back({identifier.identifier_id, group.profile_id});
        }
    }
    // Their states say that somebody is kept apart from them.
    std::set<int64> concerned(regrouping.staying.begin(), regrouping.staying.end()), others;
    for (const auto& [profile_id, parts] : outcome.parts) concerned.insert(profile_id);
    for (const auto& separation : replay.NewSeparations())
        for (const auto& side : separation.first)
            if (const int64 profile_id = replay.identifiers()[side.identifier].profile_id; profile_id != 0 && !concerned.contains(profile_id)) others.insert(profile_id);
    regrouping.staying.insert(regrouping.staying.end(), others.begin(), others.end());
    std::sort(regrouping.staying.begin(), regrouping.staying.end());
    std::sort(regrouping.moves.begin(), regrouping.moves.end(), [](const auto& a, const auto& b) { return a.identifier_id < b.identifier_id; });
    {
        pg::StagedRows staged("cdp_ended", {{"alias_id", INT8OID}, {"profile_id", INT8OID}});
        for (const auto& [profile_id, group] : outcome.gone) {
            regrouping.gone.emplace_back(profile_id, outcome.groups[group].profile_id);
            staged.Add({Int64GetDatum(profile_id), Int64GetDatum(outcome.groups[group].profile_id)});
        }
        if (staged.size() > 0)
            pg::Execute("INSERT INTO cdp.profile_alias (alias_id, profile_id, reason, identifier_id) SELECT alias_id, profile_id, 'rules',"
                        " (SELECT min(i.identifier_id) FROM cdp.identifier i WHERE i.profile_id = e.alias_id) FROM cdp_ended e");
    }
    pipeline::Regroup(pipeline::Current(), regrouping);
}

std::vector<std::string> TypeNames(const identity::Rules& rules) {
    std::vector<std::string> names;
    for (const auto& type : rules.types()) names.push_back(type.name);
    return names;
}

}  // namespace

// cdp.preview_identity_rules(types jsonb, blocked jsonb) → TABLE(change, profile_id, profiles, number)
CDP_FUNCTION(cdp_preview_identity_rules)
{
    pipeline::RequirePrimary("preview identity rules");
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    identity::Rules rules;
    {
        // As if they were in place; and they are not.
        pg::Subtransaction attempt;
        static pg::Statement propose("SELECT cdp.propose_identity_rules($1, $2)", {JSONBOID, JSONBOID});
        propose.Query({pg::Passed(fcinfo, 0, JSONBOID), pg::Passed(fcinfo, 1, JSONBOID)});
        rules = identity::Rules::Load();
    }
    Replay replay(rules);
    replay.Run([](const Replay::Relinked&) {});
    Report(Compare(replay), result);
    return result.Done();
}

CDP_FUNCTION(cdp_apply_identity_rules)  // cdp.apply_identity_rules() → TABLE(change, profile_id, profiles, number)
{
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    pipeline::Lock();
    const auto& rules = pipeline::Current().rules;
    Replay replay(rules);
    EventWriter events(replay);
    replay.Run([&](const Replay::Relinked& event) { events.Add(event); });
    events.Write();
    WriteIdentifiers(replay, TypeNames(rules));
    WriteLinks(replay, replay.identifiers());
    Outcome outcome = Compare(replay);
    WriteSeparations(replay, replay.identifiers());
    ApplyOutcome(replay, outcome);
    Report(outcome, result);
    return result.Done();
}
