// identity/rules_pg.cpp: see rules_pg.hpp.
#include "identity/rules_pg.hpp"

#include <xxhash.h>

#include "identity/blocked.hpp"
#include "identity/phone.hpp"
#include "pg/read_ahead.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "port/pg_bswap.h"
#include "regex/regex.h"
#include "utils/formatting.h"
#include "utils/varlena.h"
}

namespace cdp::identity {

namespace {

Normaliser NormaliserNamed(std::string_view name) {
    if (name == "trim") return Normaliser::kTrim;
    if (name == "lower") return Normaliser::kLower;
    if (name == "email") return Normaliser::kEmail;
    if (name == "phone") return Normaliser::kPhone;
    return Normaliser::kNone;
}

std::string Lower(std::string_view text) {
    char* lower = pg::Call([&] { return str_tolower(text.data(), text.size(), DEFAULT_COLLATION_OID); });
    std::string result(lower);
    pfree(lower);
    return result;
}

/// The places of entries in the order of their values' bytes. Most comparisons are decided by the first eight.
std::vector<int> InOrder(std::span<const BatchIdentifiers::Entry> entries) {
    struct Key {
        uint64_t beginning;
        int place;
    };
    std::vector<Key> keys(entries.size());
    for (size_t i = 0; i < entries.size(); ++i) {
        uint64_t bytes = 0;
        memcpy(&bytes, entries[i].value.data(), std::min(entries[i].value.size(), sizeof bytes));
        keys[i] = {pg_ntoh64(bytes), static_cast<int>(i)};
    }
    std::sort(keys.begin(), keys.end(), [&](const Key& a, const Key& b) {
        return a.beginning != b.beginning ? a.beginning < b.beginning : entries[a.place].value < entries[b.place].value;
    });
    std::vector<int> order(entries.size());
    for (size_t i = 0; i < entries.size(); ++i) order[i] = keys[i].place;
    return order;
}

bool Matches(const std::string& pattern, std::string_view value) {
    return pg::Call([&] {
        return RE_compile_and_execute(cstring_to_text_with_len(pattern.data(), static_cast<int>(pattern.size())),
                                      const_cast<char*>(value.data()), static_cast<int>(value.size()), REG_ADVANCED,
                                      DEFAULT_COLLATION_OID, 0, nullptr);
    });
}

}  // namespace

Rules Rules::Load() {
    static pg::Statement load_types(
        "SELECT type_id, name, priority, max_per_profile, normalizer, paths FROM cdp.identifier_type"
        " WHERE dropped_at IS NULL ORDER BY priority, type_id");
    static pg::Statement load_blocked("SELECT type, pattern FROM cdp.blocked_identifier ORDER BY type, pattern");
    Rules rules;
    const auto types = load_types.Query();
    for (uint64 i = 0; i < types.size(); ++i) {
        TypeRule rule{DatumGetInt32(*types.Get(i, 1)), DatumGetInt32(*types.Get(i, 3)), std::nullopt};
        if (const auto limit = types.Get(i, 4)) rule.max_per_profile = DatumGetInt32(*limit);
        IdentifierType type{types.Text(i, 2), NormaliserNamed(types.Text(i, 5)), {}};
        for (const auto& path : pg::TextArray(*types.Get(i, 6))) type.paths.push_back(pg::SplitPath(path));
        if (type.name == "user_id") rules.user_id_ = static_cast<int>(i);
        if (type.name == "anonymous_id") rules.anonymous_id_ = static_cast<int>(i);
        rules.limits_.push_back(rule);
        rules.types_.push_back(std::move(type));
    }
    const auto blocked = load_blocked.Query();
    for (uint64 i = 0; i < blocked.size(); ++i) {
        const auto type = blocked.Text(i, 1);
        const int index = rules.TypeNamed(type);
        if (type == "*" || index >= 0) rules.patterns_.emplace_back(index, blocked.Text(i, 2));
    }
    return rules;
}

Error NoType(std::string_view name) {
    return Error(sqlstate::undefined_object, "identifier type \"" + std::string(name) + "\" does not exist")
        .Hint("cdp.identifier_type lists them; cdp.create_identifier_type declares others.");
}

int Rules::TypeNamed(std::string_view name) const {
    for (size_t i = 0; i < types_.size(); ++i)
        if (types_[i].name == name) return static_cast<int>(i);
    return -1;
}

bool Rules::IsBlocked(int type, std::string_view value) const {
    if (IsBlockedEverywhere(value)) return true;
    for (const auto& [of_type, pattern] : patterns_)
        if ((of_type < 0 || of_type == type) && Matches(pattern, value)) return true;
    return false;
}

bool Rules::Identifies(int type, std::string_view value) const {
    // Blocked is what a value says, so white space around it does not unblock it.
    const std::string_view trimmed = collect::Trimmed(value);
    return !trimmed.empty() && !IsBlocked(type, trimmed);
}

std::optional<std::string> Rules::Normalise(int type, std::string_view value) const {
    if (!Identifies(type, value)) return std::nullopt;
    const std::string_view trimmed = collect::Trimmed(value);
    switch (types_[type].normaliser) {
        case Normaliser::kNone: return std::string(value);
        case Normaliser::kTrim: return std::string(trimmed);
        case Normaliser::kLower: return Lower(value);
        case Normaliser::kEmail: return Lower(trimmed);
        case Normaliser::kPhone: return NormalisePhone(trimmed, pg::default_region);
    }
    return std::nullopt;
}

BatchIdentifiers::BatchIdentifiers(const Rules& rules, size_t messages) : rules_(rules) {
    index_.reserve(messages);
    entries_.reserve(messages);
}

size_t BatchIdentifiers::Hash::operator()(const Key& key) const {
    return XXH3_64bits_withSeed(key.value.data(), key.value.size(), static_cast<XXH64_hash_t>(key.type));
}

int BatchIdentifiers::EntryOf(int type, std::string_view value) {
    if (rules_.TakesAsWritten(type)) {
        const auto [known, is_new] = index_.try_emplace({type, value}, -1);
        if (is_new && rules_.Identifies(type, value)) {
            known.value() = static_cast<int>(entries_.size());
            entries_.push_back({type, value});
        }
        return known.value();
    }
    const auto [written, is_new] = written_.try_emplace({type, value}, -1);
    if (!is_new) return written->second;
    if (auto normal = rules_.Normalise(type, value)) {
        const auto [known, fresh] = index_.try_emplace({type, Keep(std::move(*normal))}, static_cast<int>(entries_.size()));
        if (fresh) entries_.push_back({type, known->first.value});
        written.value() = known->second;
    }
    return written->second;
}

int BatchIdentifiers::Take(int type, std::string_view value) {
    const Index& known = rules_.TakesAsWritten(type) ? index_ : written_;
    if (const auto entry = known.find({type, value}); entry != known.end()) return entry->second;
    if (collect::IsBlank(value)) return -1;
    if (collect::Characters(value) > collect::kLongestIdentifier)
        throw Error(sqlstate::invalid_parameter_value, rules_.types()[type].name + " is too long")
            .Detail(std::to_string(collect::Characters(value)) + " characters; at most " + std::to_string(collect::kLongestIdentifier) + " are allowed");
    return EntryOf(type, Keep(std::string(value)));
}

std::optional<collect::Refusal> BatchIdentifiers::Add(int type, std::string_view value, std::vector<Candidate>* candidates, size_t first) {
    if (type < 0 || collect::IsBlank(value)) return std::nullopt;
    if (value.size() > collect::kLongestIdentifier && collect::Characters(value) > collect::kLongestIdentifier)
        return collect::Refusal{rules_.types()[type].name + " is too long",
                                std::to_string(collect::Characters(value)) + " characters; at most " +
                                    std::to_string(collect::kLongestIdentifier) + " are allowed"};
    const int identifier = EntryOf(type, value);
    if (identifier < 0) return std::nullopt;
    for (size_t i = first; i < candidates->size(); ++i)
        if ((*candidates)[i].identifier == identifier) return std::nullopt;
    candidates->push_back({identifier, type, entries_[identifier].value});
    return std::nullopt;
}

std::optional<collect::Refusal> BatchIdentifiers::Extract(const collect::InboxMessage& m, std::vector<Candidate>* candidates) {
    const size_t first = candidates->size();
    const auto add = [&](int type, std::string_view value) { return Add(type, value, candidates, first); };
    const auto add_json = [&](int type, const pg::Json& value) {
        if (value.IsString()) return add(type, value.String());
        return value.IsNumber() ? add(type, Keep(value.NumberText())) : std::nullopt;
    };
    if (auto refusal = add(rules_.user_id(), m.user_id)) return refusal;
    if (auto refusal = add(rules_.anonymous_id(), m.anonymous_id)) return refusal;
    if (m.type == "alias")
        if (auto refusal = add(rules_.anonymous_id(), m.previous_id)) return refusal;
    if (m.context == 0 && m.traits == 0 && m.properties == 0) return std::nullopt;

    const pg::Json context = m.context ? pg::Json(m.context) : pg::Json();
    // The traits of a group message are the account's.
    const pg::Json traits = m.traits && m.type == "identify" ? pg::Json(m.traits) : pg::Json();
    const pg::Json properties = m.properties ? pg::Json(m.properties) : pg::Json();
    for (size_t type = 0; type < rules_.types().size(); ++type) {
        for (const auto& path : rules_.types()[type].paths) {
            const pg::Json& root = path[0] == "traits" ? traits : path[0] == "context" ? context : properties;
            if (path.size() < 2 || !root.IsObject()) continue;
            std::optional<pg::Json> found = root;
            for (size_t i = 1; i < path.size() && found; ++i) found = found->Find(path[i]);
            if (!found) continue;
            if (auto refusal = add_json(static_cast<int>(type), *found)) return refusal;
        }
    }
    if (const auto external = context.Find("externalIds"))
        for (uint32 i = 0; i < external->ArraySize(); ++i) {
            const pg::Json element = external->Element(i);
            const auto type = element.Find("type"), id = element.Find("id");
            if (!type || !id || !type->IsString()) continue;
            if (auto refusal = add_json(rules_.TypeNamed(type->String()), *id)) return refusal;
        }
    return std::nullopt;
}

void BatchIdentifiers::LookUp() {
    static pg::Statement find(
        "SELECT b.entry, i.identifier_id, i.profile_id, i.first_seen_at, i.last_seen_at, i.ctid"
        " FROM cdp_batch_identifier b JOIN cdp.identifier i ON i.value = b.value AND i.type = b.type");
    pg::StagedRows staged("cdp_batch_identifier", {{"entry", INT4OID}, {"type", TEXTOID}, {"value", TEXTOID}});
    std::vector<Datum> type_names;
    for (const auto& type : rules_.types()) type_names.push_back(pg::TextDatum(type.name));

    // In the order of the index, so that neighbours share its pages.
    by_value_ = InOrder(entries_);
    pg::ReadAhead("identifier_value_type", by_value_.size(), [&](size_t k, Datum* values) {
        const Entry& entry = entries_[by_value_[k]];
        values[0] = pg::TextDatum(entry.value);
        values[1] = type_names[entry.type];
    });
    for (const int i : by_value_) {
        const Datum value = pg::TextDatum(entries_[i].value);
        staged.Add({Int32GetDatum(i), type_names[entries_[i].type], value});
        pfree(DatumGetPointer(value));
    }
    const auto rows = find.Query();
    Datum values[6];
    bool nulls[6];
    for (uint64 i = 0; i < rows.size(); ++i) {
        rows.Deform(i, values, nulls);
        Entry& entry = entries_[DatumGetInt32(values[0])];
        entry.identifier_id = DatumGetInt64(values[1]);
        entry.profile_id = DatumGetInt64(values[2]);
        entry.first_seen = DatumGetTimestampTz(values[3]);
        entry.last_seen = DatumGetTimestampTz(values[4]);
        entry.place = pg::Place(values[5]);
    }
}

}  // namespace cdp::identity
