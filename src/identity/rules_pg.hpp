// identity/rules_pg.hpp: identifier types as configured, and a message's identifiers by them.
#pragma once

#include <tsl/robin_map.h>

#include <deque>

#include "collect/inbox_pg.hpp"
#include "identity/resolver.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace cdp::identity {

enum class Normaliser { kNone, kTrim, kLower, kEmail, kPhone };

/// An identifier type. Resolver's rules are in the same order.
struct IdentifierType {
    std::string name;
    Normaliser normaliser;
    std::vector<std::vector<std::string>> paths;  // of keys, from traits, context or properties on
};

/// That there is no such type.
Error NoType(std::string_view name);

class Rules {
public:
    /// Reads cdp.identifier_type and cdp.blocked_identifier.
    static Rules Load();

    const std::vector<IdentifierType>& types() const { return types_; }
    std::span<const TypeRule> limits() const { return limits_; }
    /// The place of the type in types(), or -1.
    int TypeNamed(std::string_view name) const;
    int user_id() const { return user_id_; }
    int anonymous_id() const { return anonymous_id_; }

    /// Whether the value is neither blank nor blocked.
    bool Identifies(int type, std::string_view value) const;
    /// The value as it identifies; nothing if it is blank, blocked or cannot be normalised.
    std::optional<std::string> Normalise(int type, std::string_view value) const;
    /// Whether values of the type identify as they are written, if at all.
    bool TakesAsWritten(int type) const { return types_[type].normaliser == Normaliser::kNone; }

private:
    bool IsBlocked(int type, std::string_view value) const;

    std::vector<IdentifierType> types_;
    std::vector<TypeRule> limits_;
    std::vector<std::pair<int, std::string>> patterns_;  // type (-1: all) and regular expression
    int user_id_ = -1, anonymous_id_ = -1;
};

/// The distinct identifiers of a batch, in order of appearance, and who carries which.
class BatchIdentifiers {
public:
    struct Entry {
        int type;
        std::string_view value;  // normalised; lives as long as the batch
        int64 identifier_id = 0;  // 0: not in the database
        int64 profile_id = 0;     //   whom it belonged to before the batch
        int64 first_seen = 0, last_seen = 0;
        bool is_new = false, seen_changed = false;
        ItemPointerData place{};  // of the row, if it is in the database
    };

    /// For about `messages` messages, whose texts live as long as this.
    BatchIdentifiers(const Rules& rules, size_t messages);

    /// Appends the message's candidates, each distinct identifier once. Throws away what is blocked, blank or of
    /// an unknown type. A value over 200 characters makes it a refusal.
    std::optional<collect::Refusal> Extract(const collect::InboxMessage& message, std::vector<Candidate>* candidates);

    /// The entry of a value as somebody writes it, which need not live on; -1 if it identifies nobody. Throws
    /// Error(invalid_parameter_value) if it is too long.
    int Take(int type, std::string_view value);

    /// Fills in what the database knows of the entries.
    void LookUp();
    /// The places of the entries in the order of their values, as cdp.identifier's widest index has them. After LookUp().
    const std::vector<int>& by_value() const { return by_value_; }

    std::vector<Entry>& entries() { return entries_; }
    const Rules& rules() const { return rules_; }

private:
    struct Key {
        int type;
        std::string_view value;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        size_t operator()(const Key& key) const;
    };
    using Index = tsl::robin_map<Key, int, Hash, std::equal_to<Key>, std::allocator<std::pair<Key, int>>, true>;  // keeps hashes

    std::optional<collect::Refusal> Add(int type, std::string_view value, std::vector<Candidate>* candidates, size_t first);
    /// The entry of a value as a message writes it, or -1 if that identifies nobody.
    int EntryOf(int type, std::string_view value);
    /// The text as long as the batch lives.
    std::string_view Keep(std::string text) { return kept_.emplace_back(std::move(text)); }

    const Rules& rules_;
    std::vector<Entry> entries_;
    std::vector<int> by_value_;
    Index index_;                  // normalised values; -1: identifies nobody
    Index written_;                // values as messages write them, of types that are normalised
    std::deque<std::string> kept_;
};

}  // namespace cdp::identity
