// segment/lists_pg.hpp: segments of the people who have identifiers on a list: who is on it, in a batch.
#pragma once

#include <unordered_map>

#include "pg/expression.hpp"

namespace cdp::segment {

struct Touched;

/// Identifiers that were first seen in a batch: so many ids from the first on.
struct NewIdentifiers {
    int64 first = 0, count = 0;
};

/// Which of a batch's people have identifiers on which lists. Looks up only identifiers that are new, or of people who got
/// some from others or gave some away, so the length of a list is of no matter.
class Lists {
public:
    void Read(std::span<const Touched> touched, const NewIdentifiers& fresh);
    /// Whether the person is on the list of the segment; `before`: was so before the batch.
    bool Has(const Touched& person, int64 segment_id, bool before) const;

private:
    std::unordered_map<int64, std::vector<int64>> found_;  // the segments, by profile
};

/// The condition of an imported segment, as it stands in cdp.segment.definition.
std::string ListCondition(const std::string& name);
/// Throws unless the special call number `call` of a condition, cdp.on_list, is that of segment `name` itself.
void CheckListCall(const pg::Condition& condition, size_t call, const std::string& name);

}  // namespace cdp::segment
