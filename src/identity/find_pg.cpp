// identity/find_pg.cpp: see find_pg.hpp.
#include "identity/find_pg.hpp"

#include "pipeline/definitions_pg.hpp"

namespace cdp::identity {

Found Find(std::string_view type, std::string_view value, bool read_only) {
    static pg::Statement find("SELECT identifier_id, profile_id FROM cdp.identifier WHERE value = $1 AND type = $2", {TEXTOID, TEXTOID});
    const auto& rules = pipeline::CurrentRules();
    const int place = rules.TypeNamed(type);
    if (place < 0) throw NoType(type);
    const auto identifies = rules.Normalise(place, value);
    const std::string normal = identifies.value_or(std::string(value));
    const auto rows = find.Query({pg::Text(normal), pg::Text(type)}, 1, read_only);
    if (rows.empty())
        throw Error(sqlstate::undefined_object, "identifier " + std::string(type) + " \"" + std::string(value) + "\" is not known")
            .Hint(identifies ? "No message that was processed has carried it. cdp.flush() waits for those that are on their way."
                             : "It identifies nobody: it is blocked, or not a valid value of its type.");
    return {rows.Int8(0, 1), rows.Int8(0, 2)};
}

std::optional<int64> Living(int64 profile_id) {
    const auto rows = pg::Query("SELECT profile_id FROM cdp.profile WHERE profile_id = $1"
                                " UNION ALL SELECT profile_id FROM cdp.profile_alias WHERE alias_id = $1", {pg::Int8(profile_id)});
    return rows.empty() ? std::nullopt : std::optional(rows.Int8(0, 1));
}

}  // namespace cdp::identity
