// relay/courier.cpp: see courier.hpp.
#include "relay/courier.hpp"

#include <algorithm>

namespace cdp::relay {

namespace {

constexpr unsigned kSuspicious = 3;            // failures of a batch, where nothing else tells whose fault it is
constexpr double kLongestAsked = 24 * 3600;  // of Retry-After, in seconds

size_t SizeOf(const Parcel& parcel) {
    size_t bytes = 300 + parcel.change.key.size() + parcel.change.id.size();
    for (const auto& [name, value] : parcel.change.row.items())
        bytes += 100 + name.size() + (value.is_string() ? value.get_ref<const std::string&>().size() : value.size() * 50);
    return bytes;
}

Batch BatchOf(std::vector<Parcel> parcels) {
    Batch batch;
    for (const Parcel& parcel : parcels) batch.changes.push_back(parcel.change);
    batch.parcels = std::move(parcels);
    return batch;
}

}  // namespace

Courier::Courier(Rules rules, uint64_t seed) : rules_(std::move(rules)), random_(seed) {}

void Courier::Add(Parcel parcel) {
    ++size_;
    bytes_ += SizeOf(parcel);
    const auto [key, is_new] = keys_.try_emplace(parcel.change.key);
    Numbered next{std::move(parcel), next_added_++};
    if (is_new)
        Open(key->second, std::move(next));
    else
        key->second.waiting.push_back(std::move(next));
}

/// The key's next change is its first one now. What is added earlier never waits for what is added later, so they never wait in a ring.
void Courier::Open(Key& key, Numbered next) {
    key.first = next.number;
    for (const std::string& other : next.parcel.after) {
        const auto before = keys_.find(other);
        if (before == keys_.end() || before->second.first >= next.number) continue;
        before->second.followers.push_back(next.parcel.change.key);
        key.held = std::move(next.parcel);
        return;
    }
    ready_.push_back(std::move(next.parcel));
}

/// What is stored is the past: the next of its key may go, and others that waited for it.
void Courier::Close(const Settled& outcome) {
    const auto found = keys_.find(outcome.parcel.change.key);
    if (found == keys_.end()) return;
    Key& key = found->second;
    const auto followers = std::exchange(key.followers, {});
    if (key.waiting.empty()) {
        keys_.erase(found);
    } else {
        Numbered next = std::move(key.waiting.front());
        key.waiting.pop_front();
        if (outcome.refused && outcome.parcel.change.kind == Change::Kind::kInsert && next.parcel.change.kind == Change::Kind::kUpdate)
            next.parcel.change.kind = Change::Kind::kInsert;
        Open(key, std::move(next));
    }
    for (const std::string& name : followers) {
        const auto follower = keys_.find(name);
        if (follower == keys_.end() || !follower->second.held) continue;
        Open(follower->second, {*std::exchange(follower->second.held, std::nullopt), follower->second.first});
    }
}

void Courier::Settle(Parcel parcel, bool refused, int status, std::string reason, Clock::time_point sent_at) {
    settled_.push_back({std::move(parcel), refused, status, std::move(reason), sent_at});
}

/// Fills a batch from what is ready. What can never be sent is settled here.
void Courier::Fresh(Batch& batch) {
    std::vector<Parcel> parcels;
    std::vector<Change> changes;
    while (!ready_.empty() && parcels.size() < rules_.batch_size) {
        Parcel parcel = std::move(ready_.front());
        ready_.pop_front();
        if (auto reason = rules_.refusal ? rules_.refusal(parcel.change) : std::nullopt) {
            Settle(std::move(parcel), true, 0, std::move(*reason), Clock::now());
            continue;
        }
        changes.push_back(parcel.change);
        parcels.push_back(std::move(parcel));
    }
    if (parcels.empty()) return;
    const size_t taken = rules_.take ? std::clamp<size_t>(rules_.take(changes), 1, parcels.size()) : parcels.size();
    while (parcels.size() > taken) {
        ready_.push_front(std::move(parcels.back()));
        parcels.pop_back();
    }
    changes.resize(taken);
    batch.parcels = std::move(parcels);
    batch.changes = std::move(changes);
}

Batch* Courier::Send(Batch batch, Monotonic::time_point now) {
    if (rules_.rate_limit > 0)
        next_slot_ = std::max(next_slot_, now) + ToDuration(Seconds(1 / rules_.rate_limit));
    batch.number = next_number_++;
    batch.sent_at = Clock::now();
    const uint64_t number = batch.number;
    return &in_flight_.emplace(number, std::move(batch)).first->second;
}

Batch* Courier::Next(Monotonic::time_point now) {
    if (in_flight_.size() >= (failures_ > 0 ? 1 : rules_.in_flight)) return nullptr;
    if (now < not_before_ || (rules_.rate_limit > 0 && now < next_slot_)) return nullptr;

    const auto retry = std::min_element(retries_.begin(), retries_.end(),
                                        [](const Batch& a, const Batch& b) { return a.due < b.due; });
    const bool due = retry != retries_.end() && retry->due <= now;
    // To find out whether a destination is back, batches that failed take turns with others: one may be to blame itself.
    if (due && !(failures_ > 0 && last_probe_was_retry_ && !ready_.empty())) {
        Batch batch = std::move(*retry);
        retries_.erase(retry);
        last_probe_was_retry_ = true;
        return Send(std::move(batch), now);
    }
    Batch batch;
    Fresh(batch);
    if (batch.parcels.empty()) return nullptr;
    last_probe_was_retry_ = false;
    return Send(std::move(batch), now);
}

std::optional<Monotonic::time_point> Courier::Wake() const {
    if (in_flight_.size() >= (failures_ > 0 ? 1 : rules_.in_flight)) return std::nullopt;
    std::optional<Monotonic::time_point> wake;
    if (!ready_.empty()) wake = Monotonic::time_point{};
    for (const Batch& batch : retries_)
        if (!wake || batch.due < *wake) wake = batch.due;
    if (wake) wake = std::max({*wake, not_before_, rules_.rate_limit > 0 ? next_slot_ : Monotonic::time_point{}});
    return wake;
}

/// A batch that failed.
void Courier::Later(Batch batch, std::optional<double> asked, Monotonic::time_point now) {
    const bool to_blame = batch.attempts > 0 && successes_ > batch.successes_then;
    ++batch.attempts;
    batch.successes_then = successes_;
    Seconds pause = rules_.backoff.After(batch.attempts, random_);
    if (asked) pause = std::max(pause, Seconds(std::clamp(*asked, 0.0, kLongestAsked)));
    if (!to_blame) {
        if (now >= not_before_) ++failures_;  // those that were in flight together count once
        Seconds gate = rules_.backoff.After(failures_, random_);
        if (asked) gate = std::max(gate, Seconds(std::clamp(*asked, 0.0, kLongestAsked)));
        not_before_ = std::max(not_before_, now + ToDuration(gate));
    }
    batch.due = now + ToDuration(pause);
    const bool halve = to_blame || (!asked && batch.attempts >= kSuspicious);
    if (!halve || batch.parcels.size() == 1) {
        retries_.push_back(std::move(batch));
        return;
    }
    const size_t half = batch.parcels.size() / 2;
    std::vector<Parcel> second(std::make_move_iterator(batch.parcels.begin() + half), std::make_move_iterator(batch.parcels.end()));
    batch.parcels.resize(half);
    for (auto* parcels : {&batch.parcels, &second}) {
        Batch part = BatchOf(std::move(*parcels));
        part.attempts = 1;
        part.successes_then = batch.successes_then;
        part.due = now + ToDuration(rules_.backoff.After(1, random_));
        retries_.push_back(std::move(part));
    }
}

void Courier::Answer(uint64_t number, const std::vector<Verdict>& verdicts, int http_status, Monotonic::time_point now) {
    const auto found = in_flight_.find(number);
    if (found == in_flight_.end()) return;
    Batch batch = std::move(found->second);
    in_flight_.erase(found);

    std::vector<Parcel> again, split;
    std::optional<double> asked;
    size_t settled = 0;
    for (size_t i = 0; i < batch.parcels.size(); ++i) {
        // An answer that does not speak of all has not settled all.
        const Verdict verdict = i < verdicts.size() ? verdicts[i] : Verdict{Verdict::Kind::kRetry, "no answer for this row", {}};
        Parcel& parcel = batch.parcels[i];
        switch (verdict.kind) {
            case Verdict::Kind::kRetry:
                if (verdict.retry_after_seconds) asked = std::max(asked.value_or(0), *verdict.retry_after_seconds);
                again.push_back(std::move(parcel));
                break;
            case Verdict::Kind::kSplit:
                if (batch.parcels.size() > 1) {
                    split.push_back(std::move(parcel));
                    break;
                }
                [[fallthrough]];
            default:
                ++settled;
                Settle(std::move(parcel), verdict.kind != Verdict::Kind::kDelivered, http_status, verdict.reason, batch.sent_at);
        }
    }
    if (settled > 0 || !split.empty()) {
        ++successes_;
        failures_ = 0;
    }
    // In halves at once, ahead of others.
    const size_t cut = split.size() > 1 ? split.size() / 2 : split.size();
    std::vector<Parcel> rest(std::make_move_iterator(split.begin() + cut), std::make_move_iterator(split.end()));
    split.resize(cut);
    for (auto* parcels : {&split, &rest}) {
        if (parcels->empty()) continue;
        Batch half = BatchOf(std::move(*parcels));
        half.due = now;
        half.successes_then = successes_;
        retries_.push_back(std::move(half));
    }
    if (!again.empty()) {
        const unsigned attempts = batch.attempts;
        const uint64_t successes_then = batch.successes_then;
        Batch rest_of_it = BatchOf(std::move(again));
        rest_of_it.attempts = attempts;
        rest_of_it.successes_then = successes_then;
        Later(std::move(rest_of_it), asked, now);
    }
}

void Courier::Abandon(uint64_t number) {
    const auto found = in_flight_.find(number);
    if (found == in_flight_.end()) return;
    found->second.due = {};
    retries_.push_back(std::move(found->second));
    in_flight_.erase(found);
}

std::vector<Settled> Courier::TakeSettled() { return std::exchange(settled_, {}); }

void Courier::Stored(const std::vector<Settled>& settled) {
    for (const Settled& outcome : settled) {
        --size_;
        bytes_ -= std::min(bytes_, SizeOf(outcome.parcel));
        Close(outcome);
    }
}

std::vector<Parcel> Courier::Empty() {
    std::vector<Parcel> all;
    const auto drop = [&](Parcel&& parcel, bool last_of_key) {
        --size_;
        bytes_ -= std::min(bytes_, SizeOf(parcel));
        if (last_of_key) keys_.erase(parcel.change.key);
        all.push_back(std::move(parcel));
    };
    std::vector<Parcel> held;
    for (auto& [name, key] : keys_) {
        for (Numbered& next : key.waiting) drop(std::move(next.parcel), false);
        key.waiting.clear();
        if (key.held) held.push_back(*std::exchange(key.held, std::nullopt));
    }
    for (Parcel& parcel : held) drop(std::move(parcel), true);
    for (Parcel& parcel : ready_) drop(std::move(parcel), true);
    ready_.clear();
    for (Batch& batch : retries_)
        for (Parcel& parcel : batch.parcels) drop(std::move(parcel), true);
    retries_.clear();
    const auto keep = [&](Parcel& parcel) {
        all.push_back(parcel);
        parcel.transaction = 0;
    };
    for (auto& [number, batch] : in_flight_)
        for (Parcel& parcel : batch.parcels) keep(parcel);
    for (Settled& outcome : settled_) keep(outcome.parcel);
    return all;
}

}  // namespace cdp::relay
