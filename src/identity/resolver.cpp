// identity/resolver.cpp: see resolver.hpp.
#include "identity/resolver.hpp"

#include "pg/error.hpp"

namespace cdp::identity {

Resolver::Resolver(std::span<const TypeRule> rules, size_t identifiers, ProfileId next_profile_id)
    : rules_(rules), types_(rules.size()), next_profile_id_(next_profile_id), node_of_(identifiers, -1),
      sum_(types_), largest_(types_) {}

int Resolver::NewNode(ProfileId profile) {
    const int node = nodes();
    rank_.push_back(0);
    parent_.push_back(node);
    own_.push_back(profile);
    profiles_.push_back(profile);
    counts_.resize(counts_.size() + types_);
    return node;
}

int Resolver::AddProfile(ProfileId profile, std::span<const int64_t> counts) {
    const int node = NewNode(profile);
    std::copy(counts.begin(), counts.end(), counts_.end() - static_cast<std::ptrdiff_t>(types_));
    return node;
}

void Resolver::Know(int identifier, int node) { node_of_[identifier] = node; }

std::vector<Mark>& Resolver::MarksOf(int root) {
    if (marks_.size() <= static_cast<size_t>(root)) marks_.resize(static_cast<size_t>(root) + 1);
    return marks_[static_cast<size_t>(root)];
}

void Resolver::AddMark(int node, Mark mark) {
    auto& marks = MarksOf(Root(node));
    const auto place = std::lower_bound(marks.begin(), marks.end(), mark);
    if (place == marks.end() || *place != mark) marks.insert(place, mark);
}

int Resolver::Root(int node) { return Sets().find_set(node); }

int Resolver::BrokenLimit(std::span<const Candidate> candidates) {
    roots_.clear();
    std::fill(sum_.begin(), sum_.end(), 0);
    std::fill(largest_.begin(), largest_.end(), 0);
    for (const Candidate& candidate : candidates) {
        const int node = node_of_[candidate.identifier];
        if (node < 0) {
            ++sum_[candidate.type];
            continue;
        }
        const int root = Root(node);
        if (std::find(roots_.begin(), roots_.end(), root) != roots_.end()) continue;
        roots_.push_back(root);
        for (size_t type = 0; type < types_; ++type) {
            const int64_t count = counts_[static_cast<size_t>(root) * types_ + type];
            sum_[type] += count;
            largest_[type] = std::max(largest_[type], count);
        }
    }
    // A profile may exceed a limit that was lowered later: only what would add to it is refused.
    for (size_t type = 0; type < types_; ++type)
        if (rules_[type].max_per_profile && sum_[type] > *rules_[type].max_per_profile && sum_[type] > largest_[type])
            return static_cast<int>(type);
    return -1;
}

int64_t Resolver::BrokenSeparation(std::span<const Candidate> candidates) {
    if (marks_.empty()) return 0;
    together_.clear();
    for (const Candidate& candidate : candidates) {
        const int node = node_of_[candidate.identifier];
        if (node < 0) continue;
        const auto& marks = MarksOf(Root(node));
        together_.insert(together_.end(), marks.begin(), marks.end());
    }
    std::sort(together_.begin(), together_.end());
    const auto broken = std::adjacent_find(together_.begin(), together_.end(), [](const Mark& a, const Mark& b) {
        return a.separation == b.separation && a.part != b.part;
    });
    return broken == together_.end() ? 0 : broken->separation;
}

int64_t Resolver::SeparationBetween(int a, int b) {
    if (!IsMarked(a) || !IsMarked(b)) return 0;
    const auto ours = Marks(a), theirs = Marks(b);
    for (auto x = ours.begin(), y = theirs.begin(); x != ours.end() && y != theirs.end();) {
        if (x->separation == y->separation && x->part != y->part) return x->separation;
        if (*x < *y)
            ++x;
        else
            ++y;
    }
    return 0;
}

Refusal Resolver::WhyApart(int a, int b) {
    const auto ours = Counts(a), theirs = Counts(b);
    for (size_t type = 0; type < types_; ++type)
        if (rules_[type].max_per_profile && ours[type] + theirs[type] > *rules_[type].max_per_profile && ours[type] > 0 && theirs[type] > 0)
            return {static_cast<int>(type), 0};
    return {-1, SeparationBetween(a, b)};
}

void Resolver::UniteMarks(int root, int other) {
    if (marks_.empty()) return;
    std::vector<Mark> united = std::move(MarksOf(other));
    auto& ours = MarksOf(root);
    united.insert(united.end(), ours.begin(), ours.end());
    std::sort(united.begin(), united.end());
    united.erase(std::unique(united.begin(), united.end()), united.end());
    // Somebody made one of two of its sides: that is a side of its own now, apart from whatever else is on either.
    for (size_t i = 1; i < united.size();) {
        if (united[i].separation != united[i - 1].separation) {
            ++i;
            continue;
        }
        united[i - 1].part = next_part_--;
        united.erase(united.begin() + static_cast<std::ptrdiff_t>(i));
    }
    MarksOf(root) = std::move(united);
}

void Resolver::Unite(int a, int b, size_t message) {
    a = Root(a);
    b = Root(b);
    if (a == b) return;
    const auto [survivor, gone] = std::minmax({profiles_[a], profiles_[b]});
    Sets().link(a, b);
    const int root = Root(a);
    const int other = root == a ? b : a;
    for (size_t type = 0; type < types_; ++type)
        counts_[static_cast<size_t>(root) * types_ + type] += counts_[static_cast<size_t>(other) * types_ + type];
    UniteMarks(root, other);
    merges_.push_back({gone, survivor, message});
    profiles_[root] = survivor;
}

bool Resolver::Stronger(const Candidate& a, const Candidate& b) const {
    const int pa = rules_[a.type].priority, pb = rules_[b.type].priority;
    if (pa != pb) return pa < pb;
    if (a.value != b.value) return a.value < b.value;
    return rules_[a.type].type_id < rules_[b.type].type_id;
}

Joined Resolver::Join(size_t message, std::span<Candidate> candidates) {
    if (candidates.empty())
        throw Error(sqlstate::invalid_parameter_value, "a message without identifiers belongs to nobody");
    std::sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) { return Stronger(a, b); });
    Joined result{-1, static_cast<int>(candidates.size())};
    for (; result.kept > 1; --result.kept) {
        const auto rest = candidates.first(result.kept);
        const int limit = BrokenLimit(rest);
        const int64_t separation = limit < 0 ? BrokenSeparation(rest) : 0;
        if (limit < 0 && separation == 0) break;
        if (result.kept < static_cast<int>(candidates.size())) continue;
        result.limit_type = limit;
        result.separation = separation;
    }

    // Those that are known come together first, so that a new profile is made only for wholly new people.
    const auto kept = candidates.first(result.kept);
    for (const Candidate& candidate : kept) {
        const int node = node_of_[candidate.identifier];
        if (node < 0) continue;
        if (result.node < 0)
            result.node = node;
        else
            Unite(result.node, node, message);
    }
    if (result.node < 0) result.node = NewNode(next_profile_id_++);
    for (const Candidate& candidate : kept) {
        if (node_of_[candidate.identifier] >= 0) continue;
        node_of_[candidate.identifier] = result.node;
        ++counts_[static_cast<size_t>(Root(result.node)) * types_ + static_cast<size_t>(candidate.type)];
    }
    return result;
}

}  // namespace cdp::identity
