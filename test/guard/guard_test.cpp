// guard_test.cpp: functions that fail in every way there is, with C++ objects alive all along the way.
#include <chrono>
#include <new>
#include <stdexcept>

#include "pg/spi.hpp"

extern "C" {
#include "postmaster/bgworker.h"
#include "utils/acl.h"

PG_MODULE_MAGIC;
PGDLLEXPORT void guard_worker_main(Datum);
}

using namespace cdp;

namespace {

/// Objects of which none may be left behind. It owns memory, so that a leak shows in the process too.
struct Counted {
    static inline int live = 0;
    std::string memory = std::string(1000, 'x');
    Counted() { ++live; }
    Counted(const Counted&) = delete;
    ~Counted() { --live; }
};

std::string TextArg(FunctionCallInfo fcinfo, int i) { return std::string(pg::Bytes(PG_GETARG_DATUM(i))); }

[[noreturn]] void ThrowOther(const std::string& kind) {
    const Counted here;
    if (kind == "bad_alloc") throw std::bad_alloc();
    if (kind == "new") ::operator delete(::operator new(size_t{1} << 60));
    if (kind == "length") std::string().reserve(size_t{1} << 63);
    if (kind == "runtime") throw std::runtime_error("the sky fell");
    if (kind == "number") throw 42;
    if (kind == "long") throw Error(sqlstate::data_corrupted, std::string(60'000, 'm')).Detail(std::string(60'000, 'd'));
    if (kind == "empty") throw Error("", "");
    throw std::logic_error("no such kind: " + kind);
}

std::string First(const pg::Rows& rows) {
    if (rows.empty() || rows.descriptor()->natts == 0) return "";
    char* text = SPI_getvalue(rows.tuple(0), rows.descriptor(), 1);
    return text ? text : "";
}

}  // namespace

CDP_FUNCTION(guard_throw) {
    const Counted before;
    const auto keep = std::make_unique<Counted>();
    throw Error(TextArg(fcinfo, 0).c_str(), TextArg(fcinfo, 1)).Detail(TextArg(fcinfo, 2)).Hint(TextArg(fcinfo, 3))
        .At(PG_GETARG_INT32(5), TextArg(fcinfo, 4));
}

CDP_FUNCTION(guard_throw_other) {
    const Counted before;
    ThrowOther(TextArg(fcinfo, 0));
}

/// Runs a statement, and returns its first value.
CDP_FUNCTION(guard_query) {
    const Counted before;
    const std::string sql = TextArg(fcinfo, 0);
    std::string first;
    {
        const pg::Spi spi;
        const Counted inside;
        first = First(pg::Query(sql));
    }
    return pg::TextDatum(first);
}

/// Fetches all rows through a cursor, a few at a time, while staged rows are about.
CDP_FUNCTION(guard_fetch) {
    const Counted before;
    const std::string sql = TextArg(fcinfo, 0);
    const pg::Spi spi;
    pg::StagedRows staged("guard_staged", {{"n", INT8OID}});
    for (int64 i = 0; i < 10; ++i) staged.Add({Int64GetDatum(i)});
    pg::Cursor cursor(sql);
    int64 count = 0;
    for (;;) {
        const Counted inside;
        const pg::Rows rows = cursor.Fetch(7);
        if (rows.empty()) break;
        count += static_cast<int64>(rows.size());
    }
    PG_RETURN_INT64(count);
}

/// Itself through SPI, `depth` times, and then an Error; or for a negative depth itself without end.
CDP_FUNCTION(guard_nested) {
    const Counted before;
    static pg::Statement deeper("SELECT guard_nested($1)", {INT4OID});
    const int32 depth = PG_GETARG_INT32(0);
    if (depth == 0) throw Error("CD001", "the bottom").Detail("where it is dark").Hint("Climb.");
    const pg::Spi spi;
    const Counted inside;
    deeper.Query({pg::Int4(depth - 1)});
    PG_RETURN_VOID();
}

CDP_FUNCTION(guard_allocate) {
    const Counted before;
    const Size size = static_cast<Size>(PG_GETARG_INT64(0));
    const bool huge = PG_GETARG_BOOL(1);
    pg::Call([&] { pfree(huge ? MemoryContextAllocHuge(CurrentMemoryContext, size) : palloc(size)); });
    PG_RETURN_VOID();
}

/// Runs a statement, and goes on when it then cannot have so much memory.
CDP_FUNCTION(guard_try) {
    const Counted before;
    const std::string sql = TextArg(fcinfo, 0);
    {
        const pg::Spi spi;
        pg::Query(sql);
    }
    try {
        pg::Call([&] { palloc(static_cast<Size>(PG_GETARG_INT64(1))); });
    } catch (const pg::PgError&) {
        return pg::TextDatum("ok");
    }
    return pg::TextDatum("no error");
}

/// Whether the memory context is the same after a statement that fails, and SPI the connection that it was.
CDP_FUNCTION(guard_context_kept) {
    const Counted before;
    const std::string sql = TextArg(fcinfo, 0);
    std::string result;
    {
        const pg::Spi spi;
        const pg::StagedRows staged("guard_ours", {{"n", INT8OID}});
        {
            const pg::Subtransaction attempt;
            const MemoryContext context = CurrentMemoryContext;
            try {
                pg::Query(sql);
                result = "no error";
            } catch (const pg::PgError& error) {
                result = context == CurrentMemoryContext ? "kept" : "lost";
            }
        }
        result += ", " + First(pg::Query("SELECT 'ours: ' || count(*) FROM guard_ours"));
    }
    return pg::TextDatum(result);
}

CDP_FUNCTION(guard_loop) {
    const Counted before;
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(PG_GETARG_FLOAT8(0));
    while (std::chrono::steady_clock::now() < end) poll_stop();
    PG_RETURN_VOID();
}

/// Fails so many times in one entry, and goes on each time. How much memory that left behind, in bytes.
CDP_FUNCTION(guard_swallow) {
    const int32 times = PG_GETARG_INT32(0);
    const std::string sql = TextArg(fcinfo, 1);
    const Size before = MemoryContextMemAllocated(TopMemoryContext, true);
    for (int32 i = 0; i < times; ++i) {
        try {
            const Counted here;
            if (sql.empty()) {
                pg::Call([&] { ereport(ERROR, (errcode(ERRCODE_DIVISION_BY_ZERO), errmsg("swallow %d", i), errdetail("this"), errhint("that"))); });
            } else {
                pg::Subtransaction attempt;
                const pg::Spi spi;
                pg::Query(sql);
                attempt.Commit();
            }
        } catch (const pg::PgError& error) {
            if (error.data->sqlerrcode != ERRCODE_DIVISION_BY_ZERO) throw;
        }
    }
    PG_RETURN_INT64(static_cast<int64>(MemoryContextMemAllocated(TopMemoryContext, true)) - static_cast<int64>(before));
}

/// What became of a statement in a subtransaction. If not `goes_on`, it is rolled back whatever became of it.
CDP_FUNCTION(guard_subtransaction) {
    const Counted before;
    const std::string sql = TextArg(fcinfo, 0);
    const bool goes_on = PG_GETARG_BOOL(1);
    std::string result;
    try {
        const pg::Spi spi;
        pg::Subtransaction attempt;
        const Counted inside;
        result = First(pg::Query(sql));
        if (goes_on) attempt.Commit();
        else result += " (rolled back)";
    } catch (const std::exception& error) {
        const auto failure = pg::Describe(error);
        result = failure.sqlstate + ": " + failure.message + (failure.detail.empty() ? "" : " [" + failure.detail + "]");
    }
    return pg::TextDatum(result);
}

CDP_FUNCTION(guard_act_as) {
    const Counted before;
    const std::string sql = TextArg(fcinfo, 1);
    std::string first;
    {
        const pg::Spi spi;
        const pg::ActAs other(PG_GETARG_OID(0), true);
        first = First(pg::Query(sql));
    }
    return pg::TextDatum(first);
}

/// The user and the security context that the session has now.
CDP_FUNCTION(guard_who) {
    Oid user;
    int context;
    GetUserIdAndSecContext(&user, &context);
    const std::string name = pg::Call([&] { return GetUserNameFromId(user, false); });
    return pg::TextDatum(name + " " + std::to_string(context));
}

namespace {

std::string failing_event;

/// A callback: no entry is around it, and in a commit interrupts are held off.
void AtEnd(XactEvent event, void*) {
    const char* name = event == XACT_EVENT_COMMIT ? "commit" : event == XACT_EVENT_ABORT ? "abort" : "";
    if (failing_event != name) return;
    failing_event.clear();
    for (int i = 0; i < 100; ++i) {
        try {
            const Counted here;
            pg::Call([] { ereport(ERROR, (errcode(ERRCODE_DIVISION_BY_ZERO), errmsg("in a callback"), errdetail("kept"))); });
        } catch (const std::exception& error) {
            const auto failure = pg::Describe(error);
            if (failure.message != "in a callback" || failure.detail != "kept") abort();
        }
    }
}

}  // namespace

CDP_FUNCTION(guard_fail_at_end) {
    static const bool registered = (pg::Call([] { RegisterXactCallback(AtEnd, nullptr); }), true);
    (void)registered;
    failing_event = TextArg(fcinfo, 0);
    PG_RETURN_VOID();
}

void guard_worker_main(Datum) {
    pg::Enter([] {
        const Counted before;
        const std::string kind = MyBgworkerEntry->bgw_extra;
        if (kind == "error") throw Error("CD002", "the worker's own error").Detail("with a detail").Hint("and a hint");
        if (kind == "server") pg::Call([] { ereport(ERROR, (errcode(ERRCODE_DIVISION_BY_ZERO), errmsg("the server's error"), errdetail("with its detail"))); });
        ThrowOther(kind);
    });
}

CDP_FUNCTION(guard_start_worker) {
    BackgroundWorker worker{};
    const std::string kind = TextArg(fcinfo, 0);
    strlcpy(worker.bgw_name, "guard worker", sizeof worker.bgw_name);
    strlcpy(worker.bgw_type, "guard worker", sizeof worker.bgw_type);
    strlcpy(worker.bgw_library_name, "cdp_guard_test", sizeof worker.bgw_library_name);
    strlcpy(worker.bgw_function_name, "guard_worker_main", sizeof worker.bgw_function_name);
    strlcpy(worker.bgw_extra, kind.c_str(), sizeof worker.bgw_extra);
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
    worker.bgw_start_time = BgWorkerStart_ConsistentState;
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    worker.bgw_notify_pid = MyProcPid;
    const int status = pg::Call([&] {
        BackgroundWorkerHandle* handle;
        if (!RegisterDynamicBackgroundWorker(&worker, &handle)) elog(ERROR, "no room for a worker");
        return static_cast<int>(WaitForBackgroundWorkerShutdown(handle));
    });
    PG_RETURN_INT32(status);
}

CDP_FUNCTION(guard_live) { PG_RETURN_INT32(Counted::live); }

CDP_FUNCTION(guard_holdoff) { PG_RETURN_INT64(InterruptHoldoffCount); }

CDP_FUNCTION(guard_call_nanoseconds) {
    const int32 calls = PG_GETARG_INT32(0);
    volatile int sum = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (int32 i = 0; i < calls; ++i) sum = sum + pg::Call([] { return MyProcPid; });
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    PG_RETURN_FLOAT8(took.count() / calls);
}
