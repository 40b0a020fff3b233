// identity/match_report.hpp: a model as JSON, to be read by people and edited.
// Knows no PostgreSQL.
#pragma once

#include <string>
#include <vector>

#include "identity/match_model.hpp"

namespace cdp::matching {

/// The model and the blocking rules that go with it. matcher_pg.cpp reads it.
std::string ModelJson(const Model& model, std::span<const std::string> rules);

inline constexpr const char* kGivenNames[] = {"equal", "alike", "different"};

}  // namespace cdp::matching
