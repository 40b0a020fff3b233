// govern/masking_pg.hpp: JSON as those may see it who may not see personal data. Shut in doubt.
#pragma once

#include "pg/json.hpp"

namespace cdp::govern {

inline constexpr std::string_view kMask = "***";

/// What is configured of keys, beside what their names say.
struct MaskedKeys {
    std::vector<std::string> open;    // not personal: whole paths, dots and all
    std::vector<std::string> closed;  // personal: dotted paths
};

/// Whether `role` may see personal data: a member of cdp_pii or cdp_admin, or a superuser. Throws.
bool SeesPersonal(Oid role);

/// Traits: what is open stays; of the rest only numbers and booleans do whose key does not look personal. Throws.
Datum MaskTraits(const pg::Json& traits, const MaskedKeys& keys);

/// Properties: all stays but what is closed, or looks personal by its key, or holds an e-mail address. Throws.
Datum MaskProperties(const pg::Json& properties, const MaskedKeys& keys);

/// A context: of the fields of Segment's spec those that describe no person, masked as properties are. Throws.
Datum MaskContext(const pg::Json& context, const MaskedKeys& keys);

}  // namespace cdp::govern
