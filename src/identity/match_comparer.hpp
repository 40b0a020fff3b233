// identity/match_comparer.hpp: the level that a pair of records reaches in one comparison, fast.
// Knows no PostgreSQL.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "identity/match_comparison.hpp"

namespace cdp::matching {

/// One comparison over all records. What it compares is prepared once for each distinct value: a pair costs two look-ups
/// where its values are equal, missing, or were compared lately, and the distances themselves otherwise.
class Comparer {
public:
    /// `region`: of phone numbers without a country code (ISO 3166), or empty. `records` must outlive it and stay as
    /// they are. Throws Error(undefined_column).
    Comparer(const Records& records, const Comparison& comparison, const std::string& region);

    const Comparison& comparison() const { return comparison_; }

    /// The level of a pair of values; `other_x` and `other_y` are what the records have in the partner column, where
    /// there is one (see Partner).
    LevelNumber Level(uint32_t x, uint32_t y, uint32_t other_x, uint32_t other_y) {
        if (x == 0 || y == 0) return kMissing;
        if (x == y) return 1;
        if (other_x != 0 && other_y != 0 && (x == other_y || y == other_x) && Swapped(x, y, other_x, other_y)) return swapped_;
        if (levels_.size() == 1 || (told_by_letters_ && Unlike(x, y))) return otherwise_;
        const uint64_t key = uint64_t{std::min(x, y)} << 32 | std::max(x, y);
        Cached& cached = cache_[(key * 0x9E3779B97F4A7C15u) >> (64 - kCacheBits)];
        if (cached.key != key) cached = {key, Compare(x, y)};
        return cached.level;
    }

    /// Has the processor fetch what Level() looks at first of two values.
    void Fetch(uint32_t x, uint32_t y) const {
        if (letters_.empty()) return;
        __builtin_prefetch(&letters_[x]);
        __builtin_prefetch(&letters_[y]);
    }

    /// The value of a record, as a number: equal values have the same; 0 is none.
    uint32_t Value(uint32_t record) const { return values_[record]; }
    /// What the record has in the partner column, in the numbers of this column's values; 0 where there is no partner.
    uint32_t Partner(uint32_t record) const { return partners_.empty() ? 0 : partners_[record]; }
    /// Gives the memory of Value() and Partner() back, which must not be called any more.
    void ForgetRecords() {
        values_ = {};
        partners_ = {};
    }
    /// How many records have a value, by its number.
    const std::vector<uint32_t>& counts() const { return counts_; }
    uint64_t filled() const { return filled_; }
    const Texts& texts() const { return texts_; }

    /// The level for "in each other's place"; 0 where there is none.
    LevelNumber swapped() const { return swapped_; }
    /// How many records have `x` in the partner column.
    uint32_t PartnerCount(uint32_t x) const { return partner_counts_[x]; }
    /// How probable it is that of two records each has here what the other has there, by chance.
    double SwappedByChance() const;

private:
    static constexpr int kCacheBits = 16;
    struct Cached {
        uint64_t key = 0;
        LevelNumber level = 0;
    };

    void Prepare();
    void JoinPartner(const RecordColumn& partner);
    bool Swapped(uint32_t x, uint32_t y, uint32_t other_x, uint32_t other_y) const;
    bool Like(uint32_t x, uint32_t other) const;
    /// Whether two texts have too few letters in common to reach any level of likeness or of edits.
    bool Unlike(uint32_t x, uint32_t y) const;
    /// The level of two values that Level() could not tell otherwise.
    LevelNumber Compare(uint32_t x, uint32_t y) const;
    bool Reaches(const struct Level& level, uint32_t x, uint32_t y, struct Measures& measures) const;

    Comparison comparison_;
    std::vector<struct Level> levels_;
    LevelNumber otherwise_, swapped_ = 0;
    Texts texts_;                       // the values as they are compared
    std::vector<uint32_t> values_;      // by record
    std::vector<uint32_t> counts_;      // by value
    uint64_t filled_ = 0;
    int most_edits_ = -1;               // that a level allows
    std::vector<Cached> cache_;
    // By value, where the levels ask for it.
    std::vector<std::optional<int>> days_;
    std::vector<std::optional<double>> numbers_;
    std::vector<std::string> digits_;
    using Letters = std::array<uint8_t, 16>;  // how often each occurs, those with the same lower bits together; all 0: not counted
    std::vector<Letters> letters_;
    bool told_by_letters_ = false;      // Unlike() decides all levels but the first
    double least_alike_ = 2;            // Jaro-Winkler that a level asks for; over 1: none does
    std::vector<uint32_t> users_, sounds_;
    std::vector<std::vector<uint32_t>> elements_;
    // The partner column, its values as values of this one.
    std::vector<uint32_t> partners_;        // by record
    std::vector<uint32_t> partner_counts_;  // by value
    uint64_t partner_filled_ = 0;
};

}  // namespace cdp::matching
