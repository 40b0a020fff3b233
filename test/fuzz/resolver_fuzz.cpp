// resolver_fuzz.cpp: bytes as rules, separations, messages and cuts into batches. However they are cut, the same people
// come out, no limit is broken, nothing that was separated comes together, and every message is of one person.
#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "fuzz.hpp"
#include "identity/resolver.hpp"

using namespace cdp;
using namespace cdp::identity;

namespace {

constexpr int kIdentifiers = 16;
constexpr std::string_view kValues = "abcdefghijklmnop";

struct World {
    std::vector<TypeRule> rules;
    std::array<std::vector<Mark>, kIdentifiers> marks;
    std::vector<std::vector<int>> messages;  // their identifiers; identifier i is of type i % rules
    std::vector<bool> cut;                   // before this message
};

struct Outcome {
    std::array<ProfileId, kIdentifiers> profile_of{};
    std::vector<ProfileId> of_message;
    ProfileId next = 1;
    bool operator==(const Outcome&) const = default;
};

World Read(fuzz::Input in) {
    World world;
    const unsigned types = 1 + in.Below(4);
    for (unsigned type = 0; type < types; ++type) {
        const unsigned limit = in.Below(6);
        world.rules.push_back({static_cast<int>(10 - type), static_cast<int>(1 + in.Below(3)),
                               limit == 0 ? std::nullopt : std::optional<int64_t>(limit - 1)});
    }
    // Those that are separated are known, and alone, before the first message.
    for (unsigned left = in.Below(12); left > 0; --left) {
        auto& marks = world.marks[in.Below(kIdentifiers)];
        const Mark mark{static_cast<int64_t>(1 + in.Below(3)), static_cast<int64_t>(in.Below(2))};
        if (std::none_of(marks.begin(), marks.end(), [&](const Mark& m) { return m.separation == mark.separation; })) marks.push_back(mark);
    }
    while (!in.empty() && world.messages.size() < 200) {
        const unsigned head = in.Byte();
        std::vector<int> sent;
        for (unsigned left = 1 + head % 4; left > 0; --left) {
            const int identifier = static_cast<int>(in.Below(kIdentifiers));
            if (std::find(sent.begin(), sent.end(), identifier) == sent.end()) sent.push_back(identifier);
        }
        world.messages.push_back(std::move(sent));
        world.cut.push_back(head >= 192);
    }
    return world;
}

Outcome Run(const World& world, bool cut) {
    Outcome outcome;
    std::map<ProfileId, std::vector<int64_t>> counts;
    for (int i = 0; i < kIdentifiers; ++i) {
        if (world.marks[i].empty()) continue;
        counts[outcome.next].assign(world.rules.size(), 0);
        ++counts[outcome.next][i % world.rules.size()];
        outcome.profile_of[i] = outcome.next++;
    }
    for (size_t begin = 0; begin < world.messages.size();) {
        size_t end = begin + 1;
        while (end < world.messages.size() && !(cut && world.cut[end])) ++end;
        Resolver resolver(world.rules, kIdentifiers, outcome.next);
        std::map<ProfileId, int> nodes;
        for (int i = 0; i < kIdentifiers; ++i) {
            const ProfileId profile = outcome.profile_of[i];
            if (profile == 0) continue;
            if (!nodes.contains(profile)) nodes[profile] = resolver.AddProfile(profile, counts.at(profile));
            for (const Mark& mark : world.marks[i]) resolver.AddMark(nodes[profile], mark);
            resolver.Know(i, nodes[profile]);
        }
        for (size_t m = begin; m < end; ++m) {
            std::vector<Candidate> candidates;
            for (const int i : world.messages[m])
                candidates.push_back({i, i % static_cast<int>(world.rules.size()), kValues.substr(i, 1)});
            const Joined joined = resolver.Join(m, candidates);
            CDP_MUST(joined.kept >= 1 && joined.kept <= static_cast<int>(candidates.size()));
            CDP_MUST((joined.limit_type >= 0 || joined.separation > 0) == (joined.kept < static_cast<int>(candidates.size())));
            CDP_MUST(joined.limit_type < 0 || joined.separation == 0);
            for (int k = 0; k < joined.kept; ++k)
                CDP_MUST(resolver.Root(resolver.NodeOf(candidates[k].identifier)) == resolver.Root(joined.node));
            outcome.of_message.push_back(resolver.ProfileOf(joined.node));
        }
        for (int i = 0; i < kIdentifiers; ++i) {
            const int node = resolver.NodeOf(i);
            if (node < 0) continue;
            outcome.profile_of[i] = resolver.ProfileOf(node);
            const auto now = resolver.Counts(node);
            counts[outcome.profile_of[i]].assign(now.begin(), now.end());
        }
        outcome.next = resolver.next_profile_id();
        begin = end;
    }
    for (const auto& [profile, known] : counts) {
        std::vector<int64_t> counted(world.rules.size());
        for (int i = 0; i < kIdentifiers; ++i)
            if (outcome.profile_of[i] == profile) ++counted[i % world.rules.size()];
        const bool lives = std::any_of(counted.begin(), counted.end(), [](int64_t n) { return n > 0; });
        for (size_t type = 0; lives && type < world.rules.size(); ++type) {
            CDP_MUST(counted[type] == known[type]);
            const auto& limit = world.rules[type].max_per_profile;
            // Of a limit of 0, the strongest identifier of a message is kept nevertheless.
            CDP_MUST(!limit || counted[type] <= std::max<int64_t>(*limit, 1));
        }
    }
    std::map<std::pair<ProfileId, int64_t>, int64_t> sides;
    for (int i = 0; i < kIdentifiers; ++i)
        for (const Mark& mark : world.marks[i])
            CDP_MUST(sides.try_emplace({outcome.profile_of[i], mark.separation}, mark.part).first->second == mark.part);
    return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const World world = Read(fuzz::Input(data, size));
    CDP_MUST(Run(world, false) == Run(world, true));
    return 0;
}
