// pg/special_call.hpp: the calls in a condition whose values are put in.
#pragma once

#include "pg/expression.hpp"

namespace cdp::pg {

/// The functions of schema cdp that have one of these names, whatever their arguments.
std::vector<Oid> SpecialFunctions(std::span<const char* const> names);

/// Takes an analysed call in `text` apart. Acts as who is to execute what folds its arguments; `what` is whose text it
/// is. Throws, with a position, if an argument is no constant.
SpecialCall ReadSpecialCall(FuncExpr* call, const std::string& text, const std::string& what);

/// Where the call that begins at `begin` ends: behind its closing parenthesis. May ereport.
int end_of_call(const char* text, int begin);

}  // namespace cdp::pg
