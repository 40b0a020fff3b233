// profile/history_pg.cpp: see history_pg.hpp.
#include "profile/history_pg.hpp"

#include "profile/people_pg.hpp"

namespace cdp::profile {

namespace {

constexpr long kRowsAFetch = 10'000;
constexpr size_t kPeopleAWrite = 10'000;

/// A copy of an event row in `memory`, as the traits expect it: jsonb unpacked.
EventRow Copy(pg::Scratch& memory, const Datum* values, const bool* nulls, TupleDesc shape) {
    const pg::Scratch::Use use(memory);
    return pg::Call([&] {
        auto* v = static_cast<Datum*>(palloc(sizeof(Datum) * kEventColumns));
        auto* n = static_cast<bool*>(palloc(sizeof(bool) * kEventColumns));
        for (int i = 0; i < kEventColumns; ++i) {
            n[i] = nulls[i];
            v[i] = nulls[i] || TupleDescAttr(shape, i)->attbyval ? values[i] : PointerGetDatum(PG_DETOAST_DATUM_COPY(values[i]));
        }
        return EventRow{v, n};
    });
}

}  // namespace

void ForEachPersonsEvents(const std::string& identifiers, const std::string& condition,
                          const std::function<void(int64, std::span<const EventRow>)>& person) {
    pg::Cursor cursor(
        "SELECT e.event_id, e.message_id, e.type, e.event, e.source, e.identifier_id, e.occurred_at, e.received_at, e.sent_at,"
        " e.user_id, e.anonymous_id, e.previous_id, e.group_id, e.linked_ids, e.properties, e.traits, e.context, i.profile_id"
        " FROM cdp.event e JOIN " + identifiers + " i USING (identifier_id) WHERE " + condition + " ORDER BY i.profile_id");
    pg::Scratch memory;
    std::vector<EventRow> events;
    int64 current = 0;
    Datum values[kEventColumns + 1];
    bool nulls[kEventColumns + 1];
    const auto finish = [&] {
        if (!events.empty()) {
            const pg::Scratch::Use use(memory);
            person(current, events);
        }
        events.clear();
        memory.Reset();
    };
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        for (uint64 i = 0; i < rows.size(); ++i) {
            rows.Deform(i, values, nulls);
            const int64 profile_id = DatumGetInt64(values[kEventColumns]);
            if (profile_id != current) finish();
            current = profile_id;
            events.push_back(Copy(memory, values, nulls, rows.descriptor()));
        }
    }
    finish();
}

void FillTrait(const Traits& traits, int trait_id, bool is_new) {
    const Trait& trait = *traits.Find(trait_id);
    const int index = static_cast<int>(&trait - traits.all().data());
    std::string condition = trait.computed ? "true" : "e.type = 'identify'";
    if (!trait.event.empty())
        condition = "e.event = " + std::string(pg::Call([&] { return quote_literal_cstr(trait.event.c_str()); }));

    std::vector<std::pair<int64, AggregateState>> states;
    pg::Scratch memory;
    const auto write = [&] {
        const pg::Scratch::Use use(memory);
        People people(traits);
        for (const auto& entry : states) people.Want(entry.first);
        people.Load();
        for (size_t i = 0; i < states.size(); ++i)
            people.loaded()[i].second.SetTrait(index, std::move(states[i].second));
        people.WriteLoaded();
        states.clear();
        memory.Reset();
    };
    ForEachPersonsEvents("cdp.identifier", condition, [&](int64 profile_id, std::span<const EventRow> events) {
        Person person(traits, profile_id);
        const FilterResults filters(traits, events, index);
        for (size_t i = 0; i < events.size(); ++i)
            if (filters.Passes(index, i)) person.AddToTrait(index, events[i]);
        Writer bytes;
        auto& state = person.state().Trait(trait_id, trait.aggregate);
        state.Write(bytes);
        if (!is_new || !bytes.bytes().empty()) states.emplace_back(profile_id, std::move(state));
        if (states.size() == kPeopleAWrite) write();
    });
    if (!states.empty()) write();
}

}  // namespace cdp::profile
