// profile/people_pg.cpp: see people_pg.hpp.
#include "profile/people_pg.hpp"

#include "pg/read_ahead.hpp"
#include "pg/table_writer.hpp"
#include "profile/history_pg.hpp"
#include "profile/timers_pg.hpp"

namespace cdp::profile {

namespace {

constexpr long kRowsAFetch = 10'000;

/// Rows as Traits::Access reads them, made people.
class RowReader {
public:
    explicit RowReader(const Traits& traits)
        : traits_(traits), read_(traits.access().readable.size() + 1), values_(static_cast<size_t>(traits.column_count())),
          read_nulls_(new bool[read_.size()]), nulls_(new bool[values_.size()]) {
        std::fill_n(nulls_.get(), values_.size(), true);
    }
    Person Read(const pg::Rows& rows, uint64 i, int64 clock) {
        const auto& readable = traits_.access().readable;
        rows.Deform(i, read_.data(), read_nulls_.get());
        for (size_t k = 0; k < readable.size(); ++k) {
            values_[static_cast<size_t>(readable[k])] = read_[k];
            nulls_[static_cast<size_t>(readable[k])] = read_nulls_[k];
        }
        return Person(traits_, values_.data(), nulls_.get(), pg::Place(read_.back()), clock);
    }

private:
    const Traits& traits_;
    std::vector<Datum> read_, values_;
    const std::unique_ptr<bool[]> read_nulls_, nulls_;
};

}  // namespace

void ForEachPerson(const Traits& traits, const std::string& table, int64 clock, const std::function<void(Person&)>& work) {
    pg::Cursor cursor("SELECT " + traits.access().read_list + " FROM " + table + " p");
    RowReader reader(traits);
    pg::Scratch memory;
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        {
            const pg::Scratch::Use use(memory);
            for (uint64 i = 0; i < rows.size(); ++i) {
                Person person = reader.Read(rows, i, clock);
                work(person);
            }
        }
        memory.Reset();
    }
}

void People::Load() {
    std::sort(wanted_.begin(), wanted_.end());
    wanted_.erase(std::unique(wanted_.begin(), wanted_.end()), wanted_.end());
    if (wanted_.empty()) return;
    pg::ReadAhead("profile_pkey", wanted_.size(), [&](size_t i, Datum* values) { values[0] = Int64GetDatum(wanted_[i]); });
    pg::StagedRows staged("cdp_batch_wanted", {{"profile_id", INT8OID}});
    for (const int64 id : wanted_) staged.Add({Int64GetDatum(id)});
    auto& access = traits_.access();
    rows_ = access.read.Query();

    // A join gives them in the order of ids or of the table, as it is planned.
    std::vector<std::pair<int64, uint64>> order(rows_.size());
    for (uint64 i = 0; i < rows_.size(); ++i) order[i] = {rows_.Int8(i, kProfileId + 1), i};
    if (!std::is_sorted(order.begin(), order.end())) std::sort(order.begin(), order.end());

    RowReader reader(traits_);
    loaded_.reserve(rows_.size());
    for (const auto& [id, i] : order) {
        Person person = reader.Read(rows_, i, clock_);
        loaded_.emplace_back(id, std::move(person));
        row_of_loaded_.push_back(i);
    }
    if (loaded_.size() != wanted_.size())
        throw Error(sqlstate::data_corrupted, "profiles are missing that identifiers belong to")
            .Detail(std::to_string(wanted_.size() - loaded_.size()) + " of " + std::to_string(wanted_.size()))
            .Hint("Somebody changed cdp.profile or cdp.identifier by hand; cdp.rebuild(repair => true) makes them afresh.");
}

std::unordered_map<int64, int64> People::Overdue() const {
    std::unordered_map<int64, int64> overdue;
    for (const auto& [profile_id, person] : loaded_)
        if (person.overdue() != 0) overdue[profile_id] = person.overdue();
    return overdue;
}

Person People::Before(int64 profile_id) const {
    const auto found = std::lower_bound(loaded_.begin(), loaded_.end(), profile_id, [](const auto& entry, int64 id) { return entry.first < id; });
    if (found == loaded_.end() || found->first != profile_id) return Person(traits_, profile_id, clock_);
    // cppcheck-suppress returnDanglingLifetime ; a Person copies what it is made of
    return RowReader(traits_).Read(rows_, row_of_loaded_[static_cast<size_t>(found - loaded_.begin())], clock_);
}

void People::Arrange(identity::Resolver& resolver) {
    constexpr size_t none = SIZE_MAX;
    place_of_node_.assign(static_cast<size_t>(resolver.nodes()), none);
    // First the survivors, then those who became them.
    const auto add = [&](int root, Person* person, bool is_new) {
        place_of_node_[root] = people_.size();
        people_.push_back(person);
        is_new_.push_back(is_new);
        merged_.push_back(false);
        root_of_place_.push_back(root);
    };
    for (size_t i = 0; i < loaded_.size(); ++i) {
        const int node = nodes_.at(loaded_[i].first);
        if (resolver.ProfileOf(node) == loaded_[i].first) add(resolver.Root(node), &loaded_[i].second, false);
    }
    for (int node = 0; node < resolver.nodes(); ++node) {
        const int root = resolver.Root(node);
        if (place_of_node_[root] == none) add(root, &made_.emplace_back(traits_, resolver.ProfileOf(node), clock_), true);
        place_of_node_[node] = place_of_node_[root];
        if (resolver.OwnProfile(node) != resolver.ProfileOf(node)) merged_[place_of_node_[node]] = true;
    }
    for (auto& [profile_id, person] : loaded_) {
        Person& now = OfNode(nodes_.at(profile_id));
        if (&now != &person) now.Merge(person);
    }
}

void People::CountIdentifiers(identity::Resolver& resolver, std::span<const identity::TypeRule> rules) {
    identifiers_changed_.assign(people_.size(), 0);
    for (size_t place = 0; place < people_.size(); ++place) {
        const auto counts = resolver.Counts(root_of_place_[place]);
        auto& state = people_[place]->state();
        for (size_t type = 0; type < rules.size(); ++type) {
            if (state.IdentifierCount(rules[type].type_id) == counts[type]) continue;
            state.SetIdentifierCount(rules[type].type_id, counts[type]);
            identifiers_changed_[place] = 1;
        }
        if (resolver.IsMarked(root_of_place_[place])) state.SetIdentifierCount(kMarkedTypeId, 1);
    }
}

std::vector<segment::Touched> People::Touched() {
    std::vector<segment::Touched> touched;
    touched.reserve(people_.size());
    for (size_t place = 0; place < people_.size(); ++place) {
        people_[place]->Finish();
        using Change = segment::Touched::Change;
        const auto change = merged_[place] ? Change::kAll : is_new_[place] ? Change::kNew : Change::kSome;
        touched.push_back({people_[place], 0, change, identifiers_changed_[place] != 0,
                           merged_[place] ? segment::Cause::kMerge : segment::Cause::kEvent, merged_[place] != 0});
    }
    return touched;
}

void People::StartOver(std::span<const int64> made) {
    for (auto& [profile_id, person] : loaded_) {
        person.StartOver();
        people_.push_back(&person);
    }
    for (const int64 profile_id : made) people_.push_back(&made_.emplace_back(traits_, profile_id, clock_));
    std::sort(people_.begin(), people_.end(), [](const Person* a, const Person* b) { return a->profile_id() < b->profile_id(); });
    for (const Person* person : people_) is_new_.push_back(std::binary_search(made.begin(), made.end(), person->profile_id()));
}

Person& People::OfProfile(int64 profile_id) {
    const auto person = std::lower_bound(people_.begin(), people_.end(), profile_id, [](const Person* p, int64 id) { return p->profile_id() < id; });
    if (person == people_.end() || (*person)->profile_id() != profile_id)
        throw Error(sqlstate::internal_error, "profile " + std::to_string(profile_id) + " is not among the people who start over");
    return **person;
}

std::vector<segment::Touched> People::TouchedAfresh(segment::Cause cause) {
    std::vector<segment::Touched> touched;
    for (Person* person : people_) {
        person->Finish();
        touched.push_back({person, 0, segment::Touched::Change::kAll, true, cause, true});
    }
    return touched;
}

std::vector<segment::Touched> People::TouchedByClock(const std::unordered_map<int64, int64>& instants) {
    std::vector<segment::Touched> touched;
    for (auto& [profile_id, person] : loaded_) {
        people_.push_back(&person);
        is_new_.push_back(false);
        person.ComeTo(instants.at(profile_id));
        person.Pass();
        person.Finish();
        touched.push_back({&person, 0, segment::Touched::Change::kSome, false, segment::Cause::kClock});
    }
    return touched;
}

std::vector<segment::Touched> People::TouchedBy(segment::Cause cause) {
    std::vector<segment::Touched> touched;
    for (auto& [profile_id, person] : loaded_) {
        people_.push_back(&person);
        is_new_.push_back(false);
        person.Finish();
        touched.push_back({&person, 0, segment::Touched::Change::kSome, false, cause});
    }
    return touched;
}

void People::RecomputeSequences() {
    std::vector<Person*> affected;
    for (Person* person : people_)
        if (person->must_recompute()) affected.push_back(person);
    if (!affected.empty()) ReadSequences(traits_, affected);
}

void People::Write(bool any_gone) {
    if (any_gone) {
        static pg::Statement remove("DELETE FROM cdp.profile p USING cdp_batch_merge b WHERE p.profile_id = b.gone");
        remove.Execute();
    }
    ArmTimers(people_);
    WriteRows(traits_, "cdp.profile", people_, is_new_);
}

void People::WriteLoaded() {
    std::vector<Person*> people;
    for (auto& [profile_id, person] : loaded_) {
        person.Finish();
        people.push_back(&person);
    }
    ArmTimers(people);
    WriteRows(traits_, "cdp.profile", people, std::vector<char>(people.size()));
}

void People::WriteRows(const Traits& traits, const std::string& table, std::span<Person* const> people, std::span<const char> is_new) {
    const auto& access = traits.access();
    std::vector<size_t> order(people.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return people[a]->profile_id() < people[b]->profile_id(); });
    pg::TableWriter writer(table, access.names);
    std::vector<Datum> values(access.columns.size());
    const std::unique_ptr<bool[]> nulls(new bool[values.size()]);
    for (const size_t i : order) {
        Person& person = *people[i];
        person.WriteState();
        for (size_t k = 0; k < values.size(); ++k) {
            values[k] = person.values()[access.columns[k]];
            nulls[k] = person.nulls()[access.columns[k]];
        }
        if (is_new[i])
            writer.Insert(values.data(), nulls.get());
        else
            writer.Update(person.place(), values.data(), nulls.get());
    }
    writer.Write();
}

void People::Insert(const Traits& traits, std::deque<Person>& people, const std::string& table) {
    std::vector<Person*> pointers;
    for (Person& person : people) pointers.push_back(&person);
    WriteRows(traits, table, pointers, std::vector<char>(pointers.size(), 1));
}

}  // namespace cdp::profile
