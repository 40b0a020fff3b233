// segment/segments_pg.cpp: see segments_pg.hpp.
#include "segment/segments_pg.hpp"

#include <functional>
#include <unordered_map>

namespace cdp::segment {

namespace {

constexpr size_t kBits = 64;

/// Which segments each refers to: their places, by special call; -1 where the call is none of another segment.
using References = std::vector<std::vector<int>>;

/// Places in an order in which each comes after those it refers to. Those that go in a circle fail.
std::vector<size_t> DependencyOrder(std::vector<Segment>& segments, References& references) {
    std::vector<size_t> order, path;
    std::vector<char> mark(segments.size());  // 1: being visited, 2: done
    const auto break_circle = [&](size_t end) {
        for (auto i = std::find(path.begin(), path.end(), end); i != path.end(); ++i) {
            const size_t next = i + 1 == path.end() ? end : *(i + 1);
            const auto& calls = references[*i];
            const auto call = static_cast<size_t>(std::find(calls.begin(), calls.end(), static_cast<int>(next)) - calls.begin());
            segments[*i].standing.failure =
                segments[*i].condition->At(call, Error(sqlstate::invalid_object_definition, "segments refer to each other in a circle at \"" +
                                                                                                segments[*i].name + "\""));
        }
    };
    const std::function<void(size_t)> visit = [&](size_t i) {
        if (mark[i] == 2) return;
        if (mark[i] == 1) return break_circle(i);
        mark[i] = 1;
        path.push_back(i);
        for (const int other : references[i])
            if (other >= 0) visit(static_cast<size_t>(other));
        path.pop_back();
        mark[i] = 2;
        order.push_back(i);
    };
    for (size_t i = 0; i < segments.size(); ++i) visit(i);
    return order;
}

}  // namespace

Error Unknown(const pg::Condition& condition, size_t call) {
    const auto& special = condition.specials()[call];
    const char* kind = special.function == "in_segment" ? "segment" : "identifier type";
    std::string detail = condition.what() + " refers to it.";
    detail[0] = static_cast<char>(toupper(detail[0]));
    return condition.At(call, Error(sqlstate::undefined_object, std::string(kind) + " \"" + special.argument + "\" does not exist")
                                  .Detail(std::move(detail)));
}

void Segments::Read(Segment* segment, Oid profile_table) {
    segment->standing.failure = pg::Attempts::One([&] {
        segment->condition = std::make_unique<pg::Condition>(segment->definition, "segment \"" + segment->name + "\"", profile_table,
                                                             "profile", segment->owner, kSpecialCalls);
    });
    if (segment->standing.failure) segment->condition.reset();
}

std::unique_ptr<Segments> Segments::Load(const profile::Traits& traits) {
    auto result = std::make_unique<Segments>();
    result->traits_ = &traits;
    std::unordered_map<std::string, int> type_ids;
    const auto types = pg::Query("SELECT name, type_id FROM cdp.identifier_type");
    for (uint64 i = 0; i < types.size(); ++i) type_ids[types.Text(i, 1)] = DatumGetInt32(*types.Get(i, 2));

    const auto rows = pg::Query(
        "SELECT segment_id, name, definition, coalesce((SELECT oid FROM pg_roles WHERE rolname = owner), 0::oid), filled_epoch,"
        " problem IS NOT NULL, owner::text FROM cdp.segment ORDER BY segment_id");
    std::vector<Segment> loaded;
    std::unordered_map<std::string, int> by_name;
    for (uint64 i = 0; i < rows.size(); ++i) {
        Segment segment;
        segment.segment_id = rows.Int8(i, 1);
        segment.name = rows.Text(i, 2);
        segment.definition = rows.Text(i, 3);
        segment.owner = DatumGetObjectId(*rows.Get(i, 4));
        segment.filled_epoch = rows.Int8(i, 5);
        segment.standing.noted = rows.Bool(i, 6);
        result->epoch_ = std::max(result->epoch_, segment.filled_epoch);
        by_name[segment.name] = static_cast<int>(i);
        if (OidIsValid(segment.owner))
            Read(&segment, traits.profile_table());
        else
            segment.standing.failure = Error(sqlstate::undefined_object, "segment \"" + segment.name + "\": role \"" + rows.Text(i, 7) + "\" does not exist");
        loaded.push_back(std::move(segment));
    }

    References references(loaded.size());
    for (size_t i = 0; i < loaded.size(); ++i) {
        Segment& segment = loaded[i];
        segment.columns.resize(static_cast<size_t>(traits.column_count()) / kBits + 1);
        if (!segment.condition) continue;
        for (const int column : segment.condition->columns()) {
            if (column == 0)
                segment.columns.assign(segment.columns.size(), ~0ULL);
            else
                segment.columns[static_cast<size_t>(column - 1) / kBits] |= 1ULL << (column - 1) % kBits;
        }
        for (size_t k = 0; k < segment.condition->specials().size(); ++k) {
            const auto& call = segment.condition->specials()[k];
            const bool of_segment = call.function == "in_segment";
            const auto& known = of_segment ? by_name : type_ids;
            const auto found = known.find(call.argument);
            if (found == known.end()) segment.standing.failure = Unknown(*segment.condition, k);
            segment.reads_identifiers |= !of_segment;
            segment.inputs.push_back(found == known.end() ? 0 : found->second);
            references[i].push_back(of_segment && found != known.end() ? found->second : -1);
        }
    }
    const auto order = DependencyOrder(loaded, references);
    std::vector<int> new_place(loaded.size());
    for (size_t place = 0; place < order.size(); ++place) new_place[order[place]] = static_cast<int>(place);
    for (const size_t i : order) {
        Segment& segment = loaded[i];
        for (size_t k = 0; k < references[i].size(); ++k) {
            if (references[i][k] < 0) continue;
            segment.inputs[k] = new_place[references[i][k]];
            segment.reads_segments.push_back(segment.inputs[k]);
        }
        result->place_[segment.segment_id] = static_cast<int>(result->segments_.size());
        result->segments_.push_back(std::move(segment));
    }
    return result;
}

const Segment* Segments::Named(std::string_view name) const {
    for (const Segment& segment : segments_)
        if (segment.name == name) return &segment;
    return nullptr;
}

const Segment& Segments::Sound(std::string_view name) const {
    const Segment* segment = Named(name);
    if (segment == nullptr) throw Error(sqlstate::undefined_object, "segment \"" + std::string(name) + "\" does not exist");
    if (segment->standing.failure) throw *segment->standing.failure;
    return *segment;
}

bool Segments::NoteProblems() const {
    bool any = false;
    for (const Segment& segment : segments_) {
        if (!segment.standing.ToBeNoted()) continue;
        pg::NoteProblem("cdp.segment", "segment_id", segment.segment_id, "segment \"" + segment.name + "\"", *segment.standing.failure);
        any = true;
    }
    return any;
}

void Segments::Holds(const Segment& segment, std::span<Touched> touched, std::span<const size_t> places,
                     std::span<const std::vector<char>> member, std::vector<char>* holds) const {
    const auto& specials = segment.condition->specials();
    std::vector<pg::Condition::Row> rows;
    for (const size_t p : places) rows.push_back({touched[p].person->values(), touched[p].person->nulls()});
    segment.condition->Evaluate(
        rows,
        [&](size_t row, size_t k) {
            const size_t p = places[row];
            if (specials[k].function == "in_segment") return member[segment.inputs[k]][p] != 0;
            return touched[p].person->state().IdentifierCount(segment.inputs[k]) > 0;
        },
        holds);
}

void Segments::ReadStale(std::span<Touched> touched) {
    // A segment was filled since these states were written: ask the table.
    std::unordered_map<int64, profile::Person*> stale;
    for (const Touched& t : touched)
        if (t.person->state().membership_epoch() < epoch_) stale[t.person->profile_id()] = t.person;
    if (stale.empty()) return;
    static pg::Statement read(
        "SELECT m.profile_id, m.segment_id FROM cdp_batch_stale b JOIN cdp.segment_member m ON m.profile_id = b.profile_id");
    pg::StagedRows staged("cdp_batch_stale", {{"profile_id", INT8OID}});
    std::vector<int64> ids;
    for (auto& [profile_id, person] : stale) {
        person->state().memberships().clear();
        person->state().membership_epoch() = epoch_;
        ids.push_back(profile_id);
    }
    std::sort(ids.begin(), ids.end());
    for (const int64 id : ids) staged.Add({Int64GetDatum(id)});
    const auto rows = read.Query();
    for (uint64 i = 0; i < rows.size(); ++i) stale[rows.Int8(i, 1)]->state().memberships().push_back(rows.Int8(i, 2));
    for (auto& entry : stale) std::sort(entry.second->state().memberships().begin(), entry.second->state().memberships().end());
}

void Segments::Evaluate(std::span<Touched> touched) {
    changes_.clear();
    if (segments_.empty() || touched.empty()) return;
    ReadStale(touched);
    const size_t people = touched.size();
    const size_t words = static_cast<size_t>(traits_->column_count()) / kBits + 1;

    // Who is in which segment; and by person, which columns changed.
    std::vector<std::vector<char>> member(segments_.size(), std::vector<char>(people));
    std::vector<uint64_t> changed(people * words);
    for (size_t p = 0; p < people; ++p) {
        for (const int64 id : touched[p].person->state().memberships())
            if (const auto place = place_.find(id); place != place_.end()) member[place->second][p] = 1;
        for (const int column : touched[p].person->Finish())
            changed[p * words + static_cast<size_t>(column) / kBits] |= 1ULL << column % kBits;
    }

    std::vector<std::vector<char>> moved(segments_.size());  // by segment, person: whether membership changed
    std::vector<size_t> places;
    std::vector<char> holds;
    pg::Attempts attempts;
    for (size_t s = 0; s < segments_.size(); ++s) {
        Segment& segment = segments_[s];
        if (segment.standing.Still()) continue;
        places.clear();
        for (size_t p = 0; p < people; ++p) {
            bool look = touched[p].all_changed || (segment.reads_identifiers && touched[p].identifiers_changed);
            for (size_t w = 0; w < words && !look; ++w) look = (segment.columns[w] & changed[p * words + w]) != 0;
            for (size_t r = 0; r < segment.reads_segments.size() && !look; ++r) {
                const auto& other = moved[segment.reads_segments[r]];
                look = !other.empty() && other[p];
            }
            if (!look) continue;
            places.push_back(p);
        }
        if (places.empty()) continue;
        if (auto failure = attempts.Run([&] { Holds(segment, touched, places, member, &holds); })) {
            segment.standing.failure = std::move(failure);
            continue;
        }
        for (size_t i = 0; i < places.size(); ++i) {
            const size_t p = places[i];
            if (member[s][p] == holds[i]) continue;
            member[s][p] = holds[i];
            if (moved[s].empty()) moved[s].resize(people);
            moved[s][p] = 1;
            changes_.push_back({touched[p].person->profile_id(), segment.segment_id, holds[i] != 0, touched[p].event_id, touched[p].cause});
            auto& list = touched[p].person->state().memberships();
            const auto place = std::lower_bound(list.begin(), list.end(), segment.segment_id);
            if (holds[i])
                list.insert(place, segment.segment_id);
            else if (place != list.end() && *place == segment.segment_id)
                list.erase(place);
        }
    }
    attempts.Commit();
    for (Touched& t : touched) t.person->state().membership_epoch() = epoch_;
}

void Segments::Write(bool any_gone) {
    if (any_gone) {
        static pg::Statement take_out(
            "WITH gone AS (DELETE FROM cdp.segment_member m USING cdp_batch_merge b WHERE m.profile_id = b.gone"
            "              RETURNING m.profile_id, m.segment_id),"
            " sized AS (UPDATE cdp.segment s SET size = s.size - g.n"
            "           FROM (SELECT segment_id, count(*) AS n FROM gone GROUP BY segment_id) g WHERE s.segment_id = g.segment_id)"
            " INSERT INTO cdp.segment_transition (profile_id, segment_id, entered, at, cause)"
            " SELECT profile_id, segment_id, false, now(), 'merge' FROM gone");
        take_out.Execute();
    }
    if (changes_.empty()) return;
    std::sort(changes_.begin(), changes_.end(), [](const Change& a, const Change& b) {
        return std::tie(a.profile_id, a.segment_id) < std::tie(b.profile_id, b.segment_id);
    });
    std::map<int64, int64> growth;
    pg::StagedRows staged("cdp_batch_transition", {{"profile_id", INT8OID}, {"segment_id", INT8OID}, {"entered", BOOLOID},
                                                   {"cause", TEXTOID}, {"event_id", INT8OID}});
    for (const Change& change : changes_) {
        const Datum values[] = {Int64GetDatum(change.profile_id), Int64GetDatum(change.segment_id), BoolGetDatum(change.entered),
                                pg::TextDatum(change.cause), Int64GetDatum(change.event_id)};
        const bool nulls[] = {false, false, false, false, change.event_id == 0};
        staged.Add(values, nulls);
        growth[change.segment_id] += change.entered ? 1 : -1;
    }
    static pg::Statement enter(
        "INSERT INTO cdp.segment_member (profile_id, segment_id, entered_at)"
        " SELECT profile_id, segment_id, now() FROM cdp_batch_transition WHERE entered ON CONFLICT DO NOTHING");
    static pg::Statement leave(
        "DELETE FROM cdp.segment_member m USING cdp_batch_transition b"
        " WHERE NOT b.entered AND m.profile_id = b.profile_id AND m.segment_id = b.segment_id");
    static pg::Statement record(
        "INSERT INTO cdp.segment_transition (profile_id, segment_id, entered, at, cause, event_id)"
        " SELECT profile_id, segment_id, entered, now(), cause, event_id FROM cdp_batch_transition");
    enter.Execute();
    leave.Execute();
    record.Execute();
    static pg::Statement resize("UPDATE cdp.segment s SET size = s.size + b.growth FROM cdp_batch_growth b WHERE s.segment_id = b.segment_id");
    pg::StagedRows sizes("cdp_batch_growth", {{"segment_id", INT8OID}, {"growth", INT8OID}});
    for (const auto& [segment_id, by] : growth)
        if (by != 0) sizes.Add({Int64GetDatum(segment_id), Int64GetDatum(by)});
    if (sizes.size() > 0) resize.Execute();
}

}  // namespace cdp::segment
