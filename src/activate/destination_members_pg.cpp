// activate/destination_members_pg.cpp: who is in one destination, and under which key. See destination_pg.hpp.
#include "activate/destination_plans_pg.hpp"

#include "pg/names.hpp"
#include "pg/probes.hpp"
#include "pg/table_writer.hpp"

extern "C" {
#include "utils/acl.h"
}

namespace cdp::activate {

namespace {

constexpr const char* kPeopleAtATime = "20000";

/// A text that lives as long as the current memory context.
std::string_view Kept(std::string_view text) {
    return pg::Call([&] { return std::string_view(pnstrdup(text.data(), text.size()), text.size()); });
}

}  // namespace

Destination::Destination(Definition definition, std::shared_ptr<govern::ConsentAnswers> answers)
    : definition_(std::move(definition)), answers_(std::move(answers)) {}
Destination::~Destination() = default;
Destination::Destination(Destination&&) noexcept = default;

Oid Destination::Owner() const {
    return pg::Call([&] { return get_role_oid(definition_.owner.c_str(), false); });
}

void Destination::Prepare() {
    if (plans_ != nullptr) return;
    const Definition& d = definition_;
    const bool by_profile = d.KeyedByProfile();
    auto plans = std::make_unique<Plans>();
    if (d.segment && d.segment_id == 0) throw Error(sqlstate::undefined_object, "segment \"" + *d.segment + "\" does not exist");
    if (d.purpose) plans->gate = answers_->Ask(*d.purpose);
    const std::string id = std::to_string(d.destination_id), segment_id = std::to_string(d.segment_id), key = pg::Identifier(d.key);

    plans->visible = pg::Statement("SELECT c.place FROM cdp_candidate c JOIN cdp.profile p ON p.profile_id = c.profile_id");
    plans->held = pg::Statement(
        "SELECT c.place, m.key FROM cdp_candidate c JOIN cdp.destination_member m ON m.destination_id = " + id + " AND m.profile_id = c.profile_id");
    plans->keys = pg::Statement(
        "SELECT c.place, k.value FROM cdp_candidate c CROSS JOIN LATERAL (SELECT i.value FROM cdp.identifier i WHERE i.profile_id = c.profile_id AND i.type = " +
        pg::Literal(d.key) + " ORDER BY i.last_seen_at DESC, i.identifier_id DESC LIMIT 1) k");
    plans->forget = pg::Statement(
        "DELETE FROM cdp.destination_member m USING cdp_left l WHERE m.destination_id = " + id + " AND m.profile_id = l.profile_id");
    // An identifier that has moved to another person takes its row along.
    plans->remember = pg::Statement(
        "INSERT INTO cdp.destination_member AS m (destination_id, profile_id, key) SELECT " + id + ", w.profile_id, w.key FROM cdp_moved w"
        " ON CONFLICT (destination_id, key) DO UPDATE SET profile_id = EXCLUDED.profile_id");
    plans->leave = pg::Statement(
        by_profile ? "DELETE FROM " + d.table + " t USING cdp_candidate c WHERE t." + key + " = c.profile_id RETURNING t." + key
                   : "DELETE FROM " + d.table + " t USING cdp_left l WHERE t." + key + " = l.key AND NOT EXISTS"
                     " (SELECT FROM cdp.destination_member n WHERE n.destination_id = " + id + " AND n.key = l.key)");

    // Who was merged away is there as who they are now.
    plans->announce = pg::Statement(
        "SELECT count(pg_logical_emit_message(true, 'cdp_delivery', jsonb_build_object('destination', " + pg::Literal(d.name) +
        ", 'key', n.key::text, 'after', l.key::text)::text)) FROM cdp_left l LEFT JOIN cdp.profile_alias a ON a.alias_id = l.profile_id" +
        (by_profile ? " CROSS JOIN LATERAL (SELECT a.profile_id AS key) n"
                    : " JOIN cdp.destination_member n ON n.destination_id = " + id + " AND n.profile_id = coalesce(a.profile_id, l.profile_id)") +
        " WHERE n.key <> l.key AND EXISTS (SELECT FROM cdp.delivery_target t WHERE t.destination = " + pg::Literal(d.name) + ")");

    const std::string next = std::string(" > $1 ORDER BY 1 LIMIT ") + kPeopleAtATime;
    const std::string ids =
        (d.segment ? "(SELECT profile_id FROM cdp.segment_member WHERE segment_id = " + segment_id + " AND profile_id"
                   : std::string("(SELECT profile_id FROM cdp.profile WHERE profile_id")) + next + ") UNION (" +
        (by_profile ? "SELECT profile_id FROM " + d.table + " WHERE profile_id"
                    : "SELECT profile_id FROM cdp.destination_member WHERE destination_id = " + id + " AND profile_id") +
        next + ") ORDER BY 1 LIMIT " + kPeopleAtATime;
    const std::string looked_up = "SELECT t.profile_id, EXISTS (SELECT FROM cdp.profile p WHERE p.profile_id = t.profile_id)" +
        (d.segment ? " AND EXISTS (SELECT FROM cdp.segment_member m WHERE m.profile_id = t.profile_id AND m.segment_id = " + segment_id + ")" : std::string()) +
        " FROM ";
    plans->look_up = pg::Statement(looked_up + "cdp_followed t");
    plans->people = pg::Statement(looked_up + "(" + ids + ") t ORDER BY 1", {INT8OID});
    plans->orphans = pg::Statement(
        "DELETE FROM " + d.table + " t WHERE NOT EXISTS (SELECT FROM cdp.destination_member m WHERE m.destination_id = " +
        id + " AND m.key = t." + key + ")");
    plans_ = std::move(plans);
}

void Destination::Stage(const segment::Touched& touched, std::span<const segment::Transition> moves, size_t place, const KeysOfNew& keys,
                        std::vector<Candidate>* candidates) const {
    using Change = segment::Touched::Change;
    const Definition& d = definition_;
    if (!d.Concerns(touched, moves)) return;
    auto& state = touched.person->state();
    const auto& memberships = state.memberships();
    const bool same_identifiers = touched.change == Change::kSome && !touched.identifiers_changed;
    Candidate candidate{touched.person->profile_id()};
    candidate.person = touched.person;
    candidate.meant = !d.segment || std::binary_search(memberships.begin(), memberships.end(), d.segment_id);
    candidate.same_consents = same_identifiers && !touched.consents_changed;
    const auto key = keys.find(d.key_type);
    candidate.is_new = touched.change == Change::kNew && (d.KeyedByProfile() || key != keys.end());
    candidate.unspoken_of = candidate.is_new && !touched.consents_changed;
    if (d.key_type != 0) {
        const int64 count = state.IdentifierCount(d.key_type);
        candidate.meant = candidate.meant && count > 0;
        candidate.same_key = count == 1 && same_identifiers;
        if (candidate.is_new) candidate.key = key->second[place];
    }
    if (candidate.meant || !candidate.is_new) candidates->push_back(candidate);
}

bool Destination::IsPermitted(const Candidate& candidate) const {
    return !answers_->Suppressed(candidate.profile_id) && (plans_->gate < 0 || answers_->Covers(plans_->gate, candidate.profile_id));
}

/// Under which keys they are held.
void Destination::FindHeld(std::vector<Member>* members) {
    pg::StagedRows staged("cdp_candidate", CandidateColumns());
    if (StageCandidates(&staged, *members, [](const Member& m) { return !m.candidate->is_new; }) == 0) return;
    const auto rows = plans_->held.Query();
    for (uint64 i = 0; i < rows.size(); ++i) (*members)[PlaceIn(rows, i)].held = Kept(pg::Bytes(*rows.Get(i, 2)));
}

/// Who of those who are meant is to be in it, as far as consent goes.
void Destination::FindPermitted(std::vector<Member>* members) {
    const bool asked = !definition_.asks_purposes.empty();  // by a column
    std::vector<int64> people;
    for (const Member& m : *members)
        if (m.wanted && !m.candidate->unspoken_of && (asked || !m.StaysPermitted())) people.push_back(m.profile_id());
    answers_->Read(std::move(people));
    for (Member& m : *members)
        if (m.wanted && !m.StaysPermitted()) m.wanted = IsPermitted(*m.candidate);
}

/// Under which keys they are to be. Looked up of those only who may have another one than they are held under.
void Destination::FindKeys(std::vector<Member>* members) {
    pg::StagedRows staged("cdp_candidate", CandidateColumns());
    for (Member& m : *members) {
        if (m.candidate->is_new) m.key = m.candidate->key;
        else if (m.candidate->same_key && m.held) m.key = *m.held;
    }
    if (StageCandidates(&staged, *members, [](const Member& m) { return m.wanted && m.key.empty(); }) == 0) return;
    const auto rows = plans_->keys.Query();
    for (uint64 i = 0; i < rows.size(); ++i) (*members)[PlaceIn(rows, i)].key = Kept(pg::Bytes(*rows.Get(i, 2)));
    for (Member& m : *members) m.wanted = m.wanted && !m.key.empty();
}

/// Who is hidden from its owner is not to be in it.
void Destination::FindVisible(std::vector<Member>* members) {
    pg::StagedRows staged("cdp_candidate", CandidateColumns());
    if (StageCandidates(&staged, *members, [](const Member& m) { return m.wanted; }) == 0) return;
    const pg::ActAs as_owner(Owner(), true);
    std::vector<char> visible(members->size());
    const auto rows = plans_->visible.Query();
    for (uint64 i = 0; i < rows.size(); ++i) visible[PlaceIn(rows, i)] = 1;
    for (size_t i = 0; i < members->size(); ++i) (*members)[i].wanted = visible[i] != 0;
}

/// Takes out who is not in it any more, under the key they had; and enters who is, under the key they have.
void Destination::Leave(std::span<const Member> members, bool leave_only, Changes* changes) {
    const bool by_profile = definition_.KeyedByProfile();
    pg::StagedRows left("cdp_left", {{"key", by_profile ? Oid{INT8OID} : Oid{TEXTOID}}, {"profile_id", INT8OID}});
    if (by_profile) {
        pg::StagedRows staged("cdp_candidate", CandidateColumns());
        if (StageCandidates(&staged, members, [](const Member& m) { return !m.wanted && !m.candidate->is_new; }) == 0) return;
        const auto rows = plans_->leave.Query();
        for (uint64 i = 0; i < rows.size(); ++i) left.Add({*rows.Get(i, 1), *rows.Get(i, 1)});
        changes->rows += rows.size();
    } else {
        for (const Member& m : members)
            if (m.held && (!m.wanted || m.Moves())) left.Add({pg::TextDatum(*m.held), Int64GetDatum(m.profile_id())});
        if (left.size() > 0) changes->members += plans_->forget.Execute();
        if (!leave_only) Remember(members, changes);
        if (left.size() > 0) changes->rows += plans_->leave.Execute();
    }
    if (left.size() > 0) plans_->announce.Execute();
}

void Destination::Remember(std::span<const Member> members, Changes* changes) {
    pg::StagedRows moved("cdp_moved", {{"profile_id", INT8OID}, {"key", TEXTOID}});
    pg::TableWriter entered("cdp.destination_member", {"destination_id", "profile_id", "key"});
    for (const Member& m : members) {
        if (!m.Moves()) continue;
        const Datum key = pg::TextDatum(m.key);
        if (m.candidate->is_new) entered.Insert({Int64GetDatum(definition_.destination_id), Int64GetDatum(m.profile_id()), key});
        else moved.Add({Int64GetDatum(m.profile_id()), key});
        ++changes->members;
    }
    if (moved.size() > 0) plans_->remember.Execute();
    entered.Write();
}

Changes Destination::Maintain(std::span<const Candidate> candidates, bool leave_only) {
    if (leave_only) Prepare(); else PrepareValues();
    pg::Scratch memory;
    const pg::Scratch::Use use(memory);
    Changes changes;
    std::vector<Member> members;
    members.reserve(candidates.size());
    for (const Candidate& candidate : candidates) members.push_back({&candidate, candidate.meant});
    if (!definition_.KeyedByProfile()) FindHeld(&members);
    FindPermitted(&members);
    if (!definition_.KeyedByProfile()) FindKeys(&members);
    if (definition_.hides) FindVisible(&members);
    Leave(members, leave_only, &changes);
    if (!leave_only) Enter(std::move(members), &changes);
    return changes;
}

void Destination::Follow(std::span<const int64> people, bool leave_only) {
    Prepare();
    const pg::Probes probes;
    std::vector<Candidate> candidates;
    {
        pg::StagedRows followed("cdp_followed", {{"profile_id", INT8OID}});
        for (const int64 profile_id : people) followed.Add({Int64GetDatum(profile_id)});
        const auto rows = plans_->look_up.Query();
        for (uint64 i = 0; i < rows.size(); ++i) candidates.push_back({.profile_id = rows.Int8(i, 1), .meant = rows.Bool(i, 2)});
    }
    Maintain(candidates, leave_only);
}

Changes Destination::Refill(bool leave_only) {
    Prepare();
    Changes changes;
    {
        const pg::Probes probes;
        for (int64 after = PG_INT64_MIN;;) {
            std::vector<Candidate> candidates;
            {
                const auto people = plans_->people.Query({pg::Int8(after)});
                for (uint64 i = 0; i < people.size(); ++i) candidates.push_back({.profile_id = people.Int8(i, 1), .meant = people.Bool(i, 2)});
            }
            if (candidates.empty()) break;
            after = candidates.back().profile_id;
            answers_->Forget();
            const Changes more = Maintain(candidates, leave_only);
            changes.rows += more.rows;
            changes.members += more.members;
        }
    }
    if (!definition_.KeyedByProfile()) changes.rows += plans_->orphans.Execute();
    return changes;
}

int64 Destination::CountKeptOut() const {
    const Definition& d = definition_;
    const std::string person = "p.profile_id";
    std::string sql = "SELECT count(*) FROM ";
    sql += d.segment ? "cdp.segment_member p JOIN cdp.segment s ON s.segment_id = p.segment_id AND s.name = " + pg::Literal(*d.segment) : "cdp.profile p";
    sql += " WHERE (EXISTS (SELECT FROM cdp.suppressed_profile x WHERE x.profile_id = " + person + ")";
    if (d.purpose) sql += " OR NOT " + govern::CoversSql(person, *d.purpose);
    sql += ")";
    if (!d.KeyedByProfile())
        sql += " AND EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = p.profile_id AND i.type = " + pg::Literal(d.key) + ")";
    return pg::Query(sql, {}, true).Int8(0, 1);
}

}  // namespace cdp::activate
