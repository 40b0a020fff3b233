// identity/match_clusters.cpp: see match_clusters.hpp.
#include "identity/match_clusters.hpp"

#include <algorithm>
#include <boost/pending/disjoint_sets.hpp>
#include <queue>
#include <tuple>
#include <unordered_map>

#include "pg/error.hpp"

namespace cdp::matching {

namespace {

constexpr double kMostWeight = 20;   // so that no single pair outvotes many

/// What is known between two clusters.
struct Between {
    double sum = 0;          // of the scored pairs' weights
    uint64_t scored = 0;
    double best = -1e9;      // the greatest of them
    bool forbidden = false;  // a person told two of them apart

    void Add(const Between& other) {
        sum += other.sum;
        scored += other.scored;
        best = std::max(best, other.best);
        forbidden = forbidden || other.forbidden;
    }
};

/// Joins clusters of one component, the best pair of them first.
class Agglomeration {
public:
    Agglomeration(uint32_t count, const ClusterRules& rules) : rules_(rules), around_(count), size_(count, 1), into_(count) {
        for (uint32_t i = 0; i < count; ++i) into_[i] = i;
    }

    void Add(uint32_t a, uint32_t b, const Between& known) {
        around_[a][b].Add(known);
        around_[b][a].Add(known);
    }

    void JoinWhatIsSaid(uint32_t a, uint32_t b) {
        a = Find(a);
        b = Find(b);
        if (a == b) return;
        const auto known = around_[a].find(b);
        if (known == around_[a].end() || !known->second.forbidden) Join(a, b);
    }

    void Run() {
        for (uint32_t a = 0; a < around_.size(); ++a)
            for (const auto& [b, known] : around_[a])
                if (a < b) Offer(a, b, known);
        uint64_t looked = 0;
        while (!offers_.empty()) {
            if ((++looked & 0xFFF) == 0) poll_stop();
            const Choice offer = offers_.top();
            offers_.pop();
            // What has grown meanwhile has other offers, or a lower mean than it had.
            if (into_[offer.a] != offer.a || into_[offer.b] != offer.b) continue;
            const Between& known = around_[offer.a].at(offer.b);
            if (known.forbidden) continue;
            const double mean = Mean(offer.a, offer.b, known);
            if (mean >= offer.mean - 1e-9) Join(offer.a, offer.b);
            else if (mean > 0) offers_.push({mean, offer.a, offer.b});
        }
    }

    uint32_t Find(uint32_t i) {
        while (into_[i] != i) i = into_[i] = into_[into_[i]];
        return i;
    }

private:
    struct Choice {
        double mean;
        uint32_t a, b;
        bool operator<(const Choice& o) const {
            if (mean != o.mean) return mean < o.mean;
            return std::tie(a, b) > std::tie(o.a, o.b);
        }
    };

    double Mean(uint32_t a, uint32_t b, const Between& known) const {
        const double pairs = static_cast<double>(size_[a]) * size_[b];
        return (known.sum + (pairs - static_cast<double>(known.scored)) * rules_.unscored) / pairs;
    }

    void Offer(uint32_t a, uint32_t b, const Between& known) {
        if (known.forbidden || known.best < rules_.threshold) return;
        if (const double mean = Mean(a, b, known); mean > 0) offers_.push({mean, std::min(a, b), std::max(a, b)});
    }

    /// The one with fewer neighbours goes into the other. Only the neighbours of the one are offered anew: to the
    /// others the grown cluster is further away than before.
    void Join(uint32_t a, uint32_t b) {
        if (around_[a].size() < around_[b].size()) std::swap(a, b);
        into_[b] = a;
        size_[a] += size_[b];
        around_[a].erase(b);
        for (const auto& [other, known] : around_[b]) {
            if (other == a) continue;
            Between& both = around_[a][other];
            both.Add(known);
            around_[other].erase(b);
            around_[other][a] = both;
            Offer(a, other, both);
        }
        around_[b].clear();
    }

    const ClusterRules& rules_;
    std::vector<std::unordered_map<uint32_t, Between>> around_;
    std::vector<uint32_t> size_, into_;
    std::priority_queue<Choice> offers_;
};

bool Joins(const Edge& edge, const ClusterRules& rules) {
    return edge.said == Edge::Said::kSame || (edge.said == Edge::Said::kNothing && edge.weight >= rules.threshold);
}

}  // namespace

std::vector<uint32_t> Cluster(uint32_t records, std::span<const Edge> edges, const ClusterRules& rules) {
    std::vector<uint32_t> rank(records), component(records);
    for (uint32_t i = 0; i < records; ++i) component[i] = i;
    boost::disjoint_sets sets(rank.data(), component.data());
    for (const Edge& edge : edges)
        if (Joins(edge, rules)) sets.union_set(edge.a, edge.b);
    for (uint32_t i = 0; i < records; ++i) component[i] = sets.find_set(i);

    // The edges component by component; those between components tell nothing.
    std::vector<const Edge*> inside;
    for (const Edge& edge : edges)
        if (component[edge.a] == component[edge.b] && edge.a != edge.b) inside.push_back(&edge);
    std::sort(inside.begin(), inside.end(), [&](const Edge* x, const Edge* y) {
        return std::tie(component[x->a], x->a, x->b) < std::tie(component[y->a], y->a, y->b);
    });

    std::vector<uint32_t> cluster(records), place(records), members;
    for (uint32_t i = 0; i < records; ++i) cluster[i] = i;
    for (size_t begin = 0, end; begin < inside.size(); begin = end) {
        for (end = begin + 1; end < inside.size() && component[inside[end]->a] == component[inside[begin]->a];) ++end;
        members.clear();
        for (size_t i = begin; i < end; ++i) members.insert(members.end(), {inside[i]->a, inside[i]->b});
        std::sort(members.begin(), members.end());
        members.erase(std::unique(members.begin(), members.end()), members.end());
        for (uint32_t i = 0; i < members.size(); ++i) place[members[i]] = i;
        Agglomeration agglomeration(static_cast<uint32_t>(members.size()), rules);
        for (size_t i = begin; i < end; ++i) {
            const Edge& edge = *inside[i];
            const double weight = std::clamp(edge.weight, -kMostWeight, kMostWeight);
            agglomeration.Add(place[edge.a], place[edge.b], {weight, 1, weight, edge.said == Edge::Said::kDifferent});
        }
        for (size_t i = begin; i < end; ++i)
            if (inside[i]->said == Edge::Said::kSame) agglomeration.JoinWhatIsSaid(place[inside[i]->a], place[inside[i]->b]);
        agglomeration.Run();
        // By its first record.
        std::vector<uint32_t> first(members.size(), UINT32_MAX);
        for (uint32_t i = 0; i < members.size(); ++i) {
            uint32_t& f = first[agglomeration.Find(i)];
            if (f == UINT32_MAX) f = members[i];
            cluster[members[i]] = f;
        }
    }
    return cluster;
}

}  // namespace cdp::matching
