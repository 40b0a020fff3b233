// segment/live_pg.hpp: what the subqueries of a live segment say of people.
#pragma once

#include <functional>
#include <unordered_map>

#include "pg/expression.hpp"
#include "pg/spi.hpp"
#include "profile/traits_pg.hpp"

namespace cdp::segment {

/// Asks the subqueries of a segment, with its owner's rights. One statement for many people; its cost depends on theirs alone.
class LiveQuery {
public:
    LiveQuery(const pg::Condition& condition, int64 segment_id, const profile::Traits& traits);

    /// Answers about some people, in their order. Identifiers must be written, the people's rows need not be.
    class Answers {
    public:
        /// Of each subquery in turn.
        std::span<const pg::Condition::Input> Of(size_t person) const { return std::span(inputs_).subspan(person * subqueries_, subqueries_); }

    private:
        friend class LiveQuery;
        pg::Rows rows_;  // what the answers point into
        size_t subqueries_ = 0;
        std::vector<pg::Condition::Input> inputs_;
    };
    Answers Ask(size_t people, const std::function<profile::Person&(size_t)>& person);

    /// About everybody in a table of the shape of cdp.profile, by profile. In the current memory context.
    using Everybody = std::unordered_map<int64, std::vector<pg::Condition::Input>>;
    Everybody AskAll(const std::string& profiles) const;

private:
    std::string Sql(const std::string& profiles) const;
    void Take(const pg::Rows& rows, uint64 i, std::vector<pg::Condition::Input>* inputs) const;

    const pg::Condition& condition_;
    std::string name_;                      // of the people, staged
    std::vector<std::string> column_names_;
    std::vector<int> columns_;              // that are staged: places in a profile's row, that of the id first
    std::vector<Oid> types_;
    pg::Statement ask_;
};

}  // namespace cdp::segment
