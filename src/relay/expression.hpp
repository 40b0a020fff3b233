// relay/expression.hpp: what stands between {{ and }} in a connector's row: a value, and functions that it goes through.
// Grammar and functions: docs/connectors.md.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace cdp::relay {

using Json = nlohmann::json;

/// The names that an expression may begin with.
enum class Name : uint8_t {
    kRow, kKey, kId, kType, kPosition,                          // of a change
    kItem, kIndex, kValue,                                      // of a loop
    kOptions, kDestination, kEndpoint, kKeyColumn,              // of the destination
    kNow, kBatchId, kCount, kKeys, kAnswers,                    // of a batch
    kSecret, kBody,                                             // for headers
    kAnswer, kStatus, kHeaders,                                 // of an answer
    kEnd
};

/// A set of them.
class Names {
public:
    constexpr Names(std::initializer_list<Name> names) {
        for (const Name name : names) bits_ |= Bit(name);
    }
    constexpr bool Has(Name name) const { return (bits_ & Bit(name)) != 0; }
    constexpr Names And(Names others) const {
        others.bits_ |= bits_;
        return others;
    }

private:
    static constexpr uint32_t Bit(Name name) { return uint32_t{1} << static_cast<unsigned>(name); }
    uint32_t bits_ = 0;
};

inline constexpr size_t kDeepest = 64;  // levels of anything nested
// Bytes, about, of all values on the way to a request: so many, and so many more for every change in it.
inline constexpr size_t kLargestRendering = 16 * 1024 * 1024, kLargestOfChange = 16 * 1024;

/// What the names stand for. Keeps pointers: the values outlive it. Copies count together what is spent.
class Scope {
public:
    const Json& operator[](Name name) const;  // null if nothing was set
    void Set(Name name, const Json& value) { values_[static_cast<size_t>(name)] = &value; }
    void Unset(Name name) { values_[static_cast<size_t>(name)] = nullptr; }

    void AllowFor(size_t changes) { spending_->limit = kLargestRendering + changes * kLargestOfChange; }
    /// Counts what a rendering makes. Throws Error (program_limit_exceeded) when it is too much, or nested too deeply.
    void Spend(const Json& value) const;

private:
    std::array<const Json*, static_cast<size_t>(Name::kEnd)> values_{};
    struct Spending {
        size_t spent = 0, limit = kLargestRendering;
    };
    std::shared_ptr<Spending> spending_ = std::make_shared<Spending>();
};

class Expression {
public:
    /// Throws Error (invalid_parameter_value): no such function or name here, a wrong number of arguments, not the grammar.
    static Expression Parse(std::string_view text, Names names);

    /// What does not apply (a member that is not there, an e-mail address that is none) gives null.
    Json Evaluate(const Scope& scope) const;

    /// True for the name alone, as in {{ endpoint }}.
    bool Is(Name name) const;

    struct Node;

private:
    explicit Expression(std::shared_ptr<const Node> root) : root_(std::move(root)) {}
    std::shared_ptr<const Node> root_;
};

}  // namespace cdp::relay
