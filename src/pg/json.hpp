// pg/json.hpp: reading jsonb in place. Nothing here allocates or raises unless it says so.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "utils/jsonb.h"
}

namespace cdp::pg {

/// A value inside a jsonb, valid as long as the jsonb is.
class Json {
public:
    Json() { value_.type = jbvNull; }
    explicit Json(const JsonbValue& value) : value_(value) {}
    /// A jsonb Datum that is not toasted or compressed (see Unpacked).
    explicit Json(Datum datum);

    bool IsObject() const { return value_.type == jbvBinary && JsonContainerIsObject(value_.val.binary.data); }
    bool IsArray() const { return value_.type == jbvBinary && JsonContainerIsArray(value_.val.binary.data); }
    bool IsNull() const { return value_.type == jbvNull; }
    bool IsString() const { return value_.type == jbvString; }
    bool IsNumber() const { return value_.type == jbvNumeric; }
    bool IsBool() const { return value_.type == jbvBool; }
    std::string_view String() const { return {value_.val.string.val, static_cast<size_t>(value_.val.string.len)}; }
    bool Boolean() const { return value_.val.boolean; }
    Numeric Number() const { return value_.val.numeric; }

    /// The value of `key`; nothing if this is no object or lacks it.
    std::optional<Json> Find(std::string_view key) const;
    /// Along a path: the keys in turn, but a key that is there as it stands (dots and all) wins.
    std::optional<Json> FindPath(const std::vector<std::string>& path) const;
    uint32 ArraySize() const { return IsArray() ? JsonContainerSize(value_.val.binary.data) : 0; }
    Json Element(uint32 index) const;  // allocates
    /// Calls `visit(key, value)` for every member of an object.
    template <class F>
    void ForEach(F&& visit) const;

    /// As ->> gives it. Allocates for anything but strings. Throws.
    std::string ToText() const;
    /// The text of a number. Throws.
    std::string NumberText() const;

    const JsonbValue& raw() const { return value_; }

private:
    std::vector<std::pair<Json, Json>> Members() const;
    JsonbValue value_;
};

template <class F>
void Json::ForEach(F&& visit) const {
    for (const auto& [key, value] : Members()) visit(key.String(), value);
}

/// The path that a dotted name means.
std::vector<std::string> SplitPath(std::string_view dotted);

/// A jsonb Datum, unpacked into the current memory context if it is toasted. Throws.
Datum Unpacked(Datum datum);
/// a || b for objects. Throws.
Datum Concat(Datum a, Datum b);
/// The object without those keys. Throws.
Datum Without(Datum object, const std::vector<std::string>& keys);
/// A value inside a jsonb as a jsonb of its own. Throws.
Datum Standalone(const Json& json);
/// {} in the current memory context. Throws.
Datum EmptyObject();
/// The object of these members, in the current memory context. Throws.
Datum ObjectOf(std::span<const std::pair<std::string_view, Json>> members);

}  // namespace cdp::pg
