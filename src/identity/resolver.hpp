// identity/resolver.hpp: which identifiers are one person.
// Knows no PostgreSQL. Rules: docs/identity.md.
#pragma once

#include <algorithm>
#include <boost/pending/disjoint_sets.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cdp::identity {

using ProfileId = int64_t;

/// What the resolver needs to know of a type of identifier.
struct TypeRule {
    int type_id;
    int priority;                       // 1 is strongest
    std::optional<int64_t> max_per_profile;
};

/// An identifier of this batch, by its place in the batch's list of distinct ones.
struct Candidate {
    int identifier;
    int type;  // index into the rules
    std::string_view value;
};

/// Which side of something that was taken apart an identifier, and so its person, is on.
struct Mark {
    int64_t separation;
    int64_t part;
    auto operator<=>(const Mark&) const = default;
};

/// What became of one message's identifiers.
struct Joined {
    int node;                 // the person, see Resolver::ProfileOf
    int kept;                 // so many of the candidates, the strongest first, belong to it
    int limit_type = -1;      // which type's limit made it leave the others out first; -1 if none did
    int64_t separation = 0;   // or which separation did; 0 if none
};

/// What forbids that persons become one.
struct Refusal {
    int limit_type = -1;      // the type of whose identifiers they would have too many; -1: none
    int64_t separation = 0;   // or what was taken apart; 0: nothing
    explicit operator bool() const { return limit_type >= 0 || separation != 0; }
};

/// Two persons that became one.
struct Merge {
    ProfileId gone;
    ProfileId survivor;
    size_t message;           // of the batch
};

/// Joins messages' identifiers into profiles, one message at a time, in processing order.
/// Holds the identifiers of one batch and the profiles they already belong to.
class Resolver {
public:
    /// `identifiers`: how many distinct ones the batch has. New profiles get ids from `next_profile_id` on.
    Resolver(std::span<const TypeRule> rules, size_t identifiers, ProfileId next_profile_id);

    /// What the database already knows: a profile and how many identifiers of each type (by index) it has.
    /// Returns its node; the same for the same profile.
    int AddProfile(ProfileId profile, std::span<const int64_t> counts);
    /// Makes room for as many identifiers.
    void Grow(size_t identifiers) { node_of_.resize(std::max(node_of_.size(), identifiers), -1); }
    /// `identifier` belongs to `node`.
    void Know(int identifier, int node);
    /// The node is on that side of that separation. A person never comes to be on two of its sides by a message.
    void AddMark(int node, Mark mark);

    /// Whether it is the stronger of two: by priority, then by value, then by type.
    bool Stronger(const Candidate& a, const Candidate& b) const;
    /// Joins the identifiers of message number `message`. Sorts `candidates` strongest first (of equals the
    /// lesser value). While the union would break a limit or bring together what was taken apart, leaves the
    /// weakest out. Amortised O(α(n)) per identifier, as long as there are no marks. Throws
    /// Error(invalid_parameter_value) if there is none.
    Joined Join(size_t message, std::span<Candidate> candidates);

    /// Makes two nodes one person, whatever the limits and separations: because somebody says so.
    void Unite(int a, int b, size_t message);

    /// The node that `node`'s person has now, after all joins so far.
    int Root(int node);
    ProfileId ProfileOf(int node) { return profiles_[Root(node)]; }
    /// The id that the node had when it was added or created.
    ProfileId OwnProfile(int node) const { return own_[node]; }
    /// Where the identifier belongs now, or -1 if no message could keep it.
    int NodeOf(int identifier) const { return node_of_[identifier]; }
    std::span<const int64_t> Counts(int node) { return {&counts_[static_cast<size_t>(Root(node)) * types_], types_}; }

    /// The sides that the node's person is on, sorted.
    std::span<const Mark> Marks(int node) { return marks_.empty() ? std::span<const Mark>() : MarksOf(Root(node)); }
    bool IsMarked(int node) { return !Marks(node).empty(); }
    /// What forbids to make two persons one.
    Refusal WhyApart(int a, int b);
    bool AreSeparated(int a, int b) { return SeparationBetween(a, b) != 0; }

    std::span<const Merge> merges() const { return merges_; }
    ProfileId next_profile_id() const { return next_profile_id_; }
    int nodes() const { return static_cast<int>(own_.size()); }

private:
    int NewNode(ProfileId profile);
    /// The type whose limit a union of `candidates` would break, or -1.
    int BrokenLimit(std::span<const Candidate> candidates);
    /// The separation that a union of `candidates` would undo, or 0.
    int64_t BrokenSeparation(std::span<const Candidate> candidates);
    std::vector<Mark>& MarksOf(int root);
    /// The first separation that two persons are on different sides of, or 0.
    int64_t SeparationBetween(int a, int b);
    void UniteMarks(int root, int other);
    auto Sets() { return boost::disjoint_sets(rank_.data(), parent_.data()); }

    std::span<const TypeRule> rules_;
    size_t types_;
    ProfileId next_profile_id_;
    std::vector<int> rank_, parent_;   // by node: Boost.Graph's disjoint sets
    std::vector<int> node_of_;         // by identifier
    std::vector<ProfileId> profiles_;  // by root: the surviving id
    std::vector<ProfileId> own_;       // by node
    std::vector<int64_t> counts_;      // by root × type
    std::vector<std::vector<Mark>> marks_;  // by root, sorted; shorter than the nodes, empty without separations
    int64_t next_part_ = -1;           // for persons whom somebody made one across a separation
    std::vector<Merge> merges_;
    std::vector<int> roots_;           // scratch of Join
    std::vector<int64_t> sum_;         // scratch of Join
    std::vector<int64_t> largest_;     // scratch of Join
    std::vector<Mark> together_;       // scratch of Join
};

}  // namespace cdp::identity
