// profile/traits_pg.hpp: the declared and computed traits, and what a message adds to them.
#pragma once

#include <memory>
#include <unordered_map>

#include "collect/inbox_pg.hpp"
#include "pg/expression.hpp"
#include "pg/standing.hpp"
#include "profile/activity_pg.hpp"
#include "profile/state.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace cdp::profile {

/// How values of a trait's type are held in a state.
enum class ValueKind { kInteger, kReal, kDecimal, kText, kBoolean, kDate, kTime };

struct Trait {
    int trait_id;
    std::string name;
    bool computed;
    Aggregate aggregate;
    Oid type;                          // of its column
    ValueKind kind;                    // of its values
    std::string event;                 // computed: of this event only; empty: of all
    std::vector<std::string> path;     // declared: in the traits; computed: in the properties; empty: none
    std::vector<std::string> sources;  // for kSourcePriority: best first
    std::unique_ptr<pg::Condition> filter;
    pg::Standing standing;             // of its filter
    std::optional<Window> window;      // computed: only the events in it count
    std::optional<Activity> activity;  // it is no column, but what segments ask of the events
    std::unique_ptr<Sequence> sequence;  // an activity that is one
    int column;                        // its place in a row of cdp.profile, from 0; of activities behind those of all columns

    StateShape shape() const { return {aggregate, window.has_value(), sequence.get()}; }
};

/// Stands among a trait's sources for all those that are not named.
inline constexpr std::string_view kAnyOther = "*";

/// The first columns of cdp.profile.
enum ProfileColumn { kProfileId, kFirstSeenAt, kLastSeenAt, kEventCount, kTraits, kState, kFixedColumns };

/// Throws unless trait values of `type` can be held; which kind they are.
ValueKind KindOf(Oid type);
/// The JSON value as a value of the trait; nothing if it does not count: missing, null, of another kind.
/// Throws nothing that the value causes.
std::optional<Value> ValueOf(const Trait& trait, const pg::Json& json);
/// What keeps an activity, but for the ids that it has among the others. Its filter is not read yet.
Trait Keeper(Activity activity);
/// The answer to a question at an instant, and the next instant at which it changes if nothing else does.
struct Answer {
    Datum value;
    bool null;
    int64 changes;
};
Answer Ask(const Trait& trait, const TraitState& state, const ActivityQuestion& question, int64 clock);
/// The trait's column as its state says. Throws.
void Render(const Trait& trait, const AggregateState& state, Datum* value, bool* null);

/// All traits, activities among them, and the shape of a profile row.
class Traits {
public:
    /// Reads cdp.trait and the columns of cdp.profile.
    static std::unique_ptr<Traits> Load();
    ~Traits();

    const std::vector<Trait>& all() const { return all_; }
    std::vector<Trait>& all() { return all_; }
    /// Writes down which traits stand still from now on; whether there are any.
    bool NoteProblems() const;
    const Trait* Find(int trait_id) const;
    const Trait* Named(std::string_view name) const;
    /// The trait that keeps an activity, if one does.
    const Trait* Keeping(const Activity& activity) const;
    /// The place of that trait; where there is none, of one that is of this Traits only and remembers nothing. Throws what is wrong
    /// with its filter.
    int Keep(const Activity& activity);
    /// The computed traits that events named `event` may change.
    std::span<const int> ComputedFor(std::string_view event) const;
    std::span<const int> Declared() const { return declared_; }
    /// Those whose values change with the clock, and those that are sequences.
    std::span<const int> Windowed() const { return windowed_; }
    std::span<const int> Sequences() const { return sequences_; }
    /// Whether the clock alone may change anything about people: then they remember when they were looked at.
    bool uses_clock() const { return uses_clock_ || !windowed_.empty(); }
    void UseClock() { uses_clock_ = true; }

    Oid profile_table() const { return profile_table_; }
    /// How the rows of cdp.profile are read and written; see people_pg.cpp.
    struct Access {
        std::vector<int> columns;        // ours: their places, profile_id first
        std::vector<std::string> names;  //   and names
        std::vector<int> readable;       // all that are there: their places, in the order of the read rows
        std::string read_list;           // them and the ctid behind them, of a table p
        pg::Statement read;              // those of cdp_batch_wanted; behind its columns comes its ctid
    };
    Access& access() const { return *access_; }
    /// The columns of somebody of whom nothing is known.
    const Datum* blank_values() const { return blank_values_.data(); }
    const bool* blank_nulls() const { return blank_nulls_.get(); }

    /// The columns of cdp.profile; those that users added or that were dropped are among them.
    TupleDesc descriptor() const { return descriptor_; }
    int column_count() const { return descriptor_->natts; }
    /// Whether a column of cdp.profile is one that users added.
    bool IsForeign(int column) const {
        const auto& ours = access_->columns;
        return std::find(ours.begin(), ours.end(), column) == ours.end();
    }
    /// With the activities, which are counted behind the columns.
    int input_count() const { return input_count_; }

private:
    void Read();
    void ReadActivities();
    void Add(Trait trait);
    void MakeBlank();

    std::vector<Trait> all_;
    std::vector<int> declared_, any_event_, windowed_, sequences_;
    int input_count_ = 0;
    bool uses_clock_ = false;
    std::unordered_map<std::string, std::vector<int>> by_event_;  // with those of any event
    Oid profile_table_ = InvalidOid;
    TupleDesc descriptor_ = nullptr;
    std::unique_ptr<Access> access_;
    std::vector<Datum> blank_values_;
    std::unique_ptr<bool[]> blank_nulls_;
};

/// The columns of cdp.event as a row in memory.
enum EventColumn {
    kEventId, kEventMessageId, kEventType, kEventEvent, kEventSource, kEventIdentifierId, kEventOccurredAt,
    kEventReceivedAt, kEventSentAt, kEventUserId, kEventAnonymousId, kEventPreviousId, kEventGroupId,
    kEventLinkedIds, kEventProperties, kEventTraits, kEventContext, kEventColumns
};

/// An event as the traits see it: its row, and where it stands in time.
struct EventRow {
    const Datum* values;
    const bool* nulls;
    Stamp stamp() const { return {DatumGetTimestampTz(values[kEventOccurredAt]), DatumGetInt64(values[kEventId])}; }
    std::string_view Text(EventColumn column) const { return nulls[column] ? std::string_view() : pg::Bytes(values[column]); }
    pg::Json Object(EventColumn column) const { return nulls[column] ? pg::Json() : pg::Json(values[column]); }
};

/// Which events pass which filters, worked out for many events at once. None passes that of a trait that stands still.
class FilterResults {
public:
    /// Of all traits. Those whose filter fails stand still from here on.
    FilterResults(Traits& traits, std::span<const EventRow> events);
    /// Of one trait. Throws what its filter raises.
    FilterResults(const Traits& traits, std::span<const EventRow> events, int only);
    bool Passes(int trait, size_t event) const { return passes_[trait].empty() || passes_[trait][event]; }

private:
    void Work(size_t place, const Trait& trait, std::span<const EventRow> events);

    std::vector<std::vector<char>> passes_;  // by trait, then event; empty: no filter
};

/// Which columns and activities are of interest, by their places.
using Reads = std::vector<char>;

/// A person in memory: the row of cdp.profile and its state, at an instant of the clock.
class Person {
public:
    static constexpr int64 kNever = PG_INT64_MAX;

    /// A new person.
    Person(const Traits& traits, int64 profile_id, int64 clock);
    /// The person of a row of cdp.profile, all of its columns, that is at `place`, brought up to `clock`.
    Person(const Traits& traits, const Datum* values, const bool* nulls, ItemPointerData place, int64 clock);

    int64 profile_id() const { return DatumGetInt64(values_[kProfileId]); }
    ProfileState& state() { return state_; }
    const Datum* values() const { return values_.data(); }
    const bool* nulls() const { return nulls_.get(); }
    ItemPointer place() { return &place_; }
    int64 clock() const { return clock_; }
    /// Brings them up to `clock`, unless that is before the instant that they were brought up to already.
    void ComeTo(int64 clock);

    /// The instant that their timer had been set to, if the clock had come to it when they were brought up to it; 0: it had not.
    int64 overdue() const { return overdue_; }
    /// Whether an instant has passed at which something may have changed by the clock alone.
    bool passed() const { return passed_; }
    void Pass();
    /// That something may change at `instant` by the clock alone.
    void DueBy(int64 instant) { due_ = std::min(due_, instant); }
    /// The next such instant among what was looked at; kNever: none.
    int64 due() const { return due_; }
    /// Arms a timer for it: when; nothing if an earlier one is armed already, or none is needed.
    std::optional<int64> Arm();

    /// Adds an event; event_count, seen times, traits and all. `index`: its place in `filters`. With `reads`, of the traits only to
    /// those that are of interest.
    void Add(const EventRow& event, size_t index, const FilterResults& filters, const Reads* reads = nullptr);
    /// Whether that can change any of them.
    static bool Changes(const Traits& traits, const EventRow& event, size_t index, const FilterResults& filters, const Reads& reads);
    /// Adds an event to one trait only.
    void AddToTrait(int trait, const EventRow& event);
    /// Replaces what one trait remembers.
    void SetTrait(int trait, TraitState state);
    /// Whether a sequence cannot be told from what is remembered of it: see profile/history_pg.hpp.
    bool must_recompute() const { return must_recompute_; }
    /// Makes all sequences afresh of the person's events, which are by occurred_at.
    void ReadSequences(std::span<const EventRow> events);
    /// Forgets all that comes from events and identifiers. The id, columns that users added, and memberships in segments stay.
    void StartOver();
    /// Takes over everything of `other`, who is this person too. The id stays.
    void Merge(Person& other);

    /// Brings the columns up to date with the state. Whether there was anything to do.
    bool Refresh();
    /// The same, and packs the state; which columns and activities changed since it was read, ascending. Cheap if called again.
    const std::vector<int>& Finish();
    /// Copies what its columns point to, so that it outlives the rows and events it is made of.
    void Detach();
    /// The state's bytes only, for when something in it changed that no column shows.
    void WriteState();

private:
    void AddTraits(const EventRow& event, const Reads* reads);
    void AddToActivity(int trait, const EventRow& event);
    void AddValue(int trait, const Stamp& stamp, const Value& value, int rank);
    bool Update(const Trait& trait);
    void Touch(int trait) { touched_[trait] = 1; }
    void Set(int column, Datum value, bool null);

    const Traits& traits_;
    std::vector<Datum> values_;
    std::unique_ptr<bool[]> nulls_;
    ProfileState state_;
    ItemPointerData place_{};
    int64 clock_ = 0, due_ = kNever, overdue_ = 0;
    bool passed_ = false, must_recompute_ = false;
    std::vector<char> touched_;      // by trait
    std::vector<char> changed_;      // by column, then activity
    std::vector<int> changed_list_;
};

/// traits || what of `incoming` is newer, by key; `stamps` learns of it. For people and accounts alike. Throws.
Datum MergeTraits(Datum traits, KeyStamps& stamps, Datum incoming, const Stamp& stamp, bool* changed);

/// The traits of an identify message: those of context.traits count where traits lacks the key. 0 if there are none.
Datum EffectiveTraits(const EventRow& event);

}  // namespace cdp::profile
