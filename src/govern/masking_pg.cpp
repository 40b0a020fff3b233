// govern/masking_pg.cpp: see masking_pg.hpp.
#include "govern/masking_pg.hpp"

#include "govern/personal.hpp"
#include "pg/json_builder.hpp"

extern "C" {
#include "utils/acl.h"
}

namespace cdp::govern {

namespace {

// userAgent, device, ip, location, traits, externalIds, groupId, and whatever else somebody sends, describe a person.
constexpr std::string_view kOpenContext[] = {"active", "app", "campaign", "library", "locale",
                                             "network", "os", "page", "screen", "timezone"};

template <class List>
bool Holds(const List& list, std::string_view key) {
    return std::find(std::begin(list), std::end(list), key) != std::end(list);
}

bool HoldsPathInside(const std::vector<std::string>& paths, std::string_view key) {
    return std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
        return path.size() > key.size() && path[key.size()] == '.' && path.compare(0, key.size(), key) == 0;
    });
}

void AddProperty(pg::JsonBuilder& builder, const pg::Json& value, const MaskedKeys& keys, const std::string& path) {
    if (value.IsObject()) {
        builder.BeginObject();
        value.ForEach([&](std::string_view key, const pg::Json& member) {
            builder.Key(key);
            const std::string inner = path.empty() ? std::string(key) : path + "." + std::string(key);
            if (!member.IsNull() && (LooksPersonal(key) || Holds(keys.closed, inner)))
                builder.Add(kMask);
            else
                AddProperty(builder, member, keys, inner);
        });
        builder.EndObject();
    } else if (value.IsArray()) {
        builder.BeginArray();
        for (uint32 i = 0; i < value.ArraySize(); ++i) AddProperty(builder, value.Element(i), keys, path);
        builder.EndArray();
    } else if (value.IsString() && HoldsEmail(value.String())) {
        builder.Add(kMask);
    } else {
        builder.Add(value.raw());
    }
}

Datum MaskWhole() {
    JsonbValue mask;
    mask.type = jbvString;
    mask.val.string.val = const_cast<char*>(kMask.data());
    mask.val.string.len = static_cast<int>(kMask.size());
    return pg::Standalone(pg::Json(mask));
}

}  // namespace

bool SeesPersonal(Oid role) {
    return pg::Call([&] {
        for (const char* name : {"cdp_pii", "cdp_admin"}) {
            const Oid group = get_role_oid(name, true);
            if (OidIsValid(group) ? has_privs_of_role(role, group) : superuser_arg(role)) return true;
        }
        return false;
    });
}

Datum MaskTraits(const pg::Json& traits, const MaskedKeys& keys) {
    if (!traits.IsObject()) return traits.IsNull() ? pg::Standalone(traits) : MaskWhole();
    pg::JsonBuilder builder;
    builder.BeginObject();
    traits.ForEach([&](std::string_view key, const pg::Json& value) {
        builder.Key(key);
        const bool closed = Holds(keys.closed, key) || HoldsPathInside(keys.closed, key);
        const bool scalar = !value.IsString() && !value.IsObject() && !value.IsArray();
        if (value.IsNull() || (!closed && (Holds(keys.open, key) || (scalar && !LooksPersonal(key)))))
            builder.Add(value.raw());
        else
            builder.Add(kMask);
    });
    builder.EndObject();
    return builder.Finish();
}

Datum MaskProperties(const pg::Json& properties, const MaskedKeys& keys) {
    if (!properties.IsObject()) return properties.IsNull() ? pg::Standalone(properties) : MaskWhole();
    pg::JsonBuilder builder;
    AddProperty(builder, properties, keys, "");
    return builder.Finish();
}

Datum MaskContext(const pg::Json& context, const MaskedKeys& keys) {
    if (!context.IsObject()) return context.IsNull() ? pg::Standalone(context) : MaskWhole();
    pg::JsonBuilder builder;
    builder.BeginObject();
    context.ForEach([&](std::string_view key, const pg::Json& value) {
        builder.Key(key);
        if (value.IsNull())
            builder.AddNull();
        else if (Holds(kOpenContext, key) && !Holds(keys.closed, key))
            AddProperty(builder, value, keys, std::string(key));
        else
            builder.Add(kMask);
    });
    builder.EndObject();
    return builder.Finish();
}

}  // namespace cdp::govern
