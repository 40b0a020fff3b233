// segment/segments_pg.hpp: the segments, and who enters and leaves them in a batch.
#pragma once

#include <unordered_map>

#include "pg/expression.hpp"
#include "pg/standing.hpp"
#include "profile/traits_pg.hpp"

namespace cdp::segment {

/// The calls that a segment's condition may make beside reading columns.
inline constexpr const char* kSpecialCalls[] = {"in_segment", "has_identifier"};

struct Segment {
    int64 segment_id;
    std::string name;
    std::string definition;
    Oid owner;                       // InvalidOid: gone
    int64 filled_epoch;
    pg::Standing standing;
    std::unique_ptr<pg::Condition> condition;  // none if the definition cannot be read
    std::vector<int> inputs;         // for each special call: the segment's place, or the identifier type's id
    std::vector<int> read_by;        // places of the segments that refer to it
};

/// That a special call of a condition names a segment or a type of identifiers that is not there.
Error Unknown(const pg::Condition& condition, size_t call);

/// A person whom the batch touched.
struct Touched {
    profile::Person* person;
    int64 event_id;            // the last of the batch's events of theirs; 0: none
    bool all_changed;          // new, or merged: look at every segment
    bool identifiers_changed;
    const char* cause;
};

class Segments {
public:
    /// Reads cdp.segment, in an order in which each comes after those it refers to.
    static std::unique_ptr<Segments> Load(const profile::Traits& traits);

    bool empty() const { return segments_.empty(); }
    const std::vector<Segment>& all() const { return segments_; }
    std::vector<Segment>& all() { return segments_; }
    const Segment* Named(std::string_view name) const;
    /// The same, to be filled. Throws what is wrong with its definition.
    const Segment& Sound(std::string_view name) const;
    /// Writes down which segments stand still from now on; whether there are any.
    bool NoteProblems() const;

    /// Works out who enters and leaves, in memory: memberships in the persons' states, and what Write() will write.
    void Evaluate(std::span<Touched> touched);
    /// Writes members, transitions and sizes, and takes the profiles in the staged rows cdp_batch_merge (gone) out
    /// of all segments.
    void Write(bool any_gone);

private:
    struct Change {
        int64 profile_id;
        int64 segment_id;
        bool entered;
        int64 event_id;
        const char* cause;
    };
    using Set = std::vector<uint64_t>;  // of segments, a bit a place
    struct Block;

    static void Read(Segment* segment, Oid profile_table);
    void Index(int columns);
    void ReadStale(std::span<Touched> touched);
    void Choose(std::span<const Touched> touched, Block* block) const;
    void EvaluateOne(int place, std::span<Touched> touched, Block* block);

    std::vector<Segment> segments_;
    std::unordered_map<int64, int> place_;  // by segment_id
    // What to look at when something changed: by column of cdp.profile (from 0), identifiers, everything.
    std::vector<Set> of_column_;
    Set of_identifiers_, all_;
    int64 epoch_ = 0;                       // the newest filled_epoch
    std::vector<Change> changes_;
};

}  // namespace cdp::segment
