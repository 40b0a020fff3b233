// phone_test.cpp: phone numbers as people write them, in E.164, against published vectors.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "identity/phone.hpp"
#include "test_data.hpp"

namespace cdp::identity {
namespace {

TEST(Phone, NormalisesWhatPeopleWrite) {
    EXPECT_EQ(NormalisePhone("+44 20 7946 0000", ""), "+442079460000");
    EXPECT_EQ(NormalisePhone("(020) 7946 0000", "GB"), "+442079460000");
    EXPECT_EQ(NormalisePhone("tel:+44-20-7946-0000", "US"), "+442079460000");
    EXPECT_EQ(NormalisePhone("1-800-FLOWERS", "US"), "+18003569377");
    EXPECT_EQ(NormalisePhone("+4420 7946 0000 ext. 12", "GB"), "+442079460000");
}

TEST(Phone, NeedsARegionWithoutCountryCode) {
    EXPECT_FALSE(NormalisePhone("020 7946 0000", ""));
    EXPECT_FALSE(NormalisePhone("020 7946 0000", "ZZ"));
    EXPECT_FALSE(NormalisePhone("020 7946 0000", "no region"));
}

TEST(Phone, RefusesWhatIsNoNumber) {
    for (const char* text : {"", " ", "hello", "+", "++44", "12", "+44 1", "+999 123456789", "00000000000"})
        EXPECT_FALSE(NormalisePhone(text, "GB")) << text;
    EXPECT_FALSE(NormalisePhone(std::string(10'000, '1'), "GB"));
    EXPECT_FALSE(NormalisePhone("+44\xff\xfe", "GB"));  // no UTF-8
}

/// The fields of a line of CSV; quotes as in RFC 4180, without line breaks.
std::vector<std::string> Fields(const std::string& line) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (size_t i = 0; i < line.size(); ++i) {
        if (line[i] == '"') {
            if (quoted && i + 1 < line.size() && line[i + 1] == '"') fields.back() += line[++i];
            else quoted = !quoted;
        } else if (line[i] == ',' && !quoted) {
            fields.emplace_back();
        } else if (line[i] != '\r') {
            fields.back() += line[i];
        }
    }
    return fields;
}

// Numbering plans that changed after libphonenumber 8.12.57 (Debian 12) was made, while the vectors are newer. There it
// may say that a number is none. It must never give another number, and a newer one may know them.
const std::set<std::string> kNewerPlans{
    "BJ,FIXED_LINE", "BJ,MOBILE", "BJ,FIXED_LINE_OR_MOBILE", "BO,VOIP", "CL,FIXED_LINE", "CL,FIXED_LINE_OR_MOBILE",
    "GF,PREMIUM_RATE", "MQ,PREMIUM_RATE", "MU,PAGER", "NG,FIXED_LINE", "NG,FIXED_LINE_OR_MOBILE", "PM,PREMIUM_RATE",
    "SC,PREMIUM_RATE", "SR,TOLL_FREE", "SR,PREMIUM_RATE", "UY,UAN"};

TEST(Phone, AgreesWithThePublishedVectors) {
    const std::string path = TestData("phone/e164_vectors.csv");
    CDP_REQUIRE_DATA(path);
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    line.erase(line.find_last_not_of('\r') + 1);
    ASSERT_EQ(line, "region,type,input,default_region,expected_e164,is_valid,country_code,national_number");
    int rows = 0, unknown = 0;
    while (std::getline(file, line)) {
        const auto f = Fields(line);
        ASSERT_EQ(f.size(), 8u) << line;
        ++rows;
        const auto got = NormalisePhone(f[2], f[3]);
        const auto expected = f[5] == "true" ? std::optional(f[4]) : std::nullopt;
        if (!got && expected && kNewerPlans.contains(f[0] + "," + f[1]))
            ++unknown;
        else
            EXPECT_EQ(got, expected) << line;
    }
    EXPECT_EQ(rows, 3472);
    RecordProperty("numbers_of_newer_plans", unknown);
    std::cout << rows - unknown << " of " << rows << " rows as published; " << unknown << " are of newer numbering plans\n";
    EXPECT_LE(unknown, 78);
}

}  // namespace
}  // namespace cdp::identity
