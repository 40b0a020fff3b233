// pg/guard.cpp: see guard.hpp.
#include "pg/guard.hpp"

#include <new>

extern "C" {
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "mb/pg_wchar.h"
#include "access/genam.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "utils/fmgroids.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
}

namespace cdp::pg {

namespace {

constexpr int kLongestText = 1 << 20;  // of a report

/// Where caught errors are copied to: the context that was current at the innermost entry, which nothing below it
/// deletes. Null where no entry is around, as in callbacks of transactions.
MemoryContext entry_context = nullptr;

struct EntryContext {
    MemoryContext outer = std::exchange(entry_context, CurrentMemoryContext);
    Spi* outer_spi = std::exchange(innermost_spi, nullptr);
    ~EntryContext() {
        entry_context = outer;
        innermost_spi = outer_spi;
    }
};

/// An error in plain memory of PostgreSQL's, which ereport may longjmp over.
struct Report {
    ErrorData* data = nullptr;  // an ERROR of PostgreSQL's, to throw again
    char sqlstate[6] = "XX000";
    char* message = nullptr;
    char* detail = nullptr;
    char* hint = nullptr;
    char* source = nullptr;
    int position = 0;
};

std::string_view Clip(std::string_view text) {
    return text.substr(0, pg_mbcliplen(text.data(), static_cast<int>(std::min<size_t>(text.size(), INT_MAX)), kLongestText));
}

/// Both texts as one in `entry_context`; null where there is no memory for it.
char* Copy(std::string_view text, std::string_view more = {}) noexcept {
    text = Clip(text);
    more = Clip(more);
    auto* copy = static_cast<char*>(
        MemoryContextAllocExtended(entry_context, text.size() + more.size() + 1, MCXT_ALLOC_NO_OOM));
    if (copy == nullptr) return nullptr;
    std::copy(text.begin(), text.end(), copy);
    std::copy(more.begin(), more.end(), copy + text.size());
    copy[text.size() + more.size()] = '\0';
    return copy;
}

char* CopyUnlessEmpty(const std::string& text) noexcept { return text.empty() ? nullptr : Copy(text); }

/// What is being handled, as a Report. Call it in a catch block; it does not throw.
Report Catch() noexcept {
    Report report;
    try {
        throw;
    } catch (const PgError& error) {
        report.data = error.data;
        *error.memory = nullptr;  // the server frees it, with all that is below the entry's context
    } catch (const Error& error) {
        if (error.sqlstate.size() == 5) strlcpy(report.sqlstate, error.sqlstate.c_str(), sizeof report.sqlstate);
        report.message = Copy(error.message);
        report.detail = CopyUnlessEmpty(error.detail);
        report.hint = CopyUnlessEmpty(error.hint);
        report.source = CopyUnlessEmpty(error.source);
        report.position = error.position;
    } catch (const std::bad_alloc&) {
        strlcpy(report.sqlstate, sqlstate::out_of_memory, sizeof report.sqlstate);
        report.message = Copy("out of memory");
    } catch (const std::exception& error) {
        report.message = Copy("unexpected failure: ", error.what());
    } catch (...) {
        report.message = Copy("unexpected failure of unknown kind");
    }
    return report;
}

[[noreturn]] void Raise(const Report& report) {
    if (report.data != nullptr) ReThrowError(report.data);
    const char* s = report.sqlstate;
    ereport(ERROR, (errcode(MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4])),
                    errmsg_internal("%s", report.message ? report.message : "out of memory"),
                    report.detail ? errdetail_internal("%s", report.detail) : 0,
                    report.hint ? errhint("%s", report.hint) : 0,
                    report.source ? internalerrquery(report.source) : 0,
                    report.source ? internalerrposition(report.position) : 0));
    pg_unreachable();
}

void FreeErrorMemory(MemoryContext* memory) {
    if (*memory != nullptr) MemoryContextDelete(*memory);
    delete memory;
}

void PollServer() {
    if (InterruptPending) Call([] { CHECK_FOR_INTERRUPTS(); });
}

const bool poll_installed = (poll_stop = PollServer, true);

}  // namespace

void detail::ThrowCaught(MemoryContext context, SavedHoldoff holdoff) {
    std::shared_ptr<MemoryContext> memory;
    ErrorData* volatile data = nullptr;
    try {
        memory = {new MemoryContext(nullptr), FreeErrorMemory};
    } catch (const std::bad_alloc&) {
        // Then there is no room for the error either.
    }
    // Copying it may fail in turn, for want of memory.
    sigjmp_buf* const outer = PG_exception_stack;
    sigjmp_buf here;
    if (memory != nullptr && sigsetjmp(here, 0) == 0) {
        PG_exception_stack = &here;
        MemoryContextSwitchTo(context);
        *memory = AllocSetContextCreate(entry_context != nullptr ? entry_context : TopMemoryContext, "cdp error",
                                        ALLOCSET_SMALL_SIZES);
        MemoryContextSwitchTo(*memory);
        data = CopyErrorData();
    }
    PG_exception_stack = outer;
    MemoryContextSwitchTo(context);
    FlushErrorState();
    InterruptHoldoffCount = holdoff.interrupts;
    QueryCancelHoldoffCount = holdoff.cancel;
    on_error();
    MemoryContextSwitchTo(context);  // on_error may have ended connections, and gone back to what was current before them
    if (data == nullptr) throw std::bad_alloc();
    throw PgError(data, std::move(memory));
}

void Prefix(const PgError& error, const std::string& what) {
    // Where the rest of it is: the current context may end before the error is reported.
    const MemoryContext outer = MemoryContextSwitchTo(error.data->assoc_context);
    error.data->message = Call([&] { return psprintf("%s: %s", what.c_str(), error.data->message); });
    MemoryContextSwitchTo(outer);
}

Datum detail::Enter(FunctionCallInfo fcinfo, Body body) {
    Report report;
    {
        const EntryContext entry;
        try {
            return body(fcinfo);
        } catch (...) {
            report = Catch();
        }
    }
    Raise(report);
}

void Enter(void (*body)()) {
    Report report;
    {
        const EntryContext entry;
        try {
            return body();
        } catch (...) {
            report = Catch();
        }
    }
    Raise(report);
}

Failure Describe(const std::exception& error) {
    if (const auto* pg = dynamic_cast<const PgError*>(&error))
        return {unpack_sql_state(pg->data->sqlerrcode), pg->data->message ? pg->data->message : "",
                pg->data->detail ? pg->data->detail : ""};
    if (const auto* own = dynamic_cast<const Error*>(&error)) return {own->sqlstate, own->message, own->detail};
    if (dynamic_cast<const std::bad_alloc*>(&error)) return {sqlstate::out_of_memory, "out of memory", ""};
    return {sqlstate::internal_error, error.what(), ""};
}

Subtransaction::Subtransaction() : context_(CurrentMemoryContext), owner_(CurrentResourceOwner) {
    Call([] { BeginInternalSubTransaction(nullptr); });
    MemoryContextSwitchTo(context_);
}

void Subtransaction::Commit() {
    Call([] { ReleaseCurrentSubTransaction(); });
    open_ = false;
    MemoryContextSwitchTo(context_);
    CurrentResourceOwner = owner_;
}

Subtransaction::~Subtransaction() {
    if (!open_) return;
    try {
        Call([] { RollbackAndReleaseCurrentSubTransaction(); });
    } catch (const PgError&) {
        // The transaction is lost then; the error that brought us here is still on its way.
    }
    MemoryContextSwitchTo(context_);
    CurrentResourceOwner = owner_;
}

ActAs::ActAs(Oid role, bool restricted) {
    GetUserIdAndSecContext(&role_, &context_);
    SetUserIdAndSecContext(role, context_ | SECURITY_LOCAL_USERID_CHANGE |
                                     (restricted ? SECURITY_RESTRICTED_OPERATION : 0));
}

ActAs::~ActAs() { SetUserIdAndSecContext(role_, context_); }

Scratch::Scratch()
    : context_(Call([] { return AllocSetContextCreate(CurrentMemoryContext, "cdp scratch", ALLOCSET_DEFAULT_SIZES); })) {}

Oid ExtensionId() {
    return Call([] { return get_extension_oid("cdp", true); });
}

Oid ExtensionOwner() {
    return Call([] {
        Oid owner = InvalidOid;
        Relation rel = table_open(ExtensionRelationId, AccessShareLock);
        ScanKeyData key;
        ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("cdp"));
        SysScanDesc scan = systable_beginscan(rel, ExtensionNameIndexId, true, nullptr, 1, &key);
        HeapTuple tuple = systable_getnext(scan);
        if (HeapTupleIsValid(tuple)) owner = reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple))->extowner;
        systable_endscan(scan);
        table_close(rel, AccessShareLock);
        if (!OidIsValid(owner))
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("extension \"cdp\" is not installed in this database")));
        return owner;
    });
}

}  // namespace cdp::pg
