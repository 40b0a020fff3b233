// pipeline/replay_pg.cpp: see replay_pg.hpp.
#include "pipeline/replay_pg.hpp"

#include <unordered_set>

#include "profile/traits_pg.hpp"

namespace cdp::pipeline {

namespace {

constexpr long kRowsAFetch = 10'000;

using identity::Candidate;

std::string KeyOf(int type, std::string_view value) {
    std::string key(reinterpret_cast<const char*>(&type), sizeof type);
    return key.append(value);
}

std::vector<int64> Ids(const pg::Rows& rows, uint64 i, int column) {
    const auto array = rows.Get(i, column);
    if (!array) return {};
    struct { Datum* values; bool* nulls; int count; } elements;
    pg::Call([&] { deconstruct_array(DatumGetArrayTypeP(*array), INT8OID, 8, true, TYPALIGN_DOUBLE, &elements.values, &elements.nulls, &elements.count); });
    std::vector<int64> ids;
    for (int k = 0; k < elements.count; ++k) ids.push_back(DatumGetInt64(elements.values[k]));
    return ids;
}

}  // namespace

int Replay::PlaceOf(int64 identifier_id) const {
    const auto end = identifiers_.begin() + static_cast<std::ptrdiff_t>(known_);
    const auto place = std::lower_bound(identifiers_.begin(), end, identifier_id, [](const Identifier& i, int64 id) { return i.identifier_id < id; });
    return place == end || place->identifier_id != identifier_id ? -1 : static_cast<int>(place - identifiers_.begin());
}

int Replay::Intern(int type, std::string_view value) {
    const auto [known, is_new] = index_.try_emplace(KeyOf(type, value), static_cast<int>(identifiers_.size()));
    if (is_new) {
        identifiers_.push_back({type, texts_.emplace_back(value), 0, 0, 0, 0});
        resolver_->Grow(identifiers_.size());
    }
    return known->second;
}

void Replay::LoadIdentifiers() {
    pg::Cursor cursor("SELECT identifier_id, type, value, profile_id, first_seen_at, last_seen_at FROM cdp.identifier ORDER BY identifier_id");
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        for (uint64 i = 0; i < rows.size(); ++i) {
            const int place = static_cast<int>(identifiers_.size());
            const int type = rules_.TypeNamed(rows.Text(i, 2));
            const std::string_view value = texts_.emplace_back(rows.Text(i, 3));
            identifiers_.push_back({type, value, rows.Int8(i, 1), rows.Int8(i, 4), rows.Int8(i, 5), rows.Int8(i, 6)});
            if (type < 0) continue;
            auto normal = rules_.Normalise(type, value);
            if (normal && *normal == value)
                index_.emplace(KeyOf(type, value), place);
            else if (normal)
                renamed_.emplace(place, std::move(*normal));
        }
    }
    known_ = identifiers_.size();
}

void Replay::LoadLinks() {
    enum { kId = 1, kA, kB, kCause, kIsRevoked, kByPerson, kAt, kRevokedAt };
    pg::Cursor cursor("SELECT link_id, identifier_a, identifier_b, cause, revoked_at IS NOT NULL, revoked_by IS NOT NULL, after_event_id, revoked_after_event_id"
                      " FROM cdp.identity_link ORDER BY link_id");
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        for (uint64 i = 0; i < rows.size(); ++i) {
            const int a = PlaceOf(rows.Int8(i, kA)), b = PlaceOf(rows.Int8(i, kB));
            if (a < 0 || b < 0) continue;
            const std::string cause = rows.Text(i, kCause);
            const bool by_message = cause == "message", by_rule = cause == "rule", revoked = rows.Bool(i, kIsRevoked);
            const bool taken_back = revoked && rows.Bool(i, kByPerson), by_hand = !by_message && !by_rule;
            if (!by_hand && !revoked) {
                pairs_[Pair(a, b)] |= kInForce;
                held_.push_back({rows.Int8(i, kId), Pair(a, b)});
            }
            const auto at = rows.Get(i, kAt);
            if (by_hand && (!revoked || taken_back)) by_hand_.push_back({a, b, rows.Int8(i, kAt)});
            if (by_rule) acts_.push_back({Act::kLinkByRule, false, a, b, rows.Int8(i, kAt), 0, 0});
            if (by_message && at) {
                acts_.push_back({Act::kLinkWithout, false, a, b, DatumGetInt64(*at), 0, 0});
                carried_[Pair(a, b)];
            }
            if (taken_back) acts_.push_back({Act::kRevoke, by_hand, a, b, rows.Int8(i, kRevokedAt), 0, 0});
            taken_back_ = taken_back_ || taken_back;
        }
    }
}

void Replay::LoadSeparations() {
    pg::Cursor cursor("SELECT identifier_id, separation_id, part, first_part, after_event_id FROM cdp.identity_separation ORDER BY separation_id, identifier_id");
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();)
        for (uint64 i = 0; i < rows.size(); ++i) {
            const int place = PlaceOf(rows.Int8(i, 1));
            if (place < 0) continue;
            sides_.push_back({place, rows.Int8(i, 2), rows.Int8(i, 3)});
            acts_.push_back({Act::kSeparate, false, place, place, rows.Int8(i, 5), rows.Int8(i, 2), rows.Int8(i, 4)});
            taken_back_ = true;
        }
}

int Replay::NodeOf(int identifier) {
    if (const int node = resolver_->NodeOf(identifier); node >= 0) return node;
    std::vector<int64_t> counts(rules_.types().size());
    if (identifiers_[identifier].type >= 0) counts[identifiers_[identifier].type] = 1;
    const int node = resolver_->AddProfile(-1 - identifier, counts);
    resolver_->Know(identifier, node);
    return node;
}

void Replay::See(int identifier, int64 at) {
    identifiers_[identifier].first = std::min(identifiers_[identifier].first, at);
    identifiers_[identifier].last = std::max(identifiers_[identifier].last, at);
}

void Replay::Confirm(int a, int b, int64 event_id, int64 at, std::string_view message_id) {
    int& flags = pairs_[Pair(a, b)];
    // Whose link was taken back may be one person by others' doing; no message links them again.
    if ((flags & (kRevoked | kConfirmed)) != 0) return;
    if ((flags & kInForce) == 0) new_links_.push_back({a, b, event_id, at, std::string(message_id)});
    flags |= kConfirmed;
    if (taken_back_) AddLink(a, b, false);
}

void Replay::TakeEvent(const collect::InboxMessage& message, int64 event_id, int64 identifier_id, std::span<const int64> linked_ids,
                       std::vector<Candidate>& candidates, const std::function<void(const Relinked&)>& relinked) {
    const int own = PlaceOf(identifier_id);
    std::vector<int> linked;
    if (!candidates.empty()) {
        const auto joined = resolver_->Join(0, candidates);
        const auto kept = std::span(candidates).first(static_cast<size_t>(joined.kept));
        for (const Candidate& candidate : kept) linked.push_back(candidate.identifier);
        for (const Candidate& candidate : kept.subspan(1))
            Confirm(kept.front().identifier, candidate.identifier, event_id, message.occurred_at, message.message_id);
        if (!carried_.empty())
            for (size_t i = 0; i < kept.size(); ++i)
                for (size_t k = i + 1; k < kept.size(); ++k)
                    if (const auto pair = carried_.find(Pair(kept[i].identifier, kept[k].identifier)); pair != carried_.end() && pair->second.event_id == 0)
                        pair->second = {event_id, message.occurred_at, std::string(message.message_id)};
        std::erase(linked, own);
    }
    // What the message was found to carry before stays seen, whether it is joined now or not.
    const size_t joined_now = linked.size();
    size_t before = 0;
    for (const int64 id : linked_ids) {
        const int place = PlaceOf(id);
        if (place < 0) continue;
        if (std::find(linked.begin(), linked.begin() + static_cast<std::ptrdiff_t>(joined_now), place) != linked.begin() + static_cast<std::ptrdiff_t>(joined_now))
            ++before;
        else
            linked.push_back(place);
    }
    for (const int identifier : linked) See(identifier, message.occurred_at);
    if (own >= 0) See(own, message.occurred_at);
    if (before < joined_now) relinked({event_id, message.occurred_at, identifier_id, std::move(linked)});
}

void Replay::Take(const pg::Rows& rows, const std::function<void(const Relinked&)>& relinked) {
    enum { kId = 1, kMessage, kType, kUser, kAnonymous, kPrevious, kProperties, kTraits, kContext, kAt, kIdentifier, kLinked };
    identity::BatchIdentifiers extracted(rules_, rows.size());
    std::vector<collect::InboxMessage> messages(rows.size());
    std::vector<Candidate> candidates;
    std::vector<size_t> begin;
    const auto text = [&](uint64 i, int column) {
        const auto value = rows.Get(i, column);
        return value ? pg::Bytes(*value) : std::string_view();
    };
    const auto json = [&](uint64 i, int column) {
        const auto value = rows.Get(i, column);
        return value ? pg::Unpacked(*value) : Datum(0);
    };
    for (uint64 i = 0; i < rows.size(); ++i) {
        auto& m = messages[i];
        m.message_id = text(i, kMessage);
        m.type = text(i, kType);
        m.user_id = text(i, kUser);
        m.anonymous_id = text(i, kAnonymous);
        m.previous_id = text(i, kPrevious);
        m.properties = json(i, kProperties);
        m.traits = json(i, kTraits);
        m.context = json(i, kContext);
        m.occurred_at = rows.Int8(i, kAt);
        begin.push_back(candidates.size());
        // What the rules would refuse by now identifies nobody.
        if (extracted.Extract(m, &candidates)) candidates.resize(begin.back());
    }
    begin.push_back(candidates.size());
    std::vector<int> place;
    for (const auto& entry : extracted.entries()) place.push_back(Intern(entry.type, entry.value));
    std::vector<Candidate> own;
    for (uint64 i = 0; i < rows.size(); ++i) {
        ActUntil(rows.Int8(i, kId));
        own.clear();
        for (size_t k = begin[i]; k < begin[i + 1]; ++k) {
            const int identifier = place[candidates[k].identifier];
            own.push_back({identifier, candidates[k].type, identifiers_[identifier].value});
        }
        TakeEvent(messages[i], rows.Int8(i, kId), rows.Int8(i, kIdentifier), Ids(rows, i, kLinked), own, relinked);
    }
}

void Replay::Run(const std::function<void(const Relinked&)>& relinked) {
    LoadIdentifiers();
    resolver_.emplace(rules_.limits(), known_, 1);
    LoadLinks();
    LoadSeparations();
    std::stable_sort(by_hand_.begin(), by_hand_.end(), [](const ByHand& x, const ByHand& y) { return x.at < y.at; });
    std::stable_sort(acts_.begin(), acts_.end(), [](const Act& x, const Act& y) { return std::tie(x.at, x.what) < std::tie(y.at, y.what); });
    pg::Scratch memory;
    pg::Cursor cursor("SELECT event_id, message_id, type, user_id, anonymous_id, previous_id, properties, traits, context, occurred_at,"
                      " identifier_id, linked_ids FROM cdp.event ORDER BY event_id");
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        {
            const pg::Scratch::Use use(memory);
            Take(rows, relinked);
        }
        memory.Reset();
    }
    ActUntil(PG_INT64_MAX);
    // Who is known by a value that is written otherwise now is who is known by that.
    for (const auto& [place, normal] : renamed_) {
        const auto now = index_.find(KeyOf(identifiers_[place].type, normal));
        if (now != index_.end()) LinkByRule(now->second, place);
    }
}

std::vector<int> Replay::Groups() {
    std::vector<int> groups(identifiers_.size(), -1), group_of_root(static_cast<size_t>(resolver_->nodes()), -1);
    int next = 0;
    for (size_t i = 0; i < identifiers_.size(); ++i) {
        if (!identifiers_[i].Exists()) continue;
        const int node = resolver_->NodeOf(static_cast<int>(i));
        if (node < 0) {
            groups[i] = next++;
            continue;
        }
        int& group = group_of_root[static_cast<size_t>(resolver_->Root(node))];
        if (group < 0) group = next++;
        groups[i] = group;
    }
    return groups;
}

std::vector<int64> Replay::OutdatedLinks() const {
    std::vector<int64> outdated;
    for (const Held& held : held_)
        if ((pairs_.at(held.pair) & kConfirmed) == 0) outdated.push_back(held.link_id);
    return outdated;
}

std::vector<Replay::NewLink> Replay::NewLinks() const {
    std::vector<NewLink> links;
    std::unordered_set<uint64_t> done;
    for (auto link = new_links_.rbegin(); link != new_links_.rend(); ++link)
        if (const uint64_t pair = Pair(link->a, link->b); (pairs_.at(pair) & kConfirmed) != 0 && done.insert(pair).second) links.push_back(*link);
    std::reverse(links.begin(), links.end());
    return links;
}

int Replay::PriorityOf(int identifier) const {
    const int type = identifiers_[identifier].type;
    return type < 0 ? INT_MAX : rules_.limits()[type].priority;
}

}  // namespace cdp::pipeline
