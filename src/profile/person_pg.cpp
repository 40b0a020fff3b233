// profile/person_pg.cpp: one person in memory; see traits_pg.hpp.
#include "profile/traits_pg.hpp"

#include <cstring>

extern "C" {
#include "utils/datum.h"
}

namespace cdp::profile {

Person::Person(const Traits& traits, int64 profile_id)
    : traits_(traits), values_(traits.blank_values(), traits.blank_values() + traits.column_count()),
      nulls_(new bool[traits.column_count()]), touched_(traits.all().size()), changed_(traits.column_count()) {
    std::copy_n(traits.blank_nulls(), traits.column_count(), nulls_.get());
    Set(kProfileId, Int64GetDatum(profile_id), false);
    Set(kEventCount, Int64GetDatum(0), false);
    Set(kTraits, traits.blank_values()[kTraits], false);
}

Person::Person(const Traits& traits, const Datum* values, const bool* nulls, ItemPointerData place)
    : traits_(traits), values_(values, values + traits.column_count()), nulls_(new bool[traits.column_count()]), place_(place),
      touched_(traits.all().size()), changed_(traits.column_count()) {
    std::copy_n(nulls, traits.column_count(), nulls_.get());
    if (!nulls_[kState]) state_ = ProfileState(pg::Bytes(values_[kState]));
    values_[kTraits] = pg::Unpacked(values_[kTraits]);
}

void Person::Set(int column, Datum value, bool null) {
    values_[column] = value;
    nulls_[column] = null;
    changed_[column] = 1;
}

void Person::Add(const EventRow& event, size_t index, const FilterResults& filters) {
    const int64 at = DatumGetTimestampTz(event.values[kEventOccurredAt]);
    if (nulls_[kFirstSeenAt] || at < DatumGetTimestampTz(values_[kFirstSeenAt])) Set(kFirstSeenAt, TimestampTzGetDatum(at), false);
    if (nulls_[kLastSeenAt] || at > DatumGetTimestampTz(values_[kLastSeenAt])) Set(kLastSeenAt, TimestampTzGetDatum(at), false);
    Set(kEventCount, Int64GetDatum(DatumGetInt64(values_[kEventCount]) + 1), false);
    for (const int trait : traits_.ComputedFor(event.Text(kEventEvent)))
        if (filters.Passes(trait, index)) AddToTrait(trait, event);
    if (event.Text(kEventType) == "identify") AddTraits(event);
}

void Person::AddTraits(const EventRow& event) {
    const Datum incoming = EffectiveTraits(event);
    if (incoming == 0) return;
    bool changed = false;
    const Datum merged = MergeTraits(values_[kTraits], state_.key_stamps(), incoming, event.stamp(), &changed);
    if (changed) Set(kTraits, merged, false);
    for (const int trait : traits_.Declared()) AddToTrait(trait, event);
}

void Person::AddToTrait(int index, const EventRow& event) {
    const Trait& trait = traits_.all()[index];
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
            const auto place = std::find(trait.sources.begin(), trait.sources.end(), event.Text(kEventSource));
            rank = static_cast<int>(place - trait.sources.begin());
        }
    }
    state_.Trait(trait.trait_id, trait.aggregate).Add(event.stamp(), value.value_or(Value()), rank);
    Touch(index);
}

void Person::SetTrait(int trait, AggregateState state) {
    state_.SetTrait(traits_.all()[trait].trait_id, std::move(state));
    Touch(trait);
}

void Person::StartOver() {
    for (const int column : traits_.access().columns)
        if (column != kProfileId) Set(column, traits_.blank_values()[column], traits_.blank_nulls()[column]);
    Set(kEventCount, Int64GetDatum(0), false);
    Set(kTraits, traits_.blank_values()[kTraits], false);
    ProfileState fresh;
    fresh.memberships() = std::move(state_.memberships());
    fresh.membership_epoch() = state_.membership_epoch();
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
        state_.Trait(id, trait->aggregate).Merge(other.state_.Trait(id, trait->aggregate));
        Touch(static_cast<int>(trait - traits_.all().data()));
    }
}

const std::vector<int>& Person::Finish() {
    bool any = false;
    for (size_t t = 0; t < touched_.size(); ++t) {
        if (!touched_[t]) continue;
        touched_[t] = 0;
        any = true;
        const Trait& trait = traits_.all()[t];
        Datum value = 0;
        bool null = true;
        Render(trait, state_.Trait(trait.trait_id, trait.aggregate), &value, &null);
        const auto* attribute = TupleDescAttr(traits_.descriptor(), trait.column);
        const bool same = null == nulls_[trait.column] &&
                          (null || pg::Call([&] {
                               return datum_image_eq(value, values_[trait.column], attribute->attbyval, attribute->attlen);
                           }));
        if (!same) Set(trait.column, value, null);
    }
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
