// pg/index_entries.hpp: the entries that many rows of a table get in one of its indexes, written in the index's own order,
// so that neighbours share its pages.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "access/genam.h"
#include "nodes/execnodes.h"
#include "storage/itemptr.h"
}

namespace cdp::pg {

class IndexEntries {
public:
    /// Whether an index is one that index_insert alone keeps right. May ereport.
    static bool Suffices(Relation index, const IndexInfo* info);

    /// For at most `rows` rows. The index stays open for as long as this lives.
    IndexEntries(Relation index, IndexInfo* info, size_t rows);

    bool unique() const;
    Relation relation() const { return index_; }
    /// The columns of the table that the index has, by number.
    const AttrNumber* attributes() const { return info_->ii_IndexAttrNumbers; }
    int width() const { return info_->ii_NumIndexAttrs; }

    /// Takes the entry of the row at `place`, whose values (of all columns of the table) must live until Write(), as far as they are
    /// pointed to. `unchanged`: of a row that an update has moved, and whose columns here are the same. Neither throws nor ereports.
    void Add(const Datum* values, const bool* nulls, const ItemPointerData& place, bool unchanged);

    std::span<const ItemPointerData> places() const { return {places_.data(), count_}; }
    /// Which of them are unchanged.
    std::span<const char> unchanged() const { return {unchanged_.data(), count_}; }

    /// Writes the entries, but for those that `duplicate` marks (by the order in which they were taken; empty: none). `check`: of a unique
    /// index. With UNIQUE_CHECK_PARTIAL those are marked whose key may be there already, and nobody is waited for.
    void Write(Relation table, MemoryContext scratch, std::vector<char>* duplicate, IndexUniqueCheck check);

private:
    /// In which order to write: the index's own, if its leading columns are integers or times; otherwise as they came.
    std::vector<int> Order() const;

    Relation index_;
    IndexInfo* info_;
    size_t count_ = 0;
    std::vector<Datum> values_;
    std::unique_ptr<bool[]> nulls_;
    std::vector<ItemPointerData> places_;
    std::vector<char> unchanged_;
};

}  // namespace cdp::pg
