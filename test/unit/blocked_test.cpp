// blocked_test.cpp: values that identify nobody.
#include <gtest/gtest.h>

#include "identity/blocked.hpp"

namespace cdp::identity {
namespace {

TEST(Blocked, HoldsTheContractsList) {
    for (const char* value : {"", "null", "none", "nil", "nan", "undefined", "unknown", "anonymous", "guest",
                              "not_authenticated", "[object object]", "true", "false", "id", "distinct_id", "0", "-1"})
        EXPECT_TRUE(IsBlockedEverywhere(value)) << value;
}

TEST(Blocked, WhateverTheCase) {
    for (const char* value : {"NULL", "None", "NaN", "[object Object]", "TRUE", "Anonymous", "Not_Authenticated"})
        EXPECT_TRUE(IsBlockedEverywhere(value)) << value;
}

TEST(Blocked, HoldsZerosAndDashes) {
    for (const char* value : {"00", "-", "---", "0-0", "00000000-0000-0000-0000-000000000000"})
        EXPECT_TRUE(IsBlockedEverywhere(value)) << value;
}

TEST(Blocked, LeavesPeopleAlone) {
    for (const char* value : {"1", "01", "10", "-2", "- 1", "nullable", "guest1", "my id", "x", "[object object", "truely",
                              "00000000-0000-0000-0000-000000000001", "\xc4\xb1""d", "nul"})
        EXPECT_FALSE(IsBlockedEverywhere(value)) << value;
    using namespace std::string_view_literals;
    EXPECT_FALSE(IsBlockedEverywhere("null\0"sv));
}

}  // namespace
}  // namespace cdp::identity
