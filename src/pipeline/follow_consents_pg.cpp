// pipeline/follow_consents_pg.cpp: see follow_consents_pg.hpp.
#include "pipeline/follow_consents_pg.hpp"

#include "pg/settings.hpp"
#include "pipeline/batch_pg.hpp"

namespace cdp::pipeline {

void FollowConsents(Definitions& definitions, std::span<const int64> people) {
    if (people.empty()) return;
    if (definitions.segments->AskConsent()) {
        profile::People loaded(*definitions.traits, pg::Now());
        for (const int64 profile_id : people) loaded.Want(profile_id);
        loaded.Load();
        auto touched = loaded.TouchedBy(segment::Cause::kConsent);
        for (auto& one : touched) one.consents_changed = true;
        WritePeople(definitions, loaded, touched, false);
        return NoteProblems(definitions);
    }
    definitions.destinations.Follow(people);
}

}  // namespace cdp::pipeline
