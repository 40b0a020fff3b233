// pg/index_entries.cpp: see index_entries.hpp.
#include "pg/index_entries.hpp"

#include "pg/read_ahead.hpp"

#include <numeric>

extern "C" {
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
}

namespace cdp::pg {

namespace {

constexpr size_t kFewestAhead = 1'000, kAhead = 64;  // entries

}  // namespace

bool IndexEntries::Suffices(Relation index, const IndexInfo* info) {
    return info->ii_Expressions == NIL && info->ii_Predicate == NIL && info->ii_ExclusionOps == nullptr &&
           index->rd_index->indimmediate && info->ii_ReadyForInserts;
}

IndexEntries::IndexEntries(Relation index, IndexInfo* info, size_t rows)
    : index_(index), info_(info), values_(rows * static_cast<size_t>(info->ii_NumIndexAttrs)), nulls_(new bool[values_.size()]), places_(rows), unchanged_(rows) {}

bool IndexEntries::unique() const { return index_->rd_index->indisunique; }

void IndexEntries::Add(const Datum* values, const bool* nulls, const ItemPointerData& place, bool unchanged) {
    const size_t at = count_ * static_cast<size_t>(width());
    for (int k = 0; k < width(); ++k) {
        values_[at + k] = values[attributes()[k] - 1];
        nulls_[at + k] = nulls[attributes()[k] - 1];
    }
    places_[count_] = place;
    unchanged_[count_++] = unchanged ? 1 : 0;
}

std::vector<int> IndexEntries::Order() const {
    struct Key {
        int64 first, second;
        int entry;
        bool operator<(const Key& o) const { return std::tie(first, second, entry) < std::tie(o.first, o.second, o.entry); }
    };
    const auto integral = [&](int k) {
        const bool wide = k < info_->ii_NumIndexKeyAttrs && (index_->rd_opcintype[k] == INT8OID || index_->rd_opcintype[k] == TIMESTAMPTZOID);
        return wide && index_->rd_rel->relam == BTREE_AM_OID;
    };
    std::vector<int> order(count_);
    std::iota(order.begin(), order.end(), 0);
    if (!integral(0)) return order;
    const bool two = integral(1);
    std::vector<Key> keys(count_);
    for (size_t i = 0; i < count_; ++i) {
        const Datum* columns = &values_[i * static_cast<size_t>(width())];
        keys[i] = {DatumGetInt64(columns[0]), two ? DatumGetInt64(columns[1]) : 0, static_cast<int>(i)};
    }
    std::sort(keys.begin(), keys.end());
    for (size_t i = 0; i < count_; ++i) order[i] = keys[i].entry;
    return order;
}

void IndexEntries::Write(Relation table, MemoryContext scratch, std::vector<char>* duplicate, IndexUniqueCheck check) {
    if (!unique()) check = UNIQUE_CHECK_NO;
    auto order = Order();
    char* marks = duplicate->empty() ? nullptr : duplicate->data();
    if (marks != nullptr) std::erase_if(order, [&](int entry) { return marks[entry] != 0; });
    std::optional<LeavesAhead> leaves;  // only of many: to ask how large an index is takes a call of the system
    if (order.size() >= kFewestAhead) leaves.emplace(index_);
    size_t wanted = leaves && leaves->worth() ? 0 : order.size();  // of the leaf pages, those before it were asked for
    Call([&] {
        const MemoryContext outer = MemoryContextSwitchTo(scratch);
        size_t done = 0;
        for (const int entry : order) {
            if ((++done & 255) == 0) {
                CHECK_FOR_INTERRUPTS();
                MemoryContextReset(scratch);
            }
            for (; wanted < std::min(order.size(), done + kAhead); ++wanted) {
                const size_t at = static_cast<size_t>(order[wanted]) * static_cast<size_t>(width());
                leaves->want(&values_[at], &nulls_[at]);
            }
            const size_t at = static_cast<size_t>(entry) * static_cast<size_t>(width());
            const bool is_new = index_insert(index_, &values_[at], &nulls_[at], &places_[static_cast<size_t>(entry)], table, check,
                                             unchanged_[static_cast<size_t>(entry)] != 0, info_);
            if (!is_new && check == UNIQUE_CHECK_PARTIAL) marks[entry] = 1;
        }
        MemoryContextSwitchTo(outer);
        MemoryContextReset(scratch);
    });
}

}  // namespace cdp::pg
