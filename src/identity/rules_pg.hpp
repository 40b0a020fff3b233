// identity/rules_pg.hpp: identifier types as configured, and a message's identifiers by them.
#pragma once

#include <unordered_map>

#include "collect/inbox_pg.hpp"
#include "identity/resolver.hpp"

namespace cdp::identity {

enum class Normaliser { kNone, kTrim, kLower, kEmail, kPhone };

/// An identifier type. Resolver's rules are in the same order.
struct IdentifierType {
    std::string name;
    Normaliser normaliser;
    std::vector<std::vector<std::string>> paths;  // of keys, from traits, context or properties on
};

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

    /// The value as it identifies; nothing if it is blank, blocked or cannot be normalised.
    std::optional<std::string> Normalise(int type, std::string_view value) const;

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
        std::string value;
        int64 identifier_id = 0;  // 0: not in the database
        int64 profile_id = 0;     //   whom it belonged to before the batch
        int64 first_seen = 0, last_seen = 0;
        bool is_new = false, seen_changed = false;
    };

    explicit BatchIdentifiers(const Rules& rules) : rules_(rules) {}

    /// The message's candidates, each distinct identifier once. Throws away what is blocked, blank or of an
    /// unknown type. A value over 200 characters makes it a refusal.
    std::optional<collect::Refusal> Extract(const collect::InboxMessage& message, std::vector<Candidate>* candidates);

    /// Fills in what the database knows of the entries.
    void LookUp();

    std::vector<Entry>& entries() { return entries_; }
    const Rules& rules() const { return rules_; }

private:
    std::optional<collect::Refusal> Add(int type, std::string_view value, std::vector<Candidate>* candidates);

    const Rules& rules_;
    std::vector<Entry> entries_;
    std::unordered_map<std::string, int> index_;  // type name and normalised value
    std::unordered_map<std::string, int> raw_;    // type name and value as written; -1: identifies nobody
    std::string key_;
};

}  // namespace cdp::identity
