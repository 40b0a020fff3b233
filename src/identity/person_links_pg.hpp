// identity/person_links_pg.hpp: one person's identifiers and the links between them, and taking them apart.
#pragma once

#include "identity/components.hpp"
#include "pg/spi.hpp"

namespace cdp::identity {

/// Everything that makes a profile one person. Reads nobody else's rows.
class PersonLinks {
public:
    explicit PersonLinks(int64 profile_id);

    int64 profile_id() const { return profile_id_; }
    /// Ids, the strongest first; of equal priority the one known longest.
    const std::vector<int64>& identifiers() const { return identifiers_; }
    /// The place of an identifier; -1 if it is not this person's.
    int PlaceOf(int64 identifier_id) const;

    /// Those in force, by link_id.
    const std::vector<Edge>& links() const { return links_; }
    int64 LinkId(size_t place) const { return link_ids_[place]; }
    /// The pairs of those that somebody took back.
    const std::vector<Edge>& revoked() const { return revoked_; }

private:
    int64 profile_id_;
    std::vector<int64> identifiers_;
    std::vector<std::pair<int64, int>> places_;  // by id
    std::vector<Edge> links_, revoked_;
    std::vector<int64> link_ids_;
};

}  // namespace cdp::identity
