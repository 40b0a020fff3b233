// collect/events_pg.cpp: see events_pg.hpp.
#include "collect/events_pg.hpp"

#include <set>

#include "pg/table_writer.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "datatype/timestamp.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
}

namespace cdp::collect {

namespace {

using profile::kEventColumns;

/// A month, counted from 1970-01; -1 for everything before.
constexpr int kBefore = -1;

int MonthOf(int64 time) {
    if (time < (static_cast<int64>(UNIX_EPOCH_JDATE) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY) return kBefore;
    int year, month, day;
    j2date(static_cast<int>(time / USECS_PER_DAY - (time % USECS_PER_DAY < 0)) + POSTGRES_EPOCH_JDATE, &year, &month, &day);
    return (year - 1970) * 12 + month - 1;
}

std::string FirstDay(int month) {
    char text[32];
    pg_snprintf(text, sizeof text, "%04d-%02d-01 00:00:00+00", 1970 + month / 12, 1 + month % 12);
    return text;
}

std::string PartitionName(int month) {
    char text[32];
    if (month == kBefore) return "event_before_1970";
    pg_snprintf(text, sizeof text, "event_%04d_%02d", 1970 + month / 12, 1 + month % 12);
    return text;
}

/// Attached, not created as a partition: that would lock the whole table against readers.
void MakePartition(int month) {
    const std::string name = "cdp." + PartitionName(month);
    const std::string bounds = month == kBefore ? "DEFAULT"
                                                : "FOR VALUES FROM ('" + FirstDay(month) + "') TO ('" + FirstDay(month + 1) + "')";
    pg::Execute("CREATE TABLE " + name + " (LIKE cdp.event INCLUDING DEFAULTS)");
    pg::Execute("CREATE INDEX " + PartitionName(month) + "_identifier ON " + name + " (identifier_id, occurred_at)");
    pg::Execute("ALTER TABLE cdp.event ATTACH PARTITION " + name + " " + bounds);
    pg::Execute("GRANT SELECT ON " + name + " TO cdp_pii");
    pg::Execute("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES ON " + name + " TO cdp_admin");
}

/// Sees to it that events at `times` find their partitions, and those of the coming month.
void EnsurePartitions(std::span<const int64> times) {
    std::set<int> months{MonthOf(GetCurrentTimestamp()), MonthOf(GetCurrentTimestamp() + 7 * USECS_PER_DAY)};
    int last = INT_MIN;
    for (const int64 time : times) {
        const int month = MonthOf(time);
        if (month != last) months.insert(last = month);
    }
    const Oid schema = pg::Call([] { return get_namespace_oid("cdp", false); });
    for (const int month : months) {
        const std::string name = PartitionName(month);
        if (!OidIsValid(pg::Call([&] { return get_relname_relid(name.c_str(), schema); }))) MakePartition(month);
    }
}

}  // namespace

int64 TakeIds(const char* sequence, int64 count) {
    // The first id is one past the last taken; setval moves past all of ours.
    static pg::Statement take("SELECT setval($1::regclass, nextval($1::regclass) + $2)", {TEXTOID, INT8OID});
    return take.Query({pg::Text(sequence), pg::Int8(count - 1)}).Int8(0, 1) - count + 1;
}

Events::Events(InboxBatch& inbox, size_t count)
    : inbox_(inbox), next_id_(TakeIds("cdp.event_id_seq", static_cast<int64>(count))),
      values_(new Datum[count * kEventColumns]), nulls_(new bool[count * kEventColumns]) {
    rows_.reserve(count);
}

int64 Events::Add(const InboxMessage& m, int64 identifier_id, const std::vector<Datum>& linked_ids) {
    using namespace profile;
    Datum* values = &values_[rows_.size() * kEventColumns];
    bool* nulls = &nulls_[rows_.size() * kEventColumns];
    Datum in[kInboxColumns];
    bool in_null[kInboxColumns];
    heap_deform_tuple(m.row, inbox_.descriptor(), in, in_null);
    const auto copy = [&](EventColumn to, InboxColumn from) {
        values[to] = in[from];
        nulls[to] = in_null[from];
    };
    const auto set = [&](EventColumn to, Datum value, bool null = false) {
        values[to] = value;
        nulls[to] = null;
    };
    set(kEventId, Int64GetDatum(next_id_));
    copy(kEventMessageId, kMessageId);
    if (IsBlank(nulls[kEventMessageId] ? std::string_view() : pg::Bytes(in[kMessageId]))) set(kEventMessageId, pg::TextDatum(m.message_id));
    copy(kEventType, kType);
    if (in_null[kType]) set(kEventType, pg::TextDatum(m.type));
    copy(kEventEvent, kEvent);
    copy(kEventSource, kSource);
    if (in_null[kSource]) set(kEventSource, pg::TextDatum(m.source));
    set(kEventIdentifierId, Int64GetDatum(identifier_id));
    set(kEventOccurredAt, TimestampTzGetDatum(m.occurred_at));
    set(kEventReceivedAt, TimestampTzGetDatum(m.received_at));
    copy(kEventSentAt, kSentAt);
    copy(kEventUserId, kUserId);
    copy(kEventAnonymousId, kAnonymousId);
    copy(kEventPreviousId, kPreviousId);
    copy(kEventGroupId, kGroupId);
    set(kEventLinkedIds, 0, true);
    if (!linked_ids.empty())
        set(kEventLinkedIds, pg::Call([&] {
                return PointerGetDatum(construct_array(const_cast<Datum*>(linked_ids.data()), static_cast<int>(linked_ids.size()), INT8OID, 8, true, TYPALIGN_DOUBLE));
            }));
    set(kEventProperties, m.properties, m.properties == 0);
    set(kEventTraits, m.traits, m.traits == 0);
    set(kEventContext, m.context, m.context == 0);
    rows_.push_back({values, nulls});
    return next_id_++;
}

void Events::Write() {
    std::vector<const profile::EventRow*> order;
    std::vector<int64> times;
    for (const auto& row : rows_) {
        order.push_back(&row);
        times.push_back(DatumGetTimestampTz(row.values[profile::kEventOccurredAt]));
    }
    EnsurePartitions(times);
    // In the order of the index, so that neighbours share its pages and a person's events lie together.
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
        const auto key = [](const auto* row) {
            return std::tuple(DatumGetInt64(row->values[profile::kEventIdentifierId]),
                              DatumGetTimestampTz(row->values[profile::kEventOccurredAt]), DatumGetInt64(row->values[profile::kEventId]));
        };
        return key(a) < key(b);
    });
    pg::TableWriter writer("cdp.event", {"event_id", "message_id", "type", "event", "source", "identifier_id", "occurred_at",
                                         "received_at", "sent_at", "user_id", "anonymous_id", "previous_id", "group_id",
                                         "linked_ids", "properties", "traits", "context"});
    for (const auto* row : order) writer.Insert(row->values, row->nulls);
    writer.Write();
}

void Rejections::Write() {
    if (list_.empty()) return;
    std::vector<pg::Column> columns{{"message_id", TEXTOID}, {"type", TEXTOID}, {"source", TEXTOID}, {"user_id", TEXTOID},
                                    {"anonymous_id", TEXTOID}, {"previous_id", TEXTOID}, {"group_id", TEXTOID}, {"event", TEXTOID},
                                    {"properties", JSONBOID}, {"traits", JSONBOID}, {"context", JSONBOID},
                                    {"occurred_at", TIMESTAMPTZOID}, {"sent_at", TIMESTAMPTZOID}, {"received_at", TIMESTAMPTZOID},
                                    {"reason", TEXTOID}, {"detail", TEXTOID}};
    pg::StagedRows staged("cdp_batch_rejection", columns);
    for (const auto& [message, why] : list_) {
        Datum values[kInboxColumns];
        bool nulls[kInboxColumns];
        heap_deform_tuple(message->row, inbox_row_, values, nulls);
        values[kInboxId] = pg::TextDatum(why.reason);  // the two columns behind received_at
        values[kInboxXid] = pg::TextDatum(why.detail);
        nulls[kInboxId] = false;
        nulls[kInboxXid] = why.detail.empty();
        staged.Add(values, nulls);
    }
    static pg::Statement write(
        "INSERT INTO cdp.rejected_message (message, reason, detail, source, from_inbox, received_at)"
        " SELECT to_jsonb(m), b.reason, b.detail, b.source, true, b.received_at"
        " FROM cdp_batch_rejection b, LATERAL (SELECT b.message_id, b.type, b.source, b.user_id, b.anonymous_id, b.previous_id,"
        "  b.group_id, b.event, b.properties, b.traits, b.context, b.occurred_at, b.sent_at, b.received_at) m");
    write.Execute();
}

}  // namespace cdp::collect
