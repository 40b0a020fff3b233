// segment/segments_read_pg.cpp: reading the segments' definitions; see segments_pg.hpp.
#include <functional>
#include <unordered_map>

#include "segment/followed_pg.hpp"
#include "segment/segments_pg.hpp"

namespace cdp::segment {

namespace {

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
            segments[*i].standing.ReadWith(
                segments[*i].condition->At(call, Error(sqlstate::invalid_object_definition, "segments refer to each other in a circle at \"" +
                                                                                                segments[*i].name + "\"")));
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

std::unique_ptr<pg::Condition> ReadCondition(const std::string& definition, const std::string& what, const profile::Traits& traits, Oid owner,
                                             bool refreshed) {
    pg::Condition::Options options;
    options.clock = refreshed ? pg::Condition::Clock::kAnyUse : pg::Condition::Clock::kAllowed;
    options.subqueries = refreshed ? pg::Condition::Subqueries::kAnyUse : pg::Condition::Subqueries::kFollowed;
    return std::make_unique<pg::Condition>(definition, what, traits.profile_table(), "profile", owner, kSpecialCalls, options);
}

profile::ActivityQuestion QuestionAt(const pg::Condition& condition, size_t call) {
    try {
        return profile::QuestionOf(condition.specials()[call], condition.owner());
    } catch (Error& error) {
        throw condition.At(call, std::move(error));
    }
}

Error Unknown(const pg::Condition& condition, size_t call) {
    const auto& special = condition.specials()[call];
    const std::string name = special.arguments[0].value_or("");
    std::string detail = condition.what() + " refers to it.";
    detail[0] = static_cast<char>(toupper(detail[0]));
    return condition.At(call, (special.function == "in_segment" ? NoSegment(name) : identity::NoType(name)).Detail(std::move(detail)));
}

void Segments::Read(Segment* segment) {
    segment->standing.ReadWith(pg::Attempts::One([&] {
        segment->condition = ReadCondition(segment->definition, "segment \"" + segment->name + "\"", traits_, segment->owner, segment->refreshed);
        if (segment->condition->subqueries().empty()) return;
        CheckFollowed(*segment->condition);
        segment->live = std::make_unique<LiveQuery>(*segment->condition, segment->segment_id, traits_);
    }));
    if (segment->standing.failure) segment->condition.reset();
}

namespace {

/// What conditions may refer to by name.
struct Names {
    std::unordered_map<std::string, int> segments, type_ids;
    govern::Purposes purposes;
};

/// Where the value of a special call comes from. A segment's place is that before ordering; a question of consent has none yet.
Source SourceOf(const Segment& segment, size_t call, const profile::Traits& traits, const Names& names) {
    const auto& special = segment.condition->specials()[call];
    Source source;
    if (special.function == "consented") {
        source.kind = Source::Kind::kConsent;
        source.consent = govern::ConsentAt(*segment.condition, call, names.purposes);
        return source;
    }
    if (profile::AsksForActivity(special)) {
        source.kind = Source::Kind::kActivity;
        source.question = QuestionAt(*segment.condition, call);
        const auto* keeper = traits.Keeping(source.question.activity);
        if (keeper == nullptr) throw Error(sqlstate::data_corrupted, "nothing is kept of what segment \"" + segment.name + "\" asks for");
        source.of = static_cast<int>(keeper - traits.all().data());
        return source;
    }
    if (special.function == "on_list") {
        CheckListCall(*segment.condition, call, segment.name);
        source.kind = Source::Kind::kList;
        source.of = names.segments.at(segment.name);
        return source;
    }
    const bool of_segment = special.function == "in_segment";
    source.kind = of_segment ? Source::Kind::kSegment : Source::Kind::kIdentifierType;
    const auto& known = of_segment ? names.segments : names.type_ids;
    const auto found = known.find(special.arguments[0].value_or(""));
    if (found == known.end()) throw Unknown(*segment.condition, call);
    source.of = found->second;
    return source;
}

}  // namespace

/// Whether a definition that cannot be read may be one over tables of the users'.
static bool MayHaveSubquery(std::string definition) {
    std::transform(definition.begin(), definition.end(), definition.begin(), [](unsigned char c) { return static_cast<char>(tolower(c)); });
    return definition.find("select") != std::string::npos;
}

std::unique_ptr<Segments> Segments::Load(const profile::Traits& traits) {
    auto result = std::make_unique<Segments>(traits);
    Names names;
    names.purposes = govern::Purposes::Load();
    const auto types = pg::Query("SELECT name, type_id FROM cdp.identifier_type");
    for (uint64 i = 0; i < types.size(); ++i) names.type_ids[types.Text(i, 1)] = DatumGetInt32(*types.Get(i, 2));

    const auto rows = pg::Query(
        "SELECT segment_id, name, definition, coalesce((SELECT oid FROM pg_roles WHERE rolname = owner), 0::oid), filled_epoch,"
        " problem IS NOT NULL, owner::text, refresh IS NOT NULL, unreadable FROM cdp.segment ORDER BY segment_id");
    std::vector<Segment> loaded;
    for (uint64 i = 0; i < rows.size(); ++i) {
        Segment segment;
        segment.segment_id = rows.Int8(i, 1);
        segment.name = rows.Text(i, 2);
        segment.definition = rows.Text(i, 3);
        segment.owner = DatumGetObjectId(*rows.Get(i, 4));
        segment.filled_epoch = rows.Int8(i, 5);
        segment.standing.noted = rows.Bool(i, 6);
        segment.standing.unreadable = rows.Bool(i, 9);
        segment.refreshed = rows.Bool(i, 8);
        result->epoch_ = std::max(result->epoch_, segment.filled_epoch);
        names.segments[segment.name] = static_cast<int>(i);
        if (OidIsValid(segment.owner))
            result->Read(&segment);
        else
            segment.standing.ReadWith(Error(sqlstate::undefined_object, "segment \"" + segment.name + "\": role \"" + rows.Text(i, 7) + "\" does not exist"));
        if (!segment.condition && !segment.refreshed && MayHaveSubquery(segment.definition)) result->any_unread_ = true;
        loaded.push_back(std::move(segment));
    }

    References references(loaded.size());
    for (size_t i = 0; i < loaded.size(); ++i) {
        Segment& segment = loaded[i];
        if (!segment.condition) continue;
        for (size_t k = 0; k < segment.condition->specials().size(); ++k) {
            Source source{Source::Kind::kIdentifierType, 0, {}};
            if (auto failure = pg::Attempts::One([&] { source = SourceOf(segment, k, traits, names); }))
                segment.standing.ReadWith(std::move(failure));
            if (source.kind == Source::Kind::kConsent) source.of = result->consents_.Ask(source.consent);
            references[i].push_back(source.kind == Source::Kind::kSegment ? source.of : -1);
            segment.sources.push_back(std::move(source));
        }
    }
    const auto order = DependencyOrder(loaded, references);
    std::vector<int> new_place(loaded.size());
    for (size_t place = 0; place < order.size(); ++place) new_place[order[place]] = static_cast<int>(place);
    for (const size_t i : order) {
        Segment& segment = loaded[i];
        for (Source& source : segment.sources)
            if (source.kind == Source::Kind::kSegment || source.kind == Source::Kind::kList) source.of = new_place[static_cast<size_t>(source.of)];
        result->place_[segment.segment_id] = static_cast<int>(result->segments_.size());
        result->segments_.push_back(std::move(segment));
    }
    result->Index();
    return result;
}

}  // namespace cdp::segment
