// collect/inbox_pg.hpp: reading the inbox in commit-safe batches, and emptying it.
#pragma once

#include "collect/message.hpp"
#include "collect/snapshot.hpp"
#include "pg/json.hpp"
#include "pg/spi.hpp"

namespace cdp::collect {

/// A row of the inbox. Texts and Datums point into the batch's rows.
struct InboxMessage : Message {
    HeapTuple row;
    Datum properties = 0, traits = 0, context = 0;  // unpacked jsonb, or 0
    int64 inbox_id;
    int64 committed_at;  // where track_commit_timestamp is off: received_at
};

/// Fills in the message's size. What it takes in memory.
size_t CountBytes(InboxMessage* message);

/// A row of the inbox that is no message: a row of a table that live segments follow has changed (segment/changed_rows_pg.cpp), and
/// concerns who has an identifier, by user_id, or a profile_id, by previous_id; with neither, everybody.
struct RowChange {
    std::string_view table, identifier, profile;
    int64 committed_at;
};
/// Its type, which no message may have.
inline constexpr std::string_view kRowChange = "cdp.row_change";
/// No identifier is longer, in whatever characters.
inline constexpr size_t kLongestIdentifierBytes = 4 * kLongestIdentifier;

/// The columns of an inbox row as Read() selects them.
enum InboxColumn {
    kMessageId, kType, kSource, kUserId, kAnonymousId, kPreviousId, kGroupId, kEvent, kProperties, kTraits,
    kContext, kOccurredAt, kSentAt, kReceivedAt, kInboxId, kInboxXid, kInboxColumns
};

/// How far the pipeline is: see the comment on cdp.pipeline.
struct Progress {
    TransactionSnapshot done;
    std::optional<TransactionSnapshot> tick;
    uint64 tick_xid = 0;
    int64 tick_inbox_id = 0;

    bool operator==(const Progress&) const = default;

    /// `read_only`: as the active snapshot sees it.
    static Progress Load(bool read_only = false);
    void Store(int64 messages, double milliseconds) const;
};

/// The messages of one batch, in processing order, and what else stood among them in the inbox.
class InboxBatch {
public:
    /// The next rows after `progress`: at most `max_messages`, and not many more than `max_bytes`.
    InboxBatch(const Progress& progress, int64 max_messages, int64 max_bytes);

    std::vector<InboxMessage>& messages() { return messages_; }
    const std::vector<RowChange>& changes() const { return changes_; }
    /// How many rows of the inbox it is.
    int64 size() const { return static_cast<int64>(messages_.size() + changes_.size()); }
    bool Empty() const { return size() == 0; }
    /// Of the messages' rows; only if there are any.
    TupleDesc descriptor() const { return parts_.front().descriptor(); }
    /// What progress is once these are processed.
    const Progress& after() const { return after_; }

private:
    void Take(pg::Rows rows, const TransactionSnapshot& tick);

    std::vector<pg::Rows> parts_;
    std::vector<pg::Rows> made_ids_;  // message ids for rows that had none
    std::vector<InboxMessage> messages_;
    std::vector<RowChange> changes_;
    Progress after_;
    int64 bytes_ = 0;
};

/// Whether one of the messages that `snapshot` sees is still to be processed at `progress`, whatever the isolation level.
bool AnyPending(const TransactionSnapshot& snapshot, const Progress& progress);
/// This moment's snapshot; the current transaction counts as running. `read_only`: the active snapshot instead.
TransactionSnapshot CurrentSnapshot(bool read_only = false);

/// Moves writers to the next partition if theirs has grown, and truncates those that are left and done with,
/// as far as that takes no waiting. In a transaction that has processed all it wants to.
void RotateInbox();

}  // namespace cdp::collect
