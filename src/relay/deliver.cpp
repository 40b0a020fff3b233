// relay/deliver.cpp: see deliver.hpp.
#include "relay/deliver.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <set>

#include "pg/error.hpp"
#include "relay/status_server.hpp"
#include "relay/worker.hpp"

namespace cdp::relay {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kPollEvery = 1s, kPollEveryStopping = 20ms, kReportEvery = 200ms;

// Signals wake the loop through a descriptor.
int wake_descriptor = -1;
volatile std::sig_atomic_t signals = 0;

void OnSignal(int) {
    signals = signals + 1;
    if (signals > 1) _exit(1);
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_descriptor, &one, sizeof one);
}

class Relay {
public:
    Relay(const Configuration& configuration, const Environment& environment)
        : configuration_(configuration), secrets_(configuration.SecretsOf(environment)) {}

    void Run() {
        if (!configuration_.listen.empty()) server_.emplace(configuration_.listen, status_);
        while (signals == 0) Round(false);
        Log(Level::kInfo, "stopping");
        for (auto& [name, worker] : workers_) worker->Stop();
        const auto deadline = Monotonic::now() + ToDuration(Seconds(configuration_.stop_timeout));
        while (Monotonic::now() < deadline &&
               !std::all_of(workers_.begin(), workers_.end(), [](const auto& w) { return w.second->stopped(); }))
            Round(true);
        if (store_ != nullptr)
            for (auto& [name, worker] : workers_) worker->Work(*store_, Monotonic::now());
        Log(Level::kInfo, "stopped");
    }

private:
    void Round(bool stopping) {
        auto now = Monotonic::now();
        Connect(now);
        if (store_ != nullptr && !stopping) Poll(now);
        std::vector<int> descriptors{wake_descriptor};
        auto wake = now + kPollEvery;
        if (stopping) {
            descriptors.clear();
            wake = now + kPollEveryStopping;
        }
        if (store_ != nullptr) {
            for (auto& [name, worker] : workers_) worker->Work(*store_, Monotonic::now());
            for (auto& [name, worker] : workers_) {
                if (const int socket = worker->socket(); socket >= 0) descriptors.push_back(socket);
                if (const auto next = worker->Wake()) wake = std::min(wake, *next);
            }
        }
        Report();
        const auto pause = std::chrono::ceil<std::chrono::milliseconds>(wake - Monotonic::now());
        http_.Run(descriptors, static_cast<int>(std::clamp<int64_t>(pause.count(), 0, 1000)));
    }

    void Connect(Monotonic::time_point now) {
        if (store_ != nullptr && !store_->alive()) store_.reset();
        if (store_ != nullptr || now < connect_at_) return;
        try {
            store_ = std::make_unique<Store>(configuration_.dsn);
            failures_ = 0;
            poll_at_ = {};
            Log(Level::kInfo, "connected to the database");
        } catch (const std::exception& error) {
            const Seconds pause = Backoff(Seconds(0.2), Seconds(5)).After(++failures_, random_);
            connect_at_ = now + ToDuration(pause);
            Log(Level::kError, "the database cannot be reached", {{"error", error.what()}, {"pause", pause.count()}});
        }
    }

    /// Which destinations there are, now and then.
    void Poll(Monotonic::time_point now) {
        if (now < poll_at_) return;
        poll_at_ = now + kPollEvery;
        try {
            uint64_t end_of_log = 0;
            std::map<std::string, Target> wanted;
            for (Target& target : store_->Targets(end_of_log))
                if (configuration_.destinations.empty() || Names(target.destination)) wanted.emplace(target.destination, std::move(target));
            NameMissing(wanted);
            for (auto at = workers_.begin(); at != workers_.end();) {
                const auto found = wanted.find(at->first);
                if (found == wanted.end() || !found->second.SameAs(at->second->target())) {
                    if (found == wanted.end()) gone_.push_back(at->second->target().slot);
                    Log(Level::kInfo, found == wanted.end() ? "no longer delivering" : "the delivery has changed", {{"destination", at->first}});
                    at = workers_.erase(at);
                } else {
                    (at++)->second->Refresh(found->second, end_of_log);
                }
            }
            for (auto& [name, target] : wanted)
                if (!workers_.contains(name)) workers_[name] = std::make_unique<Worker>(std::move(target), configuration_, secrets_, http_);
            DropSlots();
        } catch (const std::exception& error) {
            Log(Level::kError, "cannot read what is to be delivered", {{"error", error.what()}});
        }
    }

    bool Names(const std::string& destination) const {
        return std::find(configuration_.destinations.begin(), configuration_.destinations.end(), destination) != configuration_.destinations.end();
    }

    /// Says once of each destination that we were told to deliver and that has no delivery, that it has none (yet).
    void NameMissing(const std::map<std::string, Target>& there) {
        for (const std::string& name : configuration_.destinations) {
            if (there.contains(name))
                missing_.erase(name);
            else if (missing_.insert(name).second)
                Log(Level::kWarning, "there is no delivery of this destination; cdp.set_delivery makes one", {{"destination", name}});
        }
    }

    /// Those of deliveries that were taken from us while we held their slots.
    void DropSlots() {
        for (size_t i = 0; i < gone_.size();) {
            try {
                bool lost = false;
                if (store_->SlotPosition(gone_[i], lost)) Replication(configuration_.dsn).DropSlot(gone_[i]);
                gone_.erase(gone_.begin() + static_cast<ptrdiff_t>(i));
            } catch (const std::exception& error) {
                Log(Level::kWarning, "the slot cannot be dropped yet", {{"slot", gone_[i]}, {"error", error.what()}});
                ++i;
            }
        }
    }

    void Report() {
        const auto now = Monotonic::now();
        if (now < report_at_) return;
        report_at_ = now + kReportEvery;
        std::vector<Metrics> all;
        for (const auto& [name, worker] : workers_) all.push_back(worker->metrics());
        for (const std::string& name : missing_) {
            all.emplace_back().destination = name;
            all.back().state = "no delivery";
        }
        status_.Set(std::move(all), store_ != nullptr);
    }

    const Configuration& configuration_;
    Environment secrets_;
    HttpClient http_{configuration_.ca_file};
    std::unique_ptr<Store> store_;
    std::map<std::string, std::unique_ptr<Worker>> workers_;
    std::vector<std::string> gone_;
    std::set<std::string> missing_;
    Status status_;
    std::optional<StatusServer> server_;
    Monotonic::time_point connect_at_{}, poll_at_{}, report_at_{};
    unsigned failures_ = 0;
    std::mt19937_64 random_{std::random_device{}()};
};

}  // namespace

int Deliver(const Configuration& configuration, const Environment& environment) {
    if (configuration.dsn.empty())
        throw Error(sqlstate::invalid_parameter_value, "the database is not named: --dsn, CDP_DSN, or \"dsn\" in the configuration file");
    OurConninfo(configuration.dsn, "cdp-relay");  // or an error now
    SetLogLevel(configuration.log_level);
    wake_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct sigaction action {};
    action.sa_handler = OnSignal;
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    Relay relay(configuration, environment);
    relay.Run();
    // A thread that still waits for the database must not outlive what the libraries take down at the end.
    if (Worker::AnyPrepares()) _exit(0);
    return 0;
}

}  // namespace cdp::relay
