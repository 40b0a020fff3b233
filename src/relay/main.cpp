// relay/main.cpp: cdp-relay, the companion program: `cdp-relay deliver`.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "pg/error.hpp"
#include "relay/deliver.hpp"

using namespace cdp;

namespace {

struct Command {
    const char* name;
    const char* help;
    int (*run)(const relay::Configuration& configuration, const relay::Environment& environment);
};
constexpr Command kCommands[] = {
    {"deliver", "sends what changes in destinations over HTTP, as cdp.set_delivery says", relay::Deliver},
};

int Help(FILE* out) {
    fputs("cdp-relay: what of cdp is not PostgreSQL\n\n", out);
    for (const Command& command : kCommands) fprintf(out, "  cdp-relay %-8s %s\n", command.name, command.help);
    fputs("\n  --dsn CONNINFO        the database (CDP_DSN)\n"
          "  --destination NAME    only this one; may be given several times (CDP_DESTINATIONS=a,b)\n"
          "  --listen ADDRESS:PORT where /health and /metrics are answered (CDP_LISTEN)\n"
          "  --ca-file FILE        certificates that vouch for receivers, instead of the system's (CDP_CA_FILE)\n"
          "  --config FILE         JSON with the same and more settings (CDP_CONFIG)\n", out);
    return out == stdout ? 0 : 2;
}

std::optional<std::string> Environment(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.empty()) return Help(stderr);
    if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") return Help(stdout);
    if (arguments[0] == "--version") return puts("cdp-relay 1.0") < 0;
    for (const Command& command : kCommands) {
        if (arguments[0] != command.name) continue;
        try {
            return command.run(relay::Configuration::Read(std::span(arguments).subspan(1), Environment), Environment);
        } catch (const std::exception& error) {
            fprintf(stderr, "cdp-relay %s: %s\n", command.name, error.what());
            return 2;
        }
    }
    fprintf(stderr, "cdp-relay: unknown command \"%s\"\n", arguments[0].c_str());
    return Help(stderr);
}
