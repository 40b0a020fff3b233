// profile/state.cpp: see state.hpp.
#include "profile/state.hpp"

#include <algorithm>

namespace cdp::profile {

namespace {

constexpr uint64_t kFormat = 2;

/// Where `key` is or belongs in a vector of pairs sorted by their first member.
template <class Pairs, class Key>
auto Place(Pairs& pairs, const Key& key) {
    return std::lower_bound(pairs.begin(), pairs.end(), key, [](const auto& pair, const Key& k) { return pair.first < k; });
}

/// The next of a list that was written in order.
template <class Pairs, class Key, class Value>
void Append(Pairs& pairs, const Key& key, Value value) {
    if (!pairs.empty() && !(pairs.back().first < key)) Reader::Corrupt();
    pairs.emplace_back(key, std::move(value));
}

void ReadTraits(Reader& in, std::vector<std::pair<int, std::string_view>>* encoded) {
    while (!in.AtEnd()) {
        const auto trait = static_cast<int>(in.Unsigned());
        Append(*encoded, trait, in.Text());
    }
}

// Around the ends of int64_t, since between two infinities lies more than it holds.
int64_t Plus(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
int64_t Minus(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b)); }

}  // namespace

TraitState StateShape::Empty() const {
    if (sequence != nullptr) return SequenceState();
    if (windowed) return WindowState(aggregate);
    return AggregateState(aggregate);
}

TraitState StateShape::Read(std::string_view bytes) const {
    if (sequence != nullptr) return SequenceState::Read(bytes);
    if (windowed) return WindowState::Read(aggregate, bytes);
    return AggregateState::Read(aggregate, bytes);
}

void StateShape::Merge(TraitState& into, const TraitState& from) const {
    if (sequence != nullptr)
        std::get<SequenceState>(into).Merge(*sequence, std::get<SequenceState>(from));
    else if (windowed)
        std::get<WindowState>(into).Merge(std::get<WindowState>(from));
    else
        std::get<AggregateState>(into).Merge(std::get<AggregateState>(from));
}

void Write(Writer& out, const TraitState& state) {
    std::visit([&](const auto& of_kind) { of_kind.Write(out); }, state);
}

bool KeyStamps::Advance(std::string_view key, const Stamp& stamp) {
    const auto known = Place(stamps_, key);
    if (known == stamps_.end() || known->first != key) {
        stamps_.emplace(known, key, stamp);
        return true;
    }
    if (stamp < known->second) return false;
    known->second = stamp;
    return true;
}

void KeyStamps::Write(Writer& out) const {
    out.Unsigned(stamps_.size());
    Stamp previous;
    for (const auto& [key, stamp] : stamps_) {
        out.Text(key);
        out.Signed(Minus(stamp.occurred_at, previous.occurred_at));
        out.Signed(Minus(stamp.event_id, previous.event_id));
        previous = stamp;
    }
}

KeyStamps KeyStamps::Read(Reader& in) {
    KeyStamps result;
    Stamp stamp;
    for (uint64_t left = in.Unsigned(); left > 0; --left) {
        const auto key = in.Text();
        stamp.occurred_at = Plus(stamp.occurred_at, in.Signed());
        stamp.event_id = Plus(stamp.event_id, in.Signed());
        Append(result.stamps_, key, stamp);
    }
    return result;
}

ProfileState::ProfileState(std::string_view bytes) {
    Reader in(bytes);
    if (in.Unsigned() != kFormat)
        throw Error(sqlstate::data_corrupted, "a profile's state is of an unknown format")
            .Hint("Repair it with cdp.rebuild(repair => true).");
    for (uint64_t left = in.Unsigned(); left > 0; --left) {
        const auto type = static_cast<int>(in.Unsigned());
        Append(identifier_counts_, type, static_cast<int64_t>(in.Unsigned()));
    }
    key_stamps_ = KeyStamps::Read(in);
    membership_epoch_ = in.Signed();
    int64_t segment = 0;
    for (uint64_t left = in.Unsigned(); left > 0; --left) {
        const uint64_t step = in.Unsigned();
        if (step == 0 || step > static_cast<uint64_t>(INT64_MAX - segment)) Reader::Corrupt();
        segment += static_cast<int64_t>(step);
        memberships_.push_back(segment);
    }
    clock_ = in.Signed();
    armed_ = in.Signed();
    ReadTraits(in, &encoded_);
}

void ProfileState::Unpack() {
    if (!is_packed_) return;
    is_packed_ = false;
    Reader in(std::string_view(packed_.data(), packed_.size()));
    ReadTraits(in, &encoded_);
}

int64_t ProfileState::IdentifierCount(int type_id) const {
    const auto known = Place(identifier_counts_, type_id);
    return known == identifier_counts_.end() || known->first != type_id ? 0 : known->second;
}

void ProfileState::SetIdentifierCount(int type_id, int64_t count) {
    const auto known = Place(identifier_counts_, type_id);
    const bool there = known != identifier_counts_.end() && known->first == type_id;
    if (there && count == 0)
        identifier_counts_.erase(known);
    else if (there)
        known->second = count;
    else if (count != 0)
        identifier_counts_.emplace(known, type_id, count);
}

void ProfileState::AddIdentifierCounts(const ProfileState& other) {
    for (const auto& [type_id, count] : other.identifier_counts_) SetIdentifierCount(type_id, IdentifierCount(type_id) + count);
}

TraitState& ProfileState::Trait(int trait_id, const StateShape& shape) {
    Unpack();
    const auto known = Place(decoded_, trait_id);
    if (known != decoded_.end() && known->first == trait_id) return known->second;
    const auto bytes = Place(encoded_, trait_id);
    const bool remembered = bytes != encoded_.end() && bytes->first == trait_id;
    return decoded_.emplace(known, trait_id, remembered ? shape.Read(bytes->second) : shape.Empty())->second;
}

void ProfileState::SetTrait(int trait_id, TraitState state) {
    Unpack();
    const auto known = Place(decoded_, trait_id);
    if (known != decoded_.end() && known->first == trait_id)
        known->second = std::move(state);
    else
        decoded_.emplace(known, trait_id, std::move(state));
}

TraitState ProfileState::Peek(int trait_id, const StateShape& shape) const {
    if (is_packed_) {
        Reader in(std::string_view(packed_.data(), packed_.size()));
        while (!in.AtEnd()) {
            const auto trait = static_cast<int>(in.Unsigned());
            const auto bytes = in.Text();
            if (trait == trait_id) return shape.Read(bytes);
            if (trait > trait_id) break;
        }
        return shape.Empty();
    }
    const auto known = Place(decoded_, trait_id);
    if (known != decoded_.end() && known->first == trait_id) return known->second;
    const auto bytes = Place(encoded_, trait_id);
    return bytes != encoded_.end() && bytes->first == trait_id ? shape.Read(bytes->second) : shape.Empty();
}

std::vector<int> ProfileState::TraitIds() {
    Unpack();
    std::vector<int> ids;
    for (const auto& entry : encoded_) ids.push_back(entry.first);
    for (const auto& entry : decoded_) ids.push_back(entry.first);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

void ProfileState::Pack(const std::function<bool(int)>& keep) {
    Unpack();
    Writer out;
    // Both lists are sorted, so equal states give equal bytes.
    auto encoded = encoded_.begin();
    auto decoded = decoded_.begin();
    while (encoded != encoded_.end() || decoded != decoded_.end()) {
        const bool fresh = decoded != decoded_.end() && (encoded == encoded_.end() || decoded->first <= encoded->first);
        const int trait = fresh ? decoded->first : encoded->first;
        if (keep(trait)) {
            Writer body;
            if (fresh) profile::Write(body, decoded->second);
            const std::string_view bytes = fresh ? std::string_view(body.bytes()) : encoded->second;
            if (!bytes.empty()) {
                out.Unsigned(static_cast<uint64_t>(trait));
                out.Text(bytes);
            }
        }
        if (encoded != encoded_.end() && encoded->first == trait) ++encoded;
        if (fresh) ++decoded;
    }
    encoded_.clear();
    std::vector<std::pair<int, TraitState>>().swap(decoded_);
    packed_.assign(out.bytes().begin(), out.bytes().end());
    is_packed_ = true;
}

std::string ProfileState::Write() const {
    Writer out;
    out.Unsigned(kFormat);
    out.Unsigned(identifier_counts_.size());
    for (const auto& [type, count] : identifier_counts_) {
        out.Unsigned(static_cast<uint64_t>(type));
        out.Unsigned(static_cast<uint64_t>(count));
    }
    key_stamps_.Write(out);
    out.Signed(membership_epoch_);
    out.Unsigned(memberships_.size());
    int64_t previous = 0;
    for (const int64_t segment : memberships_) {
        out.Unsigned(static_cast<uint64_t>(segment - previous));
        previous = segment;
    }
    out.Signed(clock_);
    out.Signed(armed_);
    out.Append(std::string_view(packed_.data(), packed_.size()));
    return out.Take();
}

}  // namespace cdp::profile
