// pg/spi.cpp: see spi.hpp.
#include "pg/spi.hpp"

extern "C" {
#include "access/tupdesc.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/snapmgr.h"
}

namespace cdp::pg {

namespace {

constexpr bool kNoNulls[64] = {};
constexpr int kStoreKilobytes = 256 * 1024;

struct Split {
    explicit Split(std::initializer_list<Arg> args) {
        for (const Arg& arg : args) {
            types.push_back(arg.type);
            values.push_back(arg.value);
            nulls.push_back(arg.null ? 'n' : ' ');
        }
        nulls.push_back('\0');
    }
    std::vector<Oid> types;
    std::vector<Datum> values;
    std::vector<char> nulls;
};

void Check(int code, const std::string& sql) {
    if (code < 0)
        throw Error(sqlstate::internal_error,
                    std::string("SPI: ") + SPI_result_code_string(code)).Detail("Statement: " + sql);
}

}  // namespace

Spi::Spi() : outer_(innermost_spi) {
    Check(Call([] { return SPI_connect(); }), "connect");
    pg_snprintf(marker_name_, sizeof marker_name_, "cdp spi %p", static_cast<void*>(this));
    marker_.md.name = marker_name_;
    marker_.md.enrtype = ENR_NAMED_TUPLESTORE;
    const int code = SPI_register_relation(&marker_);
    Assert(code == SPI_OK_REL_REGISTER);
    (void) code;
    innermost_spi = this;
    on_error = FinishAbandoned;
}

Spi::~Spi() {
    innermost_spi = outer_;
    SPI_finish();
}

void Spi::FinishAbandoned() {
    if (innermost_spi == nullptr) return;
    // Ours is the connection that knows the marker already. To ask so changes nothing in it, and allocates nothing:
    // whatever memory is current here may be gone before the connection is.
    for (int code; (code = SPI_register_relation(&innermost_spi->marker_)) != SPI_ERROR_REL_DUPLICATE; SPI_finish())
        if (code == SPI_ERROR_UNCONNECTED) break;  // the transaction has ended under us, and SPI with it
}

LatestSnapshot::LatestSnapshot() {
    Call([] { PushActiveSnapshot(GetLatestSnapshot()); });
}

LatestSnapshot::~LatestSnapshot() { PopActiveSnapshot(); }

Arg Int8(int64 value) { return {INT8OID, Int64GetDatum(value), false}; }
Arg Int4(int32 value) { return {INT4OID, Int32GetDatum(value), false}; }
Arg Bool(bool value) { return {BOOLOID, BoolGetDatum(value), false}; }
Arg Time(TimestampTz value) { return {TIMESTAMPTZOID, TimestampTzGetDatum(value), false}; }
Arg Text(std::string_view value) { return {TEXTOID, TextDatum(value), false}; }
Arg TextOrNull(const std::optional<std::string>& value) { return value ? Text(*value) : Null(TEXTOID); }

Datum TextDatum(std::string_view text) {
    return Call([&] { return PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size()))); });
}

std::string_view Bytes(Datum datum) {
    auto* value = reinterpret_cast<struct varlena*>(DatumGetPointer(datum));
    if (VARATT_IS_EXTERNAL(value) || VARATT_IS_COMPRESSED(value))
        value = Call([&] { return pg_detoast_datum_packed(value); });
    return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

std::vector<std::string> TextArray(Datum array) {
    struct Elements { Datum* values; bool* nulls; int count; };
    const Elements elements = Call([&] {
        Elements e;
        deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &e.values, &e.nulls, &e.count);
        return e;
    });
    std::vector<std::string> result;
    for (int i = 0; i < elements.count; ++i)
        if (!elements.nulls[i]) result.emplace_back(Bytes(elements.values[i]));
    return result;
}

Rows Query(const std::string& sql, std::initializer_list<Arg> args, bool read_only) {
    before_statement(nullptr);
    Split split(args);
    const int code = Call([&] {
        return SPI_execute_with_args(sql.c_str(), static_cast<int>(split.types.size()), split.types.data(),
                                     split.values.data(), split.nulls.data(), read_only, 0);
    });
    Check(code, sql);
    return Rows(std::exchange(SPI_tuptable, nullptr), SPI_processed);
}

uint64 Execute(const std::string& sql, std::initializer_list<Arg> args) {
    Query(sql, args);
    return SPI_processed;
}

namespace {

/// Takes the ids of a SELECT as the executor gives them; C through and through, since errors jump over it.
struct IdReceiver {
    DestReceiver of_server;
    int64* ids;
    size_t count, room;
};

bool receive_id(TupleTableSlot* slot, DestReceiver* self) {
    auto* receiver = reinterpret_cast<IdReceiver*>(self);
    bool null;
    const Datum id = slot_getattr(slot, 1, &null);
    if (null) return true;
    if (receiver->count == receiver->room) {
        receiver->room *= 2;
        receiver->ids = static_cast<int64*>(repalloc_huge(receiver->ids, receiver->room * sizeof(int64)));
    }
    receiver->ids[receiver->count++] = DatumGetInt64(id);
    return true;
}

}  // namespace

std::vector<int64> Ids(const std::string& sql, std::initializer_list<Arg> args) {
    before_statement(nullptr);
    Split split(args);
    IdReceiver receiver{};
    receiver.of_server.receiveSlot = receive_id;
    receiver.of_server.rStartup = [](DestReceiver*, int, TupleDesc) {};
    receiver.of_server.rShutdown = receiver.of_server.rDestroy = [](DestReceiver*) {};
    receiver.of_server.mydest = DestNone;
    receiver.room = 1024;
    int code;
    try {
        code = Call([&] {
            receiver.ids = static_cast<int64*>(palloc(receiver.room * sizeof(int64)));
            SPIExecuteOptions options{};
            options.params = makeParamList(static_cast<int>(split.types.size()));
            options.params->paramFetch = nullptr;
            for (int i = 0; i < options.params->numParams; ++i)
                options.params->params[i] = {split.values[static_cast<size_t>(i)], split.nulls[static_cast<size_t>(i)] == 'n', PARAM_FLAG_CONST,
                                             split.types[static_cast<size_t>(i)]};
            options.dest = &receiver.of_server;
            return SPI_execute_extended(sql.c_str(), &options);
        });
    } catch (const PgError& error) {
        error.data->context = nullptr;  // the query is ours; what failed in it is the user's
        throw;
    }
    Check(code, sql);
    std::vector<int64> ids(receiver.ids, receiver.ids + receiver.count);
    Call([&] { pfree(receiver.ids); });
    return ids;
}

Statement::~Statement() {
    if (plan_ != nullptr) SPI_freeplan(plan_);
}

SPIPlanPtr Statement::plan() {
    if (plan_ == nullptr) {
        plan_ = Call([&] {
            SPIPlanPtr plan = SPI_prepare(sql_.c_str(), static_cast<int>(types_.size()), types_.data());
            if (plan != nullptr) SPI_keepplan(plan);
            return plan;
        });
        if (plan_ == nullptr) Check(SPI_result, sql_);
    }
    return plan_;
}

int Statement::Run(std::initializer_list<Arg> args, uint64 limit, bool read_only) {
    Split split(args);
    SPIPlanPtr prepared = plan();
    before_statement(prepared);
    const int code = Call([&] {
        return SPI_execute_plan(prepared, split.values.data(), split.nulls.data(), read_only, static_cast<long>(limit));
    });
    Check(code, sql_);
    return code;
}

Rows Statement::Query(std::initializer_list<Arg> args, uint64 limit, bool read_only) {
    Run(args, limit, read_only);
    return Rows(std::exchange(SPI_tuptable, nullptr), SPI_processed);
}

uint64 Statement::Execute(std::initializer_list<Arg> args) {
    Run(args, 0, false);
    if (SPI_tuptable != nullptr) SPI_freetuptable(std::exchange(SPI_tuptable, nullptr));
    return SPI_processed;
}

Cursor::Cursor(const std::string& sql, std::initializer_list<Arg> args, bool read_only) {
    before_statement(nullptr);
    Split split(args);
    portal_ = Call([&] {
        return SPI_cursor_open_with_args(nullptr, sql.c_str(), static_cast<int>(split.types.size()), split.types.data(),
                                         split.values.data(), split.nulls.data(), read_only, CURSOR_OPT_NO_SCROLL);
    });
}

Cursor::~Cursor() {
    try {
        Call([&] { SPI_cursor_close(portal_); });
    } catch (const PgError&) {
        // Closing fails only in a transaction that is lost already; its end closes the portal.
    }
}

Rows Cursor::Fetch(long count) {
    Call([&] { SPI_cursor_fetch(portal_, true, count); });
    return Rows(std::exchange(SPI_tuptable, nullptr), SPI_processed);
}

StagedRows::StagedRows(const char* name, const std::vector<Column>& columns, double estimate) {
    Call([&] {
        descriptor_ = CreateTemplateTupleDesc(static_cast<int>(columns.size()));
        for (size_t i = 0; i < columns.size(); ++i)
            TupleDescInitEntry(descriptor_, static_cast<AttrNumber>(i + 1), columns[i].name, columns[i].type, -1, 0);
        store_ = tuplestore_begin_heap(false, false, kStoreKilobytes);
        relation_ = static_cast<EphemeralNamedRelation>(palloc0(sizeof(EphemeralNamedRelationData)));
        relation_->md.name = pstrdup(name);
        relation_->md.reliddesc = InvalidOid;
        relation_->md.tupdesc = descriptor_;
        relation_->md.enrtype = ENR_NAMED_TUPLESTORE;
        relation_->md.enrtuples = estimate;
        relation_->reldata = store_;
        if (SPI_register_relation(relation_) != SPI_OK_REL_REGISTER)
            elog(ERROR, "relation \"%s\" is staged already", name);
    });
}

StagedRows::~StagedRows() {
    SPI_unregister_relation(relation_->md.name);
    tuplestore_end(store_);
}

void StagedRows::Add(const Datum* values, const bool* nulls) {
    Call([&] { tuplestore_putvalues(store_, descriptor_, const_cast<Datum*>(values), const_cast<bool*>(nulls)); });
    ++size_;
}

void StagedRows::Add(std::initializer_list<Datum> values) {
    const int count = static_cast<int>(values.size());
    if (count != descriptor_->natts) Call([&] { elog(ERROR, "%d columns for the %d of %s", count, descriptor_->natts, relation_->md.name); });
    Add(values.begin(), kNoNulls);
}

TableResult::TableResult(FunctionCallInfo fcinfo) : info_(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo)) {
    Call([&] { InitMaterializedSRF(fcinfo, 0); });
}

void TableResult::Add(const Datum* values, const bool* nulls) {
    Call([&] { tuplestore_putvalues(info_->setResult, info_->setDesc, const_cast<Datum*>(values), const_cast<bool*>(nulls)); });
}

void TableResult::Add(std::initializer_list<Datum> values) { Add(values.begin(), kNoNulls); }

std::string OutputText(Oid type, Datum value) {
    char* text = Call([&] {
        Oid output;
        bool varlena;
        getTypeOutputInfo(type, &output, &varlena);
        return OidOutputFunctionCall(output, value);
    });
    std::string result(text);
    pfree(text);
    return result;
}

}  // namespace cdp::pg
