// profile/person_pg.cpp: one person in memory; see traits_pg.hpp.
#include "profile/traits_pg.hpp"

#include <cstring>

extern "C" {
#include "utils/datum.h"
}

namespace cdp::profile {

Person::Person(const Traits& traits, int64 profile_id, int64 clock)
    : traits_(traits), values_(traits.blank_values(), traits.blank_values() + traits.column_count()),
      nulls_(new bool[traits.column_count()]), clock_(clock), touched_(traits.all().size()), changed_(traits.input_count()) {
    std::copy_n(traits.blank_nulls(), traits.column_count(), nulls_.get());
    Set(kProfileId, Int64GetDatum(profile_id), false);
    Set(kEventCount, Int64GetDatum(0), false);
    Set(kTraits, traits.blank_values()[kTraits], false);
}

Person::Person(const Traits& traits, const Datum* values, const bool* nulls, ItemPointerData place, int64 clock)
    : traits_(traits), values_(values, values + traits.column_count()), nulls_(new bool[traits.column_count()]), place_(place),
      touched_(traits.all().size()), changed_(traits.input_count()) {
    std::copy_n(nulls, traits.column_count(), nulls_.get());
    if (!nulls_[kState]) state_ = ProfileState(pg::Bytes(values_[kState]));
    values_[kTraits] = pg::Unpacked(values_[kTraits]);
    ComeTo(clock);
}

void Person::ComeTo(int64 clock) {
    clock_ = std::max({clock_, clock, state_.clock()});
    // As long as the timer is ahead, nothing that the clock alone changes has changed.
    if (state_.armed() == 0 || state_.armed() > clock_) return;
    overdue_ = state_.armed();
    Pass();
}

void Person::Pass() {
    passed_ = true;
    state_.armed() = 0;
    for (const int trait : traits_.Windowed()) Touch(trait);
}

std::optional<int64> Person::Arm() {
    if (traits_.uses_clock()) state_.clock() = clock_;
    if (due_ == kNever || (state_.armed() != 0 && state_.armed() <= due_)) return std::nullopt;
    state_.armed() = due_;
    return due_;
}

/// The day of UTC, counted as PostgreSQL's dates are.
static int64 DayOf(int64 time) { return time / USECS_PER_DAY - (time % USECS_PER_DAY < 0); }

void Person::Set(int column, Datum value, bool null) {
    values_[column] = value;
    nulls_[column] = null;
    changed_[column] = 1;
}

static bool Wanted(const Reads* reads, int column) { return reads == nullptr || (*reads)[static_cast<size_t>(column)] != 0; }

void Person::Add(const EventRow& event, size_t index, const FilterResults& filters, const Reads* reads) {
    const int64 at = DatumGetTimestampTz(event.values[kEventOccurredAt]);
    if (nulls_[kFirstSeenAt] || at < DatumGetTimestampTz(values_[kFirstSeenAt])) Set(kFirstSeenAt, TimestampTzGetDatum(at), false);
    if (nulls_[kLastSeenAt] || at > DatumGetTimestampTz(values_[kLastSeenAt])) Set(kLastSeenAt, TimestampTzGetDatum(at), false);
    Set(kEventCount, Int64GetDatum(DatumGetInt64(values_[kEventCount]) + 1), false);
    for (const int trait : traits_.ComputedFor(event.Text(kEventEvent)))
        if (filters.Passes(trait, index) && Wanted(reads, traits_.all()[trait].column)) AddToTrait(trait, event);
    if (event.Text(kEventType) == "identify") AddTraits(event, reads);
}

bool Person::Changes(const Traits& traits, const EventRow& event, size_t index, const FilterResults& filters, const Reads& reads) {
    if (reads[kFirstSeenAt] || reads[kLastSeenAt] || reads[kEventCount]) return true;
    const auto of_interest = [&](int trait) { return Wanted(&reads, traits.all()[trait].column); };
    for (const int trait : traits.ComputedFor(event.Text(kEventEvent)))
        if (of_interest(trait) && filters.Passes(trait, index)) return true;
    return event.Text(kEventType) == "identify" &&
           (reads[kTraits] || std::any_of(traits.Declared().begin(), traits.Declared().end(), of_interest));
}

void Person::AddTraits(const EventRow& event, const Reads* reads) {
    const Datum incoming = EffectiveTraits(event);
    if (incoming == 0) return;
    if (Wanted(reads, kTraits)) {
        bool changed = false;
        const Datum merged = MergeTraits(values_[kTraits], state_.key_stamps(), incoming, event.stamp(), &changed);
        if (changed) Set(kTraits, merged, false);
    }
    for (const int trait : traits_.Declared())
        if (Wanted(reads, traits_.all()[trait].column)) AddToTrait(trait, event);
}

void Person::AddToTrait(int index, const EventRow& event) {
    const Trait& trait = traits_.all()[index];
    if (trait.activity) return AddToActivity(index, event);
    std::optional<Value> value;
    int rank = 0;
    if (trait.computed) {
        if (!trait.path.empty()) {
            const auto found = event.Object(kEventProperties).FindPath(trait.path);
            if (!found || !(value = trait.aggregate == Aggregate::kCount && !found->IsNull() ? Value() : ValueOf(trait, *found))) return;
        }
    } else {
        const Datum incoming = EffectiveTraits(event);
        const auto found = incoming ? pg::Json(incoming).FindPath(trait.path) : std::nullopt;
        if (!found) return;
        value = ValueOf(trait, *found);
        // A trait that is set to null is unset by it, where the last word counts.
        const bool unset = found->IsNull() && (trait.aggregate == Aggregate::kLast || trait.aggregate == Aggregate::kSourcePriority);
        if (!value && !unset) return;
        if (trait.aggregate == Aggregate::kSourcePriority) {
            auto place = std::find(trait.sources.begin(), trait.sources.end(), event.Text(kEventSource));
            if (place == trait.sources.end()) place = std::find(trait.sources.begin(), trait.sources.end(), kAnyOther);
            rank = static_cast<int>(place - trait.sources.begin());
        }
    }
    AddValue(index, event.stamp(), value.value_or(Value()), rank);
}

void Person::AddToActivity(int index, const EventRow& event) {
    const Trait& trait = traits_.all()[index];
    const Stamp stamp = event.stamp();
    if (trait.sequence) {
        std::string same;
        if (!trait.path.empty()) {
            const auto found = event.Object(kEventProperties).FindPath(trait.path);
            if (!found || found->IsNull()) return;
            same = found->ToText();
        }
        auto& state = std::get<SequenceState>(state_.Trait(trait.trait_id, trait.shape()));
        state.Add(*trait.sequence, stamp.occurred_at, trait.sequence->Steps(event.Text(kEventEvent)), same);
        return Touch(index);
    }
    switch (trait.activity->measure) {
        case Activity::Measure::kDays: return AddValue(index, stamp, Value(DayOf(stamp.occurred_at)), 0);
        case Activity::Measure::kFirst:
        case Activity::Measure::kLast: return AddValue(index, stamp, Value(stamp.occurred_at), 0);
        default: return AddValue(index, stamp, Value(), 0);
    }
}

void Person::AddValue(int index, const Stamp& stamp, const Value& value, int rank) {
    const Trait& trait = traits_.all()[index];
    if (trait.window) {
        const int64 leaves = trait.window->Leaves(stamp.occurred_at);
        if (leaves <= clock_) return;
        std::get<WindowState>(state_.Trait(trait.trait_id, trait.shape())).Add(leaves, stamp, value);
    } else {
        std::get<AggregateState>(state_.Trait(trait.trait_id, trait.shape())).Add(stamp, value, rank);
    }
    Touch(index);
}

void Person::SetTrait(int trait, TraitState state) {
    state_.SetTrait(traits_.all()[trait].trait_id, std::move(state));
    Touch(trait);
}

void Person::ReadSequences(std::span<const EventRow> events) {
    for (const int index : traits_.Sequences()) {
        const Trait& trait = traits_.all()[index];
        SetTrait(index, SequenceState::Unbounded());
        for (const EventRow& event : events)
            if (trait.sequence->Steps(event.Text(kEventEvent)) != 0) AddToActivity(index, event);
        std::get<SequenceState>(state_.Trait(trait.trait_id, trait.shape())).Bound(*trait.sequence);
    }
    Finish();
    must_recompute_ = false;
}

void Person::StartOver() {
    for (const int column : traits_.access().columns)
        if (column != kProfileId) Set(column, traits_.blank_values()[column], traits_.blank_nulls()[column]);
    Set(kEventCount, Int64GetDatum(0), false);
    Set(kTraits, traits_.blank_values()[kTraits], false);
    ProfileState fresh;
    fresh.memberships() = std::move(state_.memberships());
    fresh.membership_epoch() = state_.membership_epoch();
    fresh.clock() = state_.clock();
    fresh.armed() = state_.armed();
    state_ = std::move(fresh);
}

void Person::Merge(Person& other) {
    const auto earlier = [&](int column, bool first) {
        if (other.nulls_[column]) return;
        const int64 theirs = DatumGetTimestampTz(other.values_[column]), ours = DatumGetTimestampTz(values_[column]);
        if (nulls_[column] || (first ? theirs < ours : theirs > ours)) Set(column, TimestampTzGetDatum(theirs), false);
    };
    earlier(kFirstSeenAt, true);
    earlier(kLastSeenAt, false);
    Set(kEventCount, Int64GetDatum(DatumGetInt64(values_[kEventCount]) + DatumGetInt64(other.values_[kEventCount])), false);

    std::vector<std::string> lost;
    for (const auto& [key, stamp] : other.state_.key_stamps().all())
        if (!state_.key_stamps().Advance(key, stamp)) lost.push_back(key);
    if (lost.size() < other.state_.key_stamps().all().size())
        Set(kTraits, pg::Concat(values_[kTraits], pg::Without(other.values_[kTraits], lost)), false);

    state_.AddIdentifierCounts(other.state_);
    for (const int id : other.state_.TraitIds()) {
        const Trait* trait = traits_.Find(id);
        if (trait == nullptr) continue;
        trait->shape().Merge(state_.Trait(id, trait->shape()), other.state_.Trait(id, trait->shape()));
        Touch(static_cast<int>(trait - traits_.all().data()));
    }
}

/// Whether the trait is another than it was, as far as can be told.
bool Person::Update(const Trait& trait) {
    TraitState& state = state_.Trait(trait.trait_id, trait.shape());
    if (trait.window) std::get<WindowState>(state).Expire(clock_);
    if (trait.activity) {
        must_recompute_ = must_recompute_ || (trait.sequence && std::get<SequenceState>(state).MustRecompute());
        return true;
    }
    if (trait.window) DueBy(std::get<WindowState>(state).NextChange(*trait.window, clock_));
    Datum value = 0;
    bool null = true;
    if (trait.window)
        Render(trait, std::get<WindowState>(state).Beyond(trait.window->Horizon(clock_)), &value, &null);
    else
        Render(trait, std::get<AggregateState>(state), &value, &null);
    const auto* attribute = TupleDescAttr(traits_.descriptor(), trait.column);
    const bool same = null == nulls_[trait.column] &&
                      (null || pg::Call([&] {
                           return datum_image_eq(value, values_[trait.column], attribute->attbyval, attribute->attlen);
                       }));
    if (!same) Set(trait.column, value, null);
    return !same;
}

bool Person::Refresh() {
    bool any = false;
    for (size_t t = 0; t < touched_.size(); ++t) {
        if (!touched_[t]) continue;
        touched_[t] = 0;
        any = true;
        if (Update(traits_.all()[t])) changed_[traits_.all()[t].column] = 1;
    }
    return any;
}

const std::vector<int>& Person::Finish() {
    const bool any = Refresh();
    for (size_t column = 0; column < changed_.size(); ++column)
        if (changed_[column]) {
            changed_[column] = 0;
            const auto place = std::lower_bound(changed_list_.begin(), changed_list_.end(), static_cast<int>(column));
            if (place == changed_list_.end() || *place != static_cast<int>(column)) changed_list_.insert(place, static_cast<int>(column));
        }
    if (any || !state_.packed()) state_.Pack([this](int trait_id) { return traits_.Find(trait_id) != nullptr; });
    return changed_list_;
}

void Person::Detach() {
    for (int column = 0; column < traits_.column_count(); ++column) {
        const auto* attribute = TupleDescAttr(traits_.descriptor(), column);
        if (nulls_[column] || attribute->attbyval) continue;
        values_[column] = pg::Call([&] { return datumCopy(values_[column], attribute->attbyval, attribute->attlen); });
    }
}

void Person::WriteState() {
    const std::string bytes = state_.Write();
    values_[kState] = pg::TextDatum(bytes);  // bytea and text are laid out alike
    nulls_[kState] = false;
}

Datum MergeTraits(Datum traits, KeyStamps& stamps, Datum incoming, const Stamp& stamp, bool* changed) {
    std::vector<std::string> stale;
    size_t keys = 0;
    pg::Json(incoming).ForEach([&](std::string_view key, const pg::Json&) {
        ++keys;
        if (!stamps.Advance(key, stamp)) stale.emplace_back(key);
    });
    *changed = stale.size() < keys;
    return *changed ? pg::Concat(traits, pg::Without(incoming, stale)) : traits;
}

Datum EffectiveTraits(const EventRow& event) {
    const bool own = !event.nulls[kEventTraits] && pg::Json(event.values[kEventTraits]).IsObject();
    const auto context = event.Object(kEventContext).Find("traits");
    if (!context || !context->IsObject()) return own ? event.values[kEventTraits] : 0;
    const Datum standalone = pg::Standalone(*context);
    return own ? pg::Concat(standalone, event.values[kEventTraits]) : standalone;
}

}  // namespace cdp::profile
