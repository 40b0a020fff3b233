// profile/activity_pg.cpp: see activity_pg.hpp.
#include "profile/activity_pg.hpp"

#include <array>
#include <charconv>

#include "pg/names.hpp"
#include "profile/traits_pg.hpp"

extern "C" {
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
}

namespace cdp::profile {

namespace {

using Measure = Activity::Measure;

struct Known {
    const char* function;
    Measure measure;
    const char* name;
    // Where its arguments are; -1: it has none such.
    int within, filter;
};
constexpr std::array<Known, 6> kKnown{{
    {"did", Measure::kTimes, "times", 1, 4},
    {"times_did", Measure::kTimes, "times", 1, 2},
    {"days_did", Measure::kDays, "days", 1, 2},
    {"first_did", Measure::kFirst, "first", -1, 1},
    {"last_did", Measure::kLast, "last", -1, 1},
    {"did_sequence", Measure::kSequence, "sequence", 1, -1},
}};

const Known* KnownOf(const pg::SpecialCall& call) {
    for (const Known& known : kKnown)
        if (call.function == known.function) return &known;
    return nullptr;
}

constexpr size_t kMostSteps = 20;
constexpr size_t kLongestEvent = 500;
constexpr const char* kNameTheEvent = "Name the event, as it is in cdp.event.";

[[noreturn]] void Refuse(const pg::SpecialCall& call, const std::string& why, const char* hint) {
    throw Error(sqlstate::invalid_parameter_value, "cdp." + call.function + ": " + why).Hint(hint);
}

const std::optional<std::string>& Argument(const pg::SpecialCall& call, int i) {
    static const std::optional<std::string> none;
    return i < 0 ? none : call.arguments[static_cast<size_t>(i)];
}

Interval ToInterval(const std::string& text) {
    return pg::Call([&] {
        return *DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text.c_str()), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
    });
}

/// A number of times: an argument of type int, as text.
int64 Times(const pg::SpecialCall& call, const char* name, const std::string& text) {
    int64 number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    if (number < 0) Refuse(call, std::string(name) + " must not be negative", "It is a number of times.");
    return number;
}

void ReadEvents(const pg::SpecialCall& call, Activity* activity) {
    const auto& text = Argument(call, 0);
    if (text && activity->measure != Measure::kSequence) activity->events = {*text};
    if (text && activity->measure == Measure::kSequence) {
        const Datum array = pg::Call([&] { return OidInputFunctionCall(F_ARRAY_IN, const_cast<char*>(text->c_str()), TEXTOID, -1); });
        if (pg::Call([&] { return array_contains_nulls(DatumGetArrayTypeP(array)); }))
            Refuse(call, "no event of a sequence may be null", kNameTheEvent);
        activity->events = pg::TextArray(array);
    }
    for (const auto& event : activity->events)
        if (event.empty() || event.size() > kLongestEvent) Refuse(call, "the name of an event has 1 to 500 bytes", "It is the column event of cdp.event.");
    if (activity->events.empty() || activity->events.size() > kMostSteps)
        Refuse(call, activity->measure == Measure::kSequence ? "a sequence has 1 to 20 events" : "the event must not be null", kNameTheEvent);
}

}  // namespace

bool Activity::operator==(const Activity& other) const {
    const auto same_interval = [](const std::optional<Interval>& a, const std::optional<Interval>& b) {
        return a.has_value() == b.has_value() && (!a || (a->month == b->month && a->day == b->day && a->time == b->time));
    };
    return measure == other.measure && events == other.events && same_interval(within, other.within) && filter == other.filter &&
           owner == other.owner && same == other.same;
}

bool AsksForActivity(const pg::SpecialCall& call) { return KnownOf(call) != nullptr; }

ActivityQuestion QuestionOf(const pg::SpecialCall& call, Oid owner) {
    const Known& known = *KnownOf(call);
    ActivityQuestion question;
    Activity& activity = question.activity;
    activity.measure = known.measure;
    ReadEvents(call, &activity);
    if (const auto& within = Argument(call, known.within)) {
        activity.within = ToInterval(*within);
        if (!Window(SpanOf(*activity.within)).Positive())
            Refuse(call, "within must be longer than nothing", "It is an interval such as '30 days'.");
    }
    if (const auto& filter = Argument(call, known.filter)) {
        activity.filter = *filter;
        activity.owner = owner;
    }
    if (activity.measure == Measure::kSequence) activity.same = Argument(call, 2).value_or("");
    question.yes_or_no = call.function == "did";
    if (question.yes_or_no) {
        question.least = Argument(call, 2) ? Times(call, "at_least", *Argument(call, 2)) : 0;
        if (const auto& most = Argument(call, 3)) question.most = Times(call, "at_most", *most);
        if (question.least > question.most) Refuse(call, "at_least must not be greater than at_most", "Nobody would ever meet it.");
    }
    return question;
}

const char* NameOf(Measure measure) {
    for (const Known& known : kKnown)
        if (known.measure == measure) return known.name;
    return nullptr;
}

std::optional<Measure> MeasureNamed(std::string_view name) {
    for (const Known& known : kKnown)
        if (known.name == name) return known.measure;
    return std::nullopt;
}

int64 InsertActivity(const Activity& activity) {
    std::vector<Datum> events;
    for (const auto& event : activity.events) events.push_back(pg::TextDatum(event));
    const Datum array = pg::Call([&] {
        return PointerGetDatum(construct_array(events.data(), static_cast<int>(events.size()), TEXTOID, -1, false, TYPALIGN_INT));
    });
    const auto optional = [](const std::string& text) { return text.empty() ? pg::Null(TEXTOID) : pg::Text(text); };
    Interval within = activity.within.value_or(Interval{});
    const std::string owner = OidIsValid(activity.owner) ? pg::RoleName(activity.owner) : std::string();
    return pg::Query("INSERT INTO cdp.activity (trait_id, measure, events, within, filter, same, owner)"
                     " VALUES (nextval('cdp.trait_id_seq'), $1, $2, $3, $4, $5, $6) RETURNING trait_id::bigint",
                     {pg::Text(NameOf(activity.measure)), pg::Value(TEXTARRAYOID, array),
                      activity.within ? pg::Value(INTERVALOID, IntervalPGetDatum(&within)) : pg::Null(INTERVALOID),
                      optional(activity.filter), optional(activity.same), optional(owner)}).Int8(0, 1);
}

Answer Ask(const Trait& trait, const TraitState& state, const ActivityQuestion& question, int64 clock) {
    constexpr int64 never = Person::kNever;
    if (trait.sequence) return {BoolGetDatum(std::get<SequenceState>(state).Done()), false, never};
    const auto* window = std::get_if<WindowState>(&state);
    switch (trait.activity->measure) {
        case Measure::kFirst:
        case Measure::kLast: {
            const auto single = std::get<AggregateState>(state).Single();
            return {single ? TimestampTzGetDatum(std::get<int64_t>(*single)) : Datum(0), !single, never};
        }
        default: {
            const int64 count = window ? window->CountBeyond(trait.window->Horizon(clock)) : std::get<AggregateState>(state).Count();
            if (!question.yes_or_no) return {Int64GetDatum(count), false, window ? window->NextChange(*trait.window, clock) : never};
            return {BoolGetDatum(question.least <= count && count <= question.most), false,
                    window ? window->WhenCountLeaves(*trait.window, clock, question.least, question.most) : never};
        }
    }
}

Trait Keeper(Activity activity) {
    Trait trait;
    trait.computed = true;
    trait.type = INT8OID;
    trait.kind = ValueKind::kInteger;
    switch (activity.measure) {
        case Measure::kTimes: trait.aggregate = Aggregate::kCount; break;
        case Measure::kDays: trait.aggregate = Aggregate::kDistinctCount; break;
        case Measure::kFirst: trait.aggregate = Aggregate::kMin; break;
        case Measure::kLast: trait.aggregate = Aggregate::kMax; break;
        case Measure::kSequence: trait.aggregate = Aggregate::kCount; break;
    }
    if (activity.measure == Measure::kSequence) {
        std::optional<Span> within;
        if (activity.within) within = SpanOf(*activity.within);
        trait.sequence = std::make_unique<Sequence>(activity.events, within, !activity.same.empty());
        if (!activity.same.empty()) trait.path = pg::SplitPath(activity.same);
    } else {
        trait.event = activity.events.front();
        if (activity.within) trait.window = Window(SpanOf(*activity.within));
    }
    trait.name = "cdp." + std::string(activity.measure == Measure::kSequence ? "did_sequence" : "did") + " of \"" + activity.events.front() + "\"";
    trait.activity = std::move(activity);
    return trait;
}

}  // namespace cdp::profile
