// pgoutput_test.cpp: the replication stream, taken apart.
#include <gtest/gtest.h>

#include "pg/error.hpp"
#include "relay/arrival.hpp"
#include "relay/pgoutput.hpp"
#include "relay/row.hpp"
#include "relay/watermark.hpp"

namespace cdp::relay {
namespace {

using pgoutput::Field;
using pgoutput::Tuple;

std::string Number(uint64_t value, int bytes) {
    std::string text;
    for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
    return text;
}
std::string Name(const std::string& name) { return name + '\0'; }
std::string Text(const std::string& value) { return "t" + Number(value.size(), 4) + value; }

std::string Relation(uint32_t id = 7) {
    return "R" + Number(id, 4) + Name("cdp_out") + Name("crm") + "d" + Number(3, 2) + '\1' + Name("email") + Number(25, 4) + Number(-1, 4) +
           '\0' + Name("orders") + Number(20, 4) + Number(-1, 4) + '\0' + Name("notes") + Number(25, 4) + Number(-1, 4);
}
std::string Values(const std::string& email, const std::string& orders, const std::string& notes) {
    return Number(3, 2) + Text(email) + orders + notes;
}

template <class T>
T Take(const std::string& message) {
    return std::get<T>(pgoutput::Decode(message));
}
Field Known(const std::string& text) { return {Field::Kind::kText, text}; }

TEST(Pgoutput, ReadsWhatPostgresWrites) {
    EXPECT_EQ(Take<pgoutput::Begin>("B" + Number(0x1234567890, 8) + Number(0, 8) + Number(5, 4)).final_lsn, 0x1234567890u);
    EXPECT_EQ(Take<pgoutput::Commit>("C" + Number(0, 1) + Number(1, 8) + Number(99, 8) + Number(0, 8)).end_lsn, 99u);
    const auto relation = Take<pgoutput::Relation>(Relation());
    EXPECT_EQ(relation.id, 7u);
    EXPECT_EQ(relation.schema + "." + relation.name, "cdp_out.crm");
    ASSERT_EQ(relation.columns.size(), 3u);
    EXPECT_TRUE(relation.columns[0].key);
    EXPECT_FALSE(relation.columns[1].key);
    EXPECT_EQ(relation.columns[1].type, 20u);
    const auto insert = Take<pgoutput::Row>("I" + Number(7, 4) + "N" + Values("a@x.org", Text("2"), "n"));
    EXPECT_EQ(insert.kind, pgoutput::Row::Kind::kInsert);
    EXPECT_EQ(*insert.row, (Tuple{Known("a@x.org"), Known("2"), Field{}}));
    const auto update = Take<pgoutput::Row>("U" + Number(7, 4) + "K" + Values("a@x.org", "n", "n") + "N" + Values("b@x.org", Text("2"), "u"));
    EXPECT_EQ((*update.old)[0], Known("a@x.org"));
    EXPECT_EQ((*update.row)[2].kind, Field::Kind::kUnchanged);
    EXPECT_FALSE(Take<pgoutput::Row>("U" + Number(7, 4) + "N" + Values("a", "n", "n")).old);
    EXPECT_FALSE(Take<pgoutput::Row>("D" + Number(7, 4) + "K" + Values("a", "n", "n")).row);
    EXPECT_EQ(Take<pgoutput::Truncate>("T" + Number(2, 4) + Number(0, 1) + Number(7, 4) + Number(8, 4)).relations, (std::vector<uint32_t>{7, 8}));
    EXPECT_TRUE(std::holds_alternative<pgoutput::Other>(pgoutput::Decode("Y whatever")));
}

TEST(Pgoutput, RefusesAnythingElse) {
    const std::string good = "U" + Number(7, 4) + "K" + Values("a@x.org", "n", "n") + "N" + Values("b@x.org", Text("2"), "u");
    for (size_t length = 0; length < good.size(); ++length) EXPECT_THROW(pgoutput::Decode(good.substr(0, length)), Error) << length;
    EXPECT_THROW(pgoutput::Decode(good + "x"), Error);
    EXPECT_THROW(pgoutput::Decode("Z"), Error);
    EXPECT_THROW(pgoutput::Decode("I" + Number(7, 4) + "K" + Values("a", "n", "n")), Error);
    EXPECT_THROW(pgoutput::Decode("D" + Number(7, 4) + "N" + Values("a", "n", "n")), Error);
    EXPECT_THROW(pgoutput::Decode("I" + Number(7, 4) + "N" + Number(1, 2) + "b" + Number(0, 4)), Error);
    EXPECT_THROW(pgoutput::Decode("I" + Number(7, 4) + "N" + Number(1, 2) + "t" + Number(0xFFFFFFFF, 4)), Error);
}

TEST(Arrivals, AreOfOneKeyEach) {
    Arrivals arrivals("crm", "email");
    const auto take = [&](const std::string& message) { return arrivals.Take(Take<pgoutput::Row>(message), 5); };
    const std::string insert = "I" + Number(7, 4) + "N" + Values("a@x.org", Text("2"), Text("x"));
    EXPECT_THROW(take(insert), Error) << "a table that was not described";
    arrivals.Know(Take<pgoutput::Relation>(Relation()));
    const auto one = take(insert);
    ASSERT_EQ(one.size(), 1u);
    EXPECT_EQ(one[0].key, "a@x.org");
    const Parcel parcel = one[0].ToParcel("crm", "email");
    EXPECT_EQ(parcel.change.kind, Change::Kind::kInsert);
    EXPECT_EQ(parcel.change.row, (nlohmann::json{{"email", "a@x.org"}, {"orders", 2}, {"notes", "x"}}));
    EXPECT_EQ(parcel.change.id, ChangeId("crm", "a@x.org", 5));
    EXPECT_NE(parcel.change.id, ChangeId("crm", "a@x.org", 6));

    const auto moved = take("U" + Number(7, 4) + "K" + Values("a@x.org", "n", "n") + "N" + Values("b@x.org", Text("2"), "n"));
    ASSERT_EQ(moved.size(), 2u) << "who has another key leaves under the one before";
    EXPECT_EQ(moved[0].kind, Change::Kind::kDelete);
    EXPECT_EQ(moved[0].key, "a@x.org");
    EXPECT_EQ(moved[1].kind, Change::Kind::kInsert);
    EXPECT_EQ(moved[1].key, "b@x.org");

    const auto gone = take("D" + Number(7, 4) + "K" + Values("a@x.org", "n", "n"));
    EXPECT_EQ(gone[0].ToParcel("crm", "email").change.row, (nlohmann::json{{"email", "a@x.org"}}));
    EXPECT_TRUE(gone[0].ToParcel("crm", "email").hash.empty());
    EXPECT_THROW(take("D" + Number(7, 4) + "K" + Number(3, 2) + "nnn"), Error) << "without its key";
    EXPECT_THROW(take("D" + Number(7, 4) + "K" + Number(1, 2) + Text("a")), Error) << "does not fit";
}

TEST(Arrivals, FollowTheKeysThatTheirPersonHadBefore) {
    Arrivals arrivals("crm", "email");
    arrivals.Know(Take<pgoutput::Relation>(Relation()));
    const auto note = [&](const std::string& prefix, const std::string& content) {
        arrivals.Heed(Take<pgoutput::Note>("M" + Number(1, 1) + Number(9, 8) + prefix + '\0' + Number(static_cast<uint32_t>(content.size()), 4) + content));
    };
    const auto after = [&](const std::string& key) {
        return arrivals.Take(Take<pgoutput::Row>("I" + Number(7, 4) + "N" + Values(key, Text("2"), "n")), 5).back().ToParcel("crm", "email").after;
    };
    using List = std::vector<std::string>;
    note("cdp_delivery", R"({"destination": "crm", "key": "b", "after": "a"})");
    note("cdp_delivery", R"({"destination": "crm", "key": "b", "after": "c"})");
    note("cdp_delivery", R"({"destination": "ads", "key": "b", "after": "d"})");
    note("another", R"({"destination": "crm", "key": "b", "after": "e"})");
    for (const char* odd : {"", "{", "[]", "7", R"({"destination": "crm"})", R"({"destination": "crm", "key": 1, "after": "f"})"}) note("cdp_delivery", odd);
    EXPECT_EQ(after("b"), (List{"a", "c"}));
    EXPECT_EQ(after("a"), List());
    EXPECT_EQ(arrivals.Take(Take<pgoutput::Row>("D" + Number(7, 4) + "K" + Values("b", "n", "n")), 5)[0].after, List()) << "who leaves waits for nobody";
    arrivals.Begin();
    EXPECT_EQ(after("b"), List()) << "another transaction";
    EXPECT_EQ(arrivals.Take(Take<pgoutput::Row>("U" + Number(7, 4) + "K" + Values("a", "n", "n") + "N" + Values("b", Text("2"), "n")), 5)[1].after, (List{"a"}));
}

TEST(Arrivals, TakeWhatWasNotSentFromTheRowAsItIs) {
    Arrivals arrivals("crm", "email");
    arrivals.Know(Take<pgoutput::Relation>(Relation()));
    auto one = arrivals.Take(Take<pgoutput::Row>("U" + Number(7, 4) + "N" + Values("a", Text("3"), "u")), 5);
    ASSERT_TRUE(one[0].Incomplete());
    const std::vector<pgoutput::Column> columns{{"notes", 25, false}, {"email", 25, true}, {"orders", 20, false}};
    EXPECT_TRUE(one[0].Complete(columns, {Known("long"), Known("a"), Known("9")}));
    EXPECT_FALSE(one[0].Incomplete());
    EXPECT_EQ(one[0].ToParcel("crm", "email").change.row, (nlohmann::json{{"email", "a"}, {"orders", 3}, {"notes", "long"}}));
}

TEST(Row, IsTypedAsToJsonbTypesIt) {
    EXPECT_EQ(TypedValue(16, "t"), true);
    EXPECT_EQ(TypedValue(20, "-999999999999999"), -999999999999999);
    EXPECT_EQ(TypedValue(20, "9223372036854775807"), "9223372036854775807") << "readers of JSON would make a double of it";
    EXPECT_EQ(TypedValue(20, "1000000000000000"), TypedValue(1700, "1000000000000000")) << "whichever type it is of";
    EXPECT_EQ(TypedValue(1016, "{1,9007199254740993}"), (nlohmann::json{1, "9007199254740993"}));
    EXPECT_EQ(TypedValue(1700, "1.10").dump(), "1.1");
    EXPECT_EQ(TypedValue(1700, "125.50"), 125.5);
    EXPECT_EQ(TypedValue(1700, "12.00").dump(), "12");
    EXPECT_EQ(TypedValue(1700, "-0.50").dump(), "-0.5");
    EXPECT_EQ(TypedValue(1700, "100").dump(), "100");
    EXPECT_EQ(TypedValue(1700, "0.000000000000001"), 1e-15);
    EXPECT_EQ(TypedValue(1700, "12345678901234567890.123"), "12345678901234567890.123") << "no digit is lost";
    EXPECT_EQ(TypedValue(1700, "NaN"), "NaN");
    EXPECT_EQ(TypedValue(701, "0.30000000000000004"), 0.30000000000000004);
    EXPECT_EQ(TypedValue(701, "-Infinity"), "-Infinity");
    EXPECT_EQ(TypedValue(1184, "2026-01-31 10:00:00.5+00"), "2026-01-31T10:00:00.5+00:00");
    EXPECT_EQ(TypedValue(1184, "infinity"), "infinity");
    EXPECT_EQ(TypedValue(1114, "2026-01-31 10:00:00"), "2026-01-31T10:00:00");
    EXPECT_EQ(TypedValue(3802, R"({"a": [1, null]})"), (nlohmann::json{{"a", {1, nullptr}}}));
    EXPECT_EQ(TypedValue(3802, R"({"id": 123456789012345678901234, "d": [0.30000000000000000004, 0.30000000000000004, -1.5e3]})"),
              (nlohmann::json{{"id", "123456789012345678901234"}, {"d", {"0.30000000000000000004", 0.30000000000000004, -1500.0}}}))
        << "what a double would change is a text";
    EXPECT_EQ(TypedValue(114, R"({"12345678901234567890": "9007199254740993 \" 1", "b": 1e400})"),
              (nlohmann::json{{"12345678901234567890", "9007199254740993 \" 1"}, {"b", "1e400"}}));
    EXPECT_EQ(TypedValue(3802, "9007199254740993"), "9007199254740993");
    EXPECT_EQ(TypedValue(1009, R"({vip,"two words",NULL,"NULL","a\"b\\c"})"), (nlohmann::json{"vip", "two words", nullptr, "NULL", "a\"b\\c"}));
    EXPECT_EQ(TypedValue(1016, "{{1,2},{3,4}}"), (nlohmann::json{{1, 2}, {3, 4}}));
    EXPECT_EQ(TypedValue(1016, "[0:1]={1,2}"), (nlohmann::json{1, 2}));
    EXPECT_EQ(TypedValue(1009, "{}"), nlohmann::json::array());
    EXPECT_EQ(TypedValue(1009, "{a"), "{a");
    EXPECT_EQ(TypedValue(25, "\xff"), "\xEF\xBF\xBD");
}

TEST(Row, HasTheHashThatPostgresGivesIt) {
    // SELECT md5(ROW('a', NULL, '', 'b c', 'd"e', 'f\g', 'h,i', '(j)', 'ü')::text)
    EXPECT_EQ(RowHash({Known("a"), Field{}, Known(""), Known("b c"), Known("d\"e"), Known("f\\g"), Known("h,i"), Known("(j)"), Known("ü")}),
              "c5aa4ffffd81c2df2724d1b24b5b7d9f");
}

TEST(Row, PositionsAreWrittenAsPostgresDoes) {
    EXPECT_EQ(LsnText(0x16B374D848), "16/B374D848");
    EXPECT_EQ(ParseLsn("16/B374D848"), 0x16B374D848u);
    for (const char* text : {"", "1", "1/", "/1", "1/G", "1/1 ", "111111111/1"}) EXPECT_THROW(ParseLsn(text), Error) << text;
}

TEST(Past, IsWhatACheckpointHasSeenConfirmed) {
    Past past;
    EXPECT_EQ(past.Ask(1, 100, 90, 150), std::nullopt);   // confirmed, but who knows whether the server has heard of it
    EXPECT_EQ(past.Ask(1, 160, 120, 200), std::nullopt);  // it has, and a checkpoint may have begun before it did
    EXPECT_EQ(past.Ask(1, 210, 199, 250), std::nullopt);
    EXPECT_EQ(past.Ask(1, 260, 200, 300), 100);
    EXPECT_EQ(past.Ask(1, 310, 200, 350), std::nullopt);
    EXPECT_EQ(past.Ask(1, 310, 200, 400), std::nullopt);
    EXPECT_EQ(past.Ask(1, 310, 400, 400), 310);
}

TEST(Past, EndsWithTheSession) {
    Past past;
    EXPECT_EQ(past.Ask(1, 100, 90, 150), std::nullopt);
    EXPECT_EQ(past.Ask(1, 160, 120, 200), std::nullopt);
    // The server has crashed, and its recovery ended with a checkpoint: of slots as they had been at the one before.
    EXPECT_EQ(past.Ask(2, 80, 300, 310), std::nullopt);
    EXPECT_EQ(past.Ask(2, 200, 300, 320), std::nullopt);
    EXPECT_EQ(past.Ask(2, 200, 330, 340), 80);
}

TEST(Watermark, PassesATransactionOnlyAfterAllBeforeIt) {
    Watermark mark(10);
    EXPECT_EQ(mark.Hold(), 0u) << "outside of a transaction";
    mark.Begin();
    const auto first = mark.Hold(), also_first = mark.Hold();
    EXPECT_EQ(first, also_first);
    mark.Commit(20);
    mark.Begin();
    const auto second = mark.Hold();
    mark.Commit(30);
    mark.Release(second);
    EXPECT_EQ(mark.confirmed(), 10u);
    mark.Release(first);
    mark.Received(100);
    EXPECT_EQ(mark.confirmed(), 10u) << "something is not settled yet";
    mark.Release(first);
    EXPECT_EQ(mark.confirmed(), 30u);
    mark.Release(first);  // of long ago
    mark.Received(50);
    mark.Received(40);
    EXPECT_EQ(mark.confirmed(), 50u);
    mark.Begin();
    mark.Received(60);
    EXPECT_EQ(mark.confirmed(), 50u) << "a transaction is open";
    mark.Commit(70);
    EXPECT_EQ(mark.confirmed(), 70u) << "nothing of ours was in it";
}

}  // namespace
}  // namespace cdp::relay
