// json_edits.hpp: JSON of a known form, changed here and there as the input says: what raw bytes seldom become.
#pragma once

#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "fuzz.hpp"

namespace cdp::fuzz {

inline void Collect(nlohmann::json& json, std::vector<nlohmann::json*>& all) {
    all.push_back(&json);
    if (json.is_structured())
        for (auto& element : json) Collect(element, all);
}

/// Changes one place. `fragments`: texts that mean something where this JSON is read.
inline void Edit(nlohmann::json& json, std::span<const char* const> fragments, Input& input) {
    std::vector<nlohmann::json*> all;
    Collect(json, all);
    if (all.size() > 2000) return;  // copies of copies
    const auto any = [&]() -> nlohmann::json& { return *all[(input.Byte() * 256 + input.Byte()) % all.size()]; };
    const auto fragment = [&] { return std::string(fragments[input.Below(static_cast<unsigned>(fragments.size()))]); };
    nlohmann::json& place = any();
    switch (input.Below(7)) {
        case 0: place = nullptr; break;
        case 1: place = static_cast<int>(input.Byte()) - 128; break;
        case 2: place = nlohmann::json(any()); break;
        case 3: place = nlohmann::json::array({nlohmann::json(place), nlohmann::json(any())}); break;
        case 4: place = {{fragment(), nlohmann::json(place)}}; break;
        case 5: place = fragment(); break;
        default:
            std::string text = place.is_string() ? place.get<std::string>() : "";
            const size_t at = text.empty() ? 0 : input.Byte() % text.size();
            text.replace(at, input.Below(8), input.Below(2) ? fragment() : std::string(1, static_cast<char>(input.Byte())));
            place = text;
    }
}

}  // namespace cdp::fuzz
