// test_data.hpp: the shared data sets, which are not in the project. CDP_TEST_DATA says where they are.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace cdp {

/// Where `file` of the data sets is. Without CDP_TEST_DATA: ../shared/data beside the checkout.
inline std::string TestData(const std::string& file) {
    const char* root = std::getenv("CDP_TEST_DATA");
    return std::string(root && *root ? root : "../shared/data") + "/" + file;
}

/// Fails under CI (the variable CI is set) where the file is missing; elsewhere the test says that it is skipped.
#define CDP_REQUIRE_DATA(path)                                                                  \
    if (!std::ifstream(path).good()) {                                                          \
        if (std::getenv("CI") != nullptr) FAIL() << (path) << " is missing; set CDP_TEST_DATA"; \
        GTEST_SKIP() << (path) << " is missing; set CDP_TEST_DATA";                             \
    }

}  // namespace cdp
