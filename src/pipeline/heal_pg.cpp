// pipeline/heal_pg.cpp: see heal_pg.hpp.
#include "pipeline/heal_pg.hpp"

#include <set>

#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"
#include "profile/history_pg.hpp"
#include "segment/fill_pg.hpp"
#include "segment/followed_pg.hpp"

namespace cdp::pipeline {

namespace {

/// What goes on: ids.
struct Healed {
    std::set<int> traits;
    std::set<int64> segments;

    explicit Healed(const Definitions& definitions) {
        for (const auto& trait : definitions.traits->all())
            if (trait.standing.Healed()) traits.insert(trait.trait_id);
        for (const auto& segment : definitions.segments->all())
            if (segment.standing.Healed() || (segment.standing.noted && !segment.standing.failure && AsksForOne(definitions, segment)))
                segments.insert(segment.segment_id);
    }
    bool AsksForOne(const Definitions& definitions, const segment::Segment& segment) const {
        return std::any_of(segment.sources.begin(), segment.sources.end(), [&](const segment::Source& source) {
            return source.kind == segment::Source::Kind::kActivity && traits.contains(definitions.traits->all()[static_cast<size_t>(source.of)].trait_id);
        });
    }
    void ClearProblems() const {
        for (const int id : traits) {
            pg::Execute("UPDATE cdp.trait SET problem = NULL WHERE trait_id = $1", {pg::Int4(id)});
            pg::Execute("UPDATE cdp.activity SET problem = NULL WHERE trait_id = $1", {pg::Int4(id)});
        }
        for (const int64 id : segments) pg::Execute("UPDATE cdp.segment SET problem = NULL WHERE segment_id = $1", {pg::Int8(id)});
    }
};

/// Fills the traits. The columns of those that could be; one that fails on an event stands still for that.
std::set<int> FillTraits(profile::Traits& traits, const std::set<int>& ids) {
    std::set<int> columns;
    for (auto& trait : traits.all()) {
        if (!ids.contains(trait.trait_id) || trait.standing.Still()) continue;
        trait.standing.failure = pg::Attempts::One([&] { profile::FillTrait(traits, trait.trait_id, pg::Now(), false); });
        if (!trait.standing.failure && !trait.activity) columns.insert(trait.column + 1);
    }
    return columns;
}

/// Fills the segments, those that read one of the columns, and those that refer to any of these. Their names.
std::vector<std::string> FillSegments(Definitions& definitions, const Healed& healed, const std::set<int>& columns) {
    auto& segments = *definitions.segments;
    std::vector<std::string> filled;
    std::vector<char> refers(segments.all().size());
    for (size_t i = 0; i < segments.all().size(); ++i) {
        auto& segment = segments.all()[i];
        if (segment.standing.Still()) continue;
        const bool own = healed.segments.contains(segment.segment_id);
        const auto& read = segment.condition->columns();
        const bool reads = !columns.empty() && std::any_of(read.begin(), read.end(), [&](int column) { return column == 0 || columns.contains(column); });
        if (!own && (segment.refreshed || (!refers[i] && !reads && !healed.AsksForOne(definitions, segment)))) continue;
        segment.standing.failure = pg::Attempts::One([&] { segment::Fill(segments, segment, *definitions.traits, false, segment::Cause::kMended); });
        if (segment.standing.failure) continue;
        filled.push_back(segment.name);
        for (const int reader : segment.read_by) refers[static_cast<size_t>(reader)] = 1;
    }
    return filled;
}

bool AnyUnreadable(const Definitions& definitions) {
    const auto fails = [](const auto& defined) { return defined.standing.failure.has_value(); };
    const auto& traits = definitions.traits->all();
    const auto& segments = definitions.segments->all();
    return std::any_of(traits.begin(), traits.end(), fails) || std::any_of(segments.begin(), segments.end(), fails);
}

/// Has the triggers of followed tables fire as they should, if segments may stand still for them.
void EnableTriggers(const segment::Segments& segments) {
    const bool any = std::any_of(segments.all().begin(), segments.all().end(), [](const segment::Segment& segment) {
        return segment.standing.failure && segment.standing.failure->sqlstate == sqlstate::object_not_in_prerequisite_state;
    });
    if (any) pg::Attempts::One([] { segment::EnableTriggers(); });
}

void Tell(const std::string& what) {
    pg::Call([&] { ereport(IsBackgroundWorker ? LOG : NOTICE, (errmsg("%s goes on", what.c_str()), errdetail("Its definition can be read again."))); });
}

}  // namespace

void Heal() {
    if (XactReadOnly) return;
    const Definitions* found = &Current();
    if (AnyUnreadable(*found)) {
        NoteProblems(*found);  // what they miss from here on is made up for
        EnableTriggers(*found->segments);
        found = &Current();
    }
    const Healed healed(*found);
    if (healed.traits.empty() && healed.segments.empty()) return;
    healed.ClearProblems();
    TouchConfiguration();
    Definitions& definitions = Current();
    const auto columns = FillTraits(*definitions.traits, healed.traits);
    const auto filled = FillSegments(definitions, healed, columns);
    if (columns.empty())
        definitions.destinations.Refill(filled);
    else
        definitions.destinations.RefillAll();
    definitions.traits->NoteProblems();
    definitions.segments->NoteProblems();
    TouchConfiguration();
    for (const auto& trait : definitions.traits->all())
        if (healed.traits.contains(trait.trait_id) && !trait.standing.failure) Tell(trait.activity ? trait.name : "trait \"" + trait.name + "\"");
    for (const auto& segment : definitions.segments->all())
        if (healed.segments.contains(segment.segment_id) && !segment.standing.failure) Tell("segment \"" + segment.name + "\"");
    Current();
}

}  // namespace cdp::pipeline
