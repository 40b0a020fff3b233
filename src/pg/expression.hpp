// pg/expression.hpp: a condition (or another expression) that a user wrote over the rows of one table, checked
// once, then evaluated on rows in memory with its owner's rights.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
}

namespace cdp::pg {

/// A call in a condition whose value is not in the row: in_segment('x'), has_identifier('email'), …
struct SpecialCall {
    std::string function;  // without schema
    std::string argument;  // empty where it takes none
    int begin, end;        // where it stands in the text, in bytes
    bool operator==(const SpecialCall& o) const { return function == o.function && argument == o.argument; }
};

class Condition {
public:
    /// What the text must be: a boolean condition, or an expression of any type (then there is no Evaluate).
    enum class Kind { kCondition, kValue };

    /// Parses and checks `text` over rows of `relation`, which conditions may call `alias`. `what` says in errors
    /// whose condition it is, e.g. segment "vip". Calls of the functions in `specials` (of schema cdp, one text
    /// literal as argument, or none) become inputs. Throws with a position for: syntax, unknown names, no boolean, volatile
    /// functions, subqueries, the clock, and columns that `owner` may not read.
    Condition(std::string text, std::string what, Oid relation, const char* alias, Oid owner,
              std::span<const char* const> specials, Kind kind = Kind::kCondition);
    ~Condition();
    Condition(const Condition&) = delete;

    /// The columns it reads, by attribute number; ascending.
    const std::vector<int>& columns() const { return columns_; }
    const std::vector<SpecialCall>& specials() const { return specials_; }
    const std::string& text() const { return text_; }
    const std::string& what() const { return what_; }
    /// `error`, pointing at the special call number `call`.
    Error At(size_t call, Error error) const;
    Oid owner() const { return owner_; }
    /// The type of its value, as SQL.
    const std::string& type() const { return type_; }

    /// As analysed, special calls and all; and whose rows it is over.
    const Node* tree() const { return tree_; }
    Oid relation() const { return relation_; }
    const char* alias() const { return alias_.c_str(); }

    /// Its parts, split at AND, OR and NOT, as SQL. Throws.
    std::vector<std::string> Parts() const;

    /// The text with its special calls replaced by what `replace` gives for each.
    template <class F>
    std::string Rewritten(F&& replace) const;

    /// A row to evaluate it on: all columns of the relation.
    struct Row {
        const Datum* values;
        const bool* nulls;
    };
    /// Evaluates it on each row, with the owner's rights; `special_values`: those of the special calls, row by row.
    /// NULL counts as false. Throws what the expression raises.
    void Evaluate(std::span<const Row> rows, std::span<const char> special_values, std::vector<char>* holds);

private:
    void Parse(Oid relation, const char* alias, std::span<const char* const> specials, Kind kind);
    [[noreturn]] void Explain(ErrorData* data, Oid relation, std::string_view alias) const;

    std::string text_, what_, type_;
    Oid owner_;
    MemoryContext memory_;
    Node* tree_ = nullptr;          // analysed, special calls and all
    Oid relation_ = InvalidOid;
    std::string alias_;
    ExprState* state_ = nullptr;
    ExprContext* context_ = nullptr;
    TupleTableSlot* row_ = nullptr;
    TupleTableSlot* inputs_ = nullptr;
    std::vector<int> columns_;
    std::vector<SpecialCall> specials_;
};

template <class F>
std::string Condition::Rewritten(F&& replace) const {
    // The calls are in the order of the parse tree, which need not be that of the text.
    std::vector<SpecialCall> calls = specials_;
    std::sort(calls.begin(), calls.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
    std::string result;
    int from = 0;
    for (const SpecialCall& call : calls) {
        result.append(text_, from, call.begin - from).append(replace(call));
        from = call.end;
    }
    return result.append(text_, from, std::string::npos);
}

}  // namespace cdp::pg
