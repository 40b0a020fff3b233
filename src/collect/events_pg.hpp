// collect/events_pg.hpp: the accepted messages on their way to cdp.event, and the refused ones to cdp.rejected_message.
#pragma once

#include "collect/inbox_pg.hpp"
#include "profile/traits_pg.hpp"

namespace cdp::collect {

/// The events of a batch, numbered from the sequence on.
class Events {
public:
    /// For `count` messages of `inbox`, which must outlive this.
    Events(InboxBatch& inbox, size_t count);

    /// Adds the next message; returns its event_id.
    int64 Add(const InboxMessage& message, int64 identifier_id, const std::vector<Datum>& linked_ids);
    const std::vector<profile::EventRow>& rows() const { return rows_; }

    /// Writes them, by identifier and time; makes the partitions that they need.
    void Write();

private:
    InboxBatch& inbox_;
    int64 next_id_;
    std::unique_ptr<Datum[]> values_;
    std::unique_ptr<bool[]> nulls_;
    std::vector<profile::EventRow> rows_;
};

/// Messages that are kept because they cannot be applied.
class Rejections {
public:
    explicit Rejections(TupleDesc inbox_row) : inbox_row_(inbox_row) {}
    void Add(const InboxMessage& message, const Refusal& why) { list_.emplace_back(&message, why); }
    void Write();

private:
    TupleDesc inbox_row_;
    std::vector<std::pair<const InboxMessage*, Refusal>> list_;
};

/// The next of a sequence's values, of which `count` in a row are taken. The pipeline's lock must be held.
int64 TakeIds(const char* sequence, int64 count);

/// When something is done by hand that identity depends on, as a number among those of events: behind all events so
/// far, before all others. The pipeline's lock must be held.
inline int64 NumberAct() { return TakeIds("cdp.event_id_seq", 1); }

}  // namespace cdp::collect
