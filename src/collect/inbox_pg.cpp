// collect/inbox_pg.cpp: see inbox_pg.hpp.
#include "collect/inbox_pg.hpp"

extern "C" {
#include "access/commit_ts.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/xid8.h"
}

namespace cdp::collect {

namespace {

constexpr int64 kRowsAStatement = 20'000;
// What a message takes in memory while its batch is processed, beside its fields twice: measured, with its person
// new to the batch.
constexpr int64 kBytesAMessage = 2000;
constexpr int64 kBytesAChange = 200;
constexpr int kPartitions = 4;
constexpr int kPartitionShift = 18;
// Writers leave a partition that is done with when it has grown beyond this: 8 MiB.
constexpr BlockNumber kBlocksToRotate = 1024;

#define INBOX_COLUMNS                                                                                   \
    "message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, " \
    "context, occurred_at, sent_at, received_at, inbox_id, inbox_xid"

pg::Statement read_late(
    "SELECT " INBOX_COLUMNS " FROM cdp.inbox"
    " WHERE inbox_xid = ANY ($1::xid8[]) AND (inbox_xid, inbox_id) > ($2, $3)"
    " ORDER BY inbox_xid, inbox_id LIMIT $4",
    {TEXTARRAYOID, XID8OID, INT8OID, INT8OID});

pg::Statement read_new(
    "SELECT " INBOX_COLUMNS " FROM cdp.inbox"
    " WHERE (inbox_xid, inbox_id) > ($1, $2) AND inbox_xid < $3"
    " ORDER BY inbox_xid, inbox_id LIMIT $4",
    {XID8OID, INT8OID, XID8OID, INT8OID});

pg::Arg Xid(uint64 xid) { return pg::Value(XID8OID, UInt64GetDatum(xid)); }

std::string_view TextOf(const Datum* values, const bool* nulls, InboxColumn column) {
    return nulls[column] ? std::string_view() : pg::Bytes(values[column]);
}

/// When transactions were committed, where the server keeps that (track_commit_timestamp).
class CommitTimes {
public:
    std::optional<int64> Of(uint64 xid) {
        if (!track_commit_timestamp) return std::nullopt;
        if (xid != xid_) {
            TimestampTz at = 0;
            const bool known = pg::Call([&] { return TransactionIdGetCommitTsData(static_cast<TransactionId>(xid), &at, nullptr); });
            at_ = known ? std::optional<int64>(at) : std::nullopt;
            xid_ = xid;
        }
        return at_;
    }

private:
    uint64 xid_ = 0;  // the last that was asked for: messages of one transaction stand together
    std::optional<int64> at_;
};

pg::Arg XidArray(std::span<const uint64> xids) {
    std::vector<Datum> texts;
    for (const uint64 xid : xids) texts.push_back(pg::TextDatum(std::to_string(xid)));
    return pg::Value(TEXTARRAYOID, pg::Call([&] {
                         return PointerGetDatum(construct_array(texts.data(), static_cast<int>(texts.size()), TEXTOID, -1,
                                                                false, TYPALIGN_INT));
                     }));
}

/// The transactions that were running at `done` and have ended by `tick`, as an array for read_late.
pg::Arg LateOnes(const TransactionSnapshot& done, const TransactionSnapshot& tick, bool* any) {
    std::vector<uint64> xids;
    for (const uint64 xid : done.running)
        if (tick.Ended(xid)) xids.push_back(xid);
    *any = !xids.empty();
    return XidArray(xids);
}

/// Whether a partition may hold messages that are still to be processed, or that a running transaction wrote. By its
/// index, since it may hold a quarter of a million that are done with.
bool AnyLeftIn(const std::string& partition, const Progress& progress) {
    const auto last = pg::Query("SELECT inbox_xid, inbox_id FROM " + partition + " ORDER BY inbox_xid DESC, inbox_id DESC LIMIT 1");
    if (last.empty()) return false;
    const auto& seen = progress.tick ? *progress.tick : progress.done;
    const auto reached = progress.tick ? std::pair(progress.tick_xid, progress.tick_inbox_id) : std::pair(seen.xmax, PG_INT64_MIN);
    if (std::pair(DatumGetUInt64(*last.Get(0, 1)), last.Int8(0, 2)) > reached) return true;
    return !seen.running.empty() &&
           pg::Query("SELECT EXISTS (SELECT FROM " + partition + " WHERE inbox_xid = ANY ($1::xid8[]))", {XidArray(seen.running)}).Bool(0, 1);
}

}  // namespace

size_t CountBytes(InboxMessage* m) {
    const size_t texts = TextBytes(*m);
    size_t in_memory = texts;
    for (const Datum part : {m->properties, m->traits, m->context})
        if (part != 0) in_memory += VARSIZE_ANY_EXHDR(DatumGetPointer(part));
    m->bytes = in_memory;
    // As text, numbers and nesting take less than in jsonb, down to a sixth.
    if (in_memory > kLargestMessage && in_memory <= 8 * kLargestMessage) {
        size_t as_text = texts;
        for (const Datum part : {m->properties, m->traits, m->context})
            if (part != 0) as_text += CompactJsonBytes(pg::Json(part).ToText());
        m->bytes = std::min(in_memory, as_text);
    }
    return in_memory;
}

TransactionSnapshot CurrentSnapshot(bool read_only) {
    static pg::Statement current("SELECT pg_current_snapshot()::text, pg_current_xact_id_if_assigned()");
    const auto rows = current.Query({}, 0, read_only);
    auto snapshot = TransactionSnapshot::Parse(rows.Text(0, 1));
    if (const auto own = rows.Get(0, 2)) snapshot.AddRunning(DatumGetUInt64(*own));
    return snapshot;
}

Progress Progress::Load(bool read_only) {
    static pg::Statement load("SELECT done_snapshot::text, tick_snapshot::text, tick_xid, tick_inbox_id FROM cdp.pipeline");
    const auto rows = load.Query({}, 0, read_only);
    if (rows.empty())
        throw Error(sqlstate::object_not_in_prerequisite_state, "cdp.pipeline has lost its row")
            .Hint("INSERT INTO cdp.pipeline (done_snapshot) SELECT pg_current_snapshot() starts afresh with new messages.");
    Progress progress;
    progress.done = TransactionSnapshot::Parse(rows.Text(0, 1));
    if (const auto tick = rows.OptionalText(0, 2)) {
        progress.tick = TransactionSnapshot::Parse(*tick);
        progress.tick_xid = DatumGetUInt64(*rows.Get(0, 3));
        progress.tick_inbox_id = rows.Int8(0, 4);
    }
    return progress;
}

void Progress::Store(int64 messages, double milliseconds) const {
    static pg::Statement store(
        "UPDATE cdp.pipeline SET done_snapshot = $1::pg_snapshot, tick_snapshot = $2::pg_snapshot, tick_xid = $3,"
        " tick_inbox_id = $4, last_batch_at = clock_timestamp(), last_batch_size = $5, last_batch_ms = $6",
        {TEXTOID, TEXTOID, XID8OID, INT8OID, INT8OID, FLOAT8OID});
    store.Execute({pg::Text(done.ToString()), tick ? pg::Text(tick->ToString()) : pg::Null(TEXTOID),
                   tick ? Xid(tick_xid) : pg::Null(XID8OID), tick ? pg::Int8(tick_inbox_id) : pg::Null(INT8OID),
                   pg::Int8(messages), pg::Value(FLOAT8OID, Float8GetDatum(milliseconds))});
}

InboxBatch::InboxBatch(const Progress& progress, int64 max_messages, int64 max_bytes) {
    const TransactionSnapshot tick = progress.tick ? *progress.tick : CurrentSnapshot();
    uint64 xid = progress.tick ? progress.tick_xid : 0;
    int64 id = progress.tick ? progress.tick_inbox_id : PG_INT64_MIN;
    bool complete = false;

    // First what was committed late, by transactions that the last snapshot saw running; then what is new.
    bool late = false;
    const pg::Arg late_ones = LateOnes(progress.done, tick, &late);
    for (bool new_ones = !late; !complete;) {
        const int64 limit = std::min(kRowsAStatement, max_messages - size());
        if (limit <= 0 || bytes_ >= max_bytes) break;
        if (new_ones && xid < progress.done.xmax) {
            xid = progress.done.xmax;
            id = PG_INT64_MIN;
        }
        pg::Rows rows = new_ones ? read_new.Query({Xid(xid), pg::Int8(id), Xid(tick.xmax), pg::Int8(limit)})
                                 : read_late.Query({late_ones, Xid(xid), pg::Int8(id), pg::Int8(limit)});
        const bool last = static_cast<int64>(rows.size()) < limit;
        if (!rows.empty()) {
            xid = DatumGetUInt64(*rows.Get(rows.size() - 1, kInboxXid + 1));
            id = rows.Int8(rows.size() - 1, kInboxId + 1);
            Take(std::move(rows), tick);
        }
        if (last && new_ones) complete = true;
        if (last) new_ones = true;
    }

    after_.done = complete ? tick : progress.done;
    if (!complete) {
        after_.tick = tick;
        after_.tick_xid = xid;
        after_.tick_inbox_id = id;
    }
}

void InboxBatch::Take(pg::Rows rows, const TransactionSnapshot& tick) {
    Datum values[kInboxColumns];
    bool nulls[kInboxColumns];
    const auto now = GetCurrentTimestamp();
    CommitTimes commit_times;
    for (uint64 i = 0; i < rows.size(); ++i) {
        rows.Deform(i, values, nulls);
        if (!tick.Ended(DatumGetUInt64(values[kInboxXid]))) continue;
        if (TextOf(values, nulls, kType) == kRowChange) {
            const int64 received_at = nulls[kReceivedAt] ? now : DatumGetTimestampTz(values[kReceivedAt]);
            changes_.push_back({TextOf(values, nulls, kSource), TextOf(values, nulls, kUserId), TextOf(values, nulls, kPreviousId),
                                commit_times.Of(DatumGetUInt64(values[kInboxXid])).value_or(received_at)});
            bytes_ += kBytesAChange;
            continue;
        }
        InboxMessage m;
        m.row = rows.tuple(i);
        m.message_id = TextOf(values, nulls, kMessageId);
        m.type = nulls[kType] ? "track" : TextOf(values, nulls, kType);
        m.source = nulls[kSource] ? "default" : TextOf(values, nulls, kSource);
        m.user_id = TextOf(values, nulls, kUserId);
        m.anonymous_id = TextOf(values, nulls, kAnonymousId);
        m.previous_id = TextOf(values, nulls, kPreviousId);
        m.group_id = TextOf(values, nulls, kGroupId);
        m.event = TextOf(values, nulls, kEvent);
        m.received_at = nulls[kReceivedAt] ? now : DatumGetTimestampTz(values[kReceivedAt]);
        m.occurred_at = nulls[kOccurredAt] ? m.received_at : DatumGetTimestampTz(values[kOccurredAt]);
        m.inbox_id = nulls[kInboxId] ? 0 : DatumGetInt64(values[kInboxId]);
        m.committed_at = commit_times.Of(DatumGetUInt64(values[kInboxXid])).value_or(m.received_at);
        for (const auto& [column, field] : {std::pair{kProperties, &InboxMessage::properties},
                                            {kTraits, &InboxMessage::traits}, {kContext, &InboxMessage::context}}) {
            if (nulls[column]) continue;
            m.*field = pg::Unpacked(values[column]);
        }
        const size_t bytes = CountBytes(&m);
        if (IsBlank(m.message_id)) {
            static pg::Statement make_id("SELECT gen_random_uuid()::text");
            m.message_id = pg::Bytes(*made_ids_.emplace_back(make_id.Query()).Get(0, 1));
        }
        bytes_ += kBytesAMessage + 2 * static_cast<int64>(bytes);
        messages_.push_back(m);
    }
    parts_.push_back(std::move(rows));
}

bool AnyPending(const TransactionSnapshot& snapshot, const Progress& progress) {
    const pg::LatestSnapshot now;
    bool late = false;
    const auto visible = [&](const pg::Rows& rows) {
        for (uint64 i = 0; i < rows.size(); ++i) {
            const uint64 xid = DatumGetUInt64(*rows.Get(i, 1));
            const int64 id = rows.Int8(i, 2);
            const bool processed = progress.done.Ended(xid) ||
                                   (progress.tick && progress.tick->Ended(xid) &&
                                    std::pair(xid, id) <= std::pair(progress.tick_xid, progress.tick_inbox_id));
            if (!processed && snapshot.Ended(xid)) return true;
        }
        return false;
    };
    const pg::Arg late_ones = LateOnes(progress.done, snapshot, &late);
    static pg::Statement find_late("SELECT inbox_xid, inbox_id FROM cdp.inbox WHERE inbox_xid = ANY ($1::xid8[])", {TEXTARRAYOID});
    if (late && visible(find_late.Query({late_ones}, 0, true))) return true;
    static pg::Statement find_new(
        "SELECT inbox_xid, max(inbox_id) FROM cdp.inbox WHERE inbox_xid >= $1 AND inbox_xid < $2 GROUP BY inbox_xid",
        {XID8OID, XID8OID});
    return visible(find_new.Query({Xid(progress.done.xmax), Xid(snapshot.xmax)}, 0, true));
}

void RotateInbox() {
    static pg::Statement position("SELECT last_value FROM cdp.inbox_id_seq");
    static pg::Statement move_on(
        "SELECT setval('cdp.inbox_id_seq', (((last_value >> 18) + 1) << 18) - 1) FROM cdp.inbox_id_seq");
    const int64 last = position.Query().Int8(0, 1);
    const int current = static_cast<int>(((last + 1) >> kPartitionShift) & (kPartitions - 1));

    struct Size { Oid relation; BlockNumber blocks; };
    const auto size = [](int partition) {
        return pg::Call([&] {
            char name[16];
            pg_snprintf(name, sizeof name, "inbox_%d", partition);
            const Oid oid = get_relname_relid(name, get_namespace_oid("cdp", false));
            Relation rel = relation_open(oid, AccessShareLock);
            const Size result{oid, RelationGetNumberOfBlocks(rel)};
            relation_close(rel, AccessShareLock);
            return result;
        });
    };
    if (size(current).blocks > kBlocksToRotate && size((current + 1) % kPartitions).blocks == 0) move_on.Query();
    const Progress progress = Progress::Load();
    for (int partition = 0; partition < kPartitions; ++partition) {
        if (partition == current) continue;
        const auto [relation, blocks] = size(partition);
        if (blocks == 0 || !pg::Call([oid = relation] { return ConditionalLockRelationOid(oid, AccessExclusiveLock); })) continue;
        const std::string name = "cdp.inbox_" + std::to_string(partition);
        if (!AnyLeftIn(name, progress)) pg::Execute("TRUNCATE " + name);
    }
}

}  // namespace cdp::collect
