// segment/live_pg.cpp: see live_pg.hpp.
#include "segment/live_pg.hpp"

#include "pg/names.hpp"
#include "pg/probes.hpp"

extern "C" {
#include "utils/datum.h"
}

namespace cdp::segment {

namespace {

constexpr long kRowsAFetch = 10'000;

}  // namespace

LiveQuery::LiveQuery(const pg::Condition& condition, int64 segment_id, const profile::Traits& traits)
    : condition_(condition), name_("cdp_live_" + std::to_string(segment_id)), columns_{profile::kProfileId}, ask_(Sql(name_)) {
    for (const int column : condition.subquery_columns())
        if (column - 1 != profile::kProfileId) columns_.push_back(column - 1);
    for (const int column : columns_) {
        const auto* attribute = TupleDescAttr(traits.descriptor(), column);
        column_names_.emplace_back(NameStr(attribute->attname));
        types_.push_back(attribute->atttypid);
    }
}

std::string LiveQuery::Sql(const std::string& profiles) const {
    std::string list = "profile.profile_id";
    for (const auto& subquery : condition_.subqueries()) list += ", (" + subquery + ")";
    return "SELECT " + list + " FROM " + profiles + " AS " + pg::Identifier(condition_.alias());
}

void LiveQuery::Take(const pg::Rows& rows, uint64 i, std::vector<pg::Condition::Input>* inputs) const {
    for (size_t k = 0; k < condition_.subqueries().size(); ++k) {
        const auto value = rows.Get(i, static_cast<int>(k) + 2);
        inputs->push_back({value.value_or(0), !value});
    }
}

LiveQuery::Answers LiveQuery::Ask(size_t people, const std::function<profile::Person&(size_t)>& person) {
    std::vector<pg::Column> columns;
    for (size_t k = 0; k < columns_.size(); ++k) columns.push_back({column_names_[k].c_str(), types_[k]});
    // The people as they are by now, who may not be in the table yet.
    pg::StagedRows staged(name_.c_str(), columns);
    std::vector<Datum> values(columns_.size());
    const std::unique_ptr<bool[]> nulls(new bool[values.size()]);
    for (size_t i = 0; i < people; ++i) {
        const profile::Person& somebody = person(i);
        for (size_t k = 0; k < values.size(); ++k) {
            values[k] = somebody.values()[columns_[k]];
            nulls[k] = somebody.nulls()[columns_[k]];
        }
        staged.Add(values.data(), nulls.get());
    }
    Answers answers;
    answers.subqueries_ = condition_.subqueries().size();
    {
        const pg::Probes probes;
        const pg::ActAs owner(condition_.owner(), true);
        answers.rows_ = ask_.Query();
    }
    if (answers.rows_.size() != people) throw Error(sqlstate::internal_error, "the subqueries of " + condition_.what() + " do not answer about everybody");
    for (uint64 i = 0; i < people; ++i) {
        if (answers.rows_.Int8(i, 1) != person(i).profile_id())
            throw Error(sqlstate::internal_error, "the subqueries of " + condition_.what() + " answer in another order");
        Take(answers.rows_, i, &answers.inputs_);
    }
    return answers;
}

LiveQuery::Everybody LiveQuery::AskAll(const std::string& profiles) const {
    Everybody everybody;
    const pg::ActAs owner(condition_.owner(), true);
    pg::Cursor cursor(Sql(profiles));
    for (pg::Rows rows; !(rows = cursor.Fetch(kRowsAFetch)).empty();) {
        poll_stop();
        for (uint64 i = 0; i < rows.size(); ++i) {
            auto& inputs = everybody[rows.Int8(i, 1)];
            Take(rows, i, &inputs);
            for (size_t k = 0; k < inputs.size(); ++k) {
                const auto* type = TupleDescAttr(rows.descriptor(), static_cast<int>(k) + 1);
                if (!inputs[k].null) inputs[k].value = pg::Call([&] { return datumCopy(inputs[k].value, type->attbyval, type->attlen); });
            }
        }
    }
    return everybody;
}

}  // namespace cdp::segment
