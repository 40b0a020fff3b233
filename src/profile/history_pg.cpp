// profile/history_pg.cpp: see history_pg.hpp.
#include "profile/history_pg.hpp"

#include <unordered_map>

#include "pg/names.hpp"
#include "pg/probes.hpp"
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

/// SQL for the events that may count for the trait.
std::string Counting(const Trait& trait) {
    if (!trait.computed) return "e.type = 'identify'";
    std::vector<std::string> events;
    if (trait.sequence) events = trait.activity->events;
    if (!trait.event.empty()) events = {trait.event};
    std::string list;
    for (const auto& event : events) list += (list.empty() ? "" : ", ") + pg::Literal(event);
    return list.empty() ? "true" : "e.event IN (" + list + ")";
}

}  // namespace

EventColumns ColumnsOf(const Trait& trait) {
    EventColumns columns;
    for (const EventColumn column : {kEventId, kEventOccurredAt, kEventEvent}) columns.set(column);
    if (!trait.computed)
        for (const EventColumn column : {kEventType, kEventSource, kEventTraits, kEventContext}) columns.set(column);
    else if (!trait.path.empty())
        columns.set(kEventProperties);
    if (trait.filter)
        for (const int column : trait.filter->columns()) {
            if (column == 0) return AllColumns();
            columns.set(static_cast<size_t>(column - 1));
        }
    return columns;
}

void ForEachPersonsEvents(const std::string& people, const std::string& identifiers, const std::string& condition, const EventColumns& columns,
                          const std::function<void(int64, std::span<const EventRow>)>& person) {
    static constexpr const char* kNames[kEventColumns] = {
        "event_id", "message_id", "type", "event", "source", "identifier_id", "occurred_at", "received_at", "sent_at", "user_id",
        "anonymous_id", "previous_id", "group_id", "linked_ids", "properties", "traits", "context"};
    std::string list;
    for (size_t c = 0; c < kEventColumns; ++c) list += columns[c] ? std::string("e.") + kNames[c] + ", " : "NULL, ";
    // Of some, each one's are looked up, whatever the planner knows: where statistics were made of one person with thousands of
    // identifiers, it would read everything for each.
    const std::string from = people.empty()
        ? "cdp.event e JOIN " + identifiers + " i USING (identifier_id) WHERE " + condition
        : people + " p CROSS JOIN LATERAL (SELECT x.identifier_id, x.profile_id FROM " + identifiers + " x WHERE x.profile_id = p.profile_id OFFSET 0) i"
          " CROSS JOIN LATERAL (SELECT * FROM cdp.event e WHERE e.identifier_id = i.identifier_id AND (" + condition + ") OFFSET 0) e";
    pg::Cursor cursor("SELECT " + list + "i.profile_id FROM " + from + " ORDER BY i.profile_id");
    pg::Scratch memory;
    std::vector<EventRow> events;
    int64 current = 0;
    Datum values[kEventColumns + 1];
    bool nulls[kEventColumns + 1];
    const auto finish = [&] {
        if (!events.empty()) {
            std::sort(events.begin(), events.end(), [](const EventRow& a, const EventRow& b) { return a.stamp() < b.stamp(); });
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

void ForEachState(const Traits& traits, int index, const std::string& identifiers, int64 clock,
                  const std::function<void(int64, TraitState&)>& person, bool nothing_too) {
    const Trait& trait = traits.all()[static_cast<size_t>(index)];
    if (trait.standing.failure) throw *trait.standing.failure;
    ForEachPersonsEvents("", identifiers, Counting(trait), ColumnsOf(trait), [&](int64 profile_id, std::span<const EventRow> events) {
        Person somebody(traits, profile_id, clock);
        const FilterResults filters(traits, events, index);
        auto& state = somebody.state().Trait(trait.trait_id, trait.shape());
        if (trait.sequence) state = SequenceState::Unbounded();
        for (size_t i = 0; i < events.size(); ++i)
            if (filters.Passes(index, i)) somebody.AddToTrait(index, events[i]);
        if (trait.sequence) std::get<SequenceState>(state).Bound(*trait.sequence);
        Writer bytes;
        Write(bytes, state);
        if (nothing_too || !bytes.bytes().empty()) person(profile_id, state);
    });
}

void ForEachCountingEvents(const Traits& traits, int index, int64 profile_id, int64 clock,
                           const std::function<void(std::span<const EventRow>)>& counting) {
    const Trait& trait = traits.all()[static_cast<size_t>(index)];
    const pg::Probes probes;
    ForEachPersonsEvents("(SELECT " + std::to_string(profile_id) + "::bigint AS profile_id)", "cdp.identifier", Counting(trait), ColumnsOf(trait),
                         [&](int64, std::span<const EventRow> events) {
        const FilterResults filters(traits, events, index);
        const int64 horizon = trait.window ? trait.window->Horizon(clock) : 0;
        std::vector<EventRow> those;
        for (size_t i = 0; i < events.size(); ++i)
            if (filters.Passes(index, i) && (!trait.window || trait.window->Leaves(events[i].stamp().occurred_at) > horizon)) those.push_back(events[i]);
        if (!those.empty()) counting(those);
    });
}

void FillTrait(const Traits& traits, int trait_id, int64 clock, bool is_new) {
    const int index = static_cast<int>(traits.Find(trait_id) - traits.all().data());
    std::vector<std::pair<int64, TraitState>> states;
    pg::Scratch memory;
    const auto write = [&] {
        const pg::Scratch::Use use(memory);
        const pg::Probes probes;
        People people(traits, clock);
        for (const auto& entry : states) people.Want(entry.first);
        people.Load();
        for (size_t i = 0; i < states.size(); ++i) people.loaded()[i].second.SetTrait(index, std::move(states[i].second));
        people.WriteLoaded();
        states.clear();
        memory.Reset();
    };
    ForEachState(traits, index, "cdp.identifier", clock, [&](int64 profile_id, TraitState& state) {
        states.emplace_back(profile_id, std::move(state));
        if (states.size() == kPeopleAWrite) write();
    }, !is_new);
    if (!states.empty()) write();
}

void ReadSequences(const Traits& traits, std::span<Person* const> people) {
    pg::StagedRows staged("cdp_recompute", {{"profile_id", INT8OID}});
    std::unordered_map<int64, Person*> by_id;
    for (Person* person : people) {
        by_id[person->profile_id()] = person;
        staged.Add({Int64GetDatum(person->profile_id())});
    }
    std::string condition;
    EventColumns columns;
    for (const int index : traits.Sequences()) {
        const Trait& trait = traits.all()[static_cast<size_t>(index)];
        condition += (condition.empty() ? "" : " OR ") + Counting(trait);
        columns |= ColumnsOf(trait);
    }
    const pg::Probes probes;
    ForEachPersonsEvents("cdp_recompute", "cdp.identifier", condition, columns,
                         [&](int64 profile_id, std::span<const EventRow> events) { by_id.at(profile_id)->ReadSequences(events); });
}

}  // namespace cdp::profile
