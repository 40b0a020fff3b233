// segment/segments_pg.cpp: see segments_pg.hpp.
#include "segment/segments_pg.hpp"

#include <bit>
#include <unordered_map>

#include "segment/followed_pg.hpp"

namespace cdp::segment {

namespace {

constexpr size_t kBits = 64;
// People are looked at in blocks whose rows stay in the processor's cache while one segment after another reads them.
constexpr size_t kBlock = 512;

void Put(std::vector<uint64_t>& set, int place) { set[static_cast<size_t>(place) / kBits] |= 1ULL << place % kBits; }

}  // namespace

void Segments::Index() {
    const size_t words = segments_.size() / kBits + 1;
    of_column_.assign(static_cast<size_t>(traits_.input_count()), Set(words));
    of_identifiers_.assign(words, 0);
    of_consents_.assign(words, 0);
    of_clock_.assign(words, 0);
    all_.assign(words, 0);
    for (size_t s = 0; s < segments_.size(); ++s)
        if (!segments_[s].standing.failure) IndexOne(static_cast<int>(s));
    IndexNew();
}

/// Appends the answers to the special calls of a segment's condition; the next instant at which one changes.
int64 Segments::Answers(const Segment& segment, profile::Person& person, const std::function<bool(int place)>& is_member,
                        const std::function<bool(int question)>& consents, std::vector<pg::Condition::Input>* inputs) const {
    int64 changes = profile::Person::kNever;
    for (const Source& source : segment.sources) {
        switch (source.kind) {
            case Source::Kind::kList:
            case Source::Kind::kSegment: inputs->push_back({BoolGetDatum(is_member(source.of)), false}); break;
            case Source::Kind::kConsent: inputs->push_back({BoolGetDatum(consents(source.of)), false}); break;
            case Source::Kind::kIdentifierType:
                inputs->push_back({BoolGetDatum(person.state().IdentifierCount(source.of) > 0), false});
                break;
            case Source::Kind::kActivity: {
                const auto& keeper = traits_.all()[static_cast<size_t>(source.of)];
                const auto answer = profile::Ask(keeper, person.state().Peek(keeper.trait_id, keeper.shape()), source.question, person.clock());
                inputs->push_back({answer.value, answer.null});
                changes = std::min(changes, answer.changes);
            }
        }
    }
    return changes;
}

/// Who meets which conditions when nothing is known of them yet: of somebody new only those are looked at that such a one is in,
/// that the clock may change, or that read something which is known. Most are of neither kind.
void Segments::IndexNew() {
    of_new_.assign(all_.size(), 0);
    profile::Person nobody(traits_, 0, 0);
    nobody.Finish();
    std::vector<char> member(segments_.size()), holds;
    const pg::Condition::Row row{nobody.values(), nobody.nulls(), 0};
    pg::Attempts attempts;
    for (size_t s = 0; s < segments_.size(); ++s) {
        const Segment& segment = segments_[s];
        if (segment.standing.Still() || segment.refreshed) continue;
        bool known = !segment.by_clock && !segment.live && std::none_of(segment.sources.begin(), segment.sources.end(), [&](const Source& source) {
            return source.kind == Source::Kind::kConsent ||
                   (source.kind == Source::Kind::kActivity && traits_.all()[static_cast<size_t>(source.of)].standing.Still());
        });
        if (known) {
            const auto failure = attempts.Run([&] {
                std::vector<pg::Condition::Input> inputs;
                Answers(segment, nobody, [&](int place) { return member[static_cast<size_t>(place)] != 0; }, [](int) { return false; }, &inputs);
                segment.condition->Evaluate({&row, 1}, inputs, &holds);
            });
            known = !failure && holds[0] == 0;
            member[s] = !failure && holds[0] != 0;
        }
        if (!known) Put(of_new_, static_cast<int>(s));
    }
    attempts.Commit();
}

bool Segments::LookedAtWhenNew(int place) const { return (of_new_[static_cast<size_t>(place) / kBits] >> place % kBits & 1) != 0; }

void Segments::IndexOne(int place) {
    Segment& segment = segments_[static_cast<size_t>(place)];
    for (const Source& source : segment.sources)
        if (source.kind == Source::Kind::kSegment) segments_[static_cast<size_t>(source.of)].read_by.push_back(place);
    if (segment.refreshed) return;
    Put(all_, place);
    bool by_window = false;  // it reads what the clock changes
    for (const int column : segment.condition->columns()) {
        if (column > 0) {
            Put(of_column_[static_cast<size_t>(column - 1)], place);
            // What users write into columns of theirs is seen when the person has a message again.
            if (traits_.IsForeign(column - 1)) Put(of_column_[profile::kEventCount], place);
        } else {  // the row as a whole
            for (int c = 0; c < traits_.column_count(); ++c) Put(of_column_[static_cast<size_t>(c)], place);
        }
        for (const int windowed : traits_.Windowed())
            by_window = by_window || column == 0 || traits_.all()[static_cast<size_t>(windowed)].column == column - 1;
    }
    segment.by_clock = segment.condition->UsesClock();
    for (const Source& source : segment.sources) {
        if (source.kind == Source::Kind::kIdentifierType || source.kind == Source::Kind::kList) Put(of_identifiers_, place);
        any_lists_ = any_lists_ || source.kind == Source::Kind::kList;
        if (source.kind == Source::Kind::kConsent) Put(of_consents_, place);
        if (source.kind != Source::Kind::kActivity) continue;
        const auto& keeper = traits_.all()[static_cast<size_t>(source.of)];
        Put(of_column_[static_cast<size_t>(keeper.column)], place);
        segment.by_clock = segment.by_clock || keeper.window;
    }
    if (segment.by_clock || by_window) Put(of_clock_, place);
    if (segment.live) IndexLive(place);
}

void Segments::IndexLive(int place) {
    Segment& segment = segments_[static_cast<size_t>(place)];
    live_.push_back(place);
    Put(of_identifiers_, place);
    for (const pg::TiedTable& table : segment.condition->tables()) {
        const auto known = std::find_if(tables_.begin(), tables_.end(), [&](const auto& t) { return t.second == table.relation; });
        const auto bit = static_cast<size_t>(known - tables_.begin()) % kBits;
        if (known == tables_.end()) tables_.emplace_back(NameOfTable(table.relation), table.relation);
        segment.tables |= 1ULL << bit;
    }
}

Error NoSegment(std::string_view name) {
    return Error(sqlstate::undefined_object, "segment \"" + std::string(name) + "\" does not exist")
        .Hint("cdp.segment lists them; cdp.create_segment makes others.");
}

uint64_t Segments::Readers(std::string_view table) const {
    for (size_t i = 0; i < tables_.size(); ++i)
        if (tables_[i].first == table) return 1ULL << i % kBits;
    return ~0ULL;  // it has got another name
}

bool Segments::ReadsTable(Oid relation) const {
    return any_unread_ || std::any_of(tables_.begin(), tables_.end(), [&](const auto& table) { return table.second == relation; });
}

bool Segments::AnyByClock() const {
    return std::any_of(segments_.begin(), segments_.end(), [](const Segment& segment) { return segment.by_clock; });
}

std::optional<std::vector<char>> Segments::ActivitiesInUse() const {
    std::vector<char> used(traits_.all().size());
    for (const Segment& segment : segments_) {
        if (!segment.condition) return std::nullopt;
        for (const Source& source : segment.sources)
            if (source.kind == Source::Kind::kActivity) used[static_cast<size_t>(source.of)] = 1;
    }
    return used;
}

const Segment* Segments::Named(std::string_view name) const {
    for (const Segment& segment : segments_)
        if (segment.name == name) return &segment;
    return nullptr;
}

const Segment& Segments::Sound(std::string_view name) const {
    const Segment* segment = Named(name);
    if (segment == nullptr) throw NoSegment(name);
    if (segment->standing.failure) throw *segment->standing.failure;
    return *segment;
}

bool Segments::NoteProblems() const {
    bool any = false;
    for (const Segment& segment : segments_) {
        if (!segment.standing.ToBeNoted()) continue;
        pg::NoteProblem("cdp.segment", "segment_id", segment.segment_id, "segment \"" + segment.name + "\"", segment.standing);
        any = true;
    }
    return any;
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

/// Some of the people of a batch, by their places in the block, and what is looked at.
struct Segments::Block {
    size_t words;
    std::vector<uint64_t> chosen, member;         // by person: sets of segments
    std::vector<std::vector<uint32_t>> people_of; // by segment: whom to look at
    std::vector<pg::Condition::Row> rows;         // scratch
    std::vector<pg::Condition::Input> inputs;     // scratch
    std::vector<char> holds;                      // scratch
    std::vector<int64> flips;                     // scratch
    pg::Attempts attempts;

    explicit Block(size_t segments) : words(segments / kBits + 1), people_of(segments) {}
    bool Has(const std::vector<uint64_t>& sets, size_t person, int place) const {
        return sets[person * words + static_cast<size_t>(place) / kBits] >> place % kBits & 1;
    }
    void Flip(std::vector<uint64_t>& sets, size_t person, int place) {
        sets[person * words + static_cast<size_t>(place) / kBits] ^= 1ULL << place % kBits;
    }
};

/// Notes who is in what, and what must be looked at because something that it reads changed.
void Segments::Choose(std::span<const Touched> touched, Block* block) const {
    const size_t words = block->words;
    block->chosen.assign(touched.size() * words, 0);
    block->member.assign(touched.size() * words, 0);
    for (size_t p = 0; p < touched.size(); ++p) {
        uint64_t* chosen = &block->chosen[p * words];
        const auto add = [&](const Set& set) {
            for (size_t w = 0; w < words; ++w) chosen[w] |= set[w];
        };
        if (touched[p].change == Touched::Change::kAll) {
            add(all_);
        } else {
            if (touched[p].change == Touched::Change::kNew) add(of_new_);
            for (const int column : touched[p].person->Finish()) add(of_column_[static_cast<size_t>(column)]);
            if (touched[p].identifiers_changed) add(of_identifiers_);
            if (touched[p].consents_changed) add(of_consents_);
            if (touched[p].person->passed()) add(of_clock_);
            for (const int place : live_)
                if ((touched[p].rows_changed & segments_[static_cast<size_t>(place)].tables) != 0) chosen[static_cast<size_t>(place) / kBits] |= 1ULL << place % kBits;
        }
        for (size_t w = 0; w < words; ++w)
            for (uint64_t left = chosen[w]; left != 0; left &= left - 1)
                block->people_of[w * kBits + static_cast<size_t>(std::countr_zero(left))].push_back(static_cast<uint32_t>(p));
        for (const int64 id : touched[p].person->state().memberships())
            if (const auto place = place_.find(id); place != place_.end()) block->Flip(block->member, p, place->second);
    }
}

int64 Segments::NextChange(const Segment& segment, profile::Person& person, const std::function<bool(int64)>& is_member,
                           const std::function<bool(int)>& consents, std::span<const pg::Condition::Input> subqueries) const {
    std::vector<pg::Condition::Input> inputs;
    const auto of_place = [&](int place) { return is_member(segments_[static_cast<size_t>(place)].segment_id); };
    const int64 changes = Answers(segment, person, of_place, consents, &inputs);
    inputs.insert(inputs.end(), subqueries.begin(), subqueries.end());
    if (!segment.condition->UsesClock()) return changes;
    return std::min(changes, segment.condition->NextFlip({person.values(), person.nulls(), person.clock()}, inputs));
}

/// Why an activity stands still, if it does.
static std::optional<Error> WhyStill(const profile::Trait& keeper) {
    if (!keeper.standing.Still()) return std::nullopt;
    return keeper.standing.failure.value_or(Error(sqlstate::object_not_in_prerequisite_state, keeper.name + " stands still"));
}

/// What the segment is evaluated on: the rows of those who are to be looked at, and the answers to what it asks of them.
void Segments::Gather(int place, std::span<Touched> touched, const LiveQuery::Answers& live, Block* block) {
    const Segment& segment = segments_[static_cast<size_t>(place)];
    const auto& people = block->people_of[static_cast<size_t>(place)];
    block->rows.clear();
    block->inputs.clear();
    for (size_t i = 0; i < people.size(); ++i) {
        const uint32_t p = people[i];
        profile::Person& person = *touched[p].person;
        block->rows.push_back({person.values(), person.nulls(), person.clock()});
        if (!segment.sources.empty() && segment.sources.front().kind == Source::Kind::kList) {
            block->inputs.push_back({BoolGetDatum(lists_.Has(touched[p], segment.segment_id, block->Has(block->member, p, place))), false});
            continue;
        }
        if (!segment.sources.empty()) {
            const int64 changes = Answers(segment, person, [&](int other) { return block->Has(block->member, p, other); },
                                          [&](int question) { return consents_.Covers(question, person.profile_id()); }, &block->inputs);
            if (segment.by_clock) person.DueBy(changes);
        }
        const auto answers = live.Of(i);
        block->inputs.insert(block->inputs.end(), answers.begin(), answers.end());
    }
}

void Segments::EvaluateOne(int place, std::span<Touched> touched, Block* block) {
    Segment& segment = segments_[static_cast<size_t>(place)];
    auto& people = block->people_of[static_cast<size_t>(place)];
    if (people.empty()) return;
    for (const Source& source : segment.sources)
        if (source.kind == Source::Kind::kActivity && !segment.standing.Still()) segment.standing.failure = WhyStill(traits_.all()[static_cast<size_t>(source.of)]);
    if (segment.standing.Still()) return people.clear();
    block->flips.clear();
    segment.standing.failure = block->attempts.Run([&] {
        LiveQuery::Answers live;
        if (segment.live) live = segment.live->Ask(people.size(), [&](size_t i) -> profile::Person& { return *touched[people[i]].person; });
        Gather(place, touched, live, block);
        segment.condition->Evaluate(block->rows, block->inputs, &block->holds);
        if (segment.condition->UsesClock()) segment.condition->NextFlips(block->rows, block->inputs, &block->flips);
    });
    if (segment.standing.failure) return people.clear();
    for (size_t i = 0; i < block->flips.size(); ++i) touched[people[i]].person->DueBy(block->flips[i]);
    for (size_t i = 0; i < people.size(); ++i)
        if (const uint32_t p = people[i]; block->Has(block->member, p, place) != (block->holds[i] != 0)) Move(place, p, touched[p], block);
    people.clear();
}

/// The person at `p` of the block enters the segment, or leaves it.
void Segments::Move(int place, uint32_t p, Touched& touched, Block* block) {
    const Segment& segment = segments_[static_cast<size_t>(place)];
    block->Flip(block->member, p, place);
    const bool entered = block->Has(block->member, p, place);
    for (const int reader : segment.read_by) {  // they come later in the order
        if (segments_[static_cast<size_t>(reader)].refreshed || block->Has(block->chosen, p, reader)) continue;
        block->Flip(block->chosen, p, reader);
        block->people_of[static_cast<size_t>(reader)].push_back(p);
    }
    changes_.push_back({touched.person->profile_id(), segment.segment_id, entered, touched.cause, touched.event_id, touched.person->clock(), touched.since});
    auto& list = touched.person->state().memberships();
    const auto at = std::lower_bound(list.begin(), list.end(), segment.segment_id);
    if (entered)
        list.insert(at, segment.segment_id);
    else if (at != list.end() && *at == segment.segment_id)
        list.erase(at);
}

void Segments::Evaluate(std::span<Touched> touched, const NewIdentifiers& fresh) {
    changes_.clear();
    if (segments_.empty() || touched.empty()) return;
    ReadStale(touched);
    if (any_lists_) lists_.Read(touched, fresh);
    consents_.Forget();
    if (AskConsent()) {
        std::vector<int64> people(touched.size());
        std::transform(touched.begin(), touched.end(), people.begin(), [](const Touched& t) { return t.person->profile_id(); });
        consents_.Read(std::move(people));
    }
    Block block(segments_.size());
    for (size_t begin = 0; begin < touched.size(); begin += kBlock) {
        const auto people = touched.subspan(begin, std::min(kBlock, touched.size() - begin));
        Choose(people, &block);
        for (size_t s = 0; s < segments_.size(); ++s) EvaluateOne(static_cast<int>(s), people, &block);
    }
    block.attempts.Commit();
    for (Touched& t : touched) t.person->state().membership_epoch() = epoch_;
    SortByPerson(&changes_);
}

std::span<Transition> Segments::MovesOf(int64 profile_id) {
    const auto [begin, end] = std::equal_range(changes_.begin(), changes_.end(), Transition{profile_id, 0, false, Cause::kEvent},
                                               [](const Transition& a, const Transition& b) { return a.profile_id < b.profile_id; });
    return {begin, end};
}

}  // namespace cdp::segment
