// pg/transition_rows.hpp: the rows that a statement has changed, for its AFTER trigger.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "executor/executor.h"
}

namespace cdp::pg {

/// The rows of a transition table, from the first: by a place of our own, for other triggers read them too. Its methods may
/// raise; the slot goes with the memory that it was made in.
class TransitionRows {
public:
    TransitionRows(Tuplestorestate* store, TupleDesc descriptor) : store_(store) {
        pg::Call([&] {
            pointer_ = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);
            slot_ = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
            tuplestore_select_read_pointer(store, pointer_);
            tuplestore_rescan(store);
        });
    }
    bool Next() {
        tuplestore_select_read_pointer(store_, pointer_);
        return tuplestore_gettupleslot(store_, true, false, slot_);
    }
    bool SameAs(const TransitionRows& other) const {
        bool free_this, free_other;
        const MinimalTuple a = ExecFetchSlotMinimalTuple(slot_, &free_this), b = ExecFetchSlotMinimalTuple(other.slot_, &free_other);
        return a->t_len == b->t_len && a->t_hoff == b->t_hoff &&
               memcmp(a->t_bits, b->t_bits, a->t_len - offsetof(MinimalTupleData, t_bits)) == 0;
    }
    void Values(const Datum** values, const bool** nulls) {
        slot_getallattrs(slot_);
        *values = slot_->tts_values;
        *nulls = slot_->tts_isnull;
    }

private:
    Tuplestorestate* store_;
    int pointer_;
    TupleTableSlot* slot_;
};

}  // namespace cdp::pg
