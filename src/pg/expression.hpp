// pg/expression.hpp: a condition (or another expression) that a user wrote over the rows of one table, checked
// once, then evaluated on rows in memory with its owner's rights.
#pragma once

#include "pg/guard.hpp"
#include "pg/ties.hpp"

extern "C" {
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
}

namespace cdp::pg {

class ClockUse;  // pg/clock.hpp

/// Where the clock is read in a condition's text.
struct ClockCall {
    int begin, end;    // in bytes
    const char* type;  // of what stands there: timestamptz, date, timestamp
};

/// A call in a condition whose value is not in the row: in_segment('x'), did('Order', within => interval '7 days'), …
struct SpecialCall {
    std::string function;  // without schema
    /// All arguments in the order of the function's declaration, defaults filled in; the text form of each (that of an
    /// interval in IntervalStyle postgres, of an array '{a,b}'), NULL as nullopt. A STRICT function's are never NULL.
    std::vector<std::optional<std::string>> arguments;
    Oid type;              // of its value
    int begin, end;        // where it stands in the text, in bytes
    bool operator==(const SpecialCall& o) const { return function == o.function && arguments == o.arguments; }
};

/// What a condition's text may be.
struct ConditionOptions {
    /// A boolean condition, or an expression of any type (then there are Values and Texts instead of Evaluate).
    enum class Kind { kCondition, kValue };
    /// now() and its like: refused; allowed where it can be foreseen when they change something (NextFlip); or allowed
    /// however they are used (then there is no NextFlip).
    enum class Clock { kRefused, kAllowed, kAnyUse };
    Kind kind = Kind::kCondition;
    Clock clock = Clock::kRefused;
    /// Subqueries: refused; allowed where it can be told whose answers a changed row of their tables may change (Tables),
    /// and then their answers are inputs, as those of special calls are; or allowed however they are, and then the condition
    /// is never evaluated here, only as SQL.
    enum class Subqueries { kRefused, kFollowed, kAnyUse };
    Subqueries subqueries = Subqueries::kRefused;
    /// Of a value: what it is cast to; InvalidOid: it stays what it is.
    Oid type = InvalidOid;
    int32 typmod = -1;
};

class Condition {
public:
    using Options = ConditionOptions;
    using Kind = Options::Kind;
    using Clock = Options::Clock;
    using Subqueries = Options::Subqueries;

    /// Parses and checks `text` over rows of `relation`, which conditions may call `alias`. `what` says in errors
    /// whose condition it is, e.g. segment "vip". Calls of the functions of schema cdp that are named in `specials`
    /// (whatever their signatures; their arguments must be constants) become inputs. Throws with a position for: syntax,
    /// unknown names, no boolean, volatile functions, columns that `owner` may not read, and what `options` refuse.
    Condition(std::string text, std::string what, Oid relation, const char* alias, Oid owner,
              std::span<const char* const> specials, Options options = {});
    ~Condition();
    Condition(const Condition&) = delete;

    /// The columns it reads, by attribute number; ascending. 0: the row as a whole. Those that a subquery refers to count.
    const std::vector<int>& columns() const { return columns_; }
    const std::vector<SpecialCall>& specials() const { return specials_; }
    const std::string& text() const { return text_; }
    const std::string& what() const { return what_; }
    /// `error`, pointing at the special call number `call`.
    Error At(size_t call, Error error) const;
    Oid owner() const { return owner_; }
    /// The type of its value, as SQL.
    const std::string& type() const { return type_; }
    /// Whether now() or its like stands in it.
    bool UsesClock() const { return !clocks_.empty(); }
    /// Whether it has a subquery; the owner's rights on what that reads are checked when it runs. Without kFollowed, only
    /// Rewritten() is of use then.
    bool HasSubquery() const { return has_subquery_; }
    /// With kFollowed: the subqueries, as SQL over a row that is called alias(), and what of the row they read.
    const std::vector<std::string>& subqueries() const { return subqueries_; }
    const std::vector<int>& subquery_columns() const { return subquery_columns_; }
    /// With kFollowed: the tables that they read.
    const std::vector<TiedTable>& tables() const { return tables_; }
    /// The tables and views that its subqueries read by name; ascending.
    const std::vector<Oid>& relations() const { return relations_; }

    /// The column that it is, by attribute number, if it is nothing but one; else 0.
    int Column() const;

    /// As analysed, special calls and all; and whose rows it is over.
    const Node* tree() const { return tree_; }
    Oid relation() const { return relation_; }
    const char* alias() const { return alias_.c_str(); }

    /// Its parts, split at AND, OR and NOT, as SQL. Throws.
    std::vector<std::string> Parts() const;

    /// The text with its special calls replaced by what `replace` gives for each, and now() and its like by the instant
    /// `clock` (microseconds of PostgreSQL's epoch); without `clock` they stay.
    template <class F>
    std::string Rewritten(F&& replace, std::optional<int64> clock = std::nullopt) const;

    /// A row to evaluate it on: all columns of the relation, and what now() is.
    struct Row {
        const Datum* values;
        const bool* nulls;
        int64 clock = 0;  // microseconds of PostgreSQL's epoch; of no matter if it does not use the clock
    };
    /// The value of a special call or a subquery for a row, of its type; where that is passed by reference, it must live until
    /// the condition is evaluated.
    struct Input {
        Datum value;
        bool null;
    };
    /// Evaluates it on each row, with the owner's rights; `inputs`: those of the special calls, then of the
    /// subqueries, row by row.
    /// NULL counts as false. Throws what the expression raises.
    void Evaluate(std::span<const Row> rows, std::span<const Input> inputs, std::vector<char>* holds);

    /// Of an expression that may be of any type: its value for each row, in the current memory context.
    void Values(std::span<const Row> rows, std::span<const Input> inputs, std::vector<Input>* values);
    /// The same as its type writes it, where it asks for nothing beside the row; null: NULL.
    void Texts(std::span<const Row> rows, std::vector<const char*>* values);

    /// The first instant after row.clock at which time alone might change its value for this row, as long as row and
    /// inputs stay: never too late, and early only where it repeats itself (hours of the day, days of the week, …): ask
    /// again then. INT64_MAX: never. Reckons with the session's TimeZone. Throws what the expression raises.
    int64 NextFlip(const Row& row, std::span<const Input> inputs);
    /// The same for many rows.
    void NextFlips(std::span<const Row> rows, std::span<const Input> inputs, std::vector<int64>* flips);

private:
    void Parse(Oid relation, const char* alias, std::span<const char* const> specials);
    void ReadSubqueries(const struct ExpressionWalk& walk);
    void Compile(struct ExpressionWalk& walk);
    [[noreturn]] void Explain(ErrorData* data, Oid relation, std::string_view alias) const;
    std::string Replaced(const std::vector<std::string>& specials, std::optional<int64> clock) const;
    template <class F>
    void ForEach(std::span<const Row> rows, std::span<const Input> inputs, F&& work);

    std::string text_, what_, type_;
    Oid owner_;
    Options options_;
    MemoryContext memory_;
    Node* tree_ = nullptr;          // analysed, special calls and all
    Oid relation_ = InvalidOid;
    std::string alias_;
    ExprState* state_ = nullptr;
    bool may_set_ = true;           // users' code in it may change settings
    ExprContext* context_ = nullptr;
    TupleTableSlot* row_ = nullptr;
    TupleTableSlot* inputs_ = nullptr;  // the values of special calls and subqueries, and the clock behind them
    std::vector<int> columns_;
    std::vector<SpecialCall> specials_;
    std::vector<ClockCall> clocks_;
    std::unique_ptr<ClockUse> clock_use_;
    bool has_subquery_ = false;
    std::vector<std::string> subqueries_;
    std::vector<int> subquery_columns_;
    std::vector<TiedTable> tables_;
    std::vector<Oid> relations_;
};

template <class F>
std::string Condition::Rewritten(F&& replace, std::optional<int64> clock) const {
    std::vector<std::string> specials;
    for (const SpecialCall& call : specials_) specials.push_back(replace(call));
    return Replaced(specials, clock);
}

}  // namespace cdp::pg
