// profile/state.hpp: all that a profile remembers beyond its visible columns; the column cdp.profile.state.
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "profile/sequence.hpp"
#include "profile/window.hpp"

namespace cdp::profile {

/// What a trait remembers: of which of the three kinds, its definition says.
using TraitState = std::variant<AggregateState, WindowState, SequenceState>;

/// How the state of a trait is to be read.
struct StateShape {
    Aggregate aggregate = Aggregate::kCount;
    bool windowed = false;
    const Sequence* sequence = nullptr;  // a sequence: then the others do not matter

    TraitState Empty() const;
    /// Throws Error(data_corrupted) if these are no bytes of such a state.
    TraitState Read(std::string_view bytes) const;
    void Merge(TraitState& into, const TraitState& from) const;
};
void Write(Writer& out, const TraitState& state);

/// The stamp of each key's last value, for the column traits (of a profile, or of an account).
class KeyStamps {
public:
    /// True if a value of `key` that came at `stamp` is the newest; then it is remembered as such.
    bool Advance(std::string_view key, const Stamp& stamp);
    /// By key.
    const std::vector<std::pair<std::string, Stamp>>& all() const { return stamps_; }
    void Write(Writer& out) const;
    static KeyStamps Read(Reader& in);

private:
    std::vector<std::pair<std::string, Stamp>> stamps_;
};

/// Stands in the place of an identifier type's id (those of users begin with 100): 1 for people who are on a side of
/// a separation, see identity/separations_pg.hpp.
inline constexpr int kMarkedTypeId = 99;

/// The state of one profile. Trait states are decoded when they are first asked for, so the bytes that it was
/// made of must live as long as it does, or until Pack().
class ProfileState {
public:
    ProfileState() = default;
    explicit ProfileState(std::string_view bytes);
    ProfileState(ProfileState&&) = default;
    ProfileState& operator=(ProfileState&&) = default;

    /// How many identifiers of type `type_id` the profile has.
    int64_t IdentifierCount(int type_id) const;
    void SetIdentifierCount(int type_id, int64_t count);
    /// Adds those of somebody who became this person. The resolver counts the types in force itself afterwards; nobody
    /// else does the types that were dropped, whose identifiers people keep.
    void AddIdentifierCounts(const ProfileState& other);

    KeyStamps& key_stamps() { return key_stamps_; }

    /// The segments that the profile is in, ascending, as of `membership_epoch`: see segment/README.md.
    std::vector<int64_t>& memberships() { return memberships_; }
    int64_t& membership_epoch() { return membership_epoch_; }

    /// The clock's instant that the profile was last brought up to, and the one at which a row of cdp.timer has it looked
    /// at again; 0: none. See segment/README.md.
    int64_t& clock() { return clock_; }
    int64_t& armed() { return armed_; }

    TraitState& Trait(int trait_id, const StateShape& shape);
    AggregateState& Trait(int trait_id, Aggregate aggregate) { return std::get<AggregateState>(Trait(trait_id, StateShape{aggregate})); }
    void SetTrait(int trait_id, TraitState state);
    /// A copy of what a trait remembers that leaves a packed state packed.
    TraitState Peek(int trait_id, const StateShape& shape) const;
    /// Which traits have anything remembered.
    std::vector<int> TraitIds();

    /// Encodes the traits, of those that `keep` wants: a tenth of the memory, for somebody who is done with for now.
    void Pack(const std::function<bool(int trait_id)>& keep);
    bool packed() const { return is_packed_; }
    /// The bytes of a packed state.
    std::string Write() const;

private:
    void Unpack();

    // All sorted by their first member.
    std::vector<std::pair<int, int64_t>> identifier_counts_;
    KeyStamps key_stamps_;
    std::vector<int64_t> memberships_;
    int64_t membership_epoch_ = 0;
    int64_t clock_ = 0, armed_ = 0;
    std::vector<std::pair<int, std::string_view>> encoded_;
    std::vector<std::pair<int, TraitState>> decoded_;
    std::vector<char> packed_;  // the traits' bytes
    bool is_packed_ = false;    //   instead of the two lists; else they may point to them
};

}  // namespace cdp::profile
