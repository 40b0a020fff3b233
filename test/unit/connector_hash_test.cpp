// connector_hash_test.cpp: what is hashed for a network is what the network's documentation hashes.
#include <gtest/gtest.h>

#include "relay/digest.hpp"
#include "relay/functions.hpp"
#include "relay/normalise.hpp"
#include "relay/times.hpp"

namespace cdp::relay {
namespace {

// What {{ value | … }} gives.
Json Through(const Json& value, std::string_view functions) {
    Scope scope;
    scope.Set(Name::kValue, value);
    return Expression::Parse("value" + std::string(functions), {Name::kValue}).Evaluate(scope);
}

// developers.google.com/data-manager/api/get-started/quickstart: the sample file, and what it becomes.
TEST(Google, HashesAsItsDocumentationDoes) {
    const auto google = " | email | gmail | sha256";
    EXPECT_EQ(Through("dana@example.com", google), "07e2f1394b0ea80e2adca010ea8318df697001a005ba7452720edda4b0ce57b3");
    EXPECT_EQ(Through("DanaM@example.com", google), "1df6b43bc68dd38eca94e6a65b4f466ae537b796c81a526918b40ac4a7b906c7");
    EXPECT_EQ(Through("ALEXJ@example.com", google), "2ef46c4214c3fc1b277a2d976d55194e12b899aa50d721f28da858c7689756e3");
    EXPECT_EQ(Through(" ALEXJ@ example.com ", google), Through("alexj@example.com", google));
}

TEST(Google, KnowsGmailWithoutDotsAndPlus) {
    EXPECT_EQ(Through(" Jane.Doe+Shopping@GoogleMail.com", " | email | gmail"), "janedoe@googlemail.com");
    EXPECT_EQ(Through("cloudy.San.Francisco@GMAIL.com,", " | email | gmail"), "cloudy.san.francisco@gmail.com,");  // another domain
    EXPECT_EQ(Through("jane.doe+x@example.com", " | email | gmail"), "jane.doe+x@example.com");
    EXPECT_EQ(Through("+x@gmail.com", " | email | gmail"), nullptr);
}

// E.164 with its plus, as support.google.com/google-ads/answer/7659867 says; +12124567890 is libphonenumber-valid.
TEST(Google, HashesPhonesWithThePlus) {
    EXPECT_EQ(Through("(212) 456-7890", " | e164('US')"), "+12124567890");
    EXPECT_EQ(Through("020 7946 0000", " | e164('GB') | sha256"), Hex(Hash(Digest::kSha256, "+442079460000")));
    EXPECT_EQ(Through("12", " | e164('US') | sha256"), nullptr);
    EXPECT_EQ(Through(" O'Neil ", " | trim | lower"), "o'neil");
}

// developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters
TEST(Meta, HashesAsItsDocumentationDoes) {
    EXPECT_EQ(Through("John_Smith@gmail.com", " | email | sha256"), "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f");
    EXPECT_EQ(Through("(650)555-1212", " | e164('US') | digits | sha256"),
              "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176");
    EXPECT_EQ(Through("Mary", " | name | sha256"), "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec");
    EXPECT_EQ(Through("정", " | name | sha256"), "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14");
    EXPECT_EQ(Through("Valéry", " | name | sha256"), "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c");
}

TEST(Meta, TakesPlacesWithoutBlanksAndPunctuation) {
    EXPECT_EQ(Through("St. John's", " | place"), "stjohns");
    EXPECT_EQ(Through("Menlo Park 94025", " | place"), "menlopark");
    EXPECT_EQ(Through("  Jean-Luc  O'Neil ", " | name"), "jeanluc oneil");
    EXPECT_EQ(Through("94025-1234", " | postal_code"), "94025");
    EXPECT_EQ(Through("M1 1AE", " | postal_code"), "m11ae");
    EXPECT_EQ(Through("GB", " | country"), "gb");
    EXPECT_EQ(Through("Britain", " | country"), nullptr);
    EXPECT_EQ(Through("Female", " | gender"), "f");
    EXPECT_EQ(Through("x", " | gender"), nullptr);
    EXPECT_EQ(Through("1987-03-04", " | year"), "1987");
    EXPECT_EQ(Through("4.3.1987", " | month"), "03");
    EXPECT_EQ(Through("19870304", " | day"), "04");
    EXPECT_EQ(Through("never", " | day"), nullptr);
    EXPECT_EQ(Through("...", " | name"), nullptr);
}

// developer.mailchimp.com/documentation/mailchimp/guides/manage-subscribers-with-the-mailchimp-api
TEST(Mailchimp, HashesAsItsDocumentationDoes) {
    EXPECT_EQ(Through("Urist.McVankab@freddiesjokes.com", " | email | md5"), "62eeb292278cc15f5817cb78f7790b08");
}

TEST(Normalise, TakesAnyBytes) {
    const std::string broken = "a\xFF@b\xC3.c";
    for (const char* functions : {" | email", " | name", " | place", " | lower", " | trim", " | e164('US')", " | postal_code"})
        EXPECT_NO_THROW(Through(broken, functions));
    EXPECT_EQ(CleanText(std::string("a\0b\xFF", 4), 10), "ab\xEF\xBF\xBD");
    EXPECT_EQ(CleanText("äöü", 2), "äö");
    EXPECT_EQ(NormaliseEmail("a@b@c"), std::nullopt);
    EXPECT_EQ(NormaliseEmail("@b"), std::nullopt);
    EXPECT_EQ(NormaliseEmail("a@"), std::nullopt);
}

TEST(Digests, AreTheStandards) {
    EXPECT_EQ(Hex(Hash(Digest::kMd5, "")), "d41d8cd98f00b204e9800998ecf8427e");  // RFC 1321
    EXPECT_EQ(Hex(Hash(Digest::kSha1, "abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");  // FIPS 180
    EXPECT_EQ(Hex(HmacSha256("Jefe", "what do ya want for nothing?")),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");  // RFC 4231
    EXPECT_EQ(FromBase64(Base64("any bytes\0\xFF")), "any bytes");
    for (const char* wrong : {"a", "ab=c", "====", "YQ==\n", " YQ=", "YQ=a", "Y\xFFQ="}) EXPECT_EQ(FromBase64(wrong), std::nullopt) << wrong;
    EXPECT_EQ(FromBase64(""), "");
}

// The example of the specification's own libraries (standard-webhooks/standard-webhooks, every library's test of sign).
TEST(StandardWebhooks, SignsAsTheSpecificationsLibrariesDo) {
    const std::string signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const std::string secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    EXPECT_EQ(SignWebhook(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", R"({"test": 2432232314})"), signature);
    EXPECT_EQ(SignWebhook(secret + " " + secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", R"({"test": 2432232314})"),
              signature + " " + signature);
    EXPECT_ANY_THROW(SignWebhook("whsec_?", "i", "1", ""));
}

TEST(Times, AreReadAsPostgresWritesThem) {
    EXPECT_EQ(ParseTime("1970-01-02 00:00:01+00"), 86401);
    EXPECT_EQ(ParseTime("1970-01-01 05:30:00.5+05:30"), 0.5);
    EXPECT_EQ(ParseTime("2026-11-25T10:00:00Z"), 1795600800);
    for (const char* wrong : {"", "2026", "2026-13-01", "2026-02-30", "2026-11-25 1", "2026-11-25 10:00:00+", "2026-11-25 10:00:00x", "infinity"})
        EXPECT_EQ(ParseTime(wrong), std::nullopt) << wrong;
    EXPECT_EQ(FormatTime(0.5), "1970-01-01T00:00:00.500Z");
    EXPECT_EQ(ParseHttpDate("Wed, 25 Nov 2026 10:00:00 GMT"), 1795600800);
    EXPECT_EQ(ParseHttpDate("25 Nov 2026"), std::nullopt);
    EXPECT_EQ(Through("2026-11-25 10:00:00+00", " | iso_time"), "2026-11-25T10:00:00.000Z");
    EXPECT_EQ(Through("2026-11-25", " | iso_time"), "2026-11-25");
    EXPECT_EQ(Through("not a time", " | iso_time"), "not a time");
    EXPECT_EQ(Through("2026-11-25 10:00:00.9+00", " | unix"), 1795600800);
}

}  // namespace
}  // namespace cdp::relay
