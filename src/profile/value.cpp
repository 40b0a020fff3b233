// profile/value.cpp: see value.hpp.
#include "profile/value.hpp"

#include <cmath>
#include <cstring>
#include <vector>

namespace cdp::profile {

using boost::multiprecision::cpp_int;

namespace {

constexpr int kLargestScale = 16383;  // of a numeric

cpp_int PowerOfTen(int exponent) {
    static const auto small = [] {
        std::vector<cpp_int> powers{1};
        while (powers.size() < 40) powers.push_back(powers.back() * 10);
        return powers;
    }();
    if (exponent < static_cast<int>(small.size())) return small[exponent];
    return boost::multiprecision::pow(cpp_int(10), static_cast<unsigned>(exponent));
}

template <class T>
int ThreeWay(const T& a, const T& b) {
    return a < b ? -1 : b < a ? 1 : 0;
}

/// As PostgreSQL does: all NaNs are equal, and greater than anything else.
int CompareReals(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return ThreeWay(std::isnan(a), std::isnan(b));
    return ThreeWay(a, b);
}

}  // namespace

std::optional<Decimal> Decimal::Parse(std::string_view text) {
    Decimal result;
    const bool negative = !text.empty() && text.front() == '-';
    if (negative || (!text.empty() && text.front() == '+')) text.remove_prefix(1);
    int64_t small = 0;
    size_t digits = 0;
    bool point = false;
    for (const char c : text) {
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9') return std::nullopt;
        if (point) ++result.scale_;
        if (++digits <= 18) small = small * 10 + (c - '0');
    }
    if (digits == 0 || result.scale_ > kLargestScale) return std::nullopt;
    if (digits <= 18) {
        result.coefficient_ = small;
    } else {
        std::string all;
        for (const char c : text)
            if (c != '.') all.push_back(c);
        all.erase(0, std::min(all.find_first_not_of('0'), all.size() - 1));  // a leading 0 would mean octal
        result.coefficient_ = cpp_int(all);
    }
    if (negative) result.coefficient_ = -result.coefficient_;
    return result;
}

Decimal& Decimal::operator+=(const Decimal& other) {
    if (scale_ == other.scale_) {
        coefficient_ += other.coefficient_;
    } else if (scale_ > other.scale_) {
        coefficient_ += other.coefficient_ * PowerOfTen(scale_ - other.scale_);
    } else {
        coefficient_ = coefficient_ * PowerOfTen(other.scale_ - scale_) + other.coefficient_;
        scale_ = other.scale_;
    }
    return *this;
}

int Decimal::Compare(const Decimal& other) const {
    if (scale_ == other.scale_) return ThreeWay(coefficient_, other.coefficient_);
    if (scale_ > other.scale_)
        return ThreeWay(coefficient_, cpp_int(other.coefficient_ * PowerOfTen(scale_ - other.scale_)));
    return ThreeWay(cpp_int(coefficient_ * PowerOfTen(other.scale_ - scale_)), other.coefficient_);
}

std::string Decimal::ToString() const {
    const bool negative = coefficient_ < 0;
    std::string digits = cpp_int(negative ? cpp_int(-coefficient_) : coefficient_).str();
    if (scale_ > 0) {
        if (digits.size() <= static_cast<size_t>(scale_)) digits.insert(0, scale_ + 1 - digits.size(), '0');
        digits.insert(digits.size() - scale_, 1, '.');
    }
    return negative ? "-" + digits : digits;
}

std::optional<int64_t> Decimal::SmallCoefficient() const {
    constexpr int64_t limit = 999'999'999'999'999'999;
    if (coefficient_ > limit || coefficient_ < -limit) return std::nullopt;
    return static_cast<int64_t>(coefficient_);
}

void Decimal::Write(Writer& out) const {
    out.Unsigned(static_cast<uint64_t>(scale_) << 1 | (coefficient_ < 0));
    std::string magnitude;
    boost::multiprecision::export_bits(cpp_int(abs(coefficient_)), std::back_inserter(magnitude), 8);
    out.Text(magnitude);
}

Decimal Decimal::Read(Reader& in) {
    Decimal result;
    const uint64_t head = in.Unsigned();
    const auto magnitude = in.Text();
    if (head >> 1 > kLargestScale) Reader::Corrupt();
    result.scale_ = static_cast<int>(head >> 1);
    if (!magnitude.empty()) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(magnitude.data());
        boost::multiprecision::import_bits(result.coefficient_, bytes, bytes + magnitude.size(), 8);
    }
    if (head & 1) result.coefficient_ = -result.coefficient_;
    return result;
}

int Compare(const Value& a, const Value& b) {
    if (a.index() != b.index()) return a.index() < b.index() ? -1 : 1;
    switch (a.index()) {
        case 1: return ThreeWay(std::get<int64_t>(a), std::get<int64_t>(b));
        case 2: return CompareReals(std::get<double>(a), std::get<double>(b));
        case 3: return std::get<Decimal>(a).Compare(std::get<Decimal>(b));
        case 4: return text_order(std::get<std::string>(a), std::get<std::string>(b));
        default: return 0;
    }
}

bool IsPlainer(const Value& a, const Value& b) {
    if (a.index() == 2) return std::signbit(std::get<double>(a)) < std::signbit(std::get<double>(b));
    return a.index() == 3 && std::get<Decimal>(a).scale() < std::get<Decimal>(b).scale();
}

bool ByBytes::operator()(const Value& a, const Value& b) const {
    if (a.index() == 4 && b.index() == 4) return std::get<std::string>(a) < std::get<std::string>(b);
    return Compare(a, b) < 0;
}

void Write(Writer& out, const Value& value) {
    out.Unsigned(value.index());
    switch (value.index()) {
        case 1: out.Signed(std::get<int64_t>(value)); break;
        case 2: {
            uint64_t bits;
            memcpy(&bits, &std::get<double>(value), sizeof bits);
            out.Unsigned(bits);
            break;
        }
        case 3: std::get<Decimal>(value).Write(out); break;
        case 4: out.Text(std::get<std::string>(value)); break;
        default: break;
    }
}

Value ReadValue(Reader& in) {
    switch (in.Unsigned()) {
        case 0: return {};
        case 1: return in.Signed();
        case 2: {
            const uint64_t bits = in.Unsigned();
            double value;
            memcpy(&value, &bits, sizeof value);
            return value;
        }
        case 3: return Decimal::Read(in);
        case 4: return std::string(in.Text());
        default: Reader::Corrupt();
    }
}

}  // namespace cdp::profile
