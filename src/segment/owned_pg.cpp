// segment/owned_pg.cpp: see owned_pg.hpp.
#include "segment/owned_pg.hpp"

extern "C" {
#include "utils/acl.h"
}

namespace cdp::segment {

void CheckName(const std::string& name) {
    if (name.find_first_not_of(' ') == std::string::npos || name.size() >= NAMEDATALEN)
        throw Error(sqlstate::invalid_parameter_value, "invalid name of a segment: \"" + name + "\"")
            .Hint("It is the name of a view: 1 to 63 bytes.");
}

const Segment& Owned(const pipeline::Definitions& definitions, const std::string& name, Oid caller) {
    const auto* segment = definitions.segments->Named(name);
    if (segment == nullptr) throw NoSegment(name);
    const bool allowed = pg::Call([&] {
        return (OidIsValid(segment->owner) && has_privs_of_role(caller, segment->owner)) ||
               has_privs_of_role(caller, get_role_oid("cdp_admin", false));
    });
    if (!allowed)
        throw Error(sqlstate::insufficient_privilege, "must be owner of segment \"" + name + "\"");
    return *segment;
}

}  // namespace cdp::segment
