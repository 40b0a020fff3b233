// latency.cpp: how long after the commit of a message its person is in a segment, under load.
//
// usage: latency <messages file> <messages a second> <warm-up seconds> <seconds> <conninfo>
//
// Writers put the file's messages into cdp.inbox at a fixed rate, ten a transaction, on a schedule that
// does not wait for answers: a slow commit makes the next ones late, not fewer. Every tenth transaction
// ends with a probe: an event of somebody new, whom it puts into segment "probed". On a connection of its
// own a watcher looks every half millisecond for the probes that are not there yet. The latency of a
// probe runs from its COMMIT's answer to the answer that shows the membership: what a client would see,
// the watcher's own delay included.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pqxx/pqxx>

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using Fields = std::array<std::optional<std::string>, 11>;

constexpr int kMessagesOfTransaction = 10;
constexpr int kTransactionsOfProbe = 10;
constexpr int kWriters = 4;
constexpr auto kWatch = std::chrono::microseconds{500};
constexpr auto kPatience = std::chrono::seconds{30};

const std::vector<std::string> kColumns{"message_id", "type",       "source", "user_id", "anonymous_id", "event",
                                        "properties", "traits",     "context", "occurred_at", "received_at"};

/// Probes that are committed and not seen yet, and the latencies of those that were.
class Probes {
public:
    void Committed(const std::string& user, Clock::time_point when)
    {
        const std::lock_guard lock(mutex_);
        waiting_.emplace(user, when);
    }
    /// Those to look for, as an array for SQL; empty if there are none.
    std::string Waiting()
    {
        const std::lock_guard lock(mutex_);
        std::string list;
        for (const auto& [user, when] : waiting_)
            list += (list.empty() ? "{" : ",") + user;
        return list.empty() ? list : list + "}";
    }
    void Seen(const std::string& user, Clock::time_point now)
    {
        const std::lock_guard lock(mutex_);
        const auto probe = waiting_.find(user);
        if (probe == waiting_.end())
            return;
        if (probe->second >= measure_from_)
            latencies_.push_back(Seconds{now - probe->second}.count() * 1000);
        waiting_.erase(probe);
    }
    void MeasureFrom(Clock::time_point time) { measure_from_ = time; }

    /// In milliseconds, ascending.
    std::vector<double> Latencies()
    {
        std::sort(latencies_.begin(), latencies_.end());
        return latencies_;
    }

private:
    std::mutex mutex_;
    std::map<std::string, Clock::time_point> waiting_;
    std::vector<double> latencies_;
    Clock::time_point measure_from_;
};

Fields Split(const std::string& line)
{
    Fields fields;
    std::istringstream rest(line);
    for (auto& field : fields) {
        std::string text;
        if (!std::getline(rest, text, '\t'))
            throw std::runtime_error("too few columns: " + line);
        if (text != "\\N")
            field = text;
    }
    return fields;
}

std::vector<Fields> ReadMessages(const char* path)
{
    std::ifstream file(path);
    std::vector<Fields> messages;
    for (std::string line; std::getline(file, line);)
        messages.push_back(Split(line));
    if (messages.empty())
        throw std::runtime_error(std::string("no messages in ") + path);
    return messages;
}

/// The messages up to the one number `count`, ten a transaction, each transaction when it is due.
class Load {
public:
    Load(std::vector<Fields> messages, double rate, double seconds, Probes& probes)
        : messages_(std::move(messages)), interval_(kMessagesOfTransaction / rate),
          transactions_(static_cast<int>(seconds / interval_.count())), probes_(probes)
    {
        if (messages_.size() < static_cast<size_t>(transactions_) * kMessagesOfTransaction)
            throw std::runtime_error("too few messages for that rate and time");
    }

    void Write(const std::string& conninfo, Clock::time_point begin)
    {
        pqxx::connection connection(conninfo);
        for (int n; (n = next_++) < transactions_;) {
            std::this_thread::sleep_until(begin + std::chrono::duration_cast<Clock::duration>(n * interval_));
            WriteTransaction(connection, n);
        }
    }

private:
    void WriteTransaction(pqxx::connection& connection, int n)
    {
        const bool with_probe = n % kTransactionsOfProbe == 0;
        const std::string user = "probe-" + std::to_string(n);
        pqxx::work transaction(connection);
        pqxx::stream_to inbox(transaction, "cdp.inbox", kColumns);
        for (int i = 0; i < kMessagesOfTransaction - with_probe; ++i)
            inbox << messages_[static_cast<size_t>(n) * kMessagesOfTransaction + i];
        if (with_probe) {
            const Fields& like = messages_[static_cast<size_t>(n) * kMessagesOfTransaction];
            const Fields probe{user, "track", "web", user,    std::nullopt, "Probe",
                               "{}", std::nullopt, "{}", like[9], like[10]};
            inbox << probe;
        }
        inbox.complete();
        transaction.commit();
        if (with_probe)
            probes_.Committed(user, Clock::now());
    }

    std::vector<Fields> messages_;
    Seconds interval_;
    int transactions_;
    Probes& probes_;
    std::atomic<int> next_ = 0;
};

/// Looks for waiting probes until there are none and no more are coming.
void Watch(const std::string& conninfo, Probes& probes, const std::atomic<bool>& written)
{
    pqxx::connection connection(conninfo);
    connection.prepare("seen",
                       "SELECT i.value FROM cdp.identifier i JOIN cdp.segment_member m USING (profile_id) "
                       "JOIN cdp.segment s USING (segment_id) "
                       "WHERE i.type = 'user_id' AND i.value = ANY ($1::text[]) AND s.name = 'probed'");
    auto last_success = Clock::now();
    for (;; std::this_thread::sleep_for(kWatch)) {
        const bool last_round = written;
        const std::string waiting = probes.Waiting();
        if (waiting.empty()) {
            if (last_round)
                return;
            last_success = Clock::now();
            continue;
        }
        pqxx::nontransaction look(connection);
        const auto seen = look.exec_prepared("seen", waiting);
        const auto now = Clock::now();
        for (const auto& row : seen)
            probes.Seen(row[0].c_str(), now);
        if (!seen.empty())
            last_success = now;
        else if (now - last_success > kPatience)
            throw std::runtime_error("probes never became members: " + waiting);
    }
}

}  // namespace

int main(int argc, char** argv)
try {
    if (argc != 6)
        throw std::runtime_error("wants: messages file, messages a second, warm-up seconds, seconds, conninfo");
    const double rate = std::stod(argv[2]);
    const double warm_up = std::stod(argv[3]);
    const double seconds = std::stod(argv[4]);
    const std::string conninfo = argv[5];

    Probes probes;
    Load load(ReadMessages(argv[1]), rate, warm_up + seconds, probes);
    std::atomic<bool> written = false;
    std::exception_ptr failure;
    std::mutex failure_mutex;
    const auto guarded = [&](auto work) {
        return [&, work] {
            try {
                work();
            } catch (...) {
                const std::lock_guard lock(failure_mutex);
                failure = std::current_exception();
            }
        };
    };

    const auto begin = Clock::now() + std::chrono::milliseconds{200};  // time to connect
    probes.MeasureFrom(begin + std::chrono::duration_cast<Clock::duration>(Seconds{warm_up}));
    std::thread watcher(guarded([&] { Watch(conninfo, probes, written); }));
    std::vector<std::thread> writers;
    for (int i = 0; i < kWriters; ++i)
        writers.emplace_back(guarded([&] { load.Write(conninfo, begin); }));
    for (auto& writer : writers)
        writer.join();
    const double took = Seconds{Clock::now() - begin}.count();
    written = true;
    watcher.join();
    if (failure)
        std::rethrow_exception(failure);

    const auto latencies = probes.Latencies();
    if (latencies.empty())
        throw std::runtime_error("no probe was measured");
    const auto quantile = [&](double q) { return latencies[static_cast<size_t>(q * (latencies.size() - 1))]; };
    std::printf("rate %.0f\nprobes %zu\np50 %.2f\np99 %.2f\nmax %.2f\n", rate * (warm_up + seconds) / took,
                latencies.size(), quantile(0.5), quantile(0.99), latencies.back());
    return 0;
} catch (const std::exception& error) {
    std::cerr << "latency: " << error.what() << '\n';
    return 1;
}
