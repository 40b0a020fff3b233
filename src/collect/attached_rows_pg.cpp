// collect/attached_rows_pg.cpp: see attached_rows_pg.hpp.
#include "collect/attached_rows_pg.hpp"

#include "pg/json.hpp"

extern "C" {
#include "access/xlog.h"
#include "nodes/makefuncs.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/uuid.h"
}

namespace cdp::collect {

struct RowReader::Source {
    int place;      // in the row, from 0
    Oid type;       // beneath any domain
    FmgrInfo json;  // to_jsonb for it
};

namespace {

// C from here to Read(): it may be longjmped over.

/// What to_jsonb says of a value; but for common types without asking it, and without a char(n)'s padding.
JsonbValue value_of(Oid type, FmgrInfo* to_jsonb, Datum datum) {
    JsonbValue value;
    const auto text = [&](const char* characters, int length) {
        value.type = jbvString;
        value.val.string.val = const_cast<char*>(characters);
        value.val.string.len = length;
        return value;
    };
    const auto number = [&](Numeric numeric) {
        value.type = jbvNumeric;
        value.val.numeric = numeric;
        return value;
    };
    switch (type) {
        case BOOLOID:
            value.type = jbvBool;
            value.val.boolean = DatumGetBool(datum);
            return value;
        case INT2OID: return number(int64_to_numeric(DatumGetInt16(datum)));
        case INT4OID: return number(int64_to_numeric(DatumGetInt32(datum)));
        case INT8OID: return number(int64_to_numeric(DatumGetInt64(datum)));
        case NUMERICOID:
            if (const Numeric numeric = DatumGetNumeric(datum); !numeric_is_nan(numeric) && !numeric_is_inf(numeric))
                return number(numeric);
            break;
        case BPCHAROID: datum = DirectFunctionCall1(rtrim1, datum); [[fallthrough]];
        case TEXTOID:
        case VARCHAROID:
            if (const auto* packed = PG_DETOAST_DATUM_PACKED(datum); VARSIZE_ANY_EXHDR(packed) <= JENTRY_OFFLENMASK)
                return text(VARDATA_ANY(packed), static_cast<int>(VARSIZE_ANY_EXHDR(packed)));
            break;
        case DATEOID:
        case TIMESTAMPOID:
        case TIMESTAMPTZOID: {
            auto* buffer = static_cast<char*>(palloc(MAXDATELEN + 1));
            const int utc = 0;
            JsonEncodeDateTime(buffer, datum, type, type == TIMESTAMPTZOID ? &utc : nullptr);
            return text(buffer, static_cast<int>(strlen(buffer)));
        }
        case JSONOID:
            // Text that need not make a jsonb: it may hold \u0000, or numbers out of range.
            try {
                datum = pg::Call([&] { return FunctionCall1(to_jsonb, datum); });
            } catch (const pg::PgError& error) {
                const int category = ERRCODE_TO_CATEGORY(error.data->sqlerrcode);
                if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED) throw;
                FreeErrorData(error.data);
                return value_of(TEXTOID, to_jsonb, datum);
            }
            return value_of(JSONBOID, nullptr, datum);
        case JSONBOID: {
            Jsonb* json = DatumGetJsonbP(datum);
            if (JB_ROOT_IS_SCALAR(json)) return *getIthJsonbValueFromContainer(&json->root, 0);
            value.type = jbvBinary;
            value.val.binary.data = &json->root;
            value.val.binary.len = VARSIZE(json) - VARHDRSZ;
            return value;
        }
        default: break;
    }
    return value_of(JSONBOID, nullptr, FunctionCall1(to_jsonb, datum));
}

/// A value as an identifier: always text.
JsonbValue id_of(JsonbValue value) {
    char* text;
    switch (value.type) {
        case jbvString: return value;
        case jbvNumeric: text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric))); break;
        case jbvBool: text = pstrdup(value.val.boolean ? "true" : "false"); break;
        case jbvBinary: text = JsonbToCString(nullptr, value.val.binary.data, value.val.binary.len); break;
        default: text = pstrdup(""); break;
    }
    value.type = jbvString;
    value.val.string.val = text;
    value.val.string.len = static_cast<int>(strlen(text));
    return value;
}

Datum text_of(const JsonbValue& id) {
    return PointerGetDatum(cstring_to_text_with_len(id.val.string.val, id.val.string.len));
}

void push_key(JsonbParseState** state, const char* name, size_t length) {
    JsonbValue key;
    key.type = jbvString;
    key.val.string.val = const_cast<char*>(name);
    key.val.string.len = static_cast<int>(length);
    pushJsonbValue(state, WJB_KEY, &key);
}

/// A random uuid, as text. Randomness comes by the page: a call of the system's costs more than the rest.
Datum random_id() {
    static unsigned char pool[4096];
    static size_t left = 0;
    if (left == 0) {
        if (!pg_strong_random(pool, sizeof pool))
            ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
        left = sizeof pool;
    }
    left -= UUID_LEN;
    pg_uuid_t uuid;
    memcpy(uuid.data, pool + left, UUID_LEN);
    uuid.data[6] = static_cast<unsigned char>((uuid.data[6] & 0x0f) | 0x40);  // version 4
    uuid.data[8] = static_cast<unsigned char>((uuid.data[8] & 0x3f) | 0x80);
    return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&uuid))));
}

/// When the row happened; false if no timestamptz can say it.
bool time_of(Oid type, Datum datum, TimestampTz* time) {
    int overflow = 0;
    switch (type) {
        case DATEOID: *time = date2timestamptz_opt_overflow(DatumGetDateADT(datum), &overflow); break;
        case TIMESTAMPOID: *time = timestamp2timestamptz_opt_overflow(DatumGetTimestamp(datum), &overflow); break;
        default: *time = DatumGetTimestampTz(datum);
    }
    return overflow == 0;
}

Error Lacks(const std::string& column, TupleDesc rows, std::string_view table) {
    std::string names;
    for (int i = 0; i < rows->natts; ++i)
        if (!TupleDescAttr(rows, i)->attisdropped)
            names += (names.empty() ? "" : ", ") + std::string(NameStr(TupleDescAttr(rows, i)->attname));
    return Error(sqlstate::undefined_column, "column \"" + column + "\" of table \"" + std::string(table) + "\" does not exist")
        .Hint("Its columns are " + names + ".");
}

}  // namespace

Attachment Attachment::Parse(const char* json) {
    const pg::Json config(pg::Call([&] { return DirectFunctionCall1(jsonb_in, CStringGetDatum(json)); }));
    const auto text = [&](const char* key) { return config.Find(key).value_or(pg::Json()).ToText(); };
    Attachment attachment{.event = config.Find("event") ? text("event") : "", .identify = config.Find("type").has_value(),
                          .updates = config.Find("updates").has_value()};
    if (const auto identifiers = config.Find("identifiers"))
        identifiers->ForEach([&](std::string_view type, const pg::Json& column) {
            attachment.identifiers.emplace_back(type, column.ToText());
        });
    if (config.Find("occurred_at")) attachment.occurred_at = text("occurred_at");
    if (const auto properties = config.Find("properties")) {
        attachment.properties.emplace();
        for (uint32 i = 0; i < properties->ArraySize(); ++i) attachment.properties->push_back(properties->Element(i).ToText());
    }
    attachment.table = text("table");
    if (const auto numbers = config.Find("columns"))
        numbers->ForEach([&](std::string_view column, const pg::Json& number) {
            attachment.numbers.emplace_back(column, std::stoi(number.ToText()));
        });
    return attachment;
}

std::string TableKey(Oid table) {
    return std::to_string(GetSystemIdentifier()) + "." + std::to_string(MyDatabaseId) + "." + std::to_string(table);
}

RowReader::RowReader(const Attachment& attachment, TupleDesc rows, std::string_view name, std::string_view table, std::vector<std::string>* missing) {
    // A child of the current context until nothing can fail any more.
    memory_ = pg::Call([] { return AllocSetContextCreate(CurrentMemoryContext, "cdp attached rows", ALLOCSET_SMALL_SIZES); });
    row_memory_ = pg::Call([&] { return AllocSetContextCreate(memory_, "row", ALLOCSET_DEFAULT_SIZES); });
    std::vector<int> taken;
    const auto find = [&](const std::string& column) -> Source* {
        const int place = PlaceOf(attachment, column, rows, table);
        taken.push_back(place);
        if (place >= 0) return Take(place, rows);
        if (missing == nullptr) throw Lacks(column, rows, name);
        missing->push_back(column);
        return nullptr;
    };
    for (const auto& [type, column] : attachment.identifiers) {
        Source* source = find(column);
        if (type == "user_id")
            user_id_ = source;
        else if (type == "anonymous_id")
            anonymous_id_ = source;
        else
            other_ids_.push_back({type, source});
    }
    if (attachment.occurred_at) {
        occurred_at_ = find(*attachment.occurred_at);
        if (occurred_at_ != nullptr && occurred_at_->type != DATEOID && occurred_at_->type != TIMESTAMPOID && occurred_at_->type != TIMESTAMPTZOID) {
            if (missing == nullptr)
                throw Error(sqlstate::datatype_mismatch, "column \"" + *attachment.occurred_at + "\" of table \"" +
                                                             std::string(name) + "\" holds neither dates nor times")
                    .Hint("occurred_at names a column of type timestamptz, timestamp or date.");
            missing->push_back(*attachment.occurred_at);
            occurred_at_ = nullptr;
        }
    }
    if (attachment.properties) {
        for (const auto& column : *attachment.properties) properties_.push_back({column, find(column)});
    } else {
        for (int i = 0; i < rows->natts; ++i) {
            if (TupleDescAttr(rows, i)->attisdropped || std::find(taken.begin(), taken.end(), i) != taken.end()) continue;
            properties_.push_back({NameStr(TupleDescAttr(rows, i)->attname), Take(i, rows)});
        }
    }
    MemoryContextSetParent(memory_, TopMemoryContext);
}

RowReader::~RowReader() { MemoryContextDelete(memory_); }

/// The column's place in the rows; -1: there is none. As a view does, it goes with a column that gets another name.
int RowReader::PlaceOf(const Attachment& attachment, const std::string& column, TupleDesc rows, std::string_view table) const {
    const bool numbered = !table.empty() && attachment.table == table;
    const auto there = [&](int place) { return place >= 0 && place < rows->natts && !TupleDescAttr(rows, place)->attisdropped; };
    if (numbered)
        for (const auto& [name, number] : attachment.numbers)
            if (name == column && there(number - 1)) return number - 1;
    for (int i = 0; i < rows->natts; ++i) {
        if (!there(i) || column != NameStr(TupleDescAttr(rows, i)->attname)) continue;
        // Not the name that another one of ours has got.
        const bool others = numbered && std::any_of(attachment.numbers.begin(), attachment.numbers.end(), [&](const auto& n) { return n.second == i + 1; });
        if (!others) return i;
    }
    return -1;
}

RowReader::Source* RowReader::Take(int place, TupleDesc rows) const {
    const FormData_pg_attribute* attribute = TupleDescAttr(rows, place);
    return pg::Call([&] {
        const MemoryContext outer = MemoryContextSwitchTo(memory_);
        auto* column = static_cast<Source*>(palloc0(sizeof(Source)));
        column->place = place;
        column->type = getBaseType(attribute->atttypid);
        fmgr_info(F_TO_JSONB, &column->json);
        // So to_jsonb learns the type of its argument.
        Const* argument = makeNullConst(attribute->atttypid, attribute->atttypmod, attribute->attcollation);
        column->json.fn_expr = reinterpret_cast<Node*>(makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(argument), InvalidOid,
                                                                    attribute->attcollation, COERCE_EXPLICIT_CALL));
        MemoryContextSwitchTo(outer);
        return column;
    });
}

const std::vector<pg::Column>& RowReader::MessageColumns() {
    static const std::vector<pg::Column> columns{{"message_id", TEXTOID}, {"user_id", TEXTOID}, {"anonymous_id", TEXTOID},
                                                 {"properties", JSONBOID}, {"context", JSONBOID}, {"occurred_at", TIMESTAMPTZOID}};
    return columns;
}

void RowReader::Read(const Datum* values, const bool* nulls, pg::StagedRows* messages) {
    Datum message[6] = {};
    bool absent[6] = {false, true, true, false, true, true};
    pg::Call([&] {
        MemoryContextReset(row_memory_);
        const MemoryContext outer = MemoryContextSwitchTo(row_memory_);
        const auto is_null = [&](const Source* column) { return column == nullptr || nulls[column->place]; };
        const auto json_of = [&](Source* column) { return value_of(column->type, &column->json, values[column->place]); };
        JsonbParseState* state = nullptr;

        message[0] = random_id();
        if (!(absent[1] = is_null(user_id_))) message[1] = text_of(id_of(json_of(user_id_)));
        if (!(absent[2] = is_null(anonymous_id_))) message[2] = text_of(id_of(json_of(anonymous_id_)));

        pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
        for (const Named& property : properties_) {
            if (is_null(property.column)) continue;
            push_key(&state, property.name.data(), property.name.size());
            JsonbValue value = json_of(property.column);
            pushJsonbValue(&state, WJB_VALUE, &value);
        }
        message[3] = PointerGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));

        for (const Named& identifier : other_ids_) {
            if (is_null(identifier.column)) continue;
            if (absent[4]) {
                absent[4] = false;
                state = nullptr;
                pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
                push_key(&state, "externalIds", 11);
                pushJsonbValue(&state, WJB_BEGIN_ARRAY, nullptr);
            }
            JsonbValue type, id = id_of(json_of(identifier.column));
            type.type = jbvString;
            type.val.string.val = const_cast<char*>(identifier.name.data());
            type.val.string.len = static_cast<int>(identifier.name.size());
            pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
            push_key(&state, "type", 4);
            pushJsonbValue(&state, WJB_VALUE, &type);
            push_key(&state, "id", 2);
            pushJsonbValue(&state, WJB_VALUE, &id);
            pushJsonbValue(&state, WJB_END_OBJECT, nullptr);
        }
        if (!absent[4]) {
            pushJsonbValue(&state, WJB_END_ARRAY, nullptr);
            message[4] = PointerGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
        }

        TimestampTz time;
        if (!is_null(occurred_at_) && time_of(occurred_at_->type, values[occurred_at_->place], &time)) {
            absent[5] = false;
            message[5] = TimestampTzGetDatum(time);
        }
        MemoryContextSwitchTo(outer);
    });
    messages->Add(message, absent);
}

}  // namespace cdp::collect
