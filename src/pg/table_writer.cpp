// pg/table_writer.cpp: see table_writer.hpp.
#include "pg/table_writer.hpp"

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
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"
}

namespace cdp::pg {

namespace {

static_assert(sizeof(bool) == sizeof(char));

constexpr int kSlots = 256;
constexpr bool kNoNulls[64] = {};

Relation Open(const std::string& table, LOCKMODE lock) {
    return Call([&] {
        return table_openrv(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(table.c_str()))), lock);
    });
}

/// Whether rows of these columns can be written without a statement.
bool IsPlain(Relation rel, std::span<const AttrNumber> ours) {
    const Form_pg_class form = rel->rd_rel;
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

/// Whether an index is one that index_insert alone keeps right.
bool IsPlain(Relation index, const IndexInfo* info) {
    return info->ii_Expressions == NIL && info->ii_Predicate == NIL && info->ii_ExclusionOps == nullptr &&
           index->rd_index->indimmediate && info->ii_ReadyForInserts;
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
            if (!IsPlain(info->ri_IndexRelationDescs[i], info->ri_IndexRelationInfo[i])) return false;
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

/// Of a descriptor of its own: one that is counted would have to be given back.
TupleTableSlot* SlotFor(Relation rel, const TupleTableSlotOps* kind) {
    return MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)), kind);
}

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

/// Writes the target's rows to its heap.
void WriteHeap(Execution& execution, Target* target, Layout* rows) {
    const int count = static_cast<int>(target->rows.size());
    target->places.resize(count);
    Relation rel = target->relation();
    ItemPointerData* places = target->places.data();
    Call([&] {
        const CommandId command = GetCurrentCommandId(true);
        const MemoryContext outer = MemoryContextSwitchTo(execution.scratch);
        TupleTableSlot* slots[kSlots];
        MemoryContext chunk = AllocSetContextCreate(execution.scratch, "cdp chunk", ALLOCSET_DEFAULT_SIZES);
        for (auto& slot : slots) slot = SlotFor(rel, &TTSOpsHeapTuple);
        TupleTableSlot* checked = SlotFor(rel, &TTSOpsVirtual);
        const bool constrained = RelationGetDescr(rel)->constr != nullptr;
        for (int begin = 0; begin < count; begin += kSlots) {
            CHECK_FOR_INTERRUPTS();
            const int n = std::min(kSlots, count - begin);
            MemoryContextSwitchTo(chunk);
            for (int i = 0; i < n; ++i) {
                if (constrained) {
                    Show(checked, rows->Values(begin + i), rows->Nulls(begin + i));
                    ExecConstraints(target->info, checked, execution.state);
                }
                ExecStoreHeapTuple(heap_form_tuple(RelationGetDescr(rel), rows->Values(begin + i), rows->Nulls(begin + i)), slots[i], true);
            }
            table_multi_insert(rel, slots, n, command, 0, nullptr);
            for (int i = 0; i < n; ++i) {
                places[begin + i] = slots[i]->tts_tid;
                ExecClearTuple(slots[i]);
            }
            ResetPerTupleExprContext(execution.state);
            MemoryContextReset(chunk);
        }
        MemoryContextSwitchTo(outer);
        MemoryContextReset(execution.scratch);
    });
}

/// In which order to insert rows into an index so that neighbours share its pages: its own, if its leading columns
/// are integers or times; otherwise as they come.
std::vector<int> IndexOrder(Relation index, const IndexInfo* info, Layout* rows, size_t count) {
    struct Key {
        int64 first, second;
        int row;
        bool operator<(const Key& o) const { return std::tie(first, second, row) < std::tie(o.first, o.second, o.row); }
    };
    const auto integral = [&](int k) {
        const bool wide = k < info->ii_NumIndexKeyAttrs &&
                          (index->rd_opcintype[k] == INT8OID || index->rd_opcintype[k] == TIMESTAMPTZOID);
        return wide && index->rd_rel->relam == BTREE_AM_OID;
    };
    std::vector<int> order(count);
    for (size_t i = 0; i < count; ++i) order[i] = static_cast<int>(i);
    if (!integral(0)) return order;
    const bool two = integral(1);
    std::vector<Key> keys(count);
    for (size_t i = 0; i < count; ++i) {
        const auto key = [&](int k) { return DatumGetInt64(rows->Values(i)[info->ii_IndexAttrNumbers[k] - 1]); };
        keys[i] = {key(0), two ? key(1) : 0, static_cast<int>(i)};
    }
    std::sort(keys.begin(), keys.end());
    for (size_t i = 0; i < count; ++i) order[i] = keys[i].row;
    return order;
}

/// Enters the target's rows into one index. With `ignore`, marks those whose key is there already instead of raising.
void WriteIndex(Execution& execution, Target* target, int which, Layout* rows, std::vector<char>* duplicate, bool ignore) {
    Relation index = target->info->ri_IndexRelationDescs[which];
    IndexInfo* info = target->info->ri_IndexRelationInfo[which];
    const bool unique = index->rd_index->indisunique;
    const auto check = !unique ? UNIQUE_CHECK_NO : ignore ? UNIQUE_CHECK_PARTIAL : UNIQUE_CHECK_YES;
    const auto order = IndexOrder(index, info, rows, target->rows.size());
    Relation rel = target->relation();
    char* marks = duplicate->data();
    Call([&] {
        const MemoryContext outer = MemoryContextSwitchTo(execution.scratch);
        Datum values[INDEX_MAX_KEYS];
        bool nulls[INDEX_MAX_KEYS];
        size_t done = 0;
        for (const int row : order) {
            if ((++done & 255) == 0) {
                CHECK_FOR_INTERRUPTS();
                MemoryContextReset(execution.scratch);
            }
            if (marks[row]) continue;
            for (int k = 0; k < info->ii_NumIndexAttrs; ++k) {
                const AttrNumber attribute = info->ii_IndexAttrNumbers[k];
                values[k] = rows->Values(row)[attribute - 1];
                nulls[k] = rows->Nulls(row)[attribute - 1];
            }
            if (!index_insert(index, values, nulls, &target->places[row], rel, check, false, info) && check == UNIQUE_CHECK_PARTIAL)
                marks[row] = 1;
        }
        MemoryContextSwitchTo(outer);
        MemoryContextReset(execution.scratch);
    });
}

/// Takes rows back whose keys were there already.
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
}

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
        TupleTableSlot* slot = Call([&] {
            state = makeNode(ModifyTableState);
            state->ps.state = execution.state;
            state->operation = CMD_INSERT;
            state->resultRelInfo = execution.root;
            routing = ExecSetupPartitionTupleRouting(execution.state, table);
            return SlotFor(table, &TTSOpsVirtual);
        });
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
        for (const auto& target : targets) {
            if (target->rows.empty()) continue;
            Layout rows(target->relation(), target->rows.size());
            for (size_t i = 0; i < target->rows.size(); ++i)
                rows.Set(i, target->attributes, &inserted_.values[target->rows[i] * width], &inserted_.nulls[target->rows[i] * width]);
            WriteHeap(execution, target.get(), &rows);
            std::vector<char> duplicate(target->rows.size());
            const bool ignore = duplicates_ == Duplicates::kIgnore;
            for (const bool unique : {true, false})  // what is there already is found before it is entered anywhere else
                for (int i = 0; i < target->info->ri_NumIndices; ++i)
                    if (target->info->ri_IndexRelationDescs[i]->rd_index->indisunique == unique)
                        WriteIndex(execution, target.get(), i, &rows, &duplicate, ignore);
            if (ignore) Withdraw(target.get(), duplicate);
        }
    if (routing != nullptr) Call([&] { ExecCleanupTupleRouting(state, routing); });
    execution.Close();
    if (!plain) WriteByStatement(inserted_, {}, true);
}

void TableWriter::UpdateAll(Relation table) {
    const auto attributes = Attributes(table, columns_);
    const bool plain = table->rd_rel->relkind == RELKIND_RELATION && Call([&] { return IsPlain(table, attributes); });
    if (!plain) return WriteByStatement(updated_, {}, false);
    Execution execution(table);
    std::vector<char> missed(updated_.count);
    const size_t width = columns_.size();
    Call([&] {
        CheckCmdReplicaIdentity(table, CMD_UPDATE);
        const CommandId command = GetCurrentCommandId(true);
        TupleTableSlot* before = table_slot_create(table, nullptr);
        TupleTableSlot* after = SlotFor(table, &TTSOpsHeapTuple);
        TupleTableSlot* checked = SlotFor(table, &TTSOpsVirtual);
        const int natts = RelationGetDescr(table)->natts;
        auto* values = static_cast<Datum*>(palloc(sizeof(Datum) * natts));
        auto* nulls = static_cast<bool*>(palloc(sizeof(bool) * natts));
        MemoryContext tuple = GetPerTupleMemoryContext(execution.state);
        const MemoryContext outer = MemoryContextSwitchTo(tuple);
        for (size_t i = 0; i < updated_.count; ++i) {
            if ((i & 255) == 0) CHECK_FOR_INTERRUPTS();
            if (!table_tuple_fetch_row_version(table, &places_[i], SnapshotAny, before)) {
                missed[i] = 1;
                continue;
            }
            slot_getallattrs(before);
            memcpy(values, before->tts_values, sizeof(Datum) * natts);
            memcpy(nulls, before->tts_isnull, sizeof(bool) * natts);
            for (size_t k = 0; k < width; ++k) {
                values[attributes[k] - 1] = updated_.values[i * width + k];
                nulls[attributes[k] - 1] = updated_.nulls[i * width + k] != 0;
            }
            if (RelationGetDescr(table)->constr != nullptr) {
                Show(checked, values, nulls);
                ExecConstraints(execution.root, checked, execution.state);
            }
            ExecStoreHeapTuple(heap_form_tuple(RelationGetDescr(table), values, nulls), after, true);
            TM_FailureData failure;
            LockTupleMode lock;
            bool update_indexes;
            switch (table_tuple_update(table, &places_[i], after, command, GetActiveSnapshot(), InvalidSnapshot, true, &failure, &lock, &update_indexes)) {
                case TM_Ok:
                    if (update_indexes) ExecInsertIndexTuples(execution.root, after, execution.state, true, false, nullptr, NIL);
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
