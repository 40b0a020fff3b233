// pipeline/heal_pg.cpp: see heal_pg.hpp.
#include "pipeline/heal_pg.hpp"

#include <set>

#include "pipeline/batch_pg.hpp"
#include "profile/history_pg.hpp"
#include "segment/fill_pg.hpp"

namespace cdp::pipeline {

namespace {

template <class T>
std::set<std::string> Healed(const std::vector<T>& defined) {
    std::set<std::string> names;
    for (const T& one : defined)
        if (one.standing.Healed()) names.insert(one.name);
    return names;
}

void ClearProblem(const char* table, const std::set<std::string>& names) {
    for (const auto& name : names) pg::Execute(std::string("UPDATE ") + table + " SET problem = NULL WHERE name = $1", {pg::Text(name)});
}

/// Fills the traits; their columns. One that fails on an event stands still for that.
std::set<int> FillTraits(profile::Traits& traits, const std::set<std::string>& names) {
    std::set<int> columns;
    for (auto& trait : traits.all()) {
        if (!names.contains(trait.name) || trait.standing.Still()) continue;
        trait.standing.failure = pg::Attempts::One([&] { profile::FillTrait(traits, trait.trait_id, false); });
        if (!trait.standing.failure) columns.insert(trait.column + 1);
    }
    return columns;
}

/// Fills the segments, those that read one of the columns, and those that refer to any of these. Their names.
std::vector<std::string> FillSegments(segment::Segments& segments, const std::set<std::string>& names, const std::set<int>& columns) {
    std::vector<std::string> filled;
    std::vector<char> refers(segments.all().size());
    for (size_t i = 0; i < segments.all().size(); ++i) {
        auto& segment = segments.all()[i];
        if (segment.standing.Still()) continue;
        const auto& read = segment.condition->columns();
        const bool reads = !columns.empty() && std::any_of(read.begin(), read.end(), [&](int column) { return column == 0 || columns.contains(column); });
        if (!refers[i] && !reads && !names.contains(segment.name)) continue;
        segment.standing.failure = pg::Attempts::One([&] { segment::Fill(segment, false, "mended"); });
        if (segment.standing.failure) continue;
        filled.push_back(segment.name);
        for (const int reader : segment.read_by) refers[static_cast<size_t>(reader)] = 1;
    }
    return filled;
}

void Tell(const std::string& what) {
    pg::Call([&] { ereport(IsBackgroundWorker ? LOG : NOTICE, (errmsg("%s goes on", what.c_str()), errdetail("Its definition can be read again."))); });
}

}  // namespace

void Heal() {
    const auto& before = Current();
    const auto traits = Healed(before.traits->all()), segments = Healed(before.segments->all());
    if ((traits.empty() && segments.empty()) || XactReadOnly) return;
    ClearProblem("cdp.trait", traits);
    ClearProblem("cdp.segment", segments);
    TouchConfiguration();
    Definitions& definitions = Current();
    const auto columns = FillTraits(*definitions.traits, traits);
    const auto filled = FillSegments(*definitions.segments, segments, columns);
    definitions.destinations.Refill(filled, !columns.empty());
    definitions.traits->NoteProblems();
    definitions.segments->NoteProblems();
    TouchConfiguration();
    for (const auto& name : traits)
        if (!definitions.traits->Named(name)->standing.failure) Tell("trait \"" + name + "\"");
    for (const auto& name : segments)
        if (!definitions.segments->Named(name)->standing.failure) Tell("segment \"" + name + "\"");
    Current();
}

}  // namespace cdp::pipeline
