// identity/match_blocking.cpp: see match_blocking.hpp.
#include "identity/match_blocking.hpp"

#include <algorithm>
#include <cctype>
#include <numeric>

namespace cdp::matching {

namespace {

constexpr double kPairsARecord = 40;      // that all rules together may give
constexpr double kLeastBudget = 5e6;
constexpr size_t kMostRules = 24;
constexpr uint32_t kSample = 50'000;      // records are enough to see how selective a rule is

/// Reads a rule's text.
class Reader {
public:
    explicit Reader(std::string_view text) : left_(text) {}

    bool End() {
        Space();
        return left_.empty();
    }
    bool Sign(char sign) {
        Space();
        if (left_.empty() || left_.front() != sign) return false;
        left_.remove_prefix(1);
        return true;
    }
    bool Word(std::string_view word) {
        Space();
        if (left_.size() < word.size()) return false;
        for (size_t i = 0; i < word.size(); ++i)
            if (std::tolower(static_cast<unsigned char>(left_[i])) != word[i]) return false;
        if (left_.size() > word.size() && IsNamePart(left_[word.size()])) return false;
        left_.remove_prefix(word.size());
        return true;
    }
    /// A column's name, as PostgreSQL reads it.
    std::optional<std::string> Name() {
        Space();
        std::string name;
        if (!left_.empty() && left_.front() == '"') {
            for (left_.remove_prefix(1); !left_.empty(); left_.remove_prefix(1)) {
                if (left_.front() == '"') {
                    left_.remove_prefix(1);
                    if (left_.empty() || left_.front() != '"') return name;
                }
                name += left_.front();
            }
            return std::nullopt;
        }
        while (!left_.empty() && IsNamePart(left_.front())) {
            name += static_cast<char>(std::tolower(static_cast<unsigned char>(left_.front())));
            left_.remove_prefix(1);
        }
        if (name.empty() || (name.front() >= '0' && name.front() <= '9')) return std::nullopt;
        return name;
    }

private:
    // Names beyond ASCII are left to PostgreSQL.
    static bool IsNamePart(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$'; }
    void Space() {
        while (!left_.empty() && std::isspace(static_cast<unsigned char>(left_.front()))) left_.remove_prefix(1);
    }
    std::string_view left_;
};

/// `l.a = r.a`, or the sides the other way round.
std::optional<std::string> EqualColumn(Reader& reader) {
    std::optional<std::string> names[2];
    std::string sides;
    for (auto& name : names) {
        if (reader.Word("l")) sides += 'l';
        else if (reader.Word("r")) sides += 'r';
        if (!reader.Sign('.')) return std::nullopt;
        name = reader.Name();
        if (!name) return std::nullopt;
        if (&name == &names[0] && !reader.Sign('=')) return std::nullopt;
    }
    if ((sides != "lr" && sides != "rl") || *names[0] != *names[1]) return std::nullopt;
    return names[0];
}

uint64_t Mixed(uint64_t key, uint32_t value) {
    key = (key ^ value) * 0x9E3779B97F4A7C15u;
    return key ^ key >> 29;
}

/// How many pairs have the same key. Sorts them.
double PairsOf(std::vector<uint64_t>& keys) {
    std::sort(keys.begin(), keys.end());
    double pairs = 0;
    for (size_t begin = 0, end; begin < keys.size(); begin = end) {
        for (end = begin + 1; end < keys.size() && keys[end] == keys[begin];) ++end;
        pairs += 0.5 * static_cast<double>(end - begin) * static_cast<double>(end - begin - 1);
    }
    return pairs;
}

/// How selective rules are, by a part of the records.
class Selectivity {
public:
    explicit Selectivity(const Records& records) : records_(records), step_(std::max<uint32_t>(1, records.size() / kSample)) {}

    /// The pairs that a rule would give over all records.
    double Pairs(std::span<const int> columns) {
        keys_.clear();
        for (uint32_t record = 0; record < records_.size(); record += step_) {
            uint64_t key = 0;
            bool whole = true;
            for (const int column : columns) {
                const uint32_t value = records_.columns()[column].values[record];
                whole = whole && value != 0;
                key = Mixed(key, value);
            }
            if (whole) keys_.push_back(key);
        }
        return PairsOf(keys_) * step_ * step_;
    }

private:
    const Records& records_;
    uint32_t step_;
    std::vector<uint64_t> keys_;
};

}  // namespace

std::optional<std::vector<std::string>> EqualColumnsOf(std::string_view rule) {
    Reader reader(rule);
    std::vector<std::string> columns;
    if (Reader all(rule); all.Word("true") && all.End()) return columns;
    do {
        const auto column = EqualColumn(reader);
        if (!column) return std::nullopt;
        columns.push_back(*column);
    } while (reader.Word("and"));
    if (!reader.End()) return std::nullopt;
    return columns;
}

std::string RuleOf(std::span<const std::string> columns) {
    std::string rule;
    for (const auto& column : columns) {
        std::string name;
        const bool plain = std::all_of(column.begin(), column.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }) &&
                           !column.empty() && !(column.front() >= '0' && column.front() <= '9');
        if (plain) {
            name = column;
        } else {
            name = "\"";
            for (const char c : column) name.append(c == '"' ? 2 : 1, c);
            name += '"';
        }
        rule.append(rule.empty() ? "l." : " AND l.").append(name).append(" = r.").append(name);
    }
    return rule.empty() ? "true" : rule;
}

std::vector<std::vector<int>> ChooseRules(const Records& records, std::span<const int> usable) {
    const double all = 0.5 * records.size() * (records.size() - 1.0);
    if (all <= kAllPairs || usable.empty()) return {{}};
    const double budget = std::max(kLeastBudget, kPairsARecord * records.size());
    struct Rule {
        std::vector<int> columns;
        double pairs;
    };
    Selectivity selectivity(records);
    std::vector<Rule> chosen, wide;
    double total = 0;
    // Single columns first, then pairs of those that were not selective enough, then triples: of each, the most
    // selective ones, each at most a fair part of what may be spent.
    for (const int column : usable) wide.push_back({{column}, 0});
    for (int width = 1; width <= 3 && !wide.empty(); ++width) {
        for (Rule& rule : wide) {
            poll_stop();
            rule.pairs = selectivity.Pairs(rule.columns);
        }
        std::stable_sort(wide.begin(), wide.end(), [](const Rule& a, const Rule& b) { return a.pairs < b.pairs; });
        std::vector<Rule> left;
        for (const Rule& rule : wide) {
            if (chosen.size() < kMostRules && rule.pairs <= budget / 5 && total + rule.pairs <= budget) {
                chosen.push_back(rule);
                total += rule.pairs;
            } else {
                left.push_back(rule);
            }
        }
        if (width == 3 && chosen.empty()) chosen.push_back(left.front());
        wide.clear();
        for (size_t i = 0; i < left.size(); ++i)
            for (const int column : usable) {
                if (column <= left[i].columns.back()) continue;
                Rule wider{left[i].columns, 0};
                wider.columns.push_back(column);
                // Not those that a rule finds already.
                const bool new_pairs = std::none_of(chosen.begin(), chosen.end(), [&](const Rule& rule) {
                    return std::includes(wider.columns.begin(), wider.columns.end(), rule.columns.begin(), rule.columns.end());
                });
                if (new_pairs) wide.push_back(std::move(wider));
            }
        if (width < 3 && wide.empty() && chosen.empty()) chosen.push_back(left.front());
    }
    std::vector<std::vector<int>> rules;
    rules.reserve(chosen.size());
    for (const Rule& rule : chosen) rules.push_back(rule.columns);
    return rules;
}

Blocks::Blocks(const Records& records, std::vector<std::vector<int>> rules) : records_(records.size()), rules_(std::move(rules)) {
    std::vector<int> slot_of(records.columns().size(), -1);
    for (auto& rule : rules_)
        for (int& column : rule) {
            if (slot_of[column] < 0) {
                slot_of[column] = static_cast<int>(columns_.size());
                columns_.push_back(records.columns()[column].values);
            }
            column = slot_of[column];
        }
}

std::optional<uint64_t> Blocks::KeyOf(size_t rule, uint32_t record) const {
    uint64_t key = 0;
    for (const int slot : rules_[rule]) {
        if (columns_[slot][record] == 0) return std::nullopt;
        key = Mixed(key, columns_[slot][record]);
    }
    return key;
}

std::vector<Blocks::Keyed> Blocks::Keys(size_t rule) const {
    std::vector<Keyed> keys;
    keys.reserve(records_);
    for (uint32_t record = 0; record < records_; ++record)
        if (const auto key = KeyOf(rule, record)) keys.push_back({*key, record});
    std::sort(keys.begin(), keys.end(), [](const Keyed& x, const Keyed& y) { return x.key != y.key ? x.key < y.key : x.record < y.record; });
    return keys;
}

double Blocks::Estimate(size_t rule) const {
    std::vector<uint64_t> keys;
    const uint32_t step = std::max<uint32_t>(1, records_ / kSample);
    for (uint32_t record = 0; record < records_; record += step)
        if (const auto key = KeyOf(rule, record)) keys.push_back(*key);
    return PairsOf(keys) * step * step;
}

}  // namespace cdp::matching
