// activate/destination_pg.hpp: keeping the tables of destinations what their definitions say, by the smallest
// possible changes: a person who leaves is a DELETE, who enters an INSERT, whose columns differ an UPDATE; for
// everybody else nothing at all is written.
//
// Expressions that users wrote are evaluated on rows of cdp.profile, with the rights of the destination's owner, in a
// security-restricted operation. Only their values are then written, by the extension's owner.
#pragma once

#include <map>

#include "segment/segments_pg.hpp"

namespace cdp::activate {

/// A row of cdp.destination.
struct Definition {
    int64 destination_id = 0;
    std::string name;
    std::optional<std::string> segment;
    int64 segment_id = 0;                                       // 0: none, or it is not there
    std::string key;                                            // profile_id, or an identifier type
    int key_type = 0;                                           //   that type's id
    std::vector<std::pair<std::string, std::string>> columns;   // name and expression, in the order of the table
    std::string table;                                          // qualified and quoted
    std::string owner;
    bool stands_still = false;                                  // has a problem
    std::optional<govern::ConsentQuestion> purpose;             // only who consents to it
    bool asks_segments = false;                                 // its columns call segment_names()
    std::vector<std::string> asks_purposes;                     // and ask consent for these
    std::vector<int> reads;                                     // the columns of cdp.profile that they are computed from: their places; ascending
    bool as_written = false;                                    // they are what we write there: no column, trigger or policy of the users' comes in between
    bool hides = false;                                         // a policy of theirs may hide people from its owner

    bool KeyedByProfile() const { return key == "profile_id"; }
    /// Whether a change of the members of one of these segments may change it.
    bool DependsOn(std::span<const std::string> segments) const;
    /// Whether consent to the purpose may change it.
    bool DependsOnConsent(std::string_view to) const;
    /// Whether what a batch did to a person may change their row. `moves`: the segments that they entered and left by it.
    bool Concerns(const segment::Touched& touched, std::span<const segment::Transition> moves) const;
};

/// Somebody whose row may have to come, to go or to become another.
struct Candidate {
    int64 profile_id;
    bool meant = false;                       // they are there, and in the segment
    bool same_key = false;                    // the key that they are held under is theirs still
    bool same_consents = false;               // nothing else is permitted than was when they came
    const profile::Person* person = nullptr;  // as they are now; null: as cdp.profile has them
    bool is_new = false;                      // they were nobody before, and no row is theirs
    bool unspoken_of = false;                 //   nothing was ever said of them
    std::string_view key = {};                //   their key, where that is an identifier
};

/// Of people who were nobody before a batch: their identifier of a type that was seen last, by the type's id and their places in
/// the batch. It is as new as they are.
using KeysOfNew = std::map<int, std::vector<std::string_view>>;

/// How many rows were written.
struct Changes {
    uint64 rows = 0;     // of the destination's table
    uint64 members = 0;  // of cdp.destination_member
};

/// One destination. Everything here needs an open Spi, the pipeline's lock, and acts as the extension's owner.
class Destination {
public:
    /// `answers`: what people consent to, and who is suppressed; shared by several destinations. Who maintains them makes it forget what
    /// may have changed.
    Destination(Definition definition, std::shared_ptr<govern::ConsentAnswers> answers);
    ~Destination();
    Destination(Destination&&) noexcept;

    const Definition& definition() const { return definition_; }

    /// Notes a person whom a batch touched, who is in its place `place`, if it concerns this destination.
    void Stage(const segment::Touched& touched, std::span<const segment::Transition> moves, size_t place, const KeysOfNew& keys,
               std::vector<Candidate>* candidates) const;
    /// Puts the rows of people, each once, right. `leave_only`: takes out who is to leave, and does nothing else.
    Changes Maintain(std::span<const Candidate> candidates, bool leave_only);
    /// The same of some people, each once, with what the tables say of them.
    void Follow(std::span<const int64> people, bool leave_only);
    /// The same of all rows, whosever they are.
    Changes Refill(bool leave_only = false);
    /// How many people would be in it but for consent or a suppression.
    int64 CountKeptOut() const;

private:
    struct Plans;
    struct Member;
    struct Contents;
    void Prepare();        // who is in it
    void PrepareValues();  // and with what
    void PrepareColumn(size_t column, Oid owner);
    void FindHeld(std::vector<Member>* members);
    void FindPermitted(std::vector<Member>* members);
    void FindKeys(std::vector<Member>* members);
    void FindVisible(std::vector<Member>* members);
    void Leave(std::span<const Member> members, bool leave_only, Changes* changes);
    void Remember(std::span<const Member> members, Changes* changes);
    pg::Rows ReadProfiles(std::vector<Member>* members);
    Contents FindContents(std::vector<Member>* members);
    void Enter(std::vector<Member> members, Changes* changes);
    bool IsPermitted(const Candidate& candidate) const;
    Oid Owner() const;  // throws if there is no such role any more

    Definition definition_;
    std::shared_ptr<govern::ConsentAnswers> answers_;
    std::unique_ptr<Plans> plans_;
};

class Destinations {
public:
    /// Reads cdp.destination. Statements are planned when first used, and kept. `traits`: as those know them who are in memory.
    static Destinations Load(const profile::Traits* traits = nullptr);

    const std::vector<Destination>& all() const { return destinations_; }
    /// Throws if there is none of that name.
    const Destination& Named(std::string_view name) const;

    /// Puts the rows right of everybody whom stage(destination, &candidates) adds: by Destination::Stage, and who was merged away.
    /// After profiles, identifiers, consents and memberships are written. A destination that cannot be kept (its table is gone, its
    /// owner may not read a column any more, a value does not fit) stops nobody else: it stands still, with a WARNING, and
    /// cdp.destination.problem says why; only who has to leave it does.
    void Apply(const std::function<void(const Destination&, std::vector<Candidate>*)>& stage);
    /// The ids of the types of identifiers that are keys, ascending.
    std::vector<int> KeyTypes() const;

    /// The same for some people, each once, in all destinations, with what the tables say of them: when it is not known what has
    /// changed about them.
    void Follow(std::span<const int64> people);

    /// The same for everybody, in the destinations that depend on one of these segments. For what changes a
    /// segment's members outside of a batch: creating, altering, dropping it.
    void Refill(std::span<const std::string> segments);
    void RefillAll();
    /// The same, in the destinations that ask for consent to a purpose.
    void RefillOf(std::string_view purpose);

    struct Difference {
        std::string table;
        std::optional<uint64> differing;  // nothing: it cannot be computed
    };
    /// How many rows are not what the definitions give now; `repair`: puts them right.
    std::vector<Difference> Compare(bool repair);

private:
    template <class F>
    void RefillThose(F&& concerned);

    std::shared_ptr<govern::ConsentAnswers> answers_;  // to what they all ask, and who is suppressed; forgets everybody when work begins
    std::vector<Destination> destinations_;
};

/// The OID of cdp.profile.
Oid ProfileTable();
/// Whether policies may hide rows of it from a role.
bool HidesProfiles(const std::string& owner);

/// The calls that an expression may make beside reading columns.
inline constexpr const char* kSpecialCalls[] = {"segment_names", "consented"};

}  // namespace cdp::activate
