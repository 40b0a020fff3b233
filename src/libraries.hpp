// libraries.hpp: headers of libraries that many files use, compiled once (Makefile): they are most of what a file takes to
// compile. Every file includes what it needs all the same; the tests are built without this one.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include <boost/multiprecision/cpp_int.hpp>
#include <boost/pending/disjoint_sets.hpp>
#include <tsl/robin_map.h>
