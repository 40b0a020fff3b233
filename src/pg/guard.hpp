// pg/guard.hpp: the border between C++ exceptions and PostgreSQL's longjmp.
//
// Into C++:  CDP_FUNCTION(name) { … }  defines an SQL-callable function. Whatever its body throws is caught,
//            every C++ object dies, and only then is it reported with its SQLSTATE, DETAIL and HINT.
// Out of it: Call([&] { return some_pg_function(…); }) runs C that may ereport(ERROR), and throws PgError
//            instead. Inside the lambda no object with a destructor may be alive. Costs some 16 ns.
#pragma once

#include "pg/error.hpp"
#include "pg/postgres.hpp"

namespace cdp::pg {

/// An ERROR of PostgreSQL's on its way through C++. The data outlast everything that dies on the way (they live below
/// the memory that was current where the innermost entry was called), and go with the last copy of this: who goes on
/// after an error leaves nothing behind. Must not outlive the entry that it was caught in.
struct PgError : std::exception {
    PgError(ErrorData* data, std::shared_ptr<MemoryContext> memory) : data(data), memory(std::move(memory)) {}
    const char* what() const noexcept override { return data->message ? data->message : ""; }
    ErrorData* data;
    std::shared_ptr<MemoryContext> memory;  // holds the data; null inside once somebody has taken it over
};

/// Puts `what: ` before the message of an error that is on its way.
void Prefix(const PgError& error, const std::string& what);

/// What is done when Call has caught an ERROR, before it goes on as an exception: SPI connections that were opened
/// inside, by a function of a user's for instance, are abandoned, and would be taken for ours (see spi.cpp).
inline void (*on_error)() = [] {};
/// The innermost Spi of the innermost entry; null where that has none. Connections between it and an outer entry's Spi
/// are those of the functions that called us, and none of our business.
inline class Spi* innermost_spi = nullptr;

namespace detail {

/// PostgreSQL's error-handling state, put back when this dies.
struct SavedHandlers {
    sigjmp_buf* exceptions = PG_exception_stack;
    ErrorContextCallback* callbacks = error_context_stack;
    ~SavedHandlers() {
        PG_exception_stack = exceptions;
        error_context_stack = callbacks;
    }
};

/// What else an ERROR changes: it forgets that interrupts are held off. In callbacks of a commit they are, and the
/// server counts on it.
struct SavedHoldoff {
    uint32 interrupts = InterruptHoldoffCount;
    uint32 cancel = QueryCancelHoldoffCount;
};

[[noreturn]] void ThrowCaught(MemoryContext context, SavedHoldoff holdoff);

using Body = Datum (*)(FunctionCallInfo);
Datum Enter(FunctionCallInfo fcinfo, Body body);

}  // namespace detail

template <class F>
auto Call(F&& function) -> decltype(function()) {
    const detail::SavedHandlers saved;
    const detail::SavedHoldoff holdoff;
    const MemoryContext context = CurrentMemoryContext;
    sigjmp_buf here;
    if (sigsetjmp(here, 0) != 0) {
        PG_exception_stack = saved.exceptions;
        error_context_stack = saved.callbacks;
        detail::ThrowCaught(context, holdoff);
    }
    PG_exception_stack = &here;
    return function();
}

/// Runs `body` as an entry that is no SQL function (worker, callback): errors are reported the same way.
void Enter(void (*body)());

/// What was caught, as text for a log or a table: the primary message and the SQLSTATE.
struct Failure {
    std::string sqlstate, message, detail;
};
Failure Describe(const std::exception& error);

/// A subtransaction: rolled back when it dies, unless committed. For going on after a PgError.
class Subtransaction {
public:
    Subtransaction();
    ~Subtransaction();
    Subtransaction(const Subtransaction&) = delete;
    void Commit();

private:
    MemoryContext context_;
    ResourceOwner owner_;
    bool open_ = true;
};

/// Acts as `role` while alive. `restricted`: in a security-restricted operation, for expressions users wrote.
class ActAs {
public:
    explicit ActAs(Oid role, bool restricted = false);
    ~ActAs();
    ActAs(const ActAs&) = delete;

private:
    Oid role_;
    int context_;
};

/// Memory for a piece of long work, given back with Reset(). `Use` makes it the current context while alive.
class Scratch {
public:
    Scratch();
    ~Scratch() { MemoryContextDelete(context_); }
    Scratch(const Scratch&) = delete;
    void Reset() { MemoryContextReset(context_); }
    MemoryContext context() const { return context_; }

    class Use {
    public:
        explicit Use(Scratch& scratch) : outer_(MemoryContextSwitchTo(scratch.context_)) {}
        ~Use() { MemoryContextSwitchTo(outer_); }
        Use(const Use&) = delete;

    private:
        MemoryContext outer_;
    };

private:
    MemoryContext context_;
};

/// The role that owns the extension, whose rights our own statements run with.
Oid ExtensionOwner();
/// The extension's OID, or InvalidOid where it is not installed (any more).
Oid ExtensionId();

}  // namespace cdp::pg

#define CDP_FUNCTION(name)                                        \
    static Datum name##_body(FunctionCallInfo fcinfo);            \
    extern "C" {                                                  \
    PG_FUNCTION_INFO_V1(name);                                    \
    Datum name(PG_FUNCTION_ARGS) {                                \
        return cdp::pg::detail::Enter(fcinfo, name##_body);       \
    }                                                             \
    }                                                             \
    static Datum name##_body(FunctionCallInfo fcinfo)
