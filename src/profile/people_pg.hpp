// profile/people_pg.hpp: the people whom a batch touches, from cdp.profile and back.
#pragma once

#include <deque>
#include <functional>
#include <unordered_map>

#include "identity/resolver.hpp"
#include "profile/traits_pg.hpp"
#include "segment/segments_pg.hpp"

namespace cdp::profile {

class People {
public:
    /// They are brought up to `clock`.
    People(const Traits& traits, int64 clock) : traits_(traits), clock_(clock) {}

    /// Asks for a profile to be loaded. Then Load() reads all of them, in the order of their ids.
    void Want(int64 profile_id) { wanted_.push_back(profile_id); }
    void Load();
    std::vector<std::pair<int64, Person>>& loaded() { return loaded_; }
    /// Those loaded whose timers the clock has come to, and the instants of these.
    std::unordered_map<int64, int64> Overdue() const;
    /// Somebody once more as they were before the batch, brought up to the clock; of whom nothing is known, if they are not among those loaded.
    Person Before(int64 profile_id) const;

    void SetNode(int64 profile_id, int node) { nodes_[profile_id] = node; }
    int NodeOf(int64 profile_id) const { return nodes_.at(profile_id); }

    /// After all joins: one Person for each person, those that became one merged, new ones made.
    void Arrange(identity::Resolver& resolver);
    /// The person that a node is now, and its place in Touched().
    Person& OfNode(int node) { return *people_[place_of_node_[node]]; }
    Person& AtPlace(size_t place) { return *people_[place]; }
    size_t size() const { return people_.size(); }
    size_t PlaceOfNode(int node) const { return place_of_node_[node]; }
    /// Takes over how many identifiers of each type everybody has.
    void CountIdentifiers(identity::Resolver& resolver, std::span<const identity::TypeRule> rules);
    /// All of them, finished.
    std::vector<segment::Touched> Touched();

    /// Instead of Arrange(): those loaded start over as people of whom nothing is known, and `made` (ids that are new,
    /// ascending) are made. Then they get their events, and TouchedAfresh() is instead of Touched().
    void StartOver(std::span<const int64> made);
    Person& OfProfile(int64 profile_id);
    std::vector<segment::Touched> TouchedAfresh(segment::Cause cause);

    /// Instead of Arrange() and Touched(): those loaded, whom the clock alone has touched, each at its instant.
    std::vector<segment::Touched> TouchedByClock(const std::unordered_map<int64, int64>& instants);

    /// The same: those loaded, of whom nothing has changed that is in their rows. For what `cause`; the caller says what has.
    std::vector<segment::Touched> TouchedBy(segment::Cause cause);

    /// Reads those sequences again from the events that cannot be told from what is remembered. Once events and
    /// identifiers are written.
    void RecomputeSequences();

    /// Writes them. With `any_gone`, first removes the profiles in the staged rows cdp_batch_merge.
    void Write(bool any_gone);
    /// Writes those loaded, without any joining: when a trait of theirs was filled.
    void WriteLoaded();
    /// Inserts people, finished, into a table of the shape of cdp.profile.
    static void Insert(const Traits& traits, std::deque<Person>& people, const std::string& table);

private:
    /// Writes people to `table`, in the order of their ids.
    static void WriteRows(const Traits& traits, const std::string& table, std::span<Person* const> people, std::span<const char> is_new);

    const Traits& traits_;
    int64 clock_;
    std::vector<int64> wanted_;
    std::vector<std::pair<int64, Person>> loaded_;
    pg::Rows rows_;
    std::vector<uint64> row_of_loaded_;
    std::unordered_map<int64, int> nodes_;
    std::deque<Person> made_;
    std::vector<Person*> people_;
    std::vector<char> is_new_, merged_, identifiers_changed_;  // by place
    std::vector<size_t> place_of_node_;
    std::vector<int> root_of_place_;
};

/// Every person of a table of the shape of cdp.profile, brought up to `clock`; what they point to is gone after the call.
void ForEachPerson(const Traits& traits, const std::string& table, int64 clock, const std::function<void(Person&)>& work);

}  // namespace cdp::profile
