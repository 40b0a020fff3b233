// pg/probes.cpp: see probes.hpp.
#include "pg/probes.hpp"

#include "pg/guard.hpp"

extern "C" {
#include "optimizer/plancat.h"
#include "utils/guc.h"
}

namespace cdp::pg {

namespace {

// Many pages make reading a whole table dear; not too many tuples, or those that are expected of one probe, where
// there are no statistics, would be dear as well.
constexpr double kTuples = 100e3;
constexpr BlockNumber kPages = 20'000;
constexpr BlockNumber kIndexPages = 1'000;

void Set(const char* name, const char* value) {
    Call([&] { set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false); });
}

bool assume_big = false;
get_relation_info_hook_type next_hook = nullptr;

void AssumeBig(PlannerInfo* root, Oid relation, bool inherits, RelOptInfo* rel) {
    if (next_hook != nullptr) next_hook(root, relation, inherits, rel);
    if (!assume_big || inherits) return;
    rel->pages = std::max(rel->pages, kPages);
    rel->tuples = std::max(rel->tuples, kTuples);
    ListCell* cell;
    foreach (cell, rel->indexlist) {
        auto* index = static_cast<IndexOptInfo*>(lfirst(cell));
        index->pages = std::max(index->pages, kIndexPages);
        if (index->indpred == NIL) index->tuples = rel->tuples;
    }
}

const bool installed = [] {
    next_hook = get_relation_info_hook;
    get_relation_info_hook = AssumeBig;
    return true;
}();

}  // namespace

Probes::Probes() : outer_(assume_big), settings_(NewGUCNestLevel()) {
    // Whatever else pays for many rows at once, not for cheap probes. Nor does a table that is mostly one person's tell otherwise.
    for (const char* name : {"jit", "enable_seqscan", "enable_bitmapscan", "enable_memoize", "enable_hashjoin", "enable_mergejoin"})
        Set(name, "off");
    assume_big = true;
}

Probes::~Probes() {
    assume_big = outer_;
    AtEOXact_GUC(true, settings_);
}

}  // namespace cdp::pg
