// segment/changed_rows_pg.cpp: the triggers of tables that live segments follow: whom changed rows concern goes into the inbox.
//
// Such a row of the inbox is no message (collect/inbox_pg.hpp, RowChange). Only built-in functions are computed here, with the
// rights of the table's owner; if one fails, everybody is looked at, and the writer is told nothing.
#include <unordered_map>
#include <unordered_set>

#include "collect/inbox_pg.hpp"
#include "pg/standing.hpp"
#include "pg/transition_rows.hpp"
#include "segment/followed_pg.hpp"

extern "C" {
#include "commands/trigger.h"
#include "replication/logicalworker.h"
#include "utils/datum.h"
#include "utils/rel.h"
}

namespace cdp::segment {

namespace {

constexpr size_t kKeysAtATime = 100'000;

/// Whom the rows of a statement concern, each once, on their way into the inbox.
class Concerned {
public:
    explicit Concerned(std::string table) : table_(std::move(table)) {}

    void Add(bool profile, std::string_view key) {
        if (key.size() > collect::kLongestIdentifierBytes) return;  // nobody's
        keys_.insert((profile ? 'p' : 'i') + std::string(key));
        if (keys_.size() >= kKeysAtATime) Send();
    }
    void Send() {
        if (keys_.empty()) return;
        static pg::Statement put("INSERT INTO cdp.inbox (message_id, type, source, user_id, previous_id, occurred_at) SELECT NULL, '" +
                                     std::string(collect::kRowChange) + "', $1, identifier, profile, NULL FROM cdp_changed_rows", {TEXTOID});
        pg::StagedRows rows("cdp_changed_rows", {{"identifier", TEXTOID}, {"profile", TEXTOID}});
        for (const std::string& key : keys_) {
            const Datum text = pg::TextDatum(std::string_view(key).substr(1));
            const Datum values[] = {text, text};
            const bool nulls[] = {key[0] != 'i', key[0] != 'p'};
            rows.Add(values, nulls);
        }
        keys_.clear();
        const pg::ActAs owner(pg::ExtensionOwner());
        put.Execute({pg::Text(table_)});
    }
    void SendEverybody() {
        keys_ = {"*"};
        Send();
    }

private:
    std::string table_;
    std::unordered_set<std::string> keys_;  // i and an identifier, p and a profile; *: everybody
};

/// What the triggers of a table do, prepared. Made anew when the table has changed.
class Follower {
public:
    Follower(std::string config, Relation rel) : config_(std::move(config)), name_(NameOfTable(RelationGetRelid(rel))) {
        rows_ = pg::Call([&] {
            const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
            const TupleDesc copy = CreateTupleDescCopyConstr(RelationGetDescr(rel));  // to be compared
            MemoryContextSwitchTo(outer);
            return copy;
        });
        const Followed followed = Followed::Parse(config_.c_str());
        for (int i = 0; i < rows_->natts; ++i) {
            const auto* column = TupleDescAttr(rows_, i);
            const auto wanted = column->attisdropped ? followed.columns.end() : followed.columns.find(NameStr(column->attname));
            if (wanted == followed.columns.end()) continue;
            const char* type = pg::Call([&] { return format_type_with_typemod(column->atttypid, column->atttypmod); });
            if (wanted->second == type) columns_.push_back(i);
        }
        complete_ = columns_.size() == followed.columns.size();
        for (const auto& value : followed.identifiers) Read(value, false, rel);
        for (const auto& value : followed.profiles) Read(value, true, rel);
    }
    ~Follower() { FreeTupleDesc(rows_); }
    Follower(const Follower&) = delete;

    bool IsFor(const char* config, Relation rel) const { return config_ == config && equalTupleDescs(rows_, RelationGetDescr(rel)) && name_ == NameOfTable(RelationGetRelid(rel)); }
    const std::string& name() const { return name_; }
    TupleDesc descriptor() const { return rows_; }

    /// One row: what it was, what it is; null: it was not, or is no more. Throws if it cannot be told whom it concerns.
    void Take(const pg::Condition::Row* before, const pg::Condition::Row* now, Concerned* concerned) {
        if (unread_) throw *unread_;
        if (complete_ && before != nullptr && now != nullptr && Same(*before, *now)) return;
        for (const pg::Condition::Row* row : {before, now}) {
            if (row == nullptr) continue;
            for (const Key& key : keys_) {
                key.value->Texts({row, 1}, &texts_);
                if (texts_.front() != nullptr) concerned->Add(key.profile, texts_.front());
            }
        }
    }

private:
    struct Key {
        std::unique_ptr<pg::Condition> value;
        bool profile;
    };

    void Read(const std::string& value, bool profile, Relation rel) {
        auto failure = pg::Attempts::One([&] {
            keys_.push_back({std::make_unique<pg::Condition>(value, "table " + name_, RelationGetRelid(rel), "r", rel->rd_rel->relowner,
                                                            std::span<const char* const>(), pg::Condition::Options{.kind = pg::Condition::Kind::kValue}),
                             profile});
        });
        if (failure) unread_ = std::move(failure);
    }
    bool Same(const pg::Condition::Row& a, const pg::Condition::Row& b) const {
        return std::all_of(columns_.begin(), columns_.end(), [&](int i) {
            const auto* column = TupleDescAttr(rows_, i);
            if (a.nulls[i] || b.nulls[i]) return a.nulls[i] == b.nulls[i];
            return pg::Call([&] { return datum_image_eq(a.values[i], b.values[i], column->attbyval, column->attlen); });
        });
    }

    std::string config_, name_;
    TupleDesc rows_;
    std::vector<int> columns_;  // that matter
    // The table may have another shape than when it was followed, and get the old one back before any batch sees it. Then
    // every row counts as changed, or concerns everybody.
    bool complete_ = true;
    std::optional<Error> unread_;
    std::vector<Key> keys_;
    std::vector<const char*> texts_;
};

std::shared_ptr<Follower> FollowerOf(const TriggerData* call) {
    static std::unordered_map<Oid, std::shared_ptr<Follower>> followers;
    auto& follower = followers[RelationGetRelid(call->tg_relation)];
    if (!follower || !follower->IsFor(call->tg_trigger->tgargs[0], call->tg_relation))
        follower = std::make_shared<Follower>(call->tg_trigger->tgargs[0], call->tg_relation);
    return follower;
}

/// Sends whom it concerns what `take` gives the follower; everybody if that fails.
template <class F>
void Send(const TriggerData* call, F&& take) {
    const pg::Spi spi;
    const auto follower = FollowerOf(call);
    Concerned concerned(follower->name());
    if (pg::Attempts::One([&] { take(*follower, &concerned); }))
        concerned.SendEverybody();
    else
        concerned.Send();
}

const TriggerData* CalledAsTrigger(FunctionCallInfo fcinfo, const char* function, bool for_row) {
    const auto* call = CALLED_AS_TRIGGER(fcinfo) ? reinterpret_cast<const TriggerData*>(fcinfo->context) : nullptr;
    if (call == nullptr || !TRIGGER_FIRED_AFTER(call->tg_event) || static_cast<bool>(TRIGGER_FIRED_FOR_ROW(call->tg_event)) != for_row || call->tg_trigger->tgnargs != 1)
        throw Error(sqlstate::trigger_protocol_violated, std::string(function) + " was called in a way that live segments do not arrange").Hint("Make a live segment with cdp.create_segment.");
    return call;
}

/// The rows of a statement's transition tables.
void TakeAll(const TriggerData* call, Follower& follower, Concerned* concerned) {
    std::optional<pg::TransitionRows> before, now;
    if (call->tg_oldtable != nullptr) before.emplace(call->tg_oldtable, follower.descriptor());
    if (call->tg_newtable != nullptr) now.emplace(call->tg_newtable, follower.descriptor());
    pg::Scratch memory;
    for (size_t i = 0;; ++i) {
        if (i % 1024 == 0) {
            poll_stop();
            memory.Reset();
        }
        pg::Condition::Row rows[2] = {};
        const bool any = pg::Call([&] {
            if ((before && !before->Next()) || (now && !now->Next())) return false;
            if (before) before->Values(&rows[0].values, &rows[0].nulls);
            if (now) now->Values(&rows[1].values, &rows[1].nulls);
            return true;
        });
        if (!any) break;
        const pg::Scratch::Use use(memory);
        follower.Take(before ? &rows[0] : nullptr, now ? &rows[1] : nullptr, concerned);
    }
}

/// The row of an applied change.
void TakeOne(const TriggerData* call, Follower& follower, Concerned* concerned) {
    const auto columns = static_cast<size_t>(follower.descriptor()->natts);
    std::vector<Datum> values(2 * columns);
    const std::unique_ptr<bool[]> nulls(new bool[2 * columns]);
    const bool update = TRIGGER_FIRED_BY_UPDATE(call->tg_event), insert = TRIGGER_FIRED_BY_INSERT(call->tg_event);
    const auto row = [&](HeapTuple tuple, size_t place) {
        heap_deform_tuple(tuple, follower.descriptor(), values.data() + place * columns, nulls.get() + place * columns);
        return pg::Condition::Row{values.data() + place * columns, nulls.get() + place * columns};
    };
    const auto first = row(call->tg_trigtuple, 0);
    if (!update) return follower.Take(insert ? nullptr : &first, insert ? &first : nullptr, concerned);
    const auto second = row(call->tg_newtuple, 1);
    follower.Take(&first, &second, concerned);
}

}  // namespace

}  // namespace cdp::segment

using namespace cdp;

CDP_FUNCTION(cdp_follow_rows)  // cdp.follow_rows() → trigger
{
    const auto* call = segment::CalledAsTrigger(fcinfo, "cdp.follow_rows", false);
    // What a subscription applies or copies comes row by row; but TRUNCATE.
    const bool truncate = TRIGGER_FIRED_BY_TRUNCATE(call->tg_event);
    if (!truncate && pg::Call([] { return IsLogicalWorker(); })) return PointerGetDatum(nullptr);
    if (truncate) {
        const pg::Spi spi;
        segment::Concerned(segment::NameOfTable(RelationGetRelid(call->tg_relation))).SendEverybody();
    } else {
        segment::Send(call, [&](segment::Follower& follower, segment::Concerned* concerned) { segment::TakeAll(call, follower, concerned); });
    }
    return PointerGetDatum(nullptr);
}

CDP_FUNCTION(cdp_follow_applied_row)  // cdp.follow_applied_row() → trigger
{
    const auto* call = segment::CalledAsTrigger(fcinfo, "cdp.follow_applied_row", true);
    // Where others set session_replication_role, statements have their own triggers.
    if (!pg::Call([] { return IsLogicalWorker(); })) return PointerGetDatum(nullptr);
    segment::Send(call, [&](segment::Follower& follower, segment::Concerned* concerned) { segment::TakeOne(call, follower, concerned); });
    return PointerGetDatum(nullptr);
}
