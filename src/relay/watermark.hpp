// relay/watermark.hpp: up to where a replication slot may be confirmed, and what the log never brings again.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

namespace cdp::relay {

/// Counts, transaction by transaction, the changes that are not settled yet. A transaction may be confirmed once all
/// its changes are, and those of every transaction before it.
class Watermark {
public:
    explicit Watermark(uint64_t confirmed = 0) : confirmed_(confirmed) {}

    /// A transaction begins.
    void Begin() { open_.push_back({}); }

    /// One more change of the transaction that is open; the number that Release takes. 0 outside of one.
    uint64_t Hold() {
        if (open_.empty() || open_.back().end_lsn != 0) return 0;
        ++open_.back().unsettled;
        return first_ + open_.size() - 1;
    }

    /// One change of that transaction is settled.
    void Release(uint64_t transaction) {
        if (transaction < first_ || transaction - first_ >= open_.size()) return;
        --open_[transaction - first_].unsettled;
        Advance();
    }

    /// The open transaction has ended there.
    void Commit(uint64_t end_lsn) {
        if (open_.empty()) return;
        open_.back().end_lsn = end_lsn;
        Advance();
    }

    /// All up to there has been received.
    void Received(uint64_t lsn) {
        if (open_.empty() && lsn > confirmed_) confirmed_ = lsn;
    }

    uint64_t confirmed() const { return confirmed_; }
    bool idle() const { return open_.empty(); }

private:
    struct Transaction {
        uint64_t end_lsn = 0;  // 0: open
        uint64_t unsettled = 0;
    };

    void Advance() {
        while (!open_.empty() && open_.front().end_lsn != 0 && open_.front().unsettled == 0) {
            if (open_.front().end_lsn > confirmed_) confirmed_ = open_.front().end_lsn;
            open_.pop_front();
            ++first_;
        }
    }

    uint64_t confirmed_;
    uint64_t first_ = 1;  // number of the first of open_
    std::deque<Transaction> open_;
};

/// From before which position the log never comes again. A server that has crashed has its slots as they were at the last checkpoint: so
/// a checkpoint must have begun after the server heard of a confirmation, without a crash in between.
class Past {
public:
    /// Asked now and then, with time enough for a confirmation to be heard until the next time. `session`: a number that changes
    /// when the server has crashed; `checkpoint`: where the last one began. The position, where one is known now.
    std::optional<uint64_t> Ask(uint64_t session, uint64_t confirmed, uint64_t checkpoint, uint64_t end_of_log) {
        if (session != session_ || confirmed_ == 0) {
            session_ = session;
            confirmed_ = confirmed;
            heard_ = 0;
        } else if (heard_ == 0) {
            heard_ = end_of_log;
        } else if (checkpoint >= heard_) {
            return std::exchange(confirmed_, 0);
        }
        return std::nullopt;
    }

private:
    uint64_t session_ = 0, confirmed_ = 0;
    uint64_t heard_ = 0;  // where the log ended when the server knew of it; 0: not yet
};

}  // namespace cdp::relay
