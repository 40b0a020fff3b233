// pipeline/follow_consents_pg.cpp: see follow_consents_pg.hpp.
#include "pipeline/follow_consents_pg.hpp"

#include "pipeline/batch_pg.hpp"

namespace cdp::pipeline {

void FollowConsents(Definitions& definitions, std::span<const int64> people) {
    if (definitions.destinations.empty() || people.empty()) return;
    pg::StagedRows staged("cdp_touched", {{"profile_id", INT8OID}});
    for (const int64 profile_id : people) staged.Add({Int64GetDatum(profile_id)});
    definitions.destinations.Apply();
}

}  // namespace cdp::pipeline
