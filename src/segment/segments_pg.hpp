// segment/segments_pg.hpp: the segments, and who enters and leaves them in a batch.
#pragma once

#include <functional>
#include <unordered_map>

#include "govern/consent_answers_pg.hpp"
#include "pg/expression.hpp"
#include "pg/standing.hpp"
#include "profile/traits_pg.hpp"
#include "segment/lists_pg.hpp"
#include "segment/live_pg.hpp"
#include "segment/transitions_pg.hpp"

namespace cdp::segment {

/// The calls that a segment's condition may make beside reading columns.
inline constexpr const char* kSpecialCalls[] = {"in_segment", "has_identifier", "on_list", "did", "times_did", "days_did", "first_did", "last_did", "did_sequence", "consented"};

/// That there is no such segment.
Error NoSegment(std::string_view name);

/// Where the value of a special call comes from.
struct Source {
    enum class Kind { kSegment, kIdentifierType, kList, kActivity, kConsent } kind;
    int of = 0;                          // the segment's place (of a list: its own), the type's id, the trait's place in Traits::all(), the question's of consents
    profile::ActivityQuestion question;  // of an activity
    govern::ConsentQuestion consent{};   // of consent
};

struct Segment {
    int64 segment_id;
    std::string name;
    std::string definition;
    Oid owner;                       // InvalidOid: gone
    int64 filled_epoch;
    pg::Standing standing;
    std::unique_ptr<pg::Condition> condition;  // none if the definition cannot be read
    std::unique_ptr<LiveQuery> live;           // over tables of the users', whose changed rows are followed
    uint64_t tables = 0;                       // of a live one: see Segments::Readers
    bool refreshed;                  // its members are computed afresh from time to time, and by that alone
    std::vector<Source> sources;     // of each special call
    std::vector<int> read_by;        // places of the segments that refer to it
    bool by_clock = false;           // the clock alone may change who meets its condition

    bool Asks(Source::Kind kind) const {
        return std::any_of(sources.begin(), sources.end(), [&](const Source& source) { return source.kind == kind; });
    }
};

/// The condition of a segment, read. Throws what is wrong with it.
std::unique_ptr<pg::Condition> ReadCondition(const std::string& definition, const std::string& what, const profile::Traits& traits, Oid owner,
                                             bool refreshed);

/// What the special call number `call`, which asks for an activity, asks. Throws, with its position.
profile::ActivityQuestion QuestionAt(const pg::Condition& condition, size_t call);

/// That a special call of a condition names a segment or a type of identifiers that is not there.
Error Unknown(const pg::Condition& condition, size_t call);

/// A person whom the batch touched.
struct Touched {
    profile::Person* person;
    int64 event_id;            // the last of the batch's events of theirs; 0: none
    enum class Change { kSome, kNew, kAll } change;  // kNew: they were nobody before; kAll: look at every segment
    bool identifiers_changed;
    Cause cause;
    bool moved = false;        // some of their identifiers may have been others' before, or be others' now
    int64 since = 0;           // when the first of the batch's messages of theirs was committed; 0: there are none
    bool consents_changed = false;
    uint64_t rows_changed = 0; // of which tables, see Segments::Readers
};

/// What a person's messages did one by one.
struct Replay {
    /// The messages of touched[p] that may have changed anything in `reads`, as far as it matters: how many, and the first of them.
    struct Messages {
        size_t count;
        int64 first_event_id;
    };
    std::function<Messages(size_t p, const profile::Reads& reads)> changing;
    /// Calls moment(person, event_id, cause) for touched[p] as they were before the batch, then after their messages in turn (but
    /// for those that change nothing), with what is in `reads`.
    using Moment = std::function<void(profile::Person& person, int64 event_id, Cause cause)>;
    std::function<void(size_t p, const profile::Reads& reads, const Moment& moment)> play;
};

class Segments {
public:
    /// Reads cdp.segment, in an order in which each comes after those it refers to.
    static std::unique_ptr<Segments> Load(const profile::Traits& traits);
    explicit Segments(const profile::Traits& traits) : traits_(traits) {}

    bool empty() const { return segments_.empty(); }
    const std::vector<Segment>& all() const { return segments_; }
    std::vector<Segment>& all() { return segments_; }
    const Segment* Named(std::string_view name) const;
    /// The same, to be filled. Throws what is wrong with its definition.
    const Segment& Sound(std::string_view name) const;
    /// Writes down which segments stand still from now on; whether there are any.
    bool NoteProblems() const;
    /// Whether there is one that the clock alone changes.
    bool AnyByClock() const;
    /// Which activities, by their places in Traits::all(), are asked for; nothing if that cannot be told, since a condition cannot be read.
    std::optional<std::vector<char>> ActivitiesInUse() const;
    /// The next instant after the person's own at which the clock alone may change whether they meet the condition of a segment;
    /// in_segment() is answered by `is_member`, consented() by `consents`, its subqueries are by `subqueries`.
    int64 NextChange(const Segment& segment, profile::Person& person, const std::function<bool(int64 segment_id)>& is_member,
                     const std::function<bool(int question)>& consents, std::span<const pg::Condition::Input> subqueries) const;
    /// Whether there is one that is live over tables of the users'.
    bool AnyLive() const { return !live_.empty(); }
    /// What Segment::tables has in common with those that are to be looked at when rows of that table (NameOfTable) have changed.
    uint64_t Readers(std::string_view table) const;
    /// Whether a live one reads that relation; or may, since it cannot be read itself.
    bool ReadsTable(Oid relation) const;
    /// Whether there is one that asks for consent.
    bool AskConsent() const { return !consents_.empty(); }

    /// Works out who enters and leaves, in memory: memberships in the persons' states, and what Write() will write.
    /// `fresh`: the identifiers that are new, which are written.
    void Evaluate(std::span<Touched> touched, const NewIdentifiers& fresh);
    /// Finds by which of their messages people entered and left: after which their condition has held, or not, to the end of the
    /// batch. Where that does not tell (the users' tables, imported lists, consent), the last one stays.
    void NameMessages(std::span<Touched> touched, const Replay& replay);
    /// Writes members, transitions and sizes, and takes the profiles in the staged rows cdp_batch_merge (gone) out
    /// of all segments.
    void Write(bool any_gone);
    /// The segments that a person has entered and left by the batch, once Evaluate() is done.
    std::span<Transition> MovesOf(int64 profile_id);

private:
    using Set = std::vector<uint64_t>;  // of segments, a bit a place
    struct Block;

    void Read(Segment* segment);
    void Index();
    void IndexOne(int place);
    void IndexLive(int place);
    void IndexNew();
    int64 Answers(const Segment& segment, profile::Person& person, const std::function<bool(int place)>& is_member,
                  const std::function<bool(int question)>& consents, std::vector<pg::Condition::Input>* inputs) const;
    void ReadStale(std::span<Touched> touched);
    void Choose(std::span<const Touched> touched, Block* block) const;
    void Gather(int place, std::span<Touched> touched, const LiveQuery::Answers& live, Block* block);
    void EvaluateOne(int place, std::span<Touched> touched, Block* block);
    void Move(int place, uint32_t p, Touched& touched, Block* block);
    profile::Reads ReadBy(std::span<const Transition> moves) const;
    bool LookedAtWhenNew(int place) const;
    bool OnlyByTraits(std::span<const Transition> moves, const Touched& touched) const;
    void NameMessagesOf(std::span<Transition> moves, Touched& touched, const std::function<void(const Replay::Moment&)>& play, pg::Attempts* attempts);

    const profile::Traits& traits_;
    std::vector<Segment> segments_;
    std::unordered_map<int64, int> place_;  // by segment_id
    // What to look at when something changed: by column of cdp.profile or activity, identifiers, consents, the clock, everything.
    std::vector<Set> of_column_;
    Set of_identifiers_, of_consents_, of_clock_, all_;
    Set of_new_;                            // of somebody new: those that are not known to be as if nothing were known of them
    std::vector<int> live_;                 // places
    bool any_unread_ = false;               // that may be live
    std::vector<std::pair<std::string, Oid>> tables_;  // that they read: their bits are the places, modulo 64
    govern::ConsentAnswers consents_;
    int64 epoch_ = 0;                       // the newest filled_epoch
    Lists lists_;
    bool any_lists_ = false;
    std::vector<Transition> changes_;       // by person
};

}  // namespace cdp::segment
