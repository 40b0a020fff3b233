// pipeline/batch_pg.cpp: see batch_pg.hpp. The stages of a batch, in their order.
#include "pipeline/batch_pg.hpp"

#include <map>

#include "collect/events_pg.hpp"
#include "collect/message_keys_pg.hpp"
#include "govern/consent_pg.hpp"
#include "identity/ledger_pg.hpp"
#include "identity/separations_pg.hpp"
#include "pg/index_helpers.hpp"
#include "pg/settings.hpp"
#include "pipeline/clock_pg.hpp"
#include "pipeline/definitions_pg.hpp"
#include "pipeline/follow_rows_pg.hpp"
#include "pipeline/primary_pg.hpp"
#include "profile/accounts_pg.hpp"
#include "profile/people_pg.hpp"

extern "C" {
#include "catalog/pg_extension.h"
#include "storage/lmgr.h"
}

namespace cdp::pipeline {

namespace {

constexpr LOCKMODE kLockMode = ShareUpdateExclusiveLock;

/// What the batch knows of one accepted message.
struct Accepted {
    size_t message;           // in the inbox batch
    size_t first, count;      // its identifiers, in carried_: strongest first once joined
    identity::Joined joined{};
};

class Batch {
public:
    Batch(Definitions& definitions, collect::InboxBatch& inbox)
        : definitions_(definitions), inbox_(inbox), identifiers_(definitions.rules, inbox.messages().size()),
          consents_(definitions.purposes), rejections_(inbox.descriptor()) {}

    void Run();

private:
    void Validate();
    void DropDuplicates();
    void LoadPeople();
    void Join();
    void FillEvents();
    void WriteLedger();
    void FoldPeople();
    segment::Replay::Messages Changing(size_t place, const profile::Reads& reads) const;
    void Replay(size_t place, const profile::Reads& reads, const segment::Replay::Moment& moment);
    void WritePeople();
    void WriteConsents(bool any_gone);
    activate::KeysOfNew KeysOfNew();
    std::span<identity::Candidate> Carried(const Accepted& a) { return std::span(carried_).subspan(a.first, a.count); }
    std::span<identity::Candidate> Kept(const Accepted& a) { return Carried(a).first(static_cast<size_t>(a.joined.kept)); }
    int64 EventId(size_t i) const { return DatumGetInt64(events_->rows()[i].values[profile::kEventId]); }
    std::span<const size_t> MessagesOf(size_t place) const {
        const size_t begin = place == 0 ? 0 : end_[place - 1];
        return std::span(by_person_).subspan(begin, end_[place] - begin);
    }

    Definitions& definitions_;
    collect::InboxBatch& inbox_;
    identity::BatchIdentifiers identifiers_;
    std::vector<identity::Candidate> carried_;  // of all messages
    std::vector<Accepted> accepted_;
    std::vector<collect::MessageKey> keys_;     // of the accepted, in order
    govern::BatchConsents consents_;
    collect::Rejections rejections_;
    int64 first_new_profile_ = 0;
    std::optional<identity::Resolver> resolver_;
    std::optional<profile::People> people_;
    std::optional<collect::Events> events_;
    std::optional<identity::StagedMerges> merges_;
    identity::Ledger ledger_;
    std::vector<size_t> by_person_, end_;  // the accepted, person by person in the order of their places; where each one's end
    std::optional<profile::FilterResults> filters_;
    std::vector<segment::Touched> touched_;
    std::vector<int64> overdue_;  // whom the clock has changed first
};

void Batch::Validate() {
    auto& messages = inbox_.messages();
    accepted_.reserve(messages.size());
    for (size_t i = 0; i < messages.size(); ++i) {
        if ((i & 1023) == 0) poll_stop();
        auto refusal = collect::Refuse(messages[i]);
        const size_t first = carried_.size();
        if (!refusal) refusal = identifiers_.Extract(messages[i], &carried_);
        if (!refusal && carried_.size() == first) refusal = collect::NoIdentifier();
        if (refusal) {
            carried_.resize(first);
            rejections_.Add(messages[i], *refusal);
        } else {
            accepted_.push_back({i, first, carried_.size() - first});
        }
    }
}

void Batch::DropDuplicates() {
    for (const Accepted& a : accepted_) {
        const auto& m = inbox_.messages()[a.message];
        keys_.push_back(collect::KeyOf(m.message_id, m.received_at));
    }
    const auto duplicate = collect::MessageKeys::Duplicates(keys_, pg::dedupe_window);
    size_t kept = 0;
    for (size_t i = 0; i < accepted_.size(); ++i) {
        if (duplicate[i]) continue;
        if (kept != i) {
            accepted_[kept] = accepted_[i];
            keys_[kept] = keys_[i];
        }
        ++kept;
    }
    accepted_.resize(kept);
    keys_.resize(kept);
}

void Batch::LoadPeople() {
    people_.emplace(*definitions_.traits, pg::Now());
    for (const auto& entry : identifiers_.entries())
        if (entry.identifier_id != 0) people_->Want(entry.profile_id);
    people_->Load();
}

void Batch::Join() {
    identifiers_.LookUp();
    auto& entries = identifiers_.entries();
    const auto rules = definitions_.rules.limits();
    LoadPeople();
    // What the clock owes them comes before their messages.
    if (auto overdue = people_->Overdue(); !overdue.empty()) {
        for (const auto& entry : overdue) overdue_.push_back(entry.first);
        PassInstants(definitions_, std::move(overdue), pg::Now());
        LoadPeople();
    }

    first_new_profile_ = identity::Ledger::NextProfileId();
    resolver_.emplace(rules, entries.size(), first_new_profile_);
    AddPeople(*people_, rules, *resolver_);
    for (size_t i = 0; i < entries.size(); ++i)
        if (entries[i].identifier_id != 0) resolver_->Know(static_cast<int>(i), people_->NodeOf(entries[i].profile_id));

    for (size_t i = 0; i < accepted_.size(); ++i) {
        if ((i & 1023) == 0) poll_stop();
        accepted_[i].joined = resolver_->Join(i, Carried(accepted_[i]));
    }
}

void Batch::FillEvents() {
    ledger_.NumberNewIdentifiers(accepted_.size(), [&](size_t i) { return Kept(accepted_[i]); }, identifiers_);
    events_.emplace(inbox_, accepted_.size());
    for (const Accepted& a : accepted_) {
        const auto& message = inbox_.messages()[a.message];
        const auto kept = Kept(a);
        std::vector<Datum> linked;
        for (const auto& candidate : kept.subspan(1))
            linked.push_back(Int64GetDatum(identifiers_.entries()[candidate.identifier].identifier_id));
        const int64 event_id = events_->Add(message, identifiers_.entries()[kept.front().identifier].identifier_id, linked);
        ledger_.Record(message, event_id, Carried(a), a.joined, identifiers_);
        consents_.Take(events_->rows().back(), kept.front().identifier);
    }
}

/// What does not depend on the people: while they are worked on its rows are entered into their indexes.
void Batch::WriteLedger() {
    merges_.emplace(*resolver_, identifiers_);
    events_->Write();
    ledger_.Write(identifiers_, *resolver_, *merges_);
}

void Batch::FoldPeople() {
    auto& people = *people_;
    people.Arrange(*resolver_);
    filters_.emplace(*definitions_.traits, events_->rows());
    // One person after the other, each in the processor's cache while their events are added.
    by_person_.resize(accepted_.size());
    end_.assign(people.size() + 1, 0);
    for (const Accepted& a : accepted_) ++end_[people.PlaceOfNode(a.joined.node) + 1];
    for (size_t place = 0; place < people.size(); ++place) end_[place + 1] += end_[place];
    for (size_t i = 0; i < accepted_.size(); ++i) by_person_[end_[people.PlaceOfNode(accepted_[i].joined.node)]++] = i;
    for (size_t place = 0; place < people.size(); ++place) {
        if ((place & 1023) == 0) poll_stop();
        profile::Person& person = people.AtPlace(place);
        for (const size_t i : MessagesOf(place)) person.Add(events_->rows()[i], i, *filters_);
        person.Finish();
    }
    people.CountIdentifiers(*resolver_, definitions_.rules.limits());
    touched_ = people.Touched();
    // The last event of each person, for the segment transitions that it causes, and since when those are owed.
    for (size_t place = 0; place < people.size(); ++place) {
        segment::Touched& touched = touched_[place];
        for (const size_t i : MessagesOf(place)) {
            touched.event_id = EventId(i);
            const int64 at = inbox_.messages()[accepted_[i].message].committed_at;
            touched.since = touched.since == 0 ? at : std::min(touched.since, at);
        }
    }
}

/// No further than to the second.
segment::Replay::Messages Batch::Changing(size_t place, const profile::Reads& reads) const {
    segment::Replay::Messages changing{0, 0};
    for (const size_t i : MessagesOf(place)) {
        if (!profile::Person::Changes(*definitions_.traits, events_->rows()[i], i, *filters_, reads)) continue;
        if (changing.count++ > 0) break;
        changing.first_event_id = EventId(i);
    }
    return changing;
}

/// The person at a place as they were before the batch, then after each of their messages in turn that changes any of `reads`, or
/// who they are; and after the first.
void Batch::Replay(size_t place, const profile::Reads& reads, const segment::Replay::Moment& moment) {
    const auto messages = MessagesOf(place);
    if (messages.size() < 2) return;
    const int64 survivor = people_->AtPlace(place).profile_id();
    // Those who became this person, and who became whom meanwhile.
    std::map<int64, profile::Person> apart;
    std::map<int64, int64> became;
    const auto as_of_now = [&](int64 profile_id) {
        for (auto next = became.find(profile_id); next != became.end(); next = became.find(profile_id)) profile_id = next->second;
        return profile_id;
    };
    const auto person_of = [&](int64 profile_id) -> profile::Person& {
        const auto found = apart.find(profile_id);
        return found != apart.end() ? found->second : apart.emplace(profile_id, people_->Before(profile_id)).first->second;
    };
    moment(person_of(survivor), 0, segment::Cause::kEvent);
    bool first = true;
    const auto merges = resolver_->merges();
    for (const size_t i : messages) {
        auto cause = segment::Cause::kEvent;
        auto merge = std::lower_bound(merges.begin(), merges.end(), i, [](const identity::Merge& m, size_t message) { return m.message < message; });
        for (; merge != merges.end() && merge->message == i; ++merge) {
            person_of(merge->survivor).Merge(person_of(merge->gone));
            became[merge->gone] = merge->survivor;
            cause = segment::Cause::kMerge;
        }
        const int64 profile_id = as_of_now(resolver_->OwnProfile(accepted_[i].joined.node));
        profile::Person& person = person_of(profile_id);
        bool matters = first || cause == segment::Cause::kMerge;
        if (profile::Person::Changes(*definitions_.traits, events_->rows()[i], i, *filters_, reads)) {
            person.Add(events_->rows()[i], i, *filters_, &reads);
            matters = true;
        }
        for (const auto& candidate : Kept(accepted_[i])) {
            const int type_id = definitions_.rules.limits()[static_cast<size_t>(candidate.type)].type_id;
            if (person.state().IdentifierCount(type_id) != 0) continue;
            person.state().SetIdentifierCount(type_id, 1);
            matters = true;
        }
        if (profile_id != survivor) continue;
        if (matters) moment(person, EventId(i), cause);
        first = false;
    }
}

void Batch::WritePeople() {
    const bool merged = merges_->any();
    WriteConsents(merged);
    profile::WriteAccounts(events_->rows(), [&](size_t i) { return people_->OfNode(accepted_[i].joined.node).profile_id(); }, merged);
    const segment::Replay replay{[&](size_t place, const auto& reads) { return Changing(place, reads); },
                                 [&](size_t place, const auto& reads, const auto& moment) { Replay(place, reads, moment); }};
    pipeline::WritePeople(definitions_, *people_, touched_, merged, {{ledger_.first_new(), ledger_.new_count()}, &replay, KeysOfNew()});
    if (!overdue_.empty()) definitions_.destinations.Follow(overdue_);
    NoteProblems(definitions_);
    collect::MessageKeys::Remember(std::move(keys_), pg::dedupe_window);
}

activate::KeysOfNew Batch::KeysOfNew() {
    activate::KeysOfNew keys;
    const auto& entries = identifiers_.entries();
    for (const int type_id : definitions_.destinations.KeyTypes()) {
        auto& values = keys[type_id];
        values.resize(people_->size());
        std::vector<std::pair<int64, int64>> seen(people_->size());  // when, and the identifier's id
        for (size_t i = 0; i < entries.size(); ++i) {
            const auto& entry = entries[i];
            if (!entry.is_new || definitions_.rules.limits()[static_cast<size_t>(entry.type)].type_id != type_id) continue;
            const size_t place = people_->PlaceOfNode(resolver_->NodeOf(static_cast<int>(i)));
            const std::pair now{entry.last_seen, entry.identifier_id};
            if (!values[place].empty() && now < seen[place]) continue;
            values[place] = entry.value;
            seen[place] = now;
        }
    }
    return keys;
}

void Batch::WriteConsents(bool any_gone) {
    const auto people = consents_.Write(identifiers_, [&](int entry) { return resolver_->ProfileOf(resolver_->NodeOf(entry)); },
                                        first_new_profile_, any_gone);
    if (people.empty()) return;
    for (auto& touched : touched_)
        touched.consents_changed = std::binary_search(people.begin(), people.end(), touched.person->profile_id());
}

void Batch::Run() {
    Validate();
    DropDuplicates();
    if (!accepted_.empty()) {
        pg::IndexHelpers helpers(accepted_.size());
        Join();
        FillEvents();
        WriteLedger();
        FoldPeople();
        helpers.Finish();  // conditions that users wrote may read anything
        WritePeople();
        helpers.Finish();
    }
    rejections_.Write();
}

Oid InstalledExtension() {
    const Oid extension = pg::ExtensionId();
    if (!OidIsValid(extension))
        throw Error(sqlstate::object_not_in_prerequisite_state, "extension \"cdp\" is not installed in this database");
    return extension;
}

}  // namespace

void AddPeople(profile::People& people, std::span<const identity::TypeRule> rules, identity::Resolver& resolver) {
    std::vector<int64_t> counts(rules.size());
    std::vector<int64> marked;
    for (auto& [profile_id, person] : people.loaded()) {
        for (size_t type = 0; type < rules.size(); ++type) counts[type] = person.state().IdentifierCount(rules[type].type_id);
        people.SetNode(profile_id, resolver.AddProfile(profile_id, counts));
        if (person.state().IdentifierCount(profile::kMarkedTypeId) != 0) marked.push_back(profile_id);
    }
    if (!marked.empty())
        identity::ReadMarks(marked, [&](int64 profile_id, identity::Mark mark) { resolver.AddMark(people.NodeOf(profile_id), mark); });
}

void WriteProfiles(Definitions& definitions, profile::People& people, std::span<segment::Touched> touched, bool any_gone, const FromMessages& known) {
    people.RecomputeSequences();
    definitions.segments->Evaluate(touched, known.identifiers);
    if (known.replay != nullptr) definitions.segments->NameMessages(touched, *known.replay);
    people.Write(any_gone);
    definitions.segments->Write(any_gone);
}

void WritePeople(Definitions& definitions, profile::People& people, std::span<segment::Touched> touched, bool any_gone, const FromMessages& known) {
    WriteProfiles(definitions, people, touched, any_gone, known);
    static pg::Statement ended("SELECT gone FROM cdp_batch_merge");
    const auto gone = any_gone ? ended.Query() : pg::Rows();
    definitions.destinations.Apply([&](const activate::Destination& destination, std::vector<activate::Candidate>* candidates) {
        for (size_t i = 0; i < touched.size(); ++i)
            destination.Stage(touched[i], definitions.segments->MovesOf(touched[i].person->profile_id()), i, known.keys, candidates);
        for (uint64 i = 0; i < gone.size(); ++i) candidates->push_back({.profile_id = gone.Int8(i, 1)});
    });
}

void NoteProblems(const Definitions& definitions) {
    const bool traits = definitions.traits->NoteProblems(), segments = definitions.segments->NoteProblems();
    if (traits || segments) TouchConfiguration();
}

void Lock() {
    RequirePrimary("change anything");  // the server's own refusal speaks of a lock mode
    if (IsolationUsesXactSnapshot())
        throw Error(sqlstate::object_not_in_prerequisite_state, std::string("cdp changes nothing in a transaction of isolation level ") +
                                                                    (IsolationIsSerializable() ? "serializable" : "repeatable read"))
            .Detail("It would go by what was when the transaction began, and miss for good what was committed since.")
            .Hint("Use isolation level READ COMMITTED.");
    const Oid extension = InstalledExtension();
    pg::Call([&] { LockDatabaseObject(ExtensionRelationId, extension, 0, kLockMode); });
    InstalledExtension();  // it may have been dropped while we waited
}

bool LockHeld() {
    const Oid extension = pg::ExtensionId();
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension, 0);
    return OidIsValid(extension) && LockHeldByMe(&tag, kLockMode);
}

int64 ProcessBatch(collect::Progress* progress, int64 max_messages, int64* changes) {
    for (;;) {
        collect::InboxBatch inbox(*progress, max_messages, int64{pg::batch_memory} * 1024);
        const bool nothing_left = inbox.Empty() && !progress->tick && !inbox.after().tick;
        if (nothing_left) return 0;
        if (XactReadOnly)
            throw Error(sqlstate::read_only_sql_transaction, "cannot process messages in a read-only transaction")
                .Hint("Call cdp.process() or cdp.flush() outside of it, or start the worker.");
        if (!inbox.messages().empty()) Batch(Current(), inbox).Run();
        if (!inbox.changes().empty()) FollowRows(inbox.changes());
        *progress = inbox.after();
        *changes = static_cast<int64>(inbox.changes().size());
        if (!inbox.Empty()) return inbox.size();
        // Nothing is left of the last tick, or nothing in this piece of it was to be taken: go on behind it.
    }
}

bool RejectNext(collect::Progress* progress, const pg::Failure& why) {
    for (;;) {
        collect::InboxBatch inbox(*progress, 1, PG_INT64_MAX);
        if (inbox.Empty() && !progress->tick && !inbox.after().tick) return true;
        if (!inbox.messages().empty()) {
            collect::Rejections rejections(inbox.descriptor());
            for (const auto& message : inbox.messages())
                rejections.Add(message, {why.message, "SQLSTATE " + why.sqlstate + (why.detail.empty() ? "" : ": " + why.detail)});
            rejections.Write();
        }
        if (!inbox.changes().empty()) LeaveRows(inbox.changes(), why);
        *progress = inbox.after();
        if (!inbox.Empty()) return inbox.changes().empty();
    }
}

void Rotate() { collect::RotateInbox(); }

}  // namespace cdp::pipeline
