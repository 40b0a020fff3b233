// identity/match_source_pg.hpp: where the records of a matcher come from: the profiles, or a table of the user's.
#pragma once

#include "identity/match_records.hpp"
#include "pg/spi.hpp"

namespace cdp::matching {

/// Read with the rights of the matcher's owner, in a security-restricted operation. All of it throws.
class Source {
public:
    /// `table`: a qualified and quoted name; nothing: the profiles.
    Source(const std::optional<std::string>& table, Oid owner);

    bool profiles() const { return profiles_; }
    Oid owner() const { return owner_; }
    const std::string& what() const { return what_; }
    /// Whether ids are numbers, which come in their own order and not in that of texts.
    bool numbered() const { return numbered_; }

    /// The columns that are compared where the user names none.
    std::vector<std::string> UsualColumns();
    /// Makes columns that are not those of the table known by their name: identifiers, keys of traits. Throws
    /// Error(undefined_column).
    void Need(const std::string& column);
    bool Has(const std::string& column) const { return Find(column) != nullptr; }

    /// All records, by key, with these columns.
    Records Load(std::span<const std::string> columns) const;
    /// The keys alone, in order.
    std::vector<std::string> Ids() const;

    /// A query for the pairs (id_a, id_b) that meet `rule` and none of `others`, which are SQL conditions over l and r.
    std::string PairsQuery(const std::string& rule, std::span<const std::string> others) const;
    /// Raises what is wrong with a rule.
    void Check(const std::string& rule) const;

private:
    struct Column {
        std::string name, type;
        std::string value;   // as SQL over t
        bool whole;          // equal as text is equal
    };
    const Column* Find(const std::string& name) const;
    void ReadTable(const std::string& table);
    void ReadProfiles();
    std::string Relation() const;

    bool profiles_, numbered_ = false;
    Oid owner_;
    std::string what_, from_, id_;
    std::vector<std::string> keys_;      // quoted
    std::vector<Column> columns_;
};

}  // namespace cdp::matching
