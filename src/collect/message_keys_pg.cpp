// collect/message_keys_pg.cpp: see message_keys_pg.hpp.
#include "collect/message_keys_pg.hpp"

#include <cstring>
#include <numeric>

#include "pg/table_writer.hpp"

namespace cdp::collect {

namespace {

constexpr size_t kKeysAChunk = 320;         // 7,680 bytes: a row a page
constexpr int64 kLargestRun = 1 << 22;
constexpr size_t kKeptWhole = 1 << 16;      // runs up to this size are kept in memory as they are
constexpr size_t kKeysAtOnce = 1 << 14;     // are merged with a batch, if it is small
constexpr int32 kChunksARead = 8;

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

/// The keys of `count` chunks from `first` on.
std::vector<MessageKey> ReadKeys(int64 run_id, int32 first, int32 count) {
    static pg::Statement read("SELECT keys FROM cdp.message_key_chunk WHERE run_id = $1 AND chunk_no >= $2 AND chunk_no < $3 ORDER BY chunk_no",
                              {INT8OID, INT4OID, INT4OID});
    const auto rows = read.Query({pg::Int8(run_id), pg::Int4(first), pg::Int4(first + count)});
    std::vector<MessageKey> keys;
    for (uint64 i = 0; i < rows.size(); ++i) {
        const auto chunk = FromBytes(pg::Bytes(*rows.Get(i, 1)));
        keys.insert(keys.end(), chunk.begin(), chunk.end());
    }
    return keys;
}

/// Writes a run, whose keys come in order, and a piece of it at a time where it is large.
class RunWriter {
public:
    /// For `count` keys.
    RunWriter(int64 count, int64 max_received) : run_{NextId(), count, max_received} {
        if (static_cast<size_t>(count) > kKeptWhole) run_.filter = KeyFilter(static_cast<size_t>(count));
    }
    int64 run_id() const { return run_.run_id; }

    void Add(const MessageKey& key) {
        waiting_.push_back(key);
        if (run_.filter.empty())
            run_.keys.push_back(key);
        else
            run_.filter.Add(key);
    }
    /// Writes what has come as chunks; unless it is the end, whole ones.
    void WriteChunks(bool end) {
        pg::TableWriter writer("cdp.message_key_chunk", {"run_id", "chunk_no", "keys"});
        size_t from = 0;
        while (waiting_.size() - from >= kKeysAChunk || (end && from < waiting_.size())) {
            const auto chunk = std::span(waiting_).subspan(from, std::min(kKeysAChunk, waiting_.size() - from));
            writer.Insert({Int64GetDatum(run_.run_id), Int32GetDatum(chunks_++), pg::TextDatum(AsBytes(chunk))});
            if (!run_.filter.empty()) run_.fences.push_back(chunk.front().high);
            from += chunk.size();
        }
        writer.Write();
        waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(from));
    }
    /// Says in the table that the run is being written: it counts for nothing, and who finds it unfinished removes it.
    void Announce() const { Record(0, {}, {}); }
    /// The run, complete.
    Run Finish() {
        WriteChunks(true);
        Record(run_.key_count, run_.filter.bytes(), {reinterpret_cast<const char*>(run_.fences.data()), run_.fences.size() * sizeof(uint64_t)});
        return std::move(run_);
    }

private:
    static int64 NextId() {
        static pg::Statement next("SELECT nextval('cdp.message_key_run_id_seq')");
        return next.Query().Int8(0, 1);
    }
    void Record(int64 key_count, std::string_view filter, std::string_view fences) const {
        static pg::Statement record(
            "INSERT INTO cdp.message_key_run AS r (run_id, key_count, max_received, filter, fences) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (run_id) DO UPDATE SET key_count = excluded.key_count, filter = excluded.filter, fences = excluded.fences",
            {INT8OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID});
        record.Execute({pg::Int8(run_.run_id), pg::Int8(key_count), pg::Time(run_.max_received),
                        pg::Value(BYTEAOID, pg::TextDatum(filter)), pg::Value(BYTEAOID, pg::TextDatum(fences))});
    }

    Run run_;
    int32 chunks_ = 0;
    std::vector<MessageKey> waiting_;  // for a chunk to be full
};

/// Makes one run of several.
class Merge {
public:
    explicit Merge(std::span<const Run> sources) : writer_(Sum(sources), Newest(sources)) {
        for (const Run& run : sources) sources_.push_back({run.run_id, run.keys, 0, run.keys.empty() ? 0 : kNoMore});
    }
    int64 run_id() const { return writer_.run_id(); }
    bool Takes(int64 run_id) const {
        return std::any_of(sources_.begin(), sources_.end(), [&](const Source& s) { return s.run_id == run_id; });
    }
    void Announce() const { writer_.Announce(); }

    /// Goes on by some `keys`. Whether it is done.
    bool Step(size_t keys) {
        for (; keys > 0; --keys) {
            Source* least = nullptr;
            for (Source& source : sources_)
                if (Filled(&source) && (least == nullptr || source.keys[source.at] < least->keys[least->at])) least = &source;
            if (least == nullptr) return true;
            writer_.Add(least->keys[least->at++]);
        }
        writer_.WriteChunks(false);
        return false;
    }
    Run Finish() { return writer_.Finish(); }

private:
    static constexpr int32 kNoMore = -1;
    struct Source {
        int64 run_id;
        std::vector<MessageKey> keys;  // some of them
        size_t at;                     //   the next of which is this
        int32 next_chunk;
    };
    static int64 Sum(std::span<const Run> runs) {
        int64 sum = 0;
        for (const Run& run : runs) sum += run.key_count;
        return sum;
    }
    static int64 Newest(std::span<const Run> runs) {
        int64 newest = PG_INT64_MIN;
        for (const Run& run : runs) newest = std::max(newest, run.max_received);
        return newest;
    }
    /// Whether the source has a next key; reads on where it must.
    static bool Filled(Source* source) {
        if (source->at < source->keys.size()) return true;
        if (source->next_chunk == kNoMore) return false;
        source->keys = ReadKeys(source->run_id, source->next_chunk, kChunksARead);
        source->at = 0;
        source->next_chunk = source->keys.empty() ? kNoMore : source->next_chunk + kChunksARead;
        return !source->keys.empty();
    }

    std::vector<Source> sources_;
    RunWriter writer_;
};

std::optional<Merge> merging;          // of large runs: a piece of it is done with each batch

/// Drops runs from the table.
void Drop(int64 run_id) {
    static pg::Statement drop_run("DELETE FROM cdp.message_key_run WHERE run_id = $1", {INT8OID});
    static pg::Statement drop_chunks("DELETE FROM cdp.message_key_chunk WHERE run_id = $1", {INT8OID});
    drop_run.Execute({pg::Int8(run_id)});
    drop_chunks.Execute({pg::Int8(run_id)});
}

/// Puts the run that a merge has made in the place of those it was made of.
void Replace(Merge* merge) {
    const auto taken = [&](const Run& run) { return merge->Takes(run.run_id); };
    const auto place = std::find_if(runs.begin(), runs.end(), taken);
    for (const Run& run : runs)
        if (taken(run)) Drop(run.run_id);
    *place = merge->Finish();  // whose id no merge takes
    std::erase_if(runs, taken);
}

/// Merges what has added up: small runs at once, large ones piece by piece, since nobody's message shall wait for that.
void MergeSome(size_t keys_of_batch) {
    const size_t piece = std::max(kKeysAtOnce, 4 * keys_of_batch);
    if (merging && merging->Step(piece)) {
        Replace(&*merging);
        merging.reset();
    }
    std::vector<int64_t> sizes;  // of those that no merge has taken: the youngest
    for (const Run& run : runs)
        if (!merging || run.run_id > merging->run_id()) sizes.push_back(run.key_count);
    const size_t count = RunsToMerge(sizes, kLargestRun);
    if (count == 0) return;
    const int64 total = std::accumulate(sizes.end() - static_cast<std::ptrdiff_t>(count), sizes.end(), int64{0});
    const bool small = total <= static_cast<int64>(piece);
    if (!small && merging) return;
    Merge merge(std::span<const Run>(runs).last(count));
    if (small) {
        while (!merge.Step(piece)) {}
        Replace(&merge);
    } else {
        merge.Announce();
        merging.emplace(std::move(merge));
    }
}

/// Brings `runs` up to what the table says: another session may have processed since.
void Refresh() {
    static pg::Statement list("SELECT run_id, key_count, max_received FROM cdp.message_key_run ORDER BY run_id");
    static pg::Statement open("SELECT filter, fences FROM cdp.message_key_run WHERE run_id = $1", {INT8OID});
    const auto rows = list.Query();
    std::vector<Run> known;
    bool ours = false;
    for (uint64 i = 0; i < rows.size(); ++i) {
        const int64 run_id = rows.Int8(i, 1);
        if (rows.Int8(i, 2) == 0) {  // is being written: by us, or by somebody who did not come to its end
            if (loaded && merging && merging->run_id() == run_id)
                ours = true;
            else
                Drop(run_id);
            continue;
        }
        const auto have = std::find_if(runs.begin(), runs.end(), [&](const Run& run) { return run.run_id == run_id; });
        if (loaded && have != runs.end()) {
            known.push_back(std::move(*have));
            continue;
        }
        Run run{run_id, rows.Int8(i, 2), DatumGetTimestampTz(*rows.Get(i, 3))};
        if (static_cast<size_t>(run.key_count) <= kKeptWhole) {
            run.keys = ReadKeys(run_id, 0, kKeptWhole / kKeysAChunk + 1);
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
    if (!ours) merging.reset();
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
        RunWriter writer(static_cast<int64>(keys.size()), max_received);
        for (const MessageKey& key : keys) writer.Add(key);
        runs.push_back(writer.Finish());
    }
    // By the clock of the messages, which may be far behind ours when history is sent in again.
    int64 newest = PG_INT64_MIN;
    for (const Run& run : runs) newest = std::max(newest, run.max_received);
    const int64 horizon = std::min(newest, GetCurrentTimestamp()) - window;
    while (!runs.empty() && runs.front().max_received < horizon && !(merging && merging->Takes(runs.front().run_id))) {
        Drop(runs.front().run_id);
        runs.erase(runs.begin());
    }
    MergeSome(keys.size());
}

void MessageKeys::Forget() {
    // What was only loaded is checked against the table by its run ids, which are never given twice.
    if (!changed) return;
    runs.clear();
    merging.reset();
    loaded = changed = false;
}

}  // namespace cdp::collect
