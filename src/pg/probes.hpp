// pg/probes.hpp: plans that look every staged row up by key, however small the tables are now.
#pragma once

#include "pg/postgres.hpp"

namespace cdp::pg {

/// While one lives, statements are planned as if every table were big. So a plan that was made when a table was
/// empty, or had been analysed when it was, still probes its index once it has grown, even within one batch.
class Probes {
public:
    Probes();
    ~Probes();
    Probes(const Probes&) = delete;

private:
    bool outer_;
    int settings_;
};

}  // namespace cdp::pg
