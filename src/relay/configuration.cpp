// relay/configuration.cpp: see configuration.hpp.
#include "relay/configuration.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>

#include "pg/error.hpp"

namespace cdp::relay {

namespace {

using nlohmann::json;

[[noreturn]] void Wrong(const std::string& message) { throw Error(sqlstate::invalid_parameter_value, message); }

json Text(const std::string& text) { return text; }

json List(const std::string& text) {
    json list = json::array();
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        const size_t first = text.find_first_not_of(' ', begin), last = text.find_last_not_of(' ', end - 1);
        if (first < end) list.push_back(text.substr(first, last - first + 1));
        begin = end + 1;
    }
    return list;
}

json Number(const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? json(value) : json(text);
}

struct Setting {
    const char* name;
    const char* argument;  // nullptr: none
    const char* variable;
    json (*parse)(const std::string&);
};
constexpr Setting kSettings[] = {
    {"dsn", "--dsn", "CDP_DSN", Text},
    {"destinations", "--destination", "CDP_DESTINATIONS", List},
    {"listen", "--listen", "CDP_LISTEN", Text},
    {"ca_file", "--ca-file", "CDP_CA_FILE", Text},
    {"log_level", nullptr, "CDP_LOG_LEVEL", Text},
    {"longest_pause", nullptr, "CDP_LONGEST_PAUSE", Number},
    {"stop_timeout", nullptr, "CDP_STOP_TIMEOUT", Number},
    {"secrets", nullptr, "CDP_SECRETS", List},
};

json ReadFile(const std::string& path) {
    std::ifstream file(path);
    if (!file) Wrong("configuration file \"" + path + "\" cannot be read");
    json given = json::parse(file, nullptr, false, true);
    if (!given.is_object()) Wrong("configuration file \"" + path + "\" is no JSON object");
    for (const auto& [name, value] : given.items())
        if (std::none_of(std::begin(kSettings), std::end(kSettings), [&, &key = name](const Setting& s) { return key == s.name; }))
            Wrong("configuration file \"" + path + "\" has the unknown setting \"" + name + "\"");
    return given;
}

std::string TextOf(const json& settings, const char* name, const std::string& otherwise) {
    if (!settings.contains(name)) return otherwise;
    if (!settings[name].is_string()) Wrong(std::string("setting \"") + name + "\" must be a text");
    return settings[name];
}

double SecondsOf(const json& settings, const char* name, double otherwise) {
    if (!settings.contains(name)) return otherwise;
    if (!settings[name].is_number() || settings[name].get<double>() < 0)
        Wrong(std::string("setting \"") + name + "\" must be a number of seconds");
    return settings[name];
}

std::vector<std::string> ListOf(const json& settings, const char* name) {
    std::vector<std::string> list;
    if (!settings.contains(name)) return list;
    const json& given = settings[name];
    if (!given.is_array() || std::any_of(given.begin(), given.end(), [](const json& item) { return !item.is_string(); }))
        Wrong(std::string("setting \"") + name + "\" must be a list of texts");
    return given;
}

}  // namespace

Configuration Configuration::Read(std::span<const std::string> arguments, const Environment& environment) {
    json settings = json::object(), said = json::object();
    std::optional<std::string> file = environment("CDP_CONFIG");
    for (size_t i = 0; i < arguments.size(); i += 2) {
        const std::string& argument = arguments[i];
        const auto setting = std::find_if(std::begin(kSettings), std::end(kSettings),
                                          [&](const Setting& s) { return s.argument != nullptr && argument == s.argument; });
        if (setting == std::end(kSettings) && argument != "--config") Wrong("unknown argument \"" + argument + "\"");
        if (i + 1 == arguments.size()) Wrong("argument \"" + argument + "\" needs a value");
        if (argument == "--config")
            file = arguments[i + 1];
        else if (argument == "--destination")
            said["destinations"].push_back(arguments[i + 1]);
        else
            said[setting->name] = setting->parse(arguments[i + 1]);
    }
    if (file) settings = ReadFile(*file);
    for (const Setting& setting : kSettings)
        if (const auto value = environment(setting.variable)) settings[setting.name] = setting.parse(*value);
    settings.update(said);

    Configuration configuration;
    configuration.dsn = TextOf(settings, "dsn", "");
    configuration.destinations = ListOf(settings, "destinations");
    configuration.listen = TextOf(settings, "listen", "");
    configuration.ca_file = TextOf(settings, "ca_file", "");
    if (!configuration.ca_file.empty() && !std::ifstream(configuration.ca_file)) Wrong("the file of certificates \"" + configuration.ca_file + "\" cannot be read");
    configuration.longest_pause = SecondsOf(settings, "longest_pause", configuration.longest_pause);
    configuration.stop_timeout = SecondsOf(settings, "stop_timeout", configuration.stop_timeout);
    configuration.secrets = ListOf(settings, "secrets");
    const std::string level = TextOf(settings, "log_level", "info");
    const std::string levels[] = {"debug", "info", "warning", "error"};
    const auto found = std::find(std::begin(levels), std::end(levels), level);
    if (found == std::end(levels)) Wrong("log level \"" + level + "\" is none of debug, info, warning, error");
    configuration.log_level = static_cast<Level>(found - std::begin(levels));
    return configuration;
}

Environment Configuration::SecretsOf(Environment environment) const {
    return [environment = std::move(environment), allowed = secrets](const std::string& name) -> std::optional<std::string> {
        if (name.starts_with("PG") || name == "CDP_DSN") return std::nullopt;
        if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), name) == allowed.end()) return std::nullopt;
        return environment(name);
    };
}

}  // namespace cdp::relay
