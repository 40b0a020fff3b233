// identity/stitch.cpp: see stitch.hpp.
#include "identity/stitch.hpp"

#include <algorithm>
#include <numeric>
#include <unordered_set>

namespace cdp::identity {

namespace {

// Ids come from a sequence, so that a table over all of them is hardly larger than one over those that are there.
constexpr uint64_t kLargestGap = 4;

}  // namespace

Stitch::Stitch(std::span<const int64_t> ids)
    : ids_(ids), rank_(ids.size()), parent_(ids.size()), sets_(rank_.data(), parent_.data()) {
    std::iota(parent_.begin(), parent_.end(), 0);
    if (ids.empty()) return;
    const uint64_t range = static_cast<uint64_t>(ids.back()) - static_cast<uint64_t>(ids.front()) + 1;
    if (range / kLargestGap > ids.size()) return;
    place_.assign(range, -1);
    for (size_t i = 0; i < ids.size(); ++i) place_[static_cast<size_t>(ids[i] - ids.front())] = static_cast<int32_t>(i);
}

int64_t Stitch::PlaceOf(int64_t id) const {
    if (ids_.empty() || id < ids_.front() || id > ids_.back()) return -1;
    if (!place_.empty()) return place_[static_cast<size_t>(id - ids_.front())];
    const auto place = std::lower_bound(ids_.begin(), ids_.end(), id);
    return *place == id ? place - ids_.begin() : -1;
}

void Stitch::Add(int64_t a, int64_t b) {
    const int64_t x = PlaceOf(a), y = PlaceOf(b);
    if (x >= 0 && y >= 0) sets_.union_set(static_cast<int32_t>(x), static_cast<int32_t>(y));
}

std::vector<int64_t> Stitch::Profiles(std::span<const int64_t> profiles, const std::function<int64_t()>& make) {
    std::vector<int64_t> of(ids_.size(), INT64_MAX);
    for (size_t i = 0; i < ids_.size(); ++i) {
        int64_t& lowest = of[static_cast<size_t>(sets_.find_set(static_cast<int32_t>(i)))];
        lowest = std::min(lowest, profiles[i]);
    }
    // Components in the order of their first identifiers; an id that was taken is none to keep.
    std::unordered_set<int64_t> taken;
    taken.reserve(ids_.size() / 4);
    std::vector<bool> seen(ids_.size());
    for (size_t i = 0; i < ids_.size(); ++i) {
        const auto root = static_cast<size_t>(sets_.find_set(static_cast<int32_t>(i)));
        if (seen[root]) continue;
        seen[root] = true;
        if (!taken.insert(of[root]).second) of[root] = make();
    }
    std::vector<int64_t> result(ids_.size());
    for (size_t i = 0; i < ids_.size(); ++i) result[i] = of[static_cast<size_t>(sets_.find_set(static_cast<int32_t>(i)))];
    return result;
}

}  // namespace cdp::identity
