// match_people.hpp: people made up for tests of matching, with the truth.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "identity/match_records.hpp"

namespace cdp::matching {

/// Records of `people`, some of them several times, with errors in every column.
struct MadeUp {
    Records records{{{"given_name", "text"}, {"surname", "text"}, {"born", "date"}, {"town", "text"}, {"email", "text"}}};
    std::vector<int> person;
};

inline MadeUp MakeUp(int people, double copies, unsigned seed) {
    static const char* const kSyllables[] = {"ba", "co", "da", "el", "fi", "gra", "ho", "in", "jo", "ka", "lu", "mar", "ne", "or", "pe", "ros", "sa", "ti"};
    std::mt19937 random(seed);
    const auto below = [&](int n) { return static_cast<int>(random() % n); };
    const auto word = [&](int n) {
        std::mt19937 own(static_cast<unsigned>(n));
        std::string w;
        for (int i = 0; i < 2 + n % 3; ++i) w += kSyllables[own() % std::size(kSyllables)];
        return w;
    };
    const auto spoilt = [&](std::string text) {
        if (text.size() > 2) text[below(static_cast<int>(text.size()))] = static_cast<char>('a' + below(26));
        return text;
    };
    MadeUp made;
    int key = 0;
    for (int p = 0; p < people; ++p) {
        char born[16];
        std::snprintf(born, sizeof born, "%04d-%02d-%02d", 1940 + below(60), 1 + below(12), 1 + below(28));
        const std::string given = word(1000 + below(200)), family = word(5000 + below(2000));
        const std::string values[] = {given, family, born, word(20000 + below(60)), given + "." + family + std::to_string(below(90)) + "@mail.example"};
        const int count = below(1000) < copies * 1000 ? 2 + below(2) : 1;
        for (int k = 0; k < count; ++k) {
            std::vector<std::string> own(std::begin(values), std::end(values));
            std::vector<std::optional<std::string_view>> texts;
            for (auto& value : own) {
                if (k > 0 && below(100) < 12) value = spoilt(value);
                texts.push_back(below(100) < 5 ? std::nullopt : std::optional<std::string_view>(value));
            }
            made.records.Add(std::to_string(++key), texts);
            made.person.push_back(p);
        }
    }
    return made;
}

}  // namespace cdp::matching
