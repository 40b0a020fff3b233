// decimal_test.cpp: sums are exact, and read and written as PostgreSQL's numeric is.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "profile/value.hpp"

namespace cdp::profile {
namespace {

Decimal Number(std::string_view text) {
    const auto parsed = Decimal::Parse(text);
    if (!parsed) throw std::invalid_argument("no number: " + std::string(text));
    return *parsed;
}

std::string Sum(std::initializer_list<std::string_view> texts) {
    Decimal sum;
    for (const auto text : texts) sum += Number(text);
    return sum.ToString();
}

TEST(Decimal, ReadsAndWritesAsNumericDoes) {
    for (const char* text : {"0", "1", "-1", "0.00", "0.5", "-0.05", "123.4500", "999999999999999999", "1000000000000000000",
                             "-12345678901234567890123456789.000000000000000000001"})
        EXPECT_EQ(Number(text).ToString(), text);
    EXPECT_EQ(Number("-0").ToString(), "0");  // numeric has no negative zero
    EXPECT_EQ(Number("-0.00").ToString(), "0.00");
    EXPECT_EQ(Number("+7").ToString(), "7");
    EXPECT_EQ(Number("007").ToString(), "7");
    EXPECT_EQ(Number("000000000000000000000000.5").ToString(), "0.5");
    EXPECT_EQ(Number("0000000000000000000000000000").ToString(), "0");
    EXPECT_EQ(Number("00000000000000000000000000000000000000000891").ToString(), "891");  // 8 and 9 are no octal digits
    EXPECT_EQ(Number(".5").ToString(), "0.5");
    EXPECT_EQ(Number("5.").ToString(), "5");
}

TEST(Decimal, RefusesWhatIsNoNumber) {
    for (const char* text : {"", "-", "+", ".", "-.", "1e5", "NaN", "Infinity", "1.2.3", "1 ", " 1", "--1", "0x10", "1_000", "١"})
        EXPECT_FALSE(Decimal::Parse(text)) << text;
    EXPECT_FALSE(Decimal::Parse(std::string_view("1\0", 2)));
}

TEST(Decimal, AddsExactly) {
    EXPECT_EQ(Sum({"0.1", "0.2"}), "0.3");
    EXPECT_EQ(Sum({"1", "-1"}), "0");
    EXPECT_EQ(Sum({"1.5", "-1.50"}), "0.00");  // the scale of a sum is the larger of both
    EXPECT_EQ(Sum({"9223372036854775807", "1"}), "9223372036854775808");
    EXPECT_EQ(Sum({"100000000000000000000000000000000000000", "0.00000000000000000001"}),
              "100000000000000000000000000000000000000.00000000000000000001");
}

TEST(Decimal, HoldsTheLargestNumeric) {
    const std::string whole(131072, '9'), fraction(16383, '9');
    const std::string largest = whole + "." + fraction;
    EXPECT_EQ(Number(largest).ToString(), largest);
    Decimal sum = Number(largest);
    sum += Number("0." + std::string(16382, '0') + "1");
    EXPECT_EQ(sum.ToString(), "1" + std::string(131072, '0') + "." + std::string(16383, '0'));
}

TEST(Decimal, ComparesAcrossScales) {
    EXPECT_EQ(Number("1.0"), Number("1.000"));
    EXPECT_LT(Number("-1").Compare(Number("0.001")), 0);
    EXPECT_GT(Number("10").Compare(Number("9.9999999999999999999999")), 0);
    EXPECT_LT(Number("-10").Compare(Number("-9.99")), 0);
}

TEST(Decimal, KnowsASmallCoefficient) {
    EXPECT_EQ(Number("-123.45").SmallCoefficient(), -12345);
    EXPECT_EQ(Number("123.45").scale(), 2);
    EXPECT_EQ(Number("999999999999999999").SmallCoefficient(), 999'999'999'999'999'999);
    EXPECT_FALSE(Number("1000000000000000000").SmallCoefficient());
    EXPECT_FALSE(Number("-1000000000000000000").SmallCoefficient());
}

// Against 128-bit integers ------------------------------------------------------------------------------------------

using Wide = __int128;

Wide Power(int exponent) {
    Wide power = 1;
    while (exponent-- > 0) power *= 10;
    return power;
}

std::string Text(Wide coefficient, int scale) {
    const bool negative = coefficient < 0;
    unsigned __int128 left = negative ? -static_cast<unsigned __int128>(coefficient) : static_cast<unsigned __int128>(coefficient);
    std::string digits;
    do digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(left % 10)));
    while ((left /= 10) > 0 || static_cast<int>(digits.size()) <= scale);
    if (scale > 0) digits.insert(digits.end() - scale, '.');
    return (negative ? "-" : "") + digits;
}

struct Known {
    int64_t coefficient;
    int scale;
};

rc::Gen<Known> Numbers() {
    return rc::gen::exec([] {
        return Known{*rc::gen::oneOf(rc::gen::inRange<int64_t>(-2000, 2000), rc::gen::arbitrary<int64_t>()), *rc::gen::inRange(0, 19)};
    });
}

RC_GTEST_PROP(DecimalLaw, AgreesWith128Bits, ()) {
    const auto a = *Numbers(), b = *Numbers();
    const int scale = std::max(a.scale, b.scale);
    const Wide x = a.coefficient * Power(scale - a.scale), y = b.coefficient * Power(scale - b.scale);
    const Decimal left = Number(Text(a.coefficient, a.scale)), right = Number(Text(b.coefficient, b.scale));
    RC_ASSERT(left.ToString() == Text(a.coefficient, a.scale));
    RC_ASSERT(left == Decimal(a.coefficient, a.scale));
    RC_ASSERT(left.Compare(right) == (x < y ? -1 : x > y ? 1 : 0));
    Decimal sum = left;
    sum += right;
    RC_ASSERT(sum.ToString() == Text(x + y, scale));
}

RC_GTEST_PROP(DecimalLaw, SumsDoNotDependOnOrder, ()) {
    auto numbers = *rc::gen::container<std::vector<Known>>(Numbers());
    const auto sum = [&] {
        Decimal result;
        for (const Known& number : numbers) result += Decimal(number.coefficient, number.scale);
        return result.ToString();
    };
    const std::string before = sum();
    std::reverse(numbers.begin(), numbers.end());
    RC_ASSERT(sum() == before);
    std::sort(numbers.begin(), numbers.end(), [](const Known& a, const Known& b) { return a.coefficient < b.coefficient; });
    RC_ASSERT(sum() == before);
}

RC_GTEST_PROP(DecimalLaw, ComesBackFromBytes, ()) {
    const auto digits = *rc::gen::container<std::string>(rc::gen::inRange('0', static_cast<char>('9' + 1)));
    const auto fraction = *rc::gen::container<std::string>(rc::gen::inRange('0', static_cast<char>('9' + 1)));
    const Decimal number = Number((*rc::gen::arbitrary<bool>() ? "-0" : "0") + digits + "." + fraction);
    Writer out;
    number.Write(out);
    Reader in(out.bytes());
    const Decimal again = Decimal::Read(in);
    RC_ASSERT(in.AtEnd());
    RC_ASSERT(again.ToString() == number.ToString());
    Writer once_more;
    again.Write(once_more);
    RC_ASSERT(once_more.bytes() == out.bytes());
}

TEST(Decimal, RefusesDamagedBytes) {
    Writer out;
    out.Unsigned(uint64_t{1} << 40);  // a scale that no numeric has: comparing with it would take all memory
    out.Text("\x01");
    Reader in(out.bytes());
    EXPECT_THROW(Decimal::Read(in), Error);
}

}  // namespace
}  // namespace cdp::profile
