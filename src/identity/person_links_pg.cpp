// identity/person_links_pg.cpp: see person_links_pg.hpp.
#include "identity/person_links_pg.hpp"

#include "pg/probes.hpp"

namespace cdp::identity {

PersonLinks::PersonLinks(int64 profile_id) : profile_id_(profile_id) {
    static pg::Statement read_identifiers(
        "SELECT i.identifier_id FROM cdp.identifier i JOIN cdp.identifier_type t ON t.name = i.type"
        " WHERE i.profile_id = $1 ORDER BY t.priority, i.identifier_id", {INT8OID});
    static pg::Statement read_links(
        "SELECT l.link_id, l.identifier_a, l.identifier_b, l.revoked_at IS NOT NULL, l.revoked_by IS NOT NULL FROM cdp.identifier i"
        " JOIN cdp.identity_link l ON l.identifier_a = i.identifier_id WHERE i.profile_id = $1 ORDER BY l.link_id", {INT8OID});
    const pg::Probes probes;
    const auto identifiers = read_identifiers.Query({pg::Int8(profile_id)});
    for (uint64 i = 0; i < identifiers.size(); ++i) {
        identifiers_.push_back(identifiers.Int8(i, 1));
        places_.emplace_back(identifiers_.back(), static_cast<int>(i));
    }
    std::sort(places_.begin(), places_.end());
    const auto links = read_links.Query({pg::Int8(profile_id)});
    for (uint64 i = 0; i < links.size(); ++i) {
        const Edge edge{PlaceOf(links.Int8(i, 2)), PlaceOf(links.Int8(i, 3))};
        if (edge.second < 0) continue;  // revoked, and the other end is somebody else
        if (!links.Bool(i, 4)) {
            links_.push_back(edge);
            link_ids_.push_back(links.Int8(i, 1));
        } else if (links.Bool(i, 5)) {
            revoked_.push_back(edge);
        }
    }
}

int PersonLinks::PlaceOf(int64 identifier_id) const {
    const auto place = std::lower_bound(places_.begin(), places_.end(), std::pair(identifier_id, 0));
    return place == places_.end() || place->first != identifier_id ? -1 : place->second;
}

}  // namespace cdp::identity
