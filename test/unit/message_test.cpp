// message_test.cpp: what makes a message unacceptable.
#include <gtest/gtest.h>

#include "collect/message.hpp"

namespace cdp::collect {
namespace {

std::string Reason(const Message& message) {
    const auto refusal = Refuse(message);
    return refusal ? refusal->reason : "accepted";
}

TEST(Refuse, LetsTheSixTypesPass) {
    EXPECT_EQ(Reason({.type = "identify"}), "accepted");
    EXPECT_EQ(Reason({.type = "track", .event = "Order Completed"}), "accepted");
    EXPECT_EQ(Reason({.type = "page"}), "accepted");
    EXPECT_EQ(Reason({.type = "screen"}), "accepted");
    EXPECT_EQ(Reason({.type = "group", .group_id = "g1"}), "accepted");
    EXPECT_EQ(Reason({.type = "alias", .user_id = "u1", .previous_id = "a1"}), "accepted");
}

TEST(Refuse, NamesWhatIsMissing) {
    EXPECT_EQ(Reason({.type = "Track"}), "unknown type");
    EXPECT_EQ(Reason({.type = ""}), "unknown type");
    EXPECT_EQ(Reason({.type = "track"}), "track without event");
    EXPECT_EQ(Reason({.type = "track", .event = " \t\n"}), "track without event");
    EXPECT_EQ(Reason({.type = "group"}), "group without group_id");
    EXPECT_EQ(Reason({.type = "alias", .user_id = "u1"}), "alias without previous_id");
    EXPECT_EQ(Reason({.type = "alias", .previous_id = "a1"}), "alias without user_id");
}

TEST(Refuse, CountsCharactersAndNotBytes) {
    std::string id;
    for (int i = 0; i < 200; ++i) id += "ü";
    EXPECT_EQ(Reason({.type = "page", .user_id = id}), "accepted");
    id += "ü";
    EXPECT_EQ(Reason({.type = "page", .user_id = id}), "user_id is too long");
    EXPECT_EQ(Reason({.type = "track", .event = std::string(500, 'x')}), "accepted");
    EXPECT_EQ(Reason({.type = "track", .event = std::string(501, 'x')}), "event is too long");
}

TEST(Refuse, HoldsTheLimitsOfSizeAndTime) {
    EXPECT_EQ(Reason({.type = "page", .bytes = 32 * 1024}), "accepted");
    EXPECT_EQ(Reason({.type = "page", .bytes = 32 * 1024 + 1}), "message is too large");
    EXPECT_EQ(Reason({.type = "page", .occurred_at = kFarthestAhead, .received_at = 0}), "accepted");
    EXPECT_EQ(Reason({.type = "page", .occurred_at = kFarthestAhead + 1, .received_at = 0}), "occurred_at is in the future");
    EXPECT_EQ(Reason({.type = "page", .occurred_at = INT64_MAX - 1, .received_at = INT64_MIN + 1}), "occurred_at is in the future");
}

TEST(Refuse, KnowsNoInfinity) {
    EXPECT_EQ(Reason({.type = "page", .occurred_at = INT64_MAX}), "occurred_at is in the future");
    EXPECT_EQ(Reason({.type = "page", .occurred_at = INT64_MIN}), "occurred_at is infinite");
    EXPECT_EQ(Reason({.type = "page", .received_at = INT64_MAX}), "received_at is infinite");
    EXPECT_EQ(Reason({.type = "page", .received_at = INT64_MIN}), "received_at is infinite");
}

TEST(Refuse, QuotesWholeCharacters) {
    std::string type;
    for (int i = 0; i < 150; ++i) type += "€";
    const auto refusal = Refuse({.type = type});
    ASSERT_TRUE(refusal);
    EXPECT_EQ(refusal->detail.substr(0, 6), "type \"");
    EXPECT_EQ(Characters(refusal->detail.substr(6, refusal->detail.find('"', 6) - 6)), 100u);
    EXPECT_EQ(refusal->detail.substr(6, 300), type.substr(0, 300));
}

TEST(CompactJsonBytes, CountsWhatMustBeSent) {
    EXPECT_EQ(CompactJsonBytes(R"({"a": [1, 2], "b c": " x, y: "})"), std::string(R"({"a":[1,2],"b c":" x, y: "})").size());
    EXPECT_EQ(CompactJsonBytes(R"(["\\", " \" ", 1])"), std::string(R"(["\\"," \" ",1])").size());
    EXPECT_EQ(CompactJsonBytes("\"\\"), 2u);  // cut off
    EXPECT_EQ(CompactJsonBytes(" "), 0u);
}

TEST(IsBlank, KnowsWhatCannotBeSeen) {
    for (const auto text : {"", " ", "\t\r\n\v\f", "\u00a0", "\u2003 \u3000", "\u200b", "\ufeff", "\u0085"}) EXPECT_TRUE(IsBlank(text)) << text;
    for (const auto text : {"x", " x ", "\u00a0x", "\u00e0", "-", "\xa0", "\xe2\x80"}) EXPECT_FALSE(IsBlank(text)) << text;
}

TEST(Trimmed, LeavesWhatIsInside) {
    EXPECT_EQ(Trimmed(" \u00a0 a b\u3000\t"), "a b");
    EXPECT_EQ(Trimmed("\u00e0\u00a0"), "\u00e0");
    EXPECT_EQ(Trimmed("a\xa0"), "a\xa0");  // half a character
    EXPECT_EQ(Trimmed(" \ufeff "), "");
}

TEST(Beginning, CutsBetweenCharacters) {
    EXPECT_EQ(Beginning("añb", 0), "");
    EXPECT_EQ(Beginning("añb", 2), "añ");
    EXPECT_EQ(Beginning("añb", 3), "añb");
    EXPECT_EQ(Beginning("añb", 9), "añb");
}

TEST(TextBytes, AreThoseOfAllTexts) {
    EXPECT_EQ(TextBytes({.message_id = "1", .type = "22", .source = "333", .user_id = "4444", .anonymous_id = "55555",
                         .previous_id = "666666", .group_id = "7777777", .event = "88888888"}),
              36u);
}

}  // namespace
}  // namespace cdp::collect
