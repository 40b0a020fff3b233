// relay/worker_inbound.cpp: a Worker's changes, from its replication slot or from cdp.delivery, until its courier has them.
#include <algorithm>

#include "pg/error.hpp"
#include "relay/worker_stream.hpp"

namespace cdp::relay {

bool Worker::Full() const {
    return !stream_->arrived.empty() || (!stream_->spilling && (stream_->courier.size() >= Stream::kWindow || stream_->courier.bytes() >= Stream::kWindowBytes));
}

void Worker::Read() {
    more_to_read_ = false;
    if (stopping_ || Full()) return;
    for (size_t i = 0; i < Stream::kAtATime; ++i) {
        const auto frame = stream_->replication.Next();
        if (!frame) return;
        stream_->asked |= frame->wants_reply;
        if (frame->keepalive) {
            if (stream_->arrived.empty()) stream_->watermark.Received(frame->lsn);
            continue;
        }
        pgoutput::Message message = pgoutput::Decode(frame->message);
        if (std::holds_alternative<pgoutput::Begin>(message)) {
            stream_->watermark.Begin();
            stream_->arrivals.Begin();
        } else if (const auto* commit = std::get_if<pgoutput::Commit>(&message)) {
            stream_->watermark.Commit(commit->end_lsn);
        } else if (auto* relation = std::get_if<pgoutput::Relation>(&message)) {
            stream_->arrivals.Know(std::move(*relation));
        } else if (const auto* note = std::get_if<pgoutput::Note>(&message)) {
            stream_->arrivals.Heed(*note);
        } else if (const auto* row = std::get_if<pgoutput::Row>(&message)) {
            for (Arrival& arrival : stream_->arrivals.Take(*row, frame->lsn)) {
                arrival.transaction = stream_->watermark.Hold();
                stream_->arrived.push_back(std::move(arrival));
            }
        } else if (std::holds_alternative<pgoutput::Truncate>(message)) {
            stream_->truncated = true;
        }
    }
    more_to_read_ = true;
}

/// Changes that have been settled before a restart are known by their position; the others go on.
void Worker::Admit(Store& store) {
    Stream& s = *stream_;
    if (s.truncated) {
        store.Resync(target_);
        s.truncated = false;
        s.waiting = true;
    }
    if (s.arrived.empty()) return;
    const auto standing = s.spilling ? Store::Standing() : store.StandingOf(target_);
    // Of what waits in cdp.delivery the courier knows no order between keys; there it is known of everything.
    const bool follows = std::any_of(s.arrived.begin(), s.arrived.end(), [](const Arrival& arrival) { return !arrival.after.empty(); });
    if (follows && standing.waits) {
        if (!Persist(store)) return;
        FeedFromTable(store, "somebody's key has changed while changes wait in cdp.delivery: they are sent from there for now");
    }
    std::vector<std::string> keys;
    for (const Arrival& arrival : s.arrived)
        if (arrival.lsn <= s.last_position) keys.push_back(arrival.key);
    const auto positions = keys.empty() ? std::map<std::string, uint64_t>{} : store.Positions(target_, keys);
    DropOld(store, positions);
    if (s.spilling) {
        std::vector<Parcel> notes;
        for (const Arrival& arrival : s.arrived) notes.push_back(arrival.ToNote());
        Note(store, notes);
        s.arrived.clear();
        return;
    }
    std::vector<bool> settled;
    for (Arrival& arrival : s.arrived) {
        const auto known = positions.find(arrival.key);
        settled.push_back(arrival.lsn <= s.last_position && known != positions.end() && arrival.lsn <= known->second);
        if (settled.back() || !arrival.Incomplete()) continue;
        const auto now = store.Current(target_, arrival.key);
        // A row that is gone by now has its DELETE on the way.
        settled.back() = !now || !arrival.Complete(target_.types, *now);
    }
    if (standing.waits || standing.refused) Amend(store, settled);
    // What also waits in cdp.delivery would be taken from there after a crash: under the position that it is sent with now.
    if (standing.waits) {
        std::vector<Parcel> notes;
        for (size_t i = 0; i < settled.size(); ++i)
            if (!settled[i]) notes.push_back(s.arrived[i].ToNote());
        if (!notes.empty()) store.RecordWanted(target_, notes, true);
    }
    for (size_t i = 0; i < settled.size(); ++i) {
        if (settled[i])
            s.watermark.Release(s.arrived[i].transaction);
        else
            s.courier.Add(s.arrived[i].ToParcel(target_.destination, target_.key_column));
    }
    s.arrived.clear();
}

/// Whoever came and left before delivery began is nobody's business.
void Worker::DropOld(Store& store, const std::map<std::string, uint64_t>& positions) {
    Stream& s = *stream_;
    if (std::none_of(s.arrived.begin(), s.arrived.end(), [&](const Arrival& arrival) { return arrival.lsn < s.started; })) return;
    std::vector<bool> old;
    for (const Arrival& arrival : s.arrived)
        old.push_back(arrival.lsn < s.started && !positions.contains(arrival.key) && !store.Current(target_, arrival.key));
    std::vector<Arrival> kept;
    for (size_t i = 0; i < old.size(); ++i) {
        if (old[i])
            s.watermark.Release(s.arrived[i].transaction);
        else
            kept.push_back(std::move(s.arrived[i]));
    }
    s.arrived = std::move(kept);
}

/// Has them sent from the destination's table, in time, instead of keeping the log for them. A key's go no later than those of
/// one that follows it.
void Worker::Note(Store& store, const std::vector<Parcel>& parcels) {
    for (size_t i = 0; i < parcels.size(); i += Stream::kAtATime)
        store.RecordWanted(target_, {parcels.begin() + static_cast<ptrdiff_t>(i), parcels.begin() + static_cast<ptrdiff_t>(std::min(parcels.size(), i + Stream::kAtATime))});
    for (const Parcel& parcel : parcels) stream_->watermark.Release(parcel.transaction);
    metrics_.spilled += parcels.size();
    stream_->waiting = true;
}

/// How much of the log the slot keeps.
uint64_t Worker::Lag() const { return end_of_log_ > stream_->confirmed ? end_of_log_ - stream_->confirmed : 0; }

/// A row of which the destination has refused or not yet been sent what came before is new to it.
void Worker::Amend(Store& store, const std::vector<bool>& settled) {
    std::map<std::string, Arrival*> first;
    for (size_t i = 0; i < settled.size(); ++i)
        if (!settled[i]) first.try_emplace(stream_->arrived[i].key, &stream_->arrived[i]);
    // The courier sees to those that it has.
    std::erase_if(first, [&](const auto& entry) { return entry.second->kind != Change::Kind::kUpdate || stream_->courier.Has(entry.first); });
    if (first.empty()) return;
    std::vector<std::string> keys;
    for (const auto& entry : first) keys.push_back(entry.first);
    for (const std::string& key : store.NeverHeld(target_, keys)) first.at(key)->kind = Change::Kind::kInsert;
}

/// When the log that waits for the destination has grown too long.
void Worker::Spill(Store& store) {
    Stream& s = *stream_;
    if (s.spilling) {
        s.spilling = s.waiting || s.courier.size() > 0 || store.StandingOf(target_).waits;
        if (!s.spilling) Log(Level::kInfo, "caught up", {{"destination", target_.destination}});
        return;
    }
    if (static_cast<double>(Lag()) <= options_.max_lag * (1 << 20) || s.watermark.idle() || !s.unstored.empty()) return;
    FeedFromTable(store, "the destination is too far behind: its changes are kept in cdp.delivery");
}

/// What is not settled is noted in cdp.delivery instead, and so is what follows, until nothing waits there any more.
void Worker::FeedFromTable(Store& store, const char* why) {
    Stream& s = *stream_;
    std::vector<Parcel> all = s.courier.Empty();
    std::stable_sort(all.begin(), all.end(), [](const Parcel& a, const Parcel& b) { return a.change.lsn < b.change.lsn; });
    try {
        Note(store, all);
    } catch (const std::exception& error) {
        // They are in nobody's memory now, but still in the log.
        throw Error(sqlstate::object_not_in_prerequisite_state, std::string("the changes cannot be noted: ") + error.what());
    }
    s.spilling = true;
    Log(Level::kWarning, why, {{"destination", target_.destination}, {"lag_bytes", Lag()}, {"changes", all.size()}});
}

void Worker::Load(Store& store) {
    Stream& s = *stream_;
    if (!s.waiting || stopping_ || s.courier.size() >= Stream::kWindow / 2) return;
    const std::vector<Wanted> waiting = store.Waiting(target_, s.loaded, Stream::kAtATime, s.courier.Keys());
    for (const Wanted& one : waiting) {
        s.last_position = std::max(s.last_position, one.lsn);
        if (!one.taken || s.courier.Has(one.key)) continue;
        const auto kind = !one.row ? Change::Kind::kDelete : one.held ? Change::Kind::kUpdate : Change::Kind::kInsert;
        s.courier.Add(MakeParcel(kind, target_.destination, target_.key_column, one.key, one.lsn, target_.types,
                                 one.row ? &*one.row : nullptr));
    }
    s.waiting = waiting.size() == Stream::kAtATime;
    s.loaded = s.waiting ? waiting.back().key : "";
}

}  // namespace cdp::relay
