// collect/message_keys_pg.cpp: see message_keys_pg.hpp.
#include "collect/message_keys_pg.hpp"

#include <cstring>

namespace cdp::collect {

namespace {

constexpr size_t kKeysAChunk = 320;         // 7,680 bytes: a row a page
constexpr int64 kLargestRun = 1 << 20;
constexpr size_t kKeptWhole = 1 << 16;      // runs up to this size are kept in memory as they are

/// A run as this process knows it.
struct Run {
    int64 run_id;
    int64 key_count;
    int64 max_received;
    std::vector<MessageKey> keys;      // small runs
    KeyFilter filter;                  // large runs
    std::vector<uint64_t> fences;      // large runs: `high` of each chunk's first key
};

std::vector<Run> runs;                 // by run_id: oldest first
bool loaded = false;
bool changed = false;                  // by this process, since it was loaded

std::string_view AsBytes(std::span<const MessageKey> keys) {
    return {reinterpret_cast<const char*>(keys.data()), keys.size_bytes()};
}

std::vector<MessageKey> FromBytes(std::string_view bytes) {
    std::vector<MessageKey> keys(bytes.size() / sizeof(MessageKey));
    memcpy(keys.data(), bytes.data(), keys.size() * sizeof(MessageKey));
    return keys;
}

std::vector<MessageKey> ReadKeys(int64 run_id) {
    static pg::Statement read("SELECT keys FROM cdp.message_key_chunk WHERE run_id = $1 ORDER BY chunk_no", {INT8OID});
    const auto rows = read.Query({pg::Int8(run_id)});
    std::vector<MessageKey> keys;
    for (uint64 i = 0; i < rows.size(); ++i) {
        const auto chunk = FromBytes(pg::Bytes(*rows.Get(i, 1)));
        keys.insert(keys.end(), chunk.begin(), chunk.end());
    }
    return keys;
}

/// Brings `runs` up to what the table says: another session may have processed since.
void Refresh() {
    static pg::Statement list("SELECT run_id, key_count, max_received FROM cdp.message_key_run ORDER BY run_id");
    static pg::Statement open("SELECT filter, fences FROM cdp.message_key_run WHERE run_id = $1", {INT8OID});
    const auto rows = list.Query();
    if (loaded && rows.size() == runs.size() && (runs.empty() || runs.back().run_id == rows.Int8(rows.size() - 1, 1))) return;
    std::vector<Run> known;
    for (uint64 i = 0; i < rows.size(); ++i) {
        const int64 run_id = rows.Int8(i, 1);
        const auto have = std::find_if(runs.begin(), runs.end(), [&](const Run& run) { return run.run_id == run_id; });
        if (have != runs.end()) {
            known.push_back(std::move(*have));
            continue;
        }
        Run run{run_id, rows.Int8(i, 2), DatumGetTimestampTz(*rows.Get(i, 3))};
        if (static_cast<size_t>(run.key_count) <= kKeptWhole) {
            run.keys = ReadKeys(run_id);
        } else {
            const auto row = open.Query({pg::Int8(run_id)});
            run.filter = KeyFilter(pg::Bytes(*row.Get(0, 1)));
            const auto fences = pg::Bytes(*row.Get(0, 2));
            run.fences.resize(fences.size() / sizeof(uint64_t));
            memcpy(run.fences.data(), fences.data(), run.fences.size() * sizeof(uint64_t));
        }
        known.push_back(std::move(run));
    }
    runs = std::move(known);
    loaded = true;
}

void Append(std::vector<MessageKey> keys, int64 max_received) {
    static pg::Statement next("SELECT nextval('cdp.message_key_run_id_seq')");
    static pg::Statement add_run(
        "INSERT INTO cdp.message_key_run (run_id, key_count, max_received, filter, fences) VALUES ($1, $2, $3, $4, $5)",
        {INT8OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID});
    static pg::Statement add_chunks(
        "INSERT INTO cdp.message_key_chunk (run_id, chunk_no, keys) SELECT run_id, chunk_no, keys FROM cdp_batch_keys");
    Run run{next.Query().Int8(0, 1), static_cast<int64>(keys.size()), max_received};
    pg::StagedRows chunks("cdp_batch_keys", {{"run_id", INT8OID}, {"chunk_no", INT4OID}, {"keys", BYTEAOID}});
    for (size_t begin = 0; begin < keys.size(); begin += kKeysAChunk) {
        const auto chunk = std::span(keys).subspan(begin, std::min(kKeysAChunk, keys.size() - begin));
        run.fences.push_back(chunk.front().high);
        const Datum bytes = pg::TextDatum(AsBytes(chunk));
        chunks.Add({Int64GetDatum(run.run_id), Int32GetDatum(static_cast<int32>(begin / kKeysAChunk)), bytes});
        pfree(DatumGetPointer(bytes));
    }
    const bool small = keys.size() <= kKeptWhole;
    if (!small) run.filter = KeyFilter(keys);
    const std::string_view fences(reinterpret_cast<const char*>(run.fences.data()), run.fences.size() * sizeof(uint64_t));
    add_run.Execute({pg::Int8(run.run_id), pg::Int8(run.key_count), pg::Time(max_received),
                     pg::Value(BYTEAOID, pg::TextDatum(small ? std::string_view() : run.filter.bytes())),
                     pg::Value(BYTEAOID, pg::TextDatum(small ? std::string_view() : fences))});
    add_chunks.Execute();
    if (small) {
        run.keys = std::move(keys);
        run.fences.clear();
    }
    runs.push_back(std::move(run));
}

void Drop(size_t begin, size_t count) {
    static pg::Statement drop_run("DELETE FROM cdp.message_key_run WHERE run_id = $1", {INT8OID});
    static pg::Statement drop_chunks("DELETE FROM cdp.message_key_chunk WHERE run_id = $1", {INT8OID});
    for (size_t i = begin; i < begin + count; ++i) {
        drop_run.Execute({pg::Int8(runs[i].run_id)});
        drop_chunks.Execute({pg::Int8(runs[i].run_id)});
    }
    runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(begin), runs.begin() + static_cast<std::ptrdiff_t>(begin + count));
}

void MergeYoungest(size_t count) {
    std::vector<MessageKey> merged;
    int64 max_received = PG_INT64_MIN;
    for (size_t i = runs.size() - count; i < runs.size(); ++i) {
        const auto keys = runs[i].keys.empty() ? ReadKeys(runs[i].run_id) : std::move(runs[i].keys);
        const auto middle = static_cast<std::ptrdiff_t>(merged.size());
        merged.insert(merged.end(), keys.begin(), keys.end());
        std::inplace_merge(merged.begin(), merged.begin() + middle, merged.end());
        max_received = std::max(max_received, runs[i].max_received);
    }
    Drop(runs.size() - count, count);
    Append(std::move(merged), max_received);
}

/// Asks the chunks that the filters of large runs point to.
void AskChunks(std::span<const MessageKey> keys, int64 window, std::vector<char>* duplicate) {
    struct Question { int64 run_id; int32 chunk_no; int32 key; };
    std::vector<Question> questions;
    for (const Run& run : runs) {
        if (run.filter.empty()) continue;
        for (size_t k = 0; k < keys.size(); ++k) {
            if ((*duplicate)[k] || !run.filter.MayHold(keys[k])) continue;
            // Equal halves may straddle a border: ask from the last chunk that begins below to the last that begins at it.
            const auto lower = std::lower_bound(run.fences.begin(), run.fences.end(), keys[k].high) - run.fences.begin();
            const auto upper = std::upper_bound(run.fences.begin(), run.fences.end(), keys[k].high) - run.fences.begin();
            for (auto chunk = std::max<std::ptrdiff_t>(lower - 1, 0); chunk < std::max<std::ptrdiff_t>(upper, 1); ++chunk)
                questions.push_back({run.run_id, static_cast<int32>(chunk), static_cast<int32>(k)});
        }
    }
    if (questions.empty()) return;
    std::sort(questions.begin(), questions.end(), [](const Question& a, const Question& b) {
        return std::tie(a.run_id, a.chunk_no) < std::tie(b.run_id, b.chunk_no);
    });
    static pg::Statement ask(
        "SELECT b.key, c.keys FROM cdp_batch_question b JOIN cdp.message_key_chunk c ON c.run_id = b.run_id AND c.chunk_no = b.chunk_no");
    pg::StagedRows staged("cdp_batch_question", {{"run_id", INT8OID}, {"chunk_no", INT4OID}, {"key", INT4OID}});
    for (const Question& q : questions)
        staged.Add({Int64GetDatum(q.run_id), Int32GetDatum(q.chunk_no), Int32GetDatum(q.key)});
    const auto rows = ask.Query();
    for (uint64 i = 0; i < rows.size(); ++i) {
        const int32 k = DatumGetInt32(*rows.Get(i, 1));
        if (Holds(FromBytes(pg::Bytes(*rows.Get(i, 2))), keys[k], window)) (*duplicate)[k] = 1;
    }
}

}  // namespace

std::vector<char> MessageKeys::Duplicates(std::span<const MessageKey> keys, int64 window) {
    std::vector<char> duplicate(keys.size());
    Refresh();
    for (const Run& run : runs) {
        if (run.keys.empty()) continue;
        for (size_t k = 0; k < keys.size(); ++k)
            if (!duplicate[k] && Holds(run.keys, keys[k], window)) duplicate[k] = 1;
    }
    AskChunks(keys, window, &duplicate);

    std::vector<size_t> order(keys.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return std::tie(keys[a].high, keys[a].low, a) < std::tie(keys[b].high, keys[b].low, b);
    });
    // Of equal ids the first that is accepted counts; later ones are held against it.
    for (size_t i = 0; i < order.size();) {
        size_t end = i + 1;
        while (end < order.size() && keys[order[end]].SameId(keys[order[i]])) ++end;
        std::vector<MessageKey> accepted;
        for (size_t j = i; j < end && end > i + 1; ++j) {
            const MessageKey& key = keys[order[j]];
            if (!duplicate[order[j]] && !Holds(accepted, key, window))
                accepted.insert(std::upper_bound(accepted.begin(), accepted.end(), key), key);
            else
                duplicate[order[j]] = 1;
        }
        i = end;
    }
    return duplicate;
}

void MessageKeys::Remember(std::vector<MessageKey> keys, int64 window) {
    changed = true;
    if (!keys.empty()) {
        std::sort(keys.begin(), keys.end());
        int64 max_received = PG_INT64_MIN;
        for (const MessageKey& key : keys) max_received = std::max(max_received, key.received_at);
        Append(std::move(keys), max_received);
    }
    // By the clock of the messages, which may be far behind ours when history is sent in again.
    int64 newest = PG_INT64_MIN;
    for (const Run& run : runs) newest = std::max(newest, run.max_received);
    const int64 horizon = std::min(newest, GetCurrentTimestamp()) - window;
    size_t expired = 0;
    while (expired < runs.size() && runs[expired].max_received < horizon) ++expired;
    if (expired > 0) Drop(0, expired);

    std::vector<int64_t> sizes;
    for (const Run& run : runs) sizes.push_back(run.key_count);
    if (const size_t count = RunsToMerge(sizes, kLargestRun); count > 0) MergeYoungest(count);
}

void MessageKeys::Forget() {
    // What was only loaded is checked against the table by its run ids, which are never given twice.
    if (!changed) return;
    runs.clear();
    loaded = changed = false;
}

}  // namespace cdp::collect
