// pg/clock.hpp: when time alone changes what a condition says.
#pragma once

#include <functional>

#include "pg/clock_leaf.hpp"

namespace cdp::pg {

/// `instant` (microseconds of PostgreSQL's epoch) as SQL of type timestamptz, date or timestamp.
std::string InstantLiteral(int64 instant, const char* type);

/// The parts of a condition that read the clock, each compiled by itself: those that AND, OR and NOT join.
class ClockUse {
public:
    /// `expression`: planned; its clock is column `clock` of the inner row. Throws what `at` makes of the location in
    /// the text and an error if it reads the clock in a way whose changes cannot be foreseen.
    ClockUse(Node* expression, AttrNumber clock, const std::function<Error(int location, Error)>& at);

    /// The first instant after `now` at which time might change the value for the row that is in the context's slots;
    /// INT64_MAX: never. See Condition::NextFlip. May ereport.
    int64 next(ExprContext* context, int64 now) const;

private:
    enum class Kind { kStill, kLeaf, kAnd, kOr, kNot, kTest };
    struct Part {
        Kind kind;
        ExprState* still = nullptr;  // kStill: does not read the clock
        ClockLeaf leaf;              // kLeaf
        BoolTestType test{};         // kTest
        std::vector<Part> parts;
    };
    struct Outlook;

    Part Read(Node* node, AttrNumber clock, const std::function<Error(int, Error)>& at) const;
    static Outlook foresee(const Part& part, const ClockRow& row);
    static Outlook foresee_joined(const Part& part, const ClockRow& row);

    AttrNumber clock_;
    Part root_;
};

}  // namespace cdp::pg
