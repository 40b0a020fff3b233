// pg/read_ahead.hpp: asks for pages that are about to be read, many at once, where a table is too large for shared buffers.
// A batch knows all that it will look up before it looks up the first; from a disk that comes several times faster side by side.
// These are hints: nothing depends on them.
#pragma once

#include <functional>

#include "pg/guard.hpp"

extern "C" {
#include "access/genam.h"
#include "storage/block.h"
#include "utils/rel.h"
}

namespace cdp::pg {

/// Asks for leaf pages of a B-tree.
class LeavesAhead {
public:
    explicit LeavesAhead(Relation index);
    /// Whether it is worth while; otherwise do not call want().
    bool worth() const { return worth_; }
    /// Of the entry with these values of all columns. May ereport; leaves memory behind in the current context.
    void want(const Datum* values, const bool* nulls);

private:
    Relation index_;
    bool worth_;
    BlockNumber last_ = InvalidBlockNumber;
};

/// Asks for what `count` lookups in a table of cdp's by the columns of its index of that name will read: leaf pages, then rows.
/// key(i, values): the values of lookup i, in the order of the index if that is possible.
void ReadAhead(const char* index, size_t count, const std::function<void(size_t, Datum*)>& key);

}  // namespace cdp::pg
