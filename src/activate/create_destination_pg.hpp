// activate/create_destination_pg.hpp: making and dropping destinations.
#pragma once

#include "activate/destination_pg.hpp"

namespace cdp::activate {

struct Request {
    std::string name;
    std::optional<std::string> segment;
    std::string key;
    std::optional<Datum> columns;  // jsonb
    std::optional<std::string> table_name;
    std::optional<std::string> purpose, channel;
};

/// Makes the destination for `owner`, with its table and publication, and fills it. Returns the table. Needs an open
/// Spi and the pipeline's lock, and acts as the extension's owner. Throws what a user can mend.
Oid CreateDestination(const Request& request, Oid owner);

/// Takes it away again; `cascade`: with what depends on its table. Throws if there is none of that name.
void DropDestination(const std::string& name, bool cascade = false);

/// Drops all destinations, and what depends on their tables.
void DropEverything();

}  // namespace cdp::activate
