// pg/table_writer.cpp: see table_writer.hpp.
#include "pg/table_writer.hpp"

#include "pg/index_entries.hpp"
#include "pg/index_helpers.hpp"
#include "pg/names.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"
}

namespace cdp::pg {

namespace {

static_assert(sizeof(bool) == sizeof(char));

constexpr size_t kAtOnce = 256;  // rows on their way into a heap
constexpr bool kNoNulls[64] = {};

Relation Open(const std::string& table, LOCKMODE lock) {
    return Call([&] {
        return table_openrv(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(table.c_str()))), lock);
    });
}

/// Whether rows of these columns can be written without a statement: one would do no more, and be allowed.
bool IsPlain(Relation rel, std::span<const AttrNumber> ours) {
    const Form_pg_class form = rel->rd_rel;
    constexpr AclMode kRights = ACL_INSERT | ACL_UPDATE;
    if (pg_class_aclmask(RelationGetRelid(rel), GetUserId(), kRights, ACLMASK_ALL) != kRights) return false;
    if ((form->relkind != RELKIND_RELATION && form->relkind != RELKIND_PARTITIONED_TABLE) || form->relhasrules ||
        form->relrowsecurity || rel->trigdesc != nullptr)
        return false;
    TupleDesc columns = RelationGetDescr(rel);
    for (int i = 0; i < columns->natts; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(columns, i);
        if (attribute->attisdropped) continue;
        if (attribute->attgenerated || attribute->attidentity) return false;
        const bool is_ours = std::find(ours.begin(), ours.end(), attribute->attnum) != ours.end();
        if (!is_ours && (attribute->atthasdef || attribute->attnotnull || get_typtype(attribute->atttypid) == TYPTYPE_DOMAIN))
            return false;
    }
    return true;
}

/// A relation and its indexes, open to be written; for the time of one TableWriter::Write.
struct Target {
    ResultRelInfo* info = nullptr;
    std::vector<AttrNumber> attributes;  // of the writer's columns
    std::vector<int> rows;               // to insert, in order
    std::vector<ItemPointerData> places; // where they went

    Relation relation() const { return info->ri_RelationDesc; }
    bool Plain() const {
        if (!Call([&] { return IsPlain(relation(), attributes); })) return false;
        for (int i = 0; i < info->ri_NumIndices; ++i)
            if (!IndexEntries::Suffices(info->ri_IndexRelationDescs[i], info->ri_IndexRelationInfo[i])) return false;
        return true;
    }
};

/// Where `columns` are in `rel`. Throws if one is not there.
std::vector<AttrNumber> Attributes(Relation rel, const std::vector<std::string>& columns) {
    std::vector<AttrNumber> attributes;
    for (const auto& column : columns) {
        const AttrNumber number = Call([&] { return get_attnum(RelationGetRelid(rel), column.c_str()); });
        if (number <= 0)
            throw Error(sqlstate::undefined_column, "column \"" + column + "\" of relation \"" + RelationGetRelationName(rel) + "\" does not exist");
        attributes.push_back(number);
    }
    return attributes;
}

/// What the executor needs to write to a table.
struct Execution {
    EState* state;
    ResultRelInfo* root;
    MemoryContext scratch;

    explicit Execution(Relation rel) {
        Call([&] {
            state = CreateExecutorState();
            auto* entry = makeNode(RangeTblEntry);
            entry->rtekind = RTE_RELATION;
            entry->relid = RelationGetRelid(rel);
            entry->relkind = rel->rd_rel->relkind;
            entry->rellockmode = RowExclusiveLock;
            ExecInitRangeTable(state, list_make1(entry));
            root = makeNode(ResultRelInfo);
            InitResultRelInfo(root, rel, 1, nullptr, 0);
            ExecOpenIndices(root, false);
            scratch = AllocSetContextCreate(CurrentMemoryContext, "cdp table writer", ALLOCSET_DEFAULT_SIZES);
        });
    }
    void Close() {
        Call([&] {
            ExecCloseIndices(root);
            ExecResetTupleTable(state->es_tupleTable, false);
            FreeExecutorState(state);
            MemoryContextDelete(scratch);
        });
    }
};

/// Rows as a slot shows them: by pointers into arrays of their own.
void Show(TupleTableSlot* slot, Datum* values, bool* nulls) {
    slot->tts_values = values;
    slot->tts_isnull = nulls;
    slot->tts_flags &= ~TTS_FLAG_EMPTY;
    slot->tts_nvalid = static_cast<AttrNumber>(slot->tts_tupleDescriptor->natts);
}

/// Slots for rows of a relation, which live as long as the execution.
class Slots {
    template <class F>
    auto InContext(F&& make) {
        return Call([&] {
            const MemoryContext outer = MemoryContextSwitchTo(context_);
            const auto made = make();
            MemoryContextSwitchTo(outer);
            return made;
        });
    }

public:
    Slots(Execution& execution, Relation rel) : context_(execution.state->es_query_cxt) {
        // A descriptor of its own: one that is counted would have to be given back.
        descriptor_ = InContext([&] { return CreateTupleDescCopyConstr(RelationGetDescr(rel)); });
    }
    TupleTableSlot* Make(const TupleTableSlotOps* kind) {
        return InContext([&] { return MakeSingleTupleTableSlot(descriptor_, kind); });
    }

private:
    MemoryContext context_;
    TupleDesc descriptor_;
};

/// Rows laid out as a relation has its columns.
struct Layout {
    size_t natts;
    std::vector<Datum> values;
    std::unique_ptr<bool[]> nulls;

    Layout(Relation rel, size_t rows) : natts(static_cast<size_t>(RelationGetDescr(rel)->natts)), values(rows * natts), nulls(new bool[rows * natts]) {
        std::fill_n(nulls.get(), rows * natts, true);
    }
    void Set(size_t place, std::span<const AttrNumber> attributes, const Datum* row, const char* row_nulls) {
        for (size_t k = 0; k < attributes.size(); ++k) {
            values[place * natts + attributes[k] - 1] = row[k];
            nulls[place * natts + attributes[k] - 1] = row_nulls[k] != 0;
        }
    }
    Datum* Values(size_t place) { return &values[place * natts]; }
    bool* Nulls(size_t place) { return &nulls[place * natts]; }
};

/// For each index of a relation but those `left_out`, entries for at most `rows` rows.
std::vector<IndexEntries> EntriesOf(const ResultRelInfo* info, size_t rows, std::span<const Relation> left_out = {}) {
    std::vector<IndexEntries> entries;
    for (int i = 0; i < info->ri_NumIndices; ++i)
        if (Relation index = info->ri_IndexRelationDescs[i]; std::find(left_out.begin(), left_out.end(), index) == left_out.end())
            entries.emplace_back(index, info->ri_IndexRelationInfo[i], rows);
    return entries;
}

/// Those indexes that helpers are to enter the rows into. Duplicates are to be found here, before anything else is entered.
std::vector<Relation> ForHelpers(const ResultRelInfo* info, size_t rows, bool ignore_duplicates) {
    std::vector<Relation> indexes;
    for (int i = 0; i < info->ri_NumIndices; ++i)
        if (Relation index = info->ri_IndexRelationDescs[i]; !ignore_duplicates || !index->rd_index->indisunique) indexes.push_back(index);
    const IndexHelpers* helpers = IndexHelpers::current();
    if (helpers == nullptr || !helpers->Takes(info->ri_RelationDesc, indexes, rows)) indexes.clear();
    return indexes;
}

/// Writes a chunk of rows to the heap, and to `places` where they went. May ereport.
void insert_chunk(Execution& execution, ResultRelInfo* info, Layout* chunk, TupleTableSlot** slots, TupleTableSlot* checked, int count, ItemPointerData* places) {
    CHECK_FOR_INTERRUPTS();
    Relation rel = info->ri_RelationDesc;
    const MemoryContext outer = MemoryContextSwitchTo(execution.scratch);
    for (int i = 0; i < count; ++i) {
        if (RelationGetDescr(rel)->constr != nullptr) {
            Show(checked, chunk->Values(i), chunk->Nulls(i));
            ExecConstraints(info, checked, execution.state);
        }
        ExecStoreHeapTuple(heap_form_tuple(RelationGetDescr(rel), chunk->Values(i), chunk->Nulls(i)), slots[i], true);
    }
    table_multi_insert(rel, slots, count, GetCurrentCommandId(true), 0, nullptr);
    for (int i = 0; i < count; ++i) {
        places[i] = slots[i]->tts_tid;
        ExecClearTuple(slots[i]);
    }
    ResetPerTupleExprContext(execution.state);
    MemoryContextSwitchTo(outer);
    MemoryContextReset(execution.scratch);
}

/// Takes rows back, and out of the target's places, whose keys were there already.
void Withdraw(Target* target, const std::vector<char>& duplicate) {
    if (std::find(duplicate.begin(), duplicate.end(), 1) == duplicate.end()) return;
    Call([&] {
        CommandCounterIncrement();
        const CommandId command = GetCurrentCommandId(true);
        for (size_t i = 0; i < duplicate.size(); ++i) {
            if (!duplicate[i]) continue;
            TM_FailureData failure;
            if (table_tuple_delete(target->relation(), &target->places[i], command, GetActiveSnapshot(), InvalidSnapshot, true, &failure, false) != TM_Ok)
                elog(ERROR, "a row that was just inserted cannot be taken back");
        }
    });
    size_t kept = 0;
    for (size_t i = 0; i < duplicate.size(); ++i)
        if (!duplicate[i]) target->places[kept++] = target->places[i];
    target->places.resize(kept);
}

/// Writes those of the rows that are the target's to its heap and then to its indexes. `root`: the table that was asked for.
template <class Rows>
void InsertInto(Execution& execution, Oid root, Target* target, const Rows& rows, bool ignore_duplicates) {
    const size_t count = target->rows.size(), width = target->attributes.size(), at_once = std::min(kAtOnce, count);
    const auto handed_over = ForHelpers(target->info, count, ignore_duplicates);
    auto entries = EntriesOf(target->info, count, handed_over);
    target->places.resize(count);
    Slots slots(execution, target->relation());
    std::vector<TupleTableSlot*> filled;
    for (size_t i = 0; i < at_once; ++i) filled.push_back(slots.Make(&TTSOpsHeapTuple));
    TupleTableSlot* checked = slots.Make(&TTSOpsVirtual);
    Layout chunk(target->relation(), at_once);
    for (size_t begin = 0; begin < count; begin += at_once) {
        const size_t n = std::min(at_once, count - begin);
        for (size_t i = 0; i < n; ++i) {
            const size_t row = static_cast<size_t>(target->rows[begin + i]) * width;
            chunk.Set(i, target->attributes, &rows.values[row], &rows.nulls[row]);
        }
        ItemPointerData* places = &target->places[begin];
        Call([&] { insert_chunk(execution, target->info, &chunk, filled.data(), checked, static_cast<int>(n), places); });
        for (auto& index : entries)
            for (size_t i = 0; i < n; ++i) index.Add(chunk.Values(i), chunk.Nulls(i), places[i], false);
    }
    std::vector<char> duplicate(count);
    for (const bool unique : {true, false})  // what is there already is found before it is entered anywhere else
        for (auto& index : entries)
            if (index.unique() == unique) index.Write(target->relation(), execution.scratch, &duplicate, ignore_duplicates ? UNIQUE_CHECK_PARTIAL : UNIQUE_CHECK_YES);
    if (ignore_duplicates) Withdraw(target, duplicate);
    if (!handed_over.empty() && !target->places.empty()) IndexHelpers::current()->Enter(root, target->relation(), handed_over, target->places, false);
}

/// The rows of an update that every index must know at their new places.
class MovedRows {
public:
    /// For at most `rows` rows, of which those at `ours` live until Write().
    MovedRows(Execution& execution, Relation table, const std::vector<AttrNumber>& ours, size_t rows) : execution_(execution), table_(table) {
        const ResultRelInfo* info = execution.root;
        for (int i = 0; i < info->ri_NumIndices; ++i)
            sorted_ = sorted_ && Call([&] { return IndexEntries::Suffices(info->ri_IndexRelationDescs[i], info->ri_IndexRelationInfo[i]); });
        if (!sorted_) return;
        entries_ = EntriesOf(info, rows);
        for (const auto& index : entries_)
            for (int k = 0; k < index.width(); ++k) {
                const AttrNumber attribute = index.attributes()[k];
                if (!TupleDescAttr(RelationGetDescr(table), attribute - 1)->attbyval && std::find(ours.begin(), ours.end(), attribute) == ours.end())
                    borrowed_.push_back(attribute);
            }
        std::sort(borrowed_.begin(), borrowed_.end());
        borrowed_.erase(std::unique(borrowed_.begin(), borrowed_.end()), borrowed_.end());
    }

    /// Takes a row that was `before` and is now `row`, at the place of `after`. May ereport.
    void add(TupleTableSlot* before, Layout* row, TupleTableSlot* after) {
        if (!sorted_) {
            ExecInsertIndexTuples(execution_.root, after, execution_.state, true, false, nullptr, NIL);
            return;
        }
        const MemoryContext outer = MemoryContextSwitchTo(execution_.state->es_query_cxt);
        for (const AttrNumber attribute : borrowed_)
            if (!row->Nulls(0)[attribute - 1])
                row->Values(0)[attribute - 1] = datumCopy(row->Values(0)[attribute - 1], false, TupleDescAttr(RelationGetDescr(table_), attribute - 1)->attlen);
        MemoryContextSwitchTo(outer);
        for (auto& index : entries_) index.Add(row->Values(0), row->Nulls(0), after->tts_tid, same(index, before, row));
    }

    void Write() {
        if (entries_.empty()) return;
        std::vector<Relation> wholly;  // indexes that know all rows already, at their old places
        for (const auto& index : entries_)
            if (std::ranges::find(index.unchanged(), 0) == index.unchanged().end()) wholly.push_back(index.relation());
        if (!hand_over(wholly, entries_.front().places())) wholly.clear();
        for (auto& index : entries_) {
            if (std::find(wholly.begin(), wholly.end(), index.relation()) != wholly.end()) continue;
            std::vector<ItemPointerData> places;
            std::vector<char> handed_over(index.unchanged().begin(), index.unchanged().end());
            for (size_t i = 0; i < handed_over.size(); ++i)
                if (handed_over[i]) places.push_back(index.places()[i]);
            Relation relation = index.relation();
            if (!hand_over({&relation, 1}, places)) handed_over.clear();
            index.Write(table_, execution_.scratch, &handed_over, UNIQUE_CHECK_YES);
        }
    }

private:
    /// Leaves it to helpers to enter rows at `places`, whose keys are as they were, into `indexes`; false: they do not take them.
    bool hand_over(std::span<const Relation> indexes, std::span<const ItemPointerData> places) const {
        IndexHelpers* helpers = IndexHelpers::current();
        if (indexes.empty() || helpers == nullptr || !helpers->Takes(table_, indexes, places.size())) return false;
        helpers->Enter(RelationGetRelid(table_), table_, indexes, places, true);
        return true;
    }

    bool same(const IndexEntries& index, TupleTableSlot* before, Layout* row) const {
        for (int k = 0; k < index.width(); ++k) {
            const int i = index.attributes()[k] - 1;
            const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table_), i);
            if (before->tts_isnull[i] != row->Nulls(0)[i]) return false;
            if (!before->tts_isnull[i] && !datumIsEqual(before->tts_values[i], row->Values(0)[i], attribute->attbyval, attribute->attlen)) return false;
        }
        return true;
    }

    Execution& execution_;
    Relation table_;
    bool sorted_ = true;  // whether entries are gathered; else each row enters its own
    std::vector<IndexEntries> entries_;
    std::vector<AttrNumber> borrowed_;  // columns of indexes whose values the row before holds
};

}  // namespace

void TableWriter::Insert(std::initializer_list<Datum> values) { Insert(values.begin(), kNoNulls); }
void TableWriter::Update(ItemPointer place, std::initializer_list<Datum> values) { Update(place, values.begin(), kNoNulls); }

void TableWriter::InsertAll(Relation table) {
    Execution execution(table);
    std::vector<std::unique_ptr<Target>> targets;
    const auto target_of = [&](ResultRelInfo* info) -> Target& {
        for (auto& target : targets)
            if (target->info == info) return *target;
        auto& target = *targets.emplace_back(std::make_unique<Target>());
        target.info = info;
        target.attributes = Attributes(target.relation(), columns_);
        return target;
    };
    const size_t width = columns_.size();
    const bool partitioned = table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
    bool plain = target_of(execution.root).Plain();
    ModifyTableState* state = nullptr;
    PartitionTupleRouting* routing = nullptr;
    if (!partitioned) {
        auto& rows = targets.front()->rows;
        for (size_t i = 0; i < inserted_.count; ++i) rows.push_back(static_cast<int>(i));
    } else if (plain) {
        // As COPY does it.
        Call([&] {
            state = makeNode(ModifyTableState);
            state->ps.state = execution.state;
            state->operation = CMD_INSERT;
            state->resultRelInfo = execution.root;
            routing = ExecSetupPartitionTupleRouting(execution.state, table);
        });
        TupleTableSlot* slot = Slots(execution, table).Make(&TTSOpsVirtual);
        Layout one(table, 1);
        const auto attributes = targets.front()->attributes;
        for (size_t i = 0; i < inserted_.count; ++i) {
            one.Set(0, attributes, &inserted_.values[i * width], &inserted_.nulls[i * width]);
            ResultRelInfo* leaf = Call([&] {
                Show(slot, one.Values(0), one.Nulls(0));
                ResultRelInfo* found = ExecFindPartition(state, execution.root, routing, slot, execution.state);
                ResetPerTupleExprContext(execution.state);
                return found;
            });
            target_of(leaf).rows.push_back(static_cast<int>(i));
        }
    }
    for (const auto& target : targets) plain = plain && target->Plain();
    if (plain)
        for (const auto& target : targets)
            if (!target->rows.empty()) InsertInto(execution, RelationGetRelid(table), target.get(), inserted_, duplicates_ == Duplicates::kIgnore);
    if (routing != nullptr) Call([&] { ExecCleanupTupleRouting(state, routing); });
    execution.Close();
    if (!plain) WriteByStatement(inserted_, {}, true);
}

void TableWriter::UpdateAll(Relation table) {
    const auto attributes = Attributes(table, columns_);
    const bool plain = table->rd_rel->relkind == RELKIND_RELATION && Call([&] { return IsPlain(table, attributes); });
    if (!plain) return WriteByStatement(updated_, {}, false);
    Execution execution(table);
    MovedRows moved(execution, table, attributes, updated_.count);
    std::vector<char> missed(updated_.count);
    const size_t width = columns_.size();
    Slots slots(execution, table);
    TupleTableSlot *after = slots.Make(&TTSOpsHeapTuple), *checked = slots.Make(&TTSOpsVirtual);
    Layout row(table, 1);
    Call([&] {
        CheckCmdReplicaIdentity(table, CMD_UPDATE);
        const CommandId command = GetCurrentCommandId(true);
        TupleTableSlot* before = table_slot_create(table, nullptr);
        MemoryContext tuple = GetPerTupleMemoryContext(execution.state);
        const MemoryContext outer = MemoryContextSwitchTo(tuple);
        for (size_t i = 0; i < updated_.count; ++i) {
            if ((i & 255) == 0) CHECK_FOR_INTERRUPTS();
            if (!table_tuple_fetch_row_version(table, &places_[i], SnapshotAny, before)) {
                missed[i] = 1;
                continue;
            }
            slot_getallattrs(before);
            memcpy(row.Values(0), before->tts_values, sizeof(Datum) * row.natts);
            memcpy(row.Nulls(0), before->tts_isnull, sizeof(bool) * row.natts);
            row.Set(0, attributes, &updated_.values[i * width], &updated_.nulls[i * width]);
            if (RelationGetDescr(table)->constr != nullptr) {
                Show(checked, row.Values(0), row.Nulls(0));
                ExecConstraints(execution.root, checked, execution.state);
            }
            ExecStoreHeapTuple(heap_form_tuple(RelationGetDescr(table), row.Values(0), row.Nulls(0)), after, true);
            TM_FailureData failure;
            LockTupleMode lock;
            bool update_indexes;
            switch (table_tuple_update(table, &places_[i], after, command, GetActiveSnapshot(), InvalidSnapshot, true, &failure, &lock, &update_indexes)) {
                case TM_Ok:
                    if (update_indexes) moved.add(before, &row, after);
                    break;
                case TM_Updated:  // by somebody else meanwhile: a statement looks at what it is now
                case TM_Deleted:
                    missed[i] = 1;
                    break;
                default:
                    elog(ERROR, "a row of \"%s\" was to be updated twice", RelationGetRelationName(table));
            }
            ExecClearTuple(after);
            MemoryContextReset(tuple);
        }
        MemoryContextSwitchTo(outer);
        ExecDropSingleTupleTableSlot(before);
    });
    moved.Write();
    execution.Close();
    if (std::find(missed.begin(), missed.end(), 1) != missed.end()) {
        Call([] { CommandCounterIncrement(); });
        WriteByStatement(updated_, missed, false);
    }
}

void TableWriter::WriteByStatement(const RowList& rows, const std::vector<char>& chosen, bool insert) {
    std::vector<Column> staged_columns;
    std::string names, values, assignments;
    {
        Relation table = Open(table_, NoLock);
        for (const AttrNumber attribute : Attributes(table, columns_))
            staged_columns.push_back({columns_[staged_columns.size()].c_str(), TupleDescAttr(RelationGetDescr(table), attribute - 1)->atttypid});
        Call([&] { table_close(table, NoLock); });
    }
    for (const auto& column : columns_) {
        const std::string name = Identifier(column);
        names += (names.empty() ? "" : ", ") + name;
        values += (values.empty() ? "b." : ", b.") + name;
        if (column != columns_.front()) assignments += (assignments.empty() ? "" : ", ") + name + " = b." + name;
    }
    StagedRows staged("cdp_written", staged_columns);
    const size_t width = columns_.size();
    for (size_t i = 0; i < rows.count; ++i)
        if (chosen.empty() || chosen[i]) staged.Add(&rows.values[i * width], reinterpret_cast<const bool*>(&rows.nulls[i * width]));
    const std::string key = Identifier(columns_.front());
    if (insert)
        Execute("INSERT INTO " + table_ + " (" + names + ") SELECT " + values + " FROM cdp_written b" +
                (duplicates_ == Duplicates::kIgnore ? " ON CONFLICT DO NOTHING" : ""));
    else
        Execute("UPDATE " + table_ + " t SET " + assignments + " FROM cdp_written b WHERE t." + key + " = b." + key);
}

void TableWriter::Write() {
    if (inserted_.count + updated_.count == 0) return;
    Relation table = Open(table_, RowExclusiveLock);
    if (updated_.count > 0) UpdateAll(table);
    if (inserted_.count > 0) InsertAll(table);
    Call([&] {
        table_close(table, NoLock);
        CommandCounterIncrement();
    });
    inserted_ = updated_ = RowList();
    places_.clear();
}

}  // namespace cdp::pg
