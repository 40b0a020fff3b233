// identity/match_report.cpp: see match_report.hpp.
#include "identity/match_report.hpp"

#include <cstdio>

namespace cdp::matching {

namespace {

std::string Number(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", number);
    return text;
}

/// A text as JSON writes it, with its quotes.
std::string JsonText(std::string_view text) {
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            json += '\\';
            json += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char escaped[8];
            std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
            json += escaped;
        } else {
            json += c;
        }
    }
    return json + "\"";
}

std::string LevelJson(const ModelComparison& of, size_t level) {
    const auto& levels = of.comparison.levels;
    std::string json = "{\"level\": " + JsonText(of.comparison.Label(static_cast<LevelNumber>(level + 1)));
    if (level < levels.size()) {
        json += ", \"test\": " + JsonText(NameOf(levels[level].test));
        if (levels[level].at != 0) json += ", \"at\": " + Number(levels[level].at);
    }
    json += ", \"m\": " + Number(of.m[level]) + ", \"u\": " + Number(of.u[level]);
    if (!of.h.empty()) json += ", \"h\": " + Number(of.h[level]);
    if (of.parent >= 0) {
        json += ", \"given\": {";
        for (size_t given = 0; given < 3; ++given)
            json += std::string(given == 0 ? "" : ", ") + "\"" + kGivenNames[given] + "\": {\"m\": " +
                    Number(of.m_given[given][level]) + ", \"u\": " + Number(of.u_given[given][level]) + "}";
        json += "}";
    }
    return json + "}";
}

std::string ComparisonJson(const Model& model, const ModelComparison& of) {
    std::string json = "{\"column\": " + JsonText(of.comparison.column) + ", \"kind\": " + JsonText(NameOf(of.comparison.kind)) +
                       ", \"term_frequency\": " + (of.comparison.term_frequency ? "true" : "false");
    if (!of.comparison.partner.empty()) json += ", \"swapped_with\": " + JsonText(of.comparison.partner);
    if (of.parent >= 0) json += ", \"depends_on\": " + JsonText(model.comparisons[of.parent].comparison.column);
    json += ", \"levels\": [";
    for (size_t level = 0; level < of.m.size(); ++level) json += (level == 0 ? "" : ", ") + LevelJson(of, level);
    json += "], \"strangers\": [";
    for (size_t b = 0; b < of.strangers.size(); ++b) json += (b == 0 ? "" : ", ") + Number(of.strangers[b]);
    return json + "]}";
}

}  // namespace

std::string ModelJson(const Model& model, std::span<const std::string> rules) {
    std::string json = "{\"records\": " + std::to_string(model.records) + ", \"expected_matches\": " + Number(model.expected_matches) +
                       ", \"prior\": " + Number(model.prior) +
                       (model.related > 0 ? ", \"related\": " + Number(model.related) : "") + ", \"blocking\": [";
    for (size_t i = 0; i < rules.size(); ++i) json += (i == 0 ? "" : ", ") + JsonText(rules[i]);
    json += "], \"comparisons\": [";
    for (size_t c = 0; c < model.comparisons.size(); ++c) json += (c == 0 ? "" : ", ") + ComparisonJson(model, model.comparisons[c]);
    return json + "]}";
}

}  // namespace cdp::matching
