// pg/json_builder.hpp: making a jsonb, in the current memory context.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "utils/jsonb.h"
#include "utils/numeric.h"
}

namespace cdp::pg {

/// Begin…, then keys and values or elements in turn, then End…, and Finish(). Of a key that comes twice in an object
/// the last value counts. Texts must live until Finish(). Everything throws.
class JsonBuilder {
public:
    void BeginObject() { Push(WJB_BEGIN_OBJECT, nullptr); }
    void EndObject() { Push(WJB_END_OBJECT, nullptr); }
    void BeginArray() { Push(WJB_BEGIN_ARRAY, nullptr); }
    void EndArray() { Push(WJB_END_ARRAY, nullptr); }

    void Key(std::string_view key) {
        JsonbValue text = Text(key);
        Push(WJB_KEY, &text);
    }
    /// The next value or element. One that is a whole object or array is copied.
    void Add(const JsonbValue& value) {
        JsonbValue copy = value;
        Push(InArray() ? WJB_ELEM : WJB_VALUE, &copy);
    }
    void Add(std::string_view text) { Add(Text(text)); }
    void Add(bool value) {
        JsonbValue v;
        v.type = jbvBool;
        v.val.boolean = value;
        Add(v);
    }
    void Add(Numeric value) {
        JsonbValue v;
        v.type = jbvNumeric;
        v.val.numeric = value;
        Add(v);
    }
    void Add(int64 value) {
        Add(Call([&] { return int64_to_numeric(value); }));
    }
    void AddNull() {
        JsonbValue v;
        v.type = jbvNull;
        Add(v);
    }

    Datum Finish() {
        return Call([&] { return PointerGetDatum(JsonbValueToJsonb(result_)); });
    }

private:
    static JsonbValue Text(std::string_view text) {
        JsonbValue v;
        v.type = jbvString;
        v.val.string.val = const_cast<char*>(text.data());
        v.val.string.len = static_cast<int>(text.size());
        return v;
    }
    bool InArray() const { return state_->contVal.type == jbvArray; }
    void Push(JsonbIteratorToken token, JsonbValue* value) {
        result_ = Call([&] { return pushJsonbValue(&state_, token, value); });
    }

    JsonbParseState* state_ = nullptr;
    JsonbValue* result_ = nullptr;
};

}  // namespace cdp::pg
