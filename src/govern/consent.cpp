// govern/consent.cpp: see consent.hpp.
#include "govern/consent.hpp"

#include <algorithm>

namespace cdp::govern {

void Answers::Say(std::optional<std::string_view> channel, const Statement& statement) {
    std::optional<Statement>* said = &everywhere_;
    if (channel) {
        const auto known = std::find_if(channels_.begin(), channels_.end(), [&](const auto& one) { return one.first == *channel; });
        said = known != channels_.end() ? &known->second : &channels_.emplace_back(std::string(*channel), std::nullopt).second;
    }
    if (!*said || Outweighs(statement, **said)) *said = statement;
}

bool Answers::CoversChannel(const std::optional<Statement>& on_channel, bool opt_out) const {
    if (!on_channel && !everywhere_) return opt_out;
    if (!on_channel) return everywhere_->granted;
    if (!everywhere_) return on_channel->granted;
    return (Outweighs(*on_channel, *everywhere_) ? *on_channel : *everywhere_).granted;
}

bool Answers::Covers(std::optional<std::string_view> channel, bool opt_out) const {
    if (channel) {
        const auto said = std::find_if(channels_.begin(), channels_.end(), [&](const auto& one) { return one.first == *channel; });
        return CoversChannel(said == channels_.end() ? std::nullopt : said->second, opt_out);
    }
    // Those of which nobody has said anything, and each of the others.
    return CoversChannel(std::nullopt, opt_out) &&
           std::all_of(channels_.begin(), channels_.end(), [&](const auto& one) { return CoversChannel(one.second, opt_out); });
}

}  // namespace cdp::govern
