// segment/fill_pg.cpp: see fill_pg.hpp.
#include "segment/fill_pg.hpp"

#include "pg/index_helpers.hpp"
#include "pg/names.hpp"
#include "pg/probes.hpp"
#include "pg/settings.hpp"
#include "pg/table_writer.hpp"
#include "profile/history_pg.hpp"
#include "profile/people_pg.hpp"

namespace cdp::segment {

namespace {

/// Members of the segments that a segment refers to, each sorted.
using Members = std::unordered_map<int64, std::vector<int64>>;

Members MembersOf(const Segments& segments, const Segment& reader, const std::string& table) {
    Members members;
    for (const Source& source : reader.sources) {
        if (source.kind != Source::Kind::kSegment) continue;
        const int64 segment_id = segments.all()[static_cast<size_t>(source.of)].segment_id;
        auto& ids = members[segment_id];
        ids = pg::Ids("SELECT profile_id FROM " + table + " WHERE segment_id = $1", {pg::Int8(segment_id)});
        std::sort(ids.begin(), ids.end());
    }
    return members;
}

/// Who consents to what a segment asks for, by the question's place; each sorted.
using Consenting = std::unordered_map<int, std::vector<int64>>;

Consenting ConsentingTo(const Segment& segment, const Tables& tables) {
    Consenting consenting;
    for (const Source& source : segment.sources) {
        if (source.kind != Source::Kind::kConsent || consenting.contains(source.of)) continue;
        auto& ids = consenting[source.of];
        ids = pg::Ids("SELECT p.profile_id FROM " + tables.profiles + " p WHERE " + govern::CoversSql("p.profile_id", source.consent, tables.consents));
        std::sort(ids.begin(), ids.end());
    }
    return consenting;
}

}  // namespace

std::vector<Source> SourcesByName(const pg::Condition& condition, const std::function<int(const profile::Activity&)>& keeper) {
    std::vector<Source> sources;
    for (size_t k = 0; k < condition.specials().size(); ++k) {
        const auto& special = condition.specials()[k];
        auto& source = sources.emplace_back();
        if (profile::AsksForActivity(special)) {
            source = {Source::Kind::kActivity, 0, QuestionAt(condition, k)};
            source.of = keeper(source.question.activity);
            continue;
        }
        if (special.function == "consented") {
            source = {Source::Kind::kConsent, 0, {}, govern::ConsentAt(condition, k, govern::Purposes::Load())};
            continue;
        }
        if (special.function == "on_list") CheckListCall(condition, k, "");
        source.kind = special.function == "in_segment" ? Source::Kind::kSegment : Source::Kind::kIdentifierType;
        const char* known = special.function == "in_segment" ? "SELECT FROM cdp.segment WHERE name = $1"
                                                             : "SELECT FROM cdp.identifier_type WHERE name = $1";
        if (pg::Query(known, {pg::TextOrNull(special.arguments[0])}).empty()) throw Unknown(condition, k);
    }
    return sources;
}

MembersQuery::MembersQuery(const pg::Condition& condition, std::span<const Source> sources, const profile::Traits& traits, int64 clock,
                           const Tables& tables) {
    std::string joins;
    size_t call = 0;
    const std::string where = condition.Rewritten([&](const pg::SpecialCall& special) -> std::string {
        const Source& source = sources[call++];
        switch (source.kind) {
            case Source::Kind::kSegment:
                return "EXISTS (SELECT FROM " + tables.members + " m JOIN cdp.segment s USING (segment_id)"
                       " WHERE m.profile_id = profile.profile_id AND s.name = " + pg::Literal(special.arguments[0].value_or("")) + ")";
            case Source::Kind::kIdentifierType:
                return "EXISTS (SELECT FROM " + tables.identifiers + " i WHERE i.profile_id = profile.profile_id AND i.type = " +
                       pg::Literal(special.arguments[0].value_or("")) + ")";
            case Source::Kind::kList:
                return "EXISTS (SELECT FROM " + tables.identifiers + " i JOIN cdp.listed_identifier l ON l.identifier_id = i.identifier_id"
                       " WHERE i.profile_id = profile.profile_id AND l.segment_id = (SELECT segment_id FROM cdp.segment WHERE name = " +
                       pg::Literal(special.arguments[0].value_or("")) + "))";
            case Source::Kind::kConsent: return govern::CoversSql("profile.profile_id", source.consent, tables.consents);
            default: break;
        }
        const std::string name = Stage(call, traits, source, clock, tables.identifiers);
        joins += " LEFT JOIN " + name + " ON " + name + ".cdp_key = profile.profile_id";
        const std::string value = name + ".cdp_value", count = "coalesce(" + value + ", 0)";
        if (source.question.yes_or_no)
            return "(" + count + " BETWEEN " + std::to_string(source.question.least) + " AND " + std::to_string(source.question.most) + ")";
        switch (source.question.activity.measure) {
            case profile::Activity::Measure::kFirst:
            case profile::Activity::Measure::kLast: return value;
            case profile::Activity::Measure::kSequence: return "coalesce(" + value + ", false)";
            default: return count;
        }
    }, clock);
    sql_ = "SELECT profile.profile_id FROM " + tables.profiles + " AS profile" + joins + " WHERE (\n" + where + "\n)";
}

/// Computes the activity that a call asks for of everybody, and returns the name of the rows.
std::string MembersQuery::Stage(size_t call, const profile::Traits& traits, const Source& source, int64 clock, const std::string& identifiers) {
    using Measure = profile::Activity::Measure;
    const Measure measure = source.question.activity.measure;
    const Oid type = measure == Measure::kSequence                                ? BOOLOID
                     : measure == Measure::kFirst || measure == Measure::kLast ? TIMESTAMPTZOID
                                                                                : INT8OID;
    const auto& name = names_.emplace_back("cdp_activity_" + std::to_string(call));
    auto& rows = staged_.emplace_back(name.c_str(), std::vector<pg::Column>{{"cdp_key", INT8OID}, {"cdp_value", type}}, pg::StagedRows::kMany);
    profile::ActivityQuestion of_value = source.question;
    of_value.yes_or_no = false;
    const auto& keeper = traits.all()[static_cast<size_t>(source.of)];
    profile::ForEachState(traits, source.of, identifiers, clock, [&](int64 profile_id, profile::TraitState& state) {
        const auto answer = profile::Ask(keeper, state, of_value, clock);
        const Datum values[] = {Int64GetDatum(profile_id), answer.value};
        const bool nulls[] = {false, answer.null};
        rows.Add(values, nulls);
    });
    return name;
}

namespace {

std::vector<int64> Sorted(std::vector<int64> ids) {
    std::sort(ids.begin(), ids.end());
    return ids;
}

/// Writes who enters a segment, with the transitions, or who has left it: the transitions only.
void WriteChanges(int64 segment_id, std::span<const int64> people, bool entered, Cause cause) {
    constexpr size_t at_a_time = 100'000;
    const Datum segment = Int64GetDatum(segment_id), now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
    pg::IndexHelpers helpers(people.size());
    for (; !people.empty(); people = people.subspan(std::min(at_a_time, people.size()))) {
        poll_stop();
        pg::TableWriter members("cdp.segment_member", {"profile_id", "segment_id", "entered_at"});
        Transitions transitions;
        for (const int64 id : people.first(std::min(at_a_time, people.size()))) {
            if (entered) members.Insert({Int64GetDatum(id), segment, now});
            transitions.Add({id, segment_id, entered, cause});
        }
        members.Write();
        transitions.Write();
    }
    helpers.Finish();
}

}  // namespace

Difference Fill(const Segments& segments, const Segment& segment, const profile::Traits& traits, bool is_new, Cause cause) {
    const int64 clock = pg::Now();
    std::vector<int64> before, now;
    {
        const MembersQuery members(*segment.condition, segment.sources, traits, clock);
        // The owner's rights for what the owner wrote; ours for writing.
        const pg::ActAs owner(segment.owner, true);
        try {
            now = Sorted(pg::Ids(members.sql()));
        } catch (const pg::PgError& error) {
            pg::Prefix(error, segment.condition->what());
            throw;
        }
    }
    const auto id = pg::Int8(segment.segment_id);
    if (!is_new) before = Sorted(pg::Ids("SELECT profile_id FROM cdp.segment_member WHERE segment_id = $1", {id}));
    std::vector<int64> entered, left;
    std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::back_inserter(entered));
    std::set_difference(before.begin(), before.end(), now.begin(), now.end(), std::back_inserter(left));
    if (!left.empty()) {
        pg::StagedRows gone("cdp_left", {{"profile_id", INT8OID}});
        for (const int64 profile_id : left) gone.Add({Int64GetDatum(profile_id)});
        const pg::Probes probes;
        pg::Execute("DELETE FROM cdp.segment_member m USING cdp_left l WHERE m.profile_id = l.profile_id AND m.segment_id = $1", {id});
    }
    WriteChanges(segment.segment_id, left, false, cause);
    WriteChanges(segment.segment_id, entered, true, cause);
    const Difference difference{static_cast<int64>(entered.size()), static_cast<int64>(left.size())};
    pg::Execute("UPDATE cdp.segment SET size = size + $2, filled_epoch = nextval('cdp.segment_epoch_seq'),"
                " refreshed_at = CASE WHEN refresh IS NOT NULL THEN $3 END WHERE segment_id = $1",
                {id, pg::Int8(difference.entered - difference.left), pg::Time(clock)});
    if (segment.by_clock) {
        std::vector<profile::Due> timers;
        ForEachDue(segments, &segment, traits, clock, {}, [&](profile::Due due) { timers.push_back(due); });
        profile::WriteTimers(std::move(timers));
    }
    return difference;
}

std::vector<std::string> FillDependents(const Segments& segments, const profile::Traits& traits, const std::string& name, Cause cause) {
    const auto& all = segments.all();
    std::vector<char> dependent(all.size());
    std::vector<std::string> names{name};
    for (size_t i = 0; i < all.size(); ++i) {
        if (dependent[i] && !all[i].standing.Still()) {
            Fill(segments, all[i], traits, false, cause);
            names.push_back(all[i].name);
        }
        if (dependent[i] || all[i].name == name)
            for (const int reader : all[i].read_by) dependent[static_cast<size_t>(reader)] = 1;
    }
    return names;
}

bool FillReaders(const Segments& segments, const profile::Traits& traits, std::optional<int> column) {
    bool any = false;
    for (const Segment& segment : segments.all()) {
        if (!segment.condition || segment.standing.Still()) continue;
        const auto& columns = segment.condition->columns();
        if (std::none_of(columns.begin(), columns.end(), [&](int read) { return read == 0 || (column && read == *column + 1); })) continue;
        Fill(segments, segment, traits, false, Cause::kAlter);
        FillDependents(segments, traits, segment.name, Cause::kAlter);
        any = true;
    }
    return any;
}

void ForEachDue(const Segments& segments, const Segment* only, const profile::Traits& traits, int64 clock, const Tables& tables,
                const std::function<void(profile::Due)>& person) {
    std::vector<const Segment*> looked_at;
    std::vector<Members> members;
    std::vector<Consenting> consenting;
    std::vector<LiveQuery::Everybody> live;
    for (const Segment& segment : segments.all()) {
        if (!segment.by_clock || segment.standing.Still() || (only != nullptr && only != &segment)) continue;
        looked_at.push_back(&segment);
        members.push_back(MembersOf(segments, segment, tables.members));
        consenting.push_back(ConsentingTo(segment, tables));
        live.push_back(segment.live ? segment.live->AskAll(tables.profiles) : LiveQuery::Everybody());
    }
    profile::ForEachPerson(traits, tables.profiles, clock, [&](profile::Person& somebody) {
        if (only == nullptr) {
            somebody.Pass();
            somebody.Finish();
        } else if (somebody.clock() > clock) {
            somebody.DueBy(somebody.clock());  // the segment was filled as of an earlier instant than they have been looked at already
        }
        for (size_t i = 0; i < looked_at.size(); ++i)
            somebody.DueBy(segments.NextChange(*looked_at[i], somebody, [&](int64 segment_id) {
                const auto& ids = members[i].at(segment_id);
                return std::binary_search(ids.begin(), ids.end(), somebody.profile_id());
            }, [&](int question) {
                const auto& ids = consenting[i].at(question);
                return std::binary_search(ids.begin(), ids.end(), somebody.profile_id());
            }, looked_at[i]->live ? std::span<const pg::Condition::Input>(live[i].at(somebody.profile_id())) : std::span<const pg::Condition::Input>()));
        if (somebody.due() != profile::Person::kNever) person({somebody.profile_id(), somebody.due()});
    });
}

bool KeepActivities(const pg::Condition& condition, const profile::Traits& traits) {
    bool changed = false;
    std::vector<profile::Activity> made;
    for (size_t k = 0; k < condition.specials().size(); ++k) {
        if (!profile::AsksForActivity(condition.specials()[k])) continue;
        const auto activity = QuestionAt(condition, k).activity;
        if (const auto* keeper = traits.Keeping(activity)) {
            if (!keeper->standing.Still()) continue;
            // It is to be filled afresh, which tries whether it can be kept again.
            pg::Execute("UPDATE cdp.activity SET filled = false, problem = NULL WHERE trait_id = $1", {pg::Int4(keeper->trait_id)});
        } else {
            if (std::find(made.begin(), made.end(), activity) != made.end()) continue;
            profile::InsertActivity(activity);
            made.push_back(activity);
        }
        changed = true;
    }
    return changed;
}

void FillActivities(const Segment& segment, const profile::Traits& traits) {
    for (const Source& source : segment.sources) {
        if (source.kind != Source::Kind::kActivity) continue;
        const auto& keeper = traits.all()[static_cast<size_t>(source.of)];
        static pg::Statement fresh("UPDATE cdp.activity SET filled = true WHERE trait_id = $1 AND NOT filled", {INT4OID});
        if (fresh.Execute({pg::Int4(keeper.trait_id)}) > 0) profile::FillTrait(traits, keeper.trait_id, pg::Now(), false);
    }
}

bool DropUnusedActivities(const Segments& segments, const profile::Traits& traits) {
    const auto used = segments.ActivitiesInUse();
    if (!used) return false;
    bool any = false;
    for (size_t t = 0; t < traits.all().size(); ++t) {
        if (!traits.all()[t].activity || (*used)[t]) continue;
        pg::Execute("DELETE FROM cdp.activity WHERE trait_id = $1", {pg::Int4(traits.all()[t].trait_id)});
        any = true;
    }
    return any;
}

}  // namespace cdp::segment
