// pg/json.cpp: see json.hpp.
#include "pg/json.hpp"

#include "pg/guard.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
}

namespace cdp::pg {

Json::Json(Datum datum) {
    auto* jsonb = reinterpret_cast<Jsonb*>(DatumGetPointer(datum));
    if (JB_ROOT_IS_SCALAR(jsonb)) {
        const JsonbValue* scalar = Call([&] { return getIthJsonbValueFromContainer(&jsonb->root, 0); });
        value_ = *scalar;
        return;
    }
    value_.type = jbvBinary;
    value_.val.binary.data = &jsonb->root;
    value_.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
}

std::optional<Json> Json::Find(std::string_view key) const {
    if (!IsObject()) return std::nullopt;
    JsonbValue found;
    if (getKeyJsonValueFromContainer(value_.val.binary.data, key.data(), static_cast<int>(key.size()), &found) == nullptr)
        return std::nullopt;
    return Json(found);
}

std::optional<Json> Json::FindPath(const std::vector<std::string>& path) const {
    if (path.size() == 1) return Find(path.front());
    std::string whole;
    for (const auto& key : path) whole += (whole.empty() ? "" : ".") + key;
    if (auto found = Find(whole)) return found;
    std::optional<Json> here = *this;
    for (const auto& key : path)
        if (!(here = here->Find(key))) return std::nullopt;
    return here;
}

Json Json::Element(uint32 index) const {
    return Json(*Call([&] { return getIthJsonbValueFromContainer(value_.val.binary.data, index); }));
}

std::vector<std::pair<Json, Json>> Json::Members() const {
    std::vector<std::pair<Json, Json>> members;
    if (!IsObject()) return members;
    struct Pairs { JsonbValue* values; int count; };
    const Pairs pairs = Call([&] {
        const int count = static_cast<int>(JsonContainerSize(value_.val.binary.data));
        auto* values = static_cast<JsonbValue*>(palloc(sizeof(JsonbValue) * 2 * (count + 1)));
        JsonbIterator* it = JsonbIteratorInit(value_.val.binary.data);
        int n = 0;
        JsonbValue v;
        for (JsonbIteratorToken token; (token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE;)
            if (token == WJB_KEY || token == WJB_VALUE) values[n++] = v;
        return Pairs{values, n / 2};
    });
    members.reserve(pairs.count);
    for (int i = 0; i < pairs.count; ++i) members.emplace_back(Json(pairs.values[2 * i]), Json(pairs.values[2 * i + 1]));
    pfree(pairs.values);
    return members;
}

std::string Json::NumberText() const {
    char* text = Call([&] { return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value_.val.numeric))); });
    std::string result(text);
    pfree(text);
    return result;
}

std::string Json::ToText() const {
    switch (value_.type) {
        case jbvString: return std::string(String());
        case jbvNumeric: return NumberText();
        case jbvBool: return value_.val.boolean ? "true" : "false";
        case jbvBinary: {
            char* text = Call([&] { return JsonbToCString(nullptr, value_.val.binary.data, value_.val.binary.len); });
            std::string result(text);
            pfree(text);
            return result;
        }
        default: return "";
    }
}

std::vector<std::string> SplitPath(std::string_view dotted) {
    std::vector<std::string> path;
    for (size_t dot; (dot = dotted.find('.')) != std::string_view::npos; dotted.remove_prefix(dot + 1))
        path.emplace_back(dotted.substr(0, dot));
    path.emplace_back(dotted);
    return path;
}

Datum Unpacked(Datum datum) {
    return Call([&] { return PointerGetDatum(PG_DETOAST_DATUM(datum)); });
}

Datum Concat(Datum a, Datum b) {
    return Call([&] { return DirectFunctionCall2(jsonb_concat, a, b); });
}

Datum Without(Datum object, const std::vector<std::string>& keys) {
    for (const auto& key : keys)
        object = Call([&] {
            return DirectFunctionCall2(jsonb_delete, object,
                                       PointerGetDatum(cstring_to_text_with_len(key.data(), static_cast<int>(key.size()))));
        });
    return object;
}

Datum Standalone(const Json& json) {
    return Call([&] { return PointerGetDatum(JsonbValueToJsonb(const_cast<JsonbValue*>(&json.raw()))); });
}

Datum EmptyObject() {
    return Call([] { return DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")); });
}

Datum ObjectOf(std::span<const std::pair<std::string_view, Json>> members) {
    return Call([&] {
        JsonbParseState* state = nullptr;
        pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
        for (const auto& [name, value] : members) {
            JsonbValue key, copy = value.raw();
            key.type = jbvString;
            key.val.string.val = const_cast<char*>(name.data());
            key.val.string.len = static_cast<int>(name.size());
            pushJsonbValue(&state, WJB_KEY, &key);
            pushJsonbValue(&state, WJB_VALUE, &copy);
        }
        return PointerGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
    });
}

}  // namespace cdp::pg
