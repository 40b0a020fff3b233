// aggregate_test.cpp: a state is a function of the multiset of what was added to it. Every aggregate is held against
// a few plain lines over the whole list, in any order, split over any number of merged states, through bytes and back.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "profile/aggregate.hpp"

namespace cdp::profile {

// How RapidCheck shows what failed.
void showValue(Aggregate aggregate, std::ostream& out) { out << "aggregate " << static_cast<int>(aggregate); }
void showValue(const Value& value, std::ostream& out) {
    Writer bytes;
    Write(bytes, value);
    out << "kind " << value.index() << ", bytes";
    for (const char c : bytes.bytes()) out << " " << static_cast<int>(static_cast<unsigned char>(c));
}

namespace {

struct Added {
    Stamp stamp;
    Value value;
    int rank = 0;
};
using List = std::vector<Added>;

constexpr std::array kAll{Aggregate::kCount,        Aggregate::kSum,          Aggregate::kAvg,        Aggregate::kMin,
                          Aggregate::kMax,          Aggregate::kFirst,        Aggregate::kLast,       Aggregate::kDistinctCount,
                          Aggregate::kMostFrequent, Aggregate::kUniqueList,   Aggregate::kSourcePriority};

std::string BytesOf(const AggregateState& state) {
    Writer out;
    state.Write(out);
    return out.Take();
}

std::string BytesOf(const Value& value) {
    Writer out;
    Write(out, value);
    return out.Take();
}

AggregateState AddAll(Aggregate aggregate, const List& list) {
    AggregateState state(aggregate);
    for (const Added& added : list) state.Add(added.stamp, added.value, added.rank);
    return state;
}

// The reference -----------------------------------------------------------------------------------------------------

const Added& Best(const List& list, const std::function<bool(const Added&, const Added&)>& better) {
    return *std::min_element(list.begin(), list.end(), better);
}

std::optional<Value> ExpectedSingle(Aggregate aggregate, const List& list) {
    if (list.empty()) return std::nullopt;
    switch (aggregate) {
        case Aggregate::kMin:
            return Best(list, [](auto& a, auto& b) { const int c = Compare(a.value, b.value); return c != 0 ? c < 0 : a.stamp < b.stamp; }).value;
        case Aggregate::kMax:
            return Best(list, [](auto& a, auto& b) { const int c = Compare(b.value, a.value); return c != 0 ? c < 0 : a.stamp < b.stamp; }).value;
        case Aggregate::kFirst: return Best(list, [](auto& a, auto& b) { return a.stamp < b.stamp; }).value;
        case Aggregate::kLast: return Best(list, [](auto& a, auto& b) { return b.stamp < a.stamp; }).value;
        case Aggregate::kSourcePriority:
            return Best(list, [](auto& a, auto& b) { return a.rank != b.rank ? a.rank < b.rank : b.stamp < a.stamp; }).value;
        case Aggregate::kMostFrequent: {
            const auto times = [&](const Value& value) {
                return std::count_if(list.begin(), list.end(), [&](auto& other) { return Compare(other.value, value) == 0; });
            };
            return Best(list, [&](auto& a, auto& b) {
                const auto x = times(a.value), y = times(b.value);
                return x != y ? x > y : Compare(a.value, b.value) < 0;
            }).value;
        }
        default: return std::nullopt;
    }
}

size_t ExpectedDistinct(const List& list) {
    std::vector<Value> seen;
    for (const Added& added : list)
        if (std::none_of(seen.begin(), seen.end(), [&](const Value& value) { return Compare(value, added.value) == 0; }))
            seen.push_back(added.value);
    return seen.size();
}

void CheckAgainstReference(Aggregate aggregate, const List& list) {
    const AggregateState state = AddAll(aggregate, list);
    switch (aggregate) {
        case Aggregate::kCount: RC_ASSERT(state.Count() == static_cast<int64_t>(list.size())); break;
        case Aggregate::kSum:
        case Aggregate::kAvg: {
            Decimal sum;
            for (const Added& added : list) sum += std::get<Decimal>(added.value);
            RC_ASSERT(state.Count() == static_cast<int64_t>(list.size()));
            RC_ASSERT(state.Sum().ToString() == sum.ToString());
            break;
        }
        case Aggregate::kDistinctCount:
        case Aggregate::kUniqueList:
            RC_ASSERT(state.Values().size() == ExpectedDistinct(list));
            if (aggregate == Aggregate::kDistinctCount) RC_ASSERT(state.Count() == static_cast<int64_t>(ExpectedDistinct(list)));
            break;
        default: {
            const auto single = state.Single(), expected = ExpectedSingle(aggregate, list);
            RC_ASSERT(single.has_value() == expected.has_value());
            if (single) RC_ASSERT(Compare(*single, *expected) == 0);
        }
    }
}

// Random lists ------------------------------------------------------------------------------------------------------

rc::Gen<Value> ValuesOfKind(size_t kind) {
    switch (kind) {
        case 1: return rc::gen::map(rc::gen::oneOf(rc::gen::inRange<int64_t>(-3, 4), rc::gen::arbitrary<int64_t>()), [](int64_t v) { return Value(v); });
        case 2:
            return rc::gen::map(rc::gen::elementOf(std::vector<double>{0.0, -0.0, 1.5, -2.25, 1e300, std::numeric_limits<double>::infinity(),
                                                                       -std::numeric_limits<double>::infinity(),
                                                                       std::numeric_limits<double>::quiet_NaN()}),
                                [](double v) { return Value(v); });
        case 3:
            return rc::gen::map(rc::gen::pair(rc::gen::inRange<int64_t>(-30, 30), rc::gen::inRange(0, 4)),
                                [](std::pair<int64_t, int> v) { return Value(Decimal(v.first, v.second)); });
        default:
            return rc::gen::map(rc::gen::container<std::string>(rc::gen::elementOf(std::string("abA\0\xff", 5))),
                                [](std::string v) { return Value(v.substr(0, 3)); });
    }
}

bool IsNumeric(Aggregate aggregate) { return aggregate == Aggregate::kSum || aggregate == Aggregate::kAvg; }

List SomeList(Aggregate aggregate) {
    const size_t kind = IsNumeric(aggregate) ? 3 : *rc::gen::inRange<size_t>(1, 5);
    List list;
    const int size = *rc::gen::inRange(0, 25);
    for (int i = 0; i < size; ++i) {
        // Stamps are unique (each is an event), their times need not be.
        const int64_t time = *rc::gen::oneOf(rc::gen::inRange<int64_t>(-2, 3), rc::gen::element(INT64_MIN, INT64_MAX, int64_t{0}));
        list.push_back({{time, i}, *ValuesOfKind(kind), *rc::gen::inRange(0, 3)});
    }
    return list;
}

RC_GTEST_PROP(AggregateLaw, AgreesWithPlainLoops, ()) {
    const Aggregate aggregate = *rc::gen::elementOf(kAll);
    CheckAgainstReference(aggregate, SomeList(aggregate));
}

RC_GTEST_PROP(AggregateLaw, DoesNotDependOnOrder, ()) {
    const Aggregate aggregate = *rc::gen::elementOf(kAll);
    List list = SomeList(aggregate);
    const std::string bytes = BytesOf(AddAll(aggregate, list));
    std::vector<std::pair<int, Added>> shuffled;
    for (const Added& added : list) shuffled.emplace_back(*rc::gen::inRange(0, 1000), added);
    std::stable_sort(shuffled.begin(), shuffled.end(), [](auto& a, auto& b) { return a.first < b.first; });
    for (size_t i = 0; i < list.size(); ++i) list[i] = shuffled[i].second;
    RC_ASSERT(BytesOf(AddAll(aggregate, list)) == bytes);
}

RC_GTEST_PROP(AggregateLaw, MergingIsAddingAll, ()) {
    const Aggregate aggregate = *rc::gen::elementOf(kAll);
    const List list = SomeList(aggregate);
    std::vector<List> parts(*rc::gen::inRange<size_t>(1, 5));
    for (const Added& added : list) parts[*rc::gen::inRange<size_t>(0, parts.size())].push_back(added);
    AggregateState merged(aggregate);
    for (const List& part : parts)  // each through bytes, as a stored profile comes
        merged.Merge(AggregateState::Read(aggregate, BytesOf(AddAll(aggregate, part))));
    RC_ASSERT(BytesOf(merged) == BytesOf(AddAll(aggregate, list)));
}

RC_GTEST_PROP(AggregateLaw, ComesBackFromBytes, ()) {
    const Aggregate aggregate = *rc::gen::elementOf(kAll);
    const List list = SomeList(aggregate);
    const AggregateState state = AddAll(aggregate, list);
    const AggregateState again = AggregateState::Read(aggregate, BytesOf(state));
    RC_ASSERT(BytesOf(again) == BytesOf(state));
    RC_ASSERT(again.Count() == state.Count());
    RC_ASSERT(again.Single().has_value() == state.Single().has_value());
    if (state.Single()) RC_ASSERT(BytesOf(*again.Single()) == BytesOf(*state.Single()));
    // It goes on as if it had never been stored.
    AggregateState more = again;
    const Added next{{7, 1000}, *ValuesOfKind(list.empty() || IsNumeric(aggregate) ? 3 : list.front().value.index()), 1};
    more.Add(next.stamp, next.value, next.rank);
    List longer = list;
    longer.push_back(next);
    RC_ASSERT(BytesOf(more) == BytesOf(AddAll(aggregate, longer)));
}

// Examples ----------------------------------------------------------------------------------------------------------

Value Text(std::string text) { return Value(std::move(text)); }

TEST(Aggregate, IsEmptyWithoutValues) {
    for (const Aggregate aggregate : kAll) {
        const AggregateState state(aggregate);
        EXPECT_EQ(state.Count(), 0);
        EXPECT_FALSE(state.Single());
        EXPECT_EQ(BytesOf(state), "");
    }
}

TEST(Aggregate, TakesTheLeastOfEquallyFrequent) {
    AggregateState state(Aggregate::kMostFrequent);
    for (const char* text : {"b", "c", "a", "c", "b"}) state.Add({}, Text(text));
    EXPECT_EQ(std::get<std::string>(*state.Single()), "b");
}

TEST(Aggregate, BreaksTiesInTimeByEventId) {
    AggregateState first(Aggregate::kFirst), last(Aggregate::kLast);
    for (auto* state : {&first, &last}) {
        state->Add({5, 2}, Text("two"));
        state->Add({5, 1}, Text("one"));
        state->Add({5, 3}, Text("three"));
    }
    EXPECT_EQ(std::get<std::string>(*first.Single()), "one");
    EXPECT_EQ(std::get<std::string>(*last.Single()), "three");
}

TEST(Aggregate, TrustsTheBestSourceAndThenTheLatest) {
    AggregateState state(Aggregate::kSourcePriority);
    state.Add({9, 1}, Text("shop"), 1);
    state.Add({1, 2}, Text("crm, old"), 0);
    state.Add({2, 3}, Text("crm"), 0);
    EXPECT_EQ(std::get<std::string>(*state.Single()), "crm");
}

TEST(Aggregate, CountsEqualNumbersTogetherWhateverTheirScale) {
    AggregateState state(Aggregate::kMostFrequent);
    state.Add({}, Decimal(2, 0));
    state.Add({}, Decimal(100, 2));
    state.Add({}, Decimal(10, 1));
    EXPECT_EQ(std::get<Decimal>(*state.Single()).ToString(), "1.0");  // as the plainest was written
}

TEST(Aggregate, SortsNotANumberLastAsPostgresDoes) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    AggregateState least(Aggregate::kMin), greatest(Aggregate::kMax);
    int64_t id = 0;
    for (const double value : {1.0, nan, -1.0, std::numeric_limits<double>::infinity()}) {
        least.Add({0, ++id}, value);
        greatest.Add({0, id}, value);
    }
    EXPECT_EQ(std::get<double>(*least.Single()), -1.0);
    EXPECT_TRUE(std::isnan(std::get<double>(*greatest.Single())));
}

TEST(Aggregate, KnowsItsNamesInSql) {
    EXPECT_EQ(AggregateNamed("count"), Aggregate::kCount);
    EXPECT_EQ(AggregateNamed("unique_list"), Aggregate::kUniqueList);
    EXPECT_FALSE(AggregateNamed("Count"));
    EXPECT_FALSE(AggregateNamed(""));
}

}  // namespace
}  // namespace cdp::profile
