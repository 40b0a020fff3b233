// relay/worker.cpp: see worker.hpp. One destination's life, top to bottom; what comes in is in worker_inbound.cpp.
#include <atomic>
#include <thread>

#include "pg/error.hpp"
#include "relay/row.hpp"
#include "relay/worker_stream.hpp"

namespace cdp::relay {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kConfirmEvery = 200ms, kHeartbeat = 5s, kPurgeEvery = 60s, kNoteEvery = 5s, kStorePause = 200ms;

std::atomic<int> preparing = 0;  // threads

Connector ConnectorOf(const Target& target, const DeliveryOptions& options, const Environment& secrets) {
    if (!target.connector.is_object())
        throw Error(sqlstate::undefined_object, "the connector of destination \"" + target.destination + "\" does not exist any more");
    if (target.columns.empty()) throw Error(sqlstate::undefined_table, "the destination's table " + target.table + " does not exist");
    Settings settings;
    settings.destination = target.destination;
    settings.key_column = target.key_column;
    settings.options = options.others;
    settings.endpoint = target.endpoint;
    settings.secret_env = target.secret_env;
    settings.environment = secrets;
    return Connector::FromRow(target.connector, std::move(settings));
}

/// Why, for the log: an answer's own words may name people, and are in the database.
std::pair<std::string, nlohmann::json> WhatFor(int http_status, const std::string& reason) {
    return http_status == 0 ? std::pair<std::string, nlohmann::json>("reason", reason) : std::pair<std::string, nlohmann::json>("status", http_status);
}

}  // namespace

/// What may take its time, in a thread of its own: the slot, and what is wanted from before it.
struct Worker::Preparation {
    std::promise<void> promise;
    std::future<void> done = promise.get_future();
    uint64_t position = 0, wanted = 0;
    Store::Known known;
    bool made_slot = false;
};

Worker::Worker(Target target, const Configuration& configuration, Environment secrets, HttpClient& http)
    : target_(std::move(target)), configuration_(configuration), secrets_(std::move(secrets)), http_(http),
      backoff_(Seconds(0.5), Seconds(std::max(0.01, configuration.longest_pause))), random_(std::random_device{}()) {
    metrics_.destination = target_.destination;
}

Worker::~Worker() {
    if (stream_ != nullptr)
        for (const auto& [number, shipment] : stream_->shipments) http_.Cancel(shipment.request);
}

void Worker::Refresh(const Target& target, uint64_t end_of_log) {
    target_ = target;
    end_of_log_ = end_of_log;
    if (stream_ != nullptr) stream_->waiting = stream_->waiting || target.pending;
}

// Beginning and failing --------------------------------------------------------------------------------------------

void Worker::Prepare() {
    auto preparation = std::make_shared<Preparation>();
    ++preparing;
    std::thread([preparation, target = target_, dsn = configuration_.dsn] {
        const std::unique_ptr<std::atomic<int>, void (*)(std::atomic<int>*)> until_the_end(&preparing, [](auto* count) { --*count; });
        try {
            Store store(dsn);
            store.Patiently();
            bool lost = false;
            auto position = store.SlotPosition(target.slot, lost);
            if (lost) Replication(dsn).DropSlot(target.slot);
            if (!position || lost) {
                store.Unstarted(target);
                Replication(dsn).CreateSlot(target.slot);
                preparation->made_slot = true;
                position = store.SlotPosition(target.slot, lost);
            }
            if (!target.started || preparation->made_slot) preparation->wanted = store.Started(target);
            preparation->position = position.value_or(0);
            preparation->known = store.WhatIsKnown(target);
            preparation->promise.set_value();
        } catch (...) {
            const auto failure = std::current_exception();
            try {
                if (preparation->made_slot) Replication(dsn).DropSlot(target.slot);  // nobody may want it any more
            } catch (const std::exception&) {
            }
            preparation->promise.set_exception(failure);
        }
    }).detach();
    preparation_ = std::move(preparation);
}

void Worker::Begin(const Preparation& preparation) {
    options_ = DeliveryOptions::Read(target_.options);
    Connector connector = ConnectorOf(target_, options_, secrets_);
    Courier::Rules rules;
    rules.batch_size = connector.batch_size();
    rules.in_flight = options_.in_flight;
    rules.rate_limit = connector.rate_limit();
    rules.backoff = backoff_;
    stream_ = std::make_unique<Stream>(std::move(connector), configuration_.dsn, target_.destination, target_.key_column);
    rules.take = [&connector = stream_->connector](std::span<const Change> changes) { return connector.Take(changes); };
    rules.refusal = [&connector = stream_->connector](const Change& change) { return connector.Refusal(change); };
    stream_->courier = Courier(std::move(rules), random_());
    stream_->watermark = Watermark(preparation.position);
    stream_->confirmed = preparation.position;
    stream_->started = preparation.known.started;
    stream_->last_position = preparation.known.last_position;
    stream_->waiting = true;
    stream_->spilling = preparation.known.follows;
    stream_->replication.Start(target_.slot, target_.publication);
    target_.started = true;
    failures_ = 0;
    error_.reset();
    Log(Level::kInfo, "delivering", {{"destination", target_.destination}, {"slot", target_.slot}, {"from", LsnText(preparation.position)},
                                     {"wanted", preparation.wanted}});
}

void Worker::Fail(const std::string& message) {
    if (stream_ != nullptr)
        for (const auto& [number, shipment] : stream_->shipments) http_.Cancel(shipment.request);
    stream_.reset();
    preparation_.reset();
    ++failures_;
    const Seconds pause = backoff_.After(failures_, random_);
    retry_at_ = Monotonic::now() + ToDuration(pause);
    error_ = message;
    Log(Level::kError, "delivery interrupted", {{"destination", target_.destination}, {"error", message}, {"pause", pause.count()}});
}

void Worker::Work(Store& store, Monotonic::time_point now) {
    try {
        if (stream_ == nullptr && preparation_ == nullptr && !stopping_ && now >= retry_at_) Prepare();
        if (preparation_ != nullptr && preparation_->done.wait_for(0s) == std::future_status::ready) {
            const auto preparation = std::exchange(preparation_, nullptr);
            preparation->done.get();
            if (!stopping_) Begin(*preparation);
        }
        if (stream_ != nullptr) {
            Read();
            if (now >= store_at_) {
                Admit(store);
                Spill(store);
                if (Persist(store)) Load(store);
            }
            Dispatch(now);
            Confirm(now);
        }
        if (error_ != noted_error_ || !error_noted_) {
            if (now >= note_at_) {
                note_at_ = now + kNoteEvery;
                store.NoteError(target_, error_);
                noted_error_ = error_;
                error_noted_ = true;
            }
        }
        if (stream_ != nullptr && now >= purge_at_) Purge(store, now);
    } catch (const std::exception& error) {
        // A lock that somebody holds changes nothing: what was not stored is kept.
        if (stream_ != nullptr && IsBusy(error)) {
            store_at_ = now + kStorePause;
            return;
        }
        Fail(error.what());
    }
}

bool Worker::AnyPrepares() { return preparing > 0; }

bool Worker::stopped() const {
    return stopping_ && (stream_ == nullptr || (stream_->shipments.empty() && stream_->unstored.empty()));
}

int Worker::socket() const { return stream_ != nullptr && !stopping_ && !Full() ? stream_->replication.socket() : -1; }

std::optional<Monotonic::time_point> Worker::Wake() const {
    const auto now = Monotonic::now();
    if (stream_ == nullptr) return preparation_ != nullptr ? now + 20ms : retry_at_;
    if (more_to_read_ && !Full()) return now;
    auto wake = std::min(stream_->heartbeat_at, now + kHeartbeat);
    if (!stopping_ && !stream_->renewing)
        if (const auto next = stream_->courier.Wake()) wake = std::min(wake, *next);
    if (!stream_->unstored.empty() || !stream_->arrived.empty()) wake = std::min(wake, store_at_);
    if (stream_->watermark.confirmed() > stream_->confirmed) wake = std::min(wake, stream_->confirm_at);
    if (stream_->waiting && stream_->courier.size() < Stream::kWindow / 2) wake = std::min(wake, store_at_);
    if (error_ != noted_error_) wake = std::min(wake, note_at_);
    return wake;
}

// What goes out ------------------------------------------------------------------------------------------------------

void Worker::Dispatch(Monotonic::time_point now) {
    Stream& s = *stream_;
    while (!stopping_ && !s.renewing) {
        Batch* const batch = s.courier.Next(now);
        if (batch == nullptr) break;
        s.shipments[batch->number] = {batch, {}};
        if (const auto renewal = s.connector.Renew(Clock::now())) {
            s.renewing = true;
            Send(batch->number, *renewal, true);
        } else {
            Advance(batch->number);
        }
    }
}

void Worker::Advance(uint64_t number) {
    Shipment& shipment = stream_->shipments.at(number);
    const auto request = stream_->connector.Build(shipment.batch->changes, shipment.answers, Clock::now());
    if (request) {
        Send(number, *request, false);
        return;
    }
    const int status = shipment.answers.empty() ? 0 : shipment.answers.back().status;
    Finish(number, stream_->connector.Judge(shipment.batch->changes, shipment.answers, Clock::now()), status);
}

void Worker::Send(uint64_t number, const Request& request, bool renewal) {
    const auto answered = [this, number, renewal](Response response, const std::string& failure) {
        ++metrics_.requests;
        if (response.status == 0) {
            ++metrics_.failed_requests;
            response.body = failure;
        }
        try {
            if (!renewal) {
                stream_->shipments.at(number).answers.push_back(std::move(response));
                Advance(number);
                return;
            }
            stream_->renewing = false;
            if (const auto verdict = stream_->connector.Renewed(response, Clock::now()))
                Finish(number, std::vector<Verdict>(stream_->shipments.at(number).batch->changes.size(), *verdict), response.status);
            else
                Advance(number);
        } catch (const std::exception& error) {
            Fail(error.what());
        }
    };
    stream_->shipments.at(number).request = http_.Send(request, options_.timeout, answered);
}

void Worker::Finish(uint64_t number, const std::vector<Verdict>& verdicts, int http_status) {
    Stream& s = *stream_;
    const size_t size = s.shipments.at(number).batch->changes.size();
    s.shipments.erase(number);
    const auto retry = std::find_if(verdicts.begin(), verdicts.end(), [](const Verdict& v) { return v.kind == Verdict::Kind::kRetry; });
    const unsigned failures = s.courier.failures();
    s.courier.Answer(number, verdicts, http_status, Monotonic::now());
    if (retry != verdicts.end()) {
        ++metrics_.retried;
        error_ = retry->reason;
        if (s.courier.failures() > failures || failures == 0)
            Log(Level::kWarning, "will be tried again", {{"destination", target_.destination}, {"changes", size}, WhatFor(http_status, retry->reason)});
    } else if (s.courier.failures() == 0) {
        error_.reset();
    }
}

/// Whether everything that was answered is stored.
bool Worker::Persist(Store& store) {
    Stream& s = *stream_;
    for (Settled& settled : s.courier.TakeSettled()) s.unstored.push_back(std::move(settled));
    for (size_t i = 0; !s.unstored.empty() && i < 10; ++i) {
        const size_t count = std::min(s.unstored.size(), Stream::kAtATime);
        const std::vector<Settled> some(s.unstored.begin(), s.unstored.begin() + static_cast<ptrdiff_t>(count));
        store.RecordAnswers(target_, some);
        s.unstored.erase(s.unstored.begin(), s.unstored.begin() + static_cast<ptrdiff_t>(count));
        s.courier.Stored(some);
        for (const Settled& settled : some) {
            s.watermark.Release(settled.parcel.transaction);
            settled.refused ? ++metrics_.refused : ++metrics_.delivered;
            if (settled.refused)
                Log(Level::kWarning, "refused", {{"destination", target_.destination}, {"id", settled.parcel.change.id}, WhatFor(settled.http_status, settled.reason)});
            else
                metrics_.last_delivery = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
        }
    }
    return s.unstored.empty();
}

void Worker::Confirm(Monotonic::time_point now) {
    Stream& s = *stream_;
    const bool heartbeat = now >= s.heartbeat_at, ahead = s.watermark.confirmed() > s.confirmed && now >= s.confirm_at;
    if (!heartbeat && !ahead && !s.asked && !stopping_) return;
    s.confirmed = std::max(s.confirmed, s.watermark.confirmed());
    s.replication.Confirm(s.confirmed, heartbeat && s.watermark.idle());
    s.asked = false;
    s.confirm_at = now + kConfirmEvery;
    s.heartbeat_at = now + kHeartbeat;
}

/// Removed rows are remembered as long as the stream may bring them again.
void Worker::Purge(Store& store, Monotonic::time_point now) {
    purge_at_ = now + kPurgeEvery;
    const auto [checkpoint, end_of_log] = store.LastCheckpoint();
    if (const auto past = stream_->past.Ask(store.session(), stream_->confirmed, checkpoint, end_of_log)) store.Purge(target_, *past);
}

Metrics Worker::metrics() const {
    Metrics metrics = metrics_;
    metrics.up = stream_ != nullptr && !error_;
    metrics.state = stream_ != nullptr ? (stream_->spilling ? "catching up" : "delivering") : preparation_ != nullptr ? "preparing" : "failed";
    metrics.last_error = error_.value_or("");
    if (stream_ != nullptr) {
        metrics.waiting = stream_->courier.size();
        metrics.in_flight = stream_->courier.in_flight();
        metrics.spilling = stream_->spilling;
        metrics.lag_bytes = Lag();
    }
    return metrics;
}

}  // namespace cdp::relay
