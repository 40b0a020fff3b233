// courier_test.cpp: batches, order, attempts, with a clock and a network of our own.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

#include "relay/courier.hpp"

namespace cdp::relay {
namespace {

using namespace std::chrono_literals;
using Kind = Verdict::Kind;

const Monotonic::time_point kStart{1h};

Parcel Of(const std::string& key, uint64_t lsn) {
    Parcel parcel;
    parcel.change.key = key;
    parcel.change.lsn = lsn;
    parcel.change.id = key + "@" + std::to_string(lsn);
    return parcel;
}

Courier::Rules Rules(size_t batch, size_t in_flight = 4) {
    Courier::Rules rules;
    rules.batch_size = batch;
    rules.in_flight = in_flight;
    return rules;
}

std::vector<std::string> Ids(const Batch& batch) {
    std::vector<std::string> ids;
    for (const Change& change : batch.changes) ids.push_back(change.id);
    return ids;
}
using List = std::vector<std::string>;

void AnswerAll(Courier& courier, const Batch& batch, Kind kind, Monotonic::time_point now = kStart, std::optional<double> after = {}) {
    courier.Answer(batch.number, std::vector<Verdict>(batch.changes.size(), Verdict{kind, "said so", after}), 200, now);
}
List StoreAll(Courier& courier) {
    const auto settled = courier.TakeSettled();
    List ids;
    for (const Settled& one : settled) ids.push_back((one.refused ? "!" : "") + one.parcel.change.id);
    courier.Stored(settled);
    return ids;
}

TEST(Courier, TheNextChangeOfAKeyWaitsUntilTheAnswerToTheOneBeforeIsStored) {
    Courier courier(Rules(10), 1);
    courier.Add(Of("a", 1));
    courier.Add(Of("b", 2));
    courier.Add(Of("a", 3));
    Batch* const first = courier.Next(kStart);
    EXPECT_EQ(Ids(*first), (List{"a@1", "b@2"}));
    EXPECT_EQ(courier.Next(kStart), nullptr);
    AnswerAll(courier, *first, Kind::kDelivered);
    EXPECT_EQ(courier.Next(kStart), nullptr) << "answered, not stored";
    EXPECT_EQ(StoreAll(courier), (List{"a@1", "b@2"}));
    EXPECT_EQ(Ids(*courier.Next(kStart)), (List{"a@3"}));
    EXPECT_EQ(courier.size(), 1u);
}

Parcel Following(Parcel parcel, const List& after) {
    parcel.after = after;
    return parcel;
}

TEST(Courier, AKeyWaitsForThoseThatItFollows) {
    Courier courier(Rules(10), 1);
    courier.Add(Of("a", 1));
    courier.Add(Of("a", 2));
    courier.Add(Of("b", 3));
    courier.Add(Following(Of("c", 4), {"a", "b", "gone"}));
    courier.Add(Of("a", 5));
    courier.Add(Of("c", 6));
    const auto deliver = [&](const List& expected) {
        Batch* const batch = courier.Next(kStart);
        ASSERT_NE(batch, nullptr);
        EXPECT_EQ(Ids(*batch), expected);
        AnswerAll(courier, *batch, Kind::kDelivered);
        EXPECT_EQ(courier.Next(kStart), nullptr) << "not stored";
        StoreAll(courier);
    };
    deliver({"a@1", "b@3"});
    deliver({"a@2"});
    deliver({"a@5", "c@4"});  // not for what came to a later
    deliver({"c@6"});
    EXPECT_EQ(courier.size(), 0u);
}

TEST(Courier, AKeyThatFollowsOneWhichFollowsItIsNoRing) {
    Courier courier(Rules(10), 1);
    courier.Add(Of("a", 1));
    courier.Add(Following(Of("b", 2), {"a"}));
    courier.Add(Following(Of("a", 3), {"b", "a"}));
    courier.Add(Following(Of("b", 4), {"a"}));
    List all;
    while (Batch* const batch = courier.Next(kStart)) {
        EXPECT_EQ(batch->changes.size(), 1u);
        all.push_back(Ids(*batch)[0]);
        AnswerAll(courier, *batch, all.size() == 2 ? Kind::kRefused : Kind::kDelivered);
        StoreAll(courier);
    }
    EXPECT_EQ(all, (List{"a@1", "b@2", "a@3", "b@4"}));
}

TEST(Courier, WhatFollowsIsEmptiedAsWell) {
    Courier courier(Rules(10), 1);
    courier.Add(Of("a", 1));
    courier.Add(Following(Of("b", 2), {"a"}));
    courier.Add(Of("b", 3));
    Batch* const batch = courier.Next(kStart);
    EXPECT_EQ(courier.Empty().size(), 3u);
    EXPECT_FALSE(courier.Has("b"));
    AnswerAll(courier, *batch, Kind::kDelivered);
    StoreAll(courier);
    EXPECT_EQ(courier.size(), 0u);
    EXPECT_EQ(courier.Next(kStart), nullptr);
}

TEST(Courier, WhatComesAfterARefusedInsertIsAnInsert) {
    Courier courier(Rules(10), 1);
    const auto of_kind = [](Parcel parcel, Change::Kind kind) {
        parcel.change.kind = kind;
        return parcel;
    };
    courier.Add(of_kind(Of("a", 1), Change::Kind::kInsert));
    courier.Add(of_kind(Of("b", 2), Change::Kind::kUpdate));
    for (const char* key : {"a", "a", "b"}) courier.Add(of_kind(Of(key, 3), Change::Kind::kUpdate));
    std::map<std::string, std::vector<Change::Kind>> sent;
    while (Batch* const batch = courier.Next(kStart)) {
        for (const Change& change : batch->changes) sent[change.key].push_back(change.kind);
        AnswerAll(courier, *batch, sent["a"].size() < 3 ? Kind::kRefused : Kind::kDelivered);
        StoreAll(courier);
    }
    EXPECT_EQ(sent["a"], (std::vector(3, Change::Kind::kInsert))) << "each was refused";
    EXPECT_EQ(sent["b"], (std::vector(2, Change::Kind::kUpdate))) << "it holds what it had before";
}

TEST(Courier, NoMoreRequestsThanAllowedAtATime) {
    Courier courier(Rules(1, 2), 1);
    for (int i = 0; i < 5; ++i) courier.Add(Of("k" + std::to_string(i), i));
    Batch* const one = courier.Next(kStart);
    EXPECT_NE(courier.Next(kStart), nullptr);
    EXPECT_EQ(courier.Next(kStart), nullptr);
    AnswerAll(courier, *one, Kind::kDelivered);
    EXPECT_NE(courier.Next(kStart), nullptr);
}

TEST(Courier, NoMoreRequestsASecondThanAllowed) {
    auto rules = Rules(1, 100);
    rules.rate_limit = 10;
    Courier courier(std::move(rules), 1);
    for (int i = 0; i < 100; ++i) courier.Add(Of("k" + std::to_string(i), i));
    int sent = 0;
    for (auto now = kStart; now < kStart + 2s; now += 1ms)
        if (courier.Next(now) != nullptr) ++sent;
    EXPECT_EQ(sent, 20);
    EXPECT_EQ(*courier.Wake(), kStart + 2s);
}

TEST(Courier, TakesWhatTheConnectorTakes) {
    auto rules = Rules(10);
    rules.take = [](std::span<const Change> changes) { return std::min<size_t>(changes.size(), 2); };
    rules.refusal = [](const Change& change) { return change.key == "bad" ? std::optional<std::string>("no e-mail") : std::nullopt; };
    Courier courier(std::move(rules), 1);
    for (const char* key : {"a", "bad", "b", "c"}) courier.Add(Of(key, 1));
    EXPECT_EQ(Ids(*courier.Next(kStart)), (List{"a@1", "b@1"}));
    EXPECT_EQ(Ids(*courier.Next(kStart)), (List{"c@1"}));
    EXPECT_EQ(StoreAll(courier), (List{"!bad@1"})) << "refused without a request";
}

TEST(Courier, ADeadDestinationIsTriedByOneRequestAtATimeAfterGrowingPauses) {
    Courier courier(Rules(1, 4), 1);
    for (int i = 0; i < 10; ++i) courier.Add(Of("k" + std::to_string(i), i));
    std::vector<Batch*> batches;
    while (Batch* const batch = courier.Next(kStart)) batches.push_back(batch);
    ASSERT_EQ(batches.size(), 4u);
    for (Batch* const batch : batches) AnswerAll(courier, *batch, Kind::kRetry);
    EXPECT_EQ(courier.failures(), 1u) << "those that were in flight together are one failure";

    auto now = kStart;
    double longest = 0;
    int attempts = 0;
    for (; attempts < 12; ++attempts) {
        const auto wake = courier.Wake();
        ASSERT_TRUE(wake);
        const double pause = Seconds(*wake - now).count();
        longest = std::max(longest, pause);
        const double whole = std::min(60.0, 0.5 * std::exp2(attempts));
        EXPECT_GE(pause, whole / 2 - 1e-6) << attempts;
        EXPECT_EQ(courier.Next(*wake - 1ms), nullptr);
        now = *wake;
        Batch* const batch = courier.Next(now);
        ASSERT_NE(batch, nullptr);
        EXPECT_EQ(courier.Next(now), nullptr) << "one at a time";
        AnswerAll(courier, *batch, Kind::kRetry, now);
    }
    EXPECT_LE(longest, 60.001);
    EXPECT_GE(longest, 30);

    // It comes back: everything arrives, at the full rate.
    std::set<std::string> arrived;
    for (int i = 0; i < 100 && courier.size() > 0; ++i) {
        now = std::max(now, courier.Wake().value_or(now));
        while (Batch* const batch = courier.Next(now)) {
            for (const auto& id : Ids(*batch)) arrived.insert(id);
            AnswerAll(courier, *batch, Kind::kDelivered, now);
            StoreAll(courier);
        }
    }
    EXPECT_EQ(arrived.size(), 10u);
    EXPECT_EQ(courier.failures(), 0u);
    EXPECT_EQ(courier.bytes(), 0u);
}

TEST(Courier, WaitsAsLongAsItIsAskedTo) {
    Courier courier(Rules(1), 1);
    courier.Add(Of("a", 1));
    courier.Add(Of("b", 2));
    AnswerAll(courier, *courier.Next(kStart), Kind::kRetry, kStart, 120);
    EXPECT_EQ(courier.Next(kStart + 119s), nullptr) << "the whole destination waits";
    EXPECT_NE(courier.Next(kStart + 120s), nullptr);
}

TEST(Courier, FindsTheGuiltyOnesByHalving) {
    for (size_t count : {1u, 2u, 7u, 100u}) {
        Courier courier(Rules(count), 1);
        std::set<std::string> guilty;
        for (size_t i = 0; i < count; ++i) courier.Add(Of("k" + std::to_string(i), i));
        guilty.insert("k" + std::to_string(count / 3));
        if (count > 50) guilty.insert("k99");
        size_t requests = 0;
        while (Batch* const batch = courier.Next(kStart)) {
            ++requests;
            const bool bad = std::any_of(batch->changes.begin(), batch->changes.end(), [&](const Change& c) { return guilty.contains(c.key); });
            AnswerAll(courier, *batch, !bad ? Kind::kDelivered : batch->changes.size() > 1 ? Kind::kSplit : Kind::kRefused);
        }
        std::set<std::string> refused;
        size_t delivered = 0;
        for (const Settled& one : courier.TakeSettled()) {
            if (one.refused) refused.insert(one.parcel.change.key);
            else ++delivered;
        }
        EXPECT_EQ(refused, guilty);
        EXPECT_EQ(delivered, count - guilty.size());
        EXPECT_LE(requests, 1 + guilty.size() * 2 * 7);
        EXPECT_EQ(courier.failures(), 0u) << "no reason to wait";
    }
}

TEST(Courier, ABatchThatFailsWhileOthersSucceedHoldsUpNobodyElse) {
    Courier courier(Rules(10, 2), 1);
    for (int i = 0; i < 500; ++i) courier.Add(Of("k" + std::to_string(i), i));
    auto now = kStart;
    std::set<std::string> delivered;
    while (delivered.size() < 499 && now < kStart + 10min) {
        while (Batch* const batch = courier.Next(now)) {
            const bool bad = std::any_of(batch->changes.begin(), batch->changes.end(), [](const Change& c) { return c.key == "k13"; });
            for (const Change& change : batch->changes)
                if (!bad) delivered.insert(change.key);
            AnswerAll(courier, *batch, bad ? Kind::kRetry : Kind::kDelivered, now);
            StoreAll(courier);
        }
        now = std::max(now + 1ms, courier.Wake().value_or(now));
    }
    EXPECT_EQ(delivered.size(), 499u);
    EXPECT_LT(now, kStart + 1min);
    EXPECT_EQ(courier.size(), 1u);
    EXPECT_TRUE(courier.Has("k13"));
}

TEST(Courier, KeepsWhatAnAnswerDoesNotSpeakOf) {
    Courier courier(Rules(3), 1);
    for (const char* key : {"a", "b", "c"}) courier.Add(Of(key, 1));
    Batch* const batch = courier.Next(kStart);
    courier.Answer(batch->number, {Verdict{}, Verdict{Kind::kRefused, "no", {}}}, 200, kStart);
    EXPECT_EQ(StoreAll(courier), (List{"a@1", "!b@1"}));
    EXPECT_EQ(courier.size(), 1u);
    EXPECT_EQ(Ids(*courier.Next(kStart + 1min)), (List{"c@1"}));
    courier.Answer(12345, {}, 200, kStart);  // of nobody
}

TEST(Courier, EmptyForgetsAllButWhatIsUnderWay) {
    Courier courier(Rules(1, 2), 1);
    for (uint64_t i = 1; i <= 6; ++i) {
        Parcel parcel = Of(i == 6 ? "k1" : "k" + std::to_string(i), i);
        parcel.transaction = i;
        courier.Add(std::move(parcel));
    }
    Batch* const first = courier.Next(kStart);
    Batch* const second = courier.Next(kStart);
    AnswerAll(courier, *second, Kind::kDelivered);
    const auto all = courier.Empty();
    std::multiset<uint64_t> transactions;
    for (const Parcel& parcel : all) transactions.insert(parcel.transaction);
    EXPECT_EQ(transactions, (std::multiset<uint64_t>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(courier.size(), 2u);
    EXPECT_TRUE(courier.Has("k1") && courier.Has("k2") && !courier.Has("k3"));
    AnswerAll(courier, *first, Kind::kDelivered);
    const auto settled = courier.TakeSettled();
    for (const Settled& one : settled) EXPECT_EQ(one.parcel.transaction, 0u) << "counted already";
    courier.Stored(settled);
    EXPECT_EQ(courier.size(), 0u);
    EXPECT_EQ(courier.Next(kStart), nullptr);
}

// Whatever the network does, every change is settled once, each key's in order, and never two of a key at a time, nor one before
// those that were there of a key that it follows.
RC_GTEST_PROP(CourierLaw, EveryChangeOnceAndInOrder, ()) {
    const auto batch_size = *rc::gen::inRange<size_t>(1, 8);
    Courier courier(Rules(batch_size, *rc::gen::inRange<size_t>(1, 5)), *rc::gen::arbitrary<uint64_t>());
    const auto keys = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 6));
    std::map<std::string, std::vector<uint64_t>> settled, added;
    std::map<uint64_t, std::vector<Change>> in_flight;
    std::map<uint64_t, std::set<uint64_t>> before;  // of each what is to be settled first
    std::set<uint64_t> done;
    auto now = kStart;
    size_t next = 0;
    for (int step = 0; step < 2000 && (next < keys.size() || courier.size() > 0); ++step) {
        if (next < keys.size() && *rc::gen::inRange(0, 2) == 0) {
            const std::string key = std::to_string(keys[next]);
            const std::string followed = std::to_string(*rc::gen::inRange(0, 12));  // half of them nobody has
            for (const uint64_t earlier : added[followed]) before[next + 1].insert(earlier);
            added[key].push_back(++next);
            courier.Add(Following(Of(key, next), {followed}));
        }
        if (const Batch* const batch = courier.Next(now)) {
            RC_ASSERT(batch->changes.size() >= 1u && batch->changes.size() <= batch_size);
            in_flight[batch->number] = batch->changes;
            std::set<std::string> under_way;
            for (const auto& [number, changes] : in_flight)
                for (const Change& change : changes) RC_ASSERT(under_way.insert(change.key).second);
            for (const Change& change : batch->changes)
                for (const uint64_t earlier : before[change.lsn]) RC_ASSERT(done.contains(earlier));
        }
        if (!in_flight.empty() && *rc::gen::inRange(0, 2) == 0) {
            const auto [number, changes] = *in_flight.begin();
            std::vector<Verdict> verdicts;
            const bool lucky = step > 1000;
            for (size_t i = 0; i < changes.size(); ++i)
                verdicts.push_back({lucky ? Kind::kDelivered : *rc::gen::element(Kind::kDelivered, Kind::kRetry, Kind::kRefused, Kind::kSplit), "", {}});
            in_flight.erase(number);
            courier.Answer(number, verdicts, 200, now);
        }
        if (*rc::gen::inRange(0, 3) == 0) {
            const auto some = courier.TakeSettled();
            for (const Settled& one : some) settled[one.parcel.change.key].push_back(one.parcel.change.lsn), done.insert(one.parcel.change.lsn);
            courier.Stored(some);
        }
        if (const auto wake = courier.Wake(); wake && *rc::gen::inRange(0, 2) == 0) now = std::max(now, *wake);
    }
    RC_ASSERT(courier.size() == 0u);
    std::erase_if(added, [](const auto& entry) { return entry.second.empty(); });
    RC_ASSERT(settled == added);
}

}  // namespace
}  // namespace cdp::relay
