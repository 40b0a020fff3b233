// snapshot_test.cpp: which transactions had ended when a snapshot was taken.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "collect/snapshot.hpp"
#include "pg/error.hpp"

namespace cdp::collect {
namespace {

TEST(Snapshot, ReadsWhatPostgresWrites) {
    const auto snapshot = TransactionSnapshot::Parse("10:20:10,14,15");
    EXPECT_EQ(snapshot.xmin, 10u);
    EXPECT_EQ(snapshot.xmax, 20u);
    EXPECT_EQ(snapshot.running, (std::vector<uint64_t>{10, 14, 15}));
    EXPECT_EQ(snapshot.ToString(), "10:20:10,14,15");
    EXPECT_EQ(TransactionSnapshot::Parse("7:7:").ToString(), "7:7:");
    EXPECT_EQ(TransactionSnapshot::Parse("18446744073709551614:18446744073709551615:").xmax, UINT64_MAX);
}

TEST(Snapshot, RefusesAnythingElse) {
    for (const char* text : {"", ":", "1", "1:", "x:2:", "1:2:x", "1:2:3;4", "-1:2:", "1:99999999999999999999:", " 1:2:", "1:2:,", "1:9:3,,4", "9:1:", "3:9:5,4", "3:9:4,4",
                             "3:9:2", "3:9:9"}) {
        try {
            TransactionSnapshot::Parse(text);
            ADD_FAILURE() << "took \"" << text << '"';
        } catch (const Error& error) {
            EXPECT_EQ(error.sqlstate, sqlstate::data_corrupted) << text;
        }
    }
}

TEST(Snapshot, KnowsWhoHadEnded) {
    const auto snapshot = TransactionSnapshot::Parse("10:20:10,14");
    EXPECT_TRUE(snapshot.Ended(9));
    EXPECT_FALSE(snapshot.Ended(10));
    EXPECT_TRUE(snapshot.Ended(11));
    EXPECT_FALSE(snapshot.Ended(14));
    EXPECT_TRUE(snapshot.Ended(19));
    EXPECT_FALSE(snapshot.Ended(20));
    EXPECT_FALSE(snapshot.Ended(1000));
}

rc::Gen<TransactionSnapshot> Snapshots() {
    return rc::gen::exec([] {
        TransactionSnapshot snapshot;
        snapshot.xmin = *rc::gen::inRange<uint64_t>(3, 40);
        snapshot.xmax = snapshot.xmin + *rc::gen::inRange<uint64_t>(0, 30);
        for (uint64_t xid = snapshot.xmin; xid < snapshot.xmax; ++xid)
            if (*rc::gen::arbitrary<bool>()) snapshot.running.push_back(xid);
        return snapshot;
    });
}

RC_GTEST_PROP(SnapshotLaw, ComesBackFromText, ()) {
    const auto snapshot = *Snapshots();
    const auto again = TransactionSnapshot::Parse(snapshot.ToString());
    RC_ASSERT(again.xmin == snapshot.xmin && again.xmax == snapshot.xmax && again.running == snapshot.running);
}

RC_GTEST_PROP(SnapshotLaw, AddRunningChangesThatOneAlone, ()) {
    const auto snapshot = *Snapshots();
    const auto xid = *rc::gen::inRange<uint64_t>(1, 80);
    auto changed = snapshot;
    changed.AddRunning(xid);
    RC_ASSERT(!changed.Ended(xid));
    for (uint64_t other = 1; other < 80; ++other)
        if (other != xid) RC_ASSERT(changed.Ended(other) == snapshot.Ended(other));
    // And it survives being stored.
    const auto stored = TransactionSnapshot::Parse(changed.ToString());
    for (uint64_t other = 1; other < 80; ++other) RC_ASSERT(stored.Ended(other) == changed.Ended(other));
}

}  // namespace
}  // namespace cdp::collect
