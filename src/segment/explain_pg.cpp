// segment/explain_pg.cpp: SQL's door explain_segment: why somebody is in a segment or not.
#include "pg/settings.hpp"
#include "pipeline/definitions_pg.hpp"
#include "profile/history_pg.hpp"
#include "profile/people_pg.hpp"
#include "segment/fill_pg.hpp"

extern "C" {
#include "utils/acl.h"
}

using namespace cdp;

namespace {

constexpr size_t kEventsShown = 3;

/// Whether `role` may see the column's values. A segment may be of somebody who sees more.
bool MayRead(Oid role, Oid relation, int column) {
    return pg::Call([&] {
        return pg_class_aclcheck(relation, role, ACL_SELECT) == ACLCHECK_OK ||
               pg_attribute_aclcheck(relation, static_cast<AttrNumber>(column), role, ACL_SELECT) == ACLCHECK_OK;
    });
}

/// Explains one person's place in one segment.
class Explanation {
public:
    Explanation(const pipeline::Definitions& definitions, const segment::Segment& segment, profile::Person& person, Oid caller)
        : traits_(*definitions.traits), segment_(segment), person_(person), caller_(caller) {}

    /// A row of the answer for one part of the condition.
    void Explain(const std::string& part, pg::TableResult* result);

private:
    pg::Condition::Input AnswerOf(const pg::Condition& condition, size_t call);
    std::string EventsOf(const profile::Trait& keeper) const;
    std::string StatementsOf(const govern::Purpose& purpose) const;
    bool HoldsInSql(const pg::Condition& condition) const;
    void Say(const std::string& what) { said_ += (said_.empty() ? "" : ", ") + what; }

    const profile::Traits& traits_;
    const segment::Segment& segment_;
    profile::Person& person_;
    Oid caller_;
    std::string said_;
    int64 changes_ = profile::Person::kNever;
};

/// The events that count for an activity, the latest of them.
std::string Explanation::EventsOf(const profile::Trait& keeper) const {
    const int index = static_cast<int>(&keeper - traits_.all().data());
    std::string text;
    profile::ForEachCountingEvents(traits_, index, person_.profile_id(), person_.clock(), [&](std::span<const profile::EventRow> events) {
        const size_t shown = std::min(events.size(), kEventsShown);
        for (size_t i = 0; i < shown; ++i) {
            const auto stamp = events[events.size() - 1 - i].stamp();
            text += (i == 0 ? "" : ", ") + std::string("event ") + std::to_string(stamp.event_id) + " at " +
                    pg::OutputText(TIMESTAMPTZOID, TimestampTzGetDatum(stamp.occurred_at));
        }
        if (shown < events.size()) text += " and " + std::to_string(events.size() - shown) + " before";
    });
    return text;
}

/// What holds of what the person said of a purpose.
std::string Explanation::StatementsOf(const govern::Purpose& purpose) const {
    const auto said = pg::Query(
        "SELECT string_agg(CASE WHEN granted THEN 'yes' ELSE 'no' END || coalesce(' on ' || channel, '') || ' at ' || occurred_at, ', '"
        " ORDER BY channel NULLS FIRST) FROM cdp.consent WHERE profile_id = $1 AND purpose = $2", {pg::Int8(person_.profile_id()), pg::Text(purpose.name)});
    return said.OptionalText(0, 1).value_or(std::string("nothing said, which is ") + (purpose.opt_out ? "yes" : "no"));
}

pg::Condition::Input Explanation::AnswerOf(const pg::Condition& condition, size_t call) {
    const auto& special = condition.specials()[call];
    if (profile::AsksForActivity(special)) {
        const auto question = segment::QuestionAt(condition, call);
        const auto* keeper = traits_.Keeping(question.activity);
        if (keeper == nullptr) throw condition.At(call, Error(sqlstate::data_corrupted, "nothing is kept of this"));
        const auto answer = profile::Ask(*keeper, person_.state().Peek(keeper->trait_id, keeper->shape()), question, person_.clock());
        changes_ = std::min(changes_, answer.changes);
        const std::string events = EventsOf(*keeper);
        std::string name = question.activity.events.front();
        for (size_t i = 1; i < question.activity.events.size(); ++i) name += " → " + question.activity.events[i];
        Say(name + ": " + (events.empty() ? "none that counts" : events));
        return {answer.value, answer.null};
    }
    if (special.function == "consented") {
        const auto question = govern::ConsentAt(condition, call, govern::Purposes::Load());
        Say(question.purpose.name + ": " + StatementsOf(question.purpose));
        return {*pg::Query("SELECT " + govern::CoversSql("$1", question), {pg::Int8(person_.profile_id())}).Get(0, 1), false};
    }
    const char* query = special.function == "in_segment"
        ? "SELECT EXISTS (SELECT FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) WHERE m.profile_id = $1 AND s.name = $2)"
        : special.function == "on_list"
        ? "SELECT EXISTS (SELECT FROM cdp.listed_identifier l JOIN cdp.segment s USING (segment_id) WHERE l.profile_id = $1 AND s.name = $2)"
        : "SELECT EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = $1 AND i.type = $2)";
    return {*pg::Query(query, {pg::Int8(person_.profile_id()), pg::TextOrNull(special.arguments[0])}).Get(0, 1), false};
}

bool Explanation::HoldsInSql(const pg::Condition& condition) const {
    const auto sources = segment::SourcesByName(condition, [&](const profile::Activity& activity) {
        return static_cast<int>(traits_.Keeping(activity) - traits_.all().data());
    });
    const segment::MembersQuery members(condition, sources, traits_, person_.clock());
    const pg::ActAs owner(segment_.owner, true);
    return !pg::Query(members.sql() + " AND profile.profile_id = $1", {pg::Int8(person_.profile_id())}, true).empty();
}

void Explanation::Explain(const std::string& part, pg::TableResult* result) {
    const auto condition = segment::ReadCondition(part, "the condition", traits_, segment_.owner, segment_.refreshed);
    said_.clear();
    changes_ = profile::Person::kNever;
    bool holds = false;
    for (const int column : condition->columns()) {
        if (column <= 0) continue;
        const auto* attribute = TupleDescAttr(traits_.descriptor(), column - 1);
        Say(std::string(NameStr(attribute->attname)) + " = " +
            (person_.nulls()[column - 1]                                ? std::string("NULL")
             : MayRead(caller_, traits_.profile_table(), column) ? pg::OutputText(attribute->atttypid, person_.values()[column - 1])
                                                                        : std::string("***")));
    }
    // A part may fail that the whole does not come to.
    const auto failure = pg::Attempts::One([&] {
        if (condition->HasSubquery() || (segment_.refreshed && condition->UsesClock())) {
            holds = HoldsInSql(*condition);
            return;
        }
        std::vector<pg::Condition::Input> inputs;
        for (size_t k = 0; k < condition->specials().size(); ++k) inputs.push_back(AnswerOf(*condition, k));
        const pg::Condition::Row row{person_.values(), person_.nulls(), person_.clock()};
        std::vector<char> of_row;
        condition->Evaluate({&row, 1}, inputs, &of_row);
        holds = of_row[0] != 0;
        if (condition->UsesClock()) changes_ = std::min(changes_, condition->NextFlip(row, inputs));
    });
    if (changes_ != profile::Person::kNever)
        Say("looked at again at " + pg::OutputText(TIMESTAMPTZOID, TimestampTzGetDatum(changes_)));
    if (failure) said_ += (said_.empty() ? "" : "; ") + failure->message;
    const Datum values[] = {pg::TextDatum(part), pg::TextDatum(said_), BoolGetDatum(holds)};
    const bool nulls[] = {false, said_.empty(), failure.has_value()};
    result->Add(values, nulls);
}

}  // namespace

CDP_FUNCTION(cdp_explain_segment)  // cdp.explain_segment(name, profile_id) → TABLE(condition, value, holds)
{
    const Oid caller = GetUserId();
    const std::string name(pg::Bytes(PG_GETARG_DATUM(0)));
    pg::TableResult result(fcinfo);
    const pg::Spi spi;
    const pg::ActAs owner(pg::ExtensionOwner());
    const auto& definitions = pipeline::Current();
    const auto* segment = definitions.segments->Named(name);
    if (segment == nullptr) throw segment::NoSegment(name);
    if (!segment->condition) throw *segment->standing.failure;
    const auto living = pg::Query(
        "SELECT coalesce((SELECT profile_id FROM cdp.profile_alias WHERE alias_id = $1), $1)", {pg::Int8(PG_GETARG_INT64(1))});
    profile::People people(*definitions.traits, pg::Now());
    people.Want(living.Int8(0, 1));
    if (pg::Query("SELECT FROM cdp.profile WHERE profile_id = $1", {pg::Int8(living.Int8(0, 1))}).empty())
        throw Error(sqlstate::undefined_object, "profile " + std::to_string(PG_GETARG_INT64(1)) + " does not exist").Hint("cdp.resolve(type, value) says whose an identifier is.");
    people.Load();

    auto parts = segment->condition->Parts();
    if (IsA(segment->condition->tree(), BoolExpr)) parts.push_back(segment->condition->text());
    Explanation explanation(definitions, *segment, people.loaded().front().second, caller);
    for (const auto& part : parts) explanation.Explain(part, &result);
    return result.Done();
}
