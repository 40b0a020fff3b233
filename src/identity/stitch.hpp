// identity/stitch.hpp: who is who by links alone, for very many at once.
// Knows no PostgreSQL. Flat arrays and Boost.Graph's disjoint sets: about 16 bytes an identifier, none a link.
#pragma once

#include <boost/pending/disjoint_sets.hpp>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace cdp::identity {

class Stitch {
public:
    /// `ids` of all identifiers, ascending; they must outlive this.
    explicit Stitch(std::span<const int64_t> ids);

    /// Two identifiers are one person. Links of unknown ones are none.
    void Add(int64_t a, int64_t b);

    /// Whose each identifier is, by place, when `profiles` says whose it was: a component keeps the lowest of its
    /// profiles' ids, and no two keep the same: of those, the one with the first identifier. `make()` gives a new id.
    std::vector<int64_t> Profiles(std::span<const int64_t> profiles, const std::function<int64_t()>& make);

private:
    int64_t PlaceOf(int64_t id) const;

    std::span<const int64_t> ids_;
    std::vector<int32_t> place_;  // by id, from the first on, where ids lie close enough together
    std::vector<uint8_t> rank_;
    std::vector<int32_t> parent_;
    boost::disjoint_sets<uint8_t*, int32_t*> sets_;
};

}  // namespace cdp::identity
