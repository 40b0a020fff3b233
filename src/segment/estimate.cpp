// segment/estimate.cpp: see estimate.hpp.
#include "segment/estimate.hpp"

#include <algorithm>
#include <cmath>

#include "segment/share.hpp"

namespace cdp::segment {

std::vector<int64_t> SampleIds(int64_t highest, int64_t count) {
    std::vector<int64_t> ids;
    ids.reserve(static_cast<size_t>(count));
    const double stretch = static_cast<double>(highest) / static_cast<double>(count);
    int64_t begin = 0;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t end = i + 1 == count ? highest : std::min(highest, static_cast<int64_t>(stretch * static_cast<double>(i + 1)));
        const auto within = static_cast<int64_t>(ShareOf("sample", i) / 100 * static_cast<double>(end - begin));
        if (end > begin) ids.push_back(begin + 1 + within);
        begin = end;
    }
    return ids;
}

Estimate EstimateSize(int64_t highest, int64_t count, int64_t hits) {
    constexpr double z = 1.96;
    const auto n = static_cast<double>(count), all = static_cast<double>(highest);
    const double part = static_cast<double>(hits) / n;
    const double centre = (part + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * std::sqrt(part * (1 - part) / n + z * z / (4 * n * n));
    const double off = std::max(centre + half - part, part - (centre - half));
    return {std::llround(part * all), static_cast<int64_t>(std::ceil(off * all))};
}

}  // namespace cdp::segment
