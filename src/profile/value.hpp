// profile/value.hpp: the values that traits are made of, independent of PostgreSQL.
#pragma once

#include <boost/multiprecision/cpp_int.hpp>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "profile/codec.hpp"

namespace cdp::profile {

/// An exact decimal number, coefficient × 10^-scale; adds and compares as PostgreSQL's numeric does
/// (the scale of a sum is the larger of both).
class Decimal {
public:
    Decimal() = default;
    Decimal(int64_t coefficient, int scale) : coefficient_(coefficient), scale_(scale) {}

    /// From the text form of a numeric: digits, at most one sign and one point. Nothing for anything else.
    static std::optional<Decimal> Parse(std::string_view text);

    Decimal& operator+=(const Decimal& other);
    int Compare(const Decimal& other) const;
    bool operator==(const Decimal& other) const { return Compare(other) == 0; }
    std::string ToString() const;
    /// The coefficient, if it fits: for the quick way to a numeric.
    std::optional<int64_t> SmallCoefficient() const;
    int scale() const { return scale_; }

    void Write(Writer& out) const;
    static Decimal Read(Reader& in);

private:
    boost::multiprecision::cpp_int coefficient_ = 0;
    int scale_ = 0;
};

/// A trait's value. Booleans, dates and times are integers (PostgreSQL's own units). Both sides of a
/// comparison are of one kind; monostate is JSON's null and sorts first.
using Value = std::variant<std::monostate, int64_t, double, Decimal, std::string>;

/// How texts are ordered: by bytes, unless the server sets the database's collation.
inline int (*text_order)(std::string_view, std::string_view) =
    [](std::string_view a, std::string_view b) { return a.compare(b); };

int Compare(const Value& a, const Value& b);
/// Of two values that compare equal, whether `a` is the one to show: 1.0 before 1.00, 0 before -0.
bool IsPlainer(const Value& a, const Value& b);
void Write(Writer& out, const Value& value);
Value ReadValue(Reader& in);

/// Orders values by `Compare`, for sorted containers that outlive no change of collation: by bytes for text.
struct ByBytes {
    using is_transparent = void;
    bool operator()(const Value& a, const Value& b) const;
};

}  // namespace cdp::profile
