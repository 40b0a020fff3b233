// identity/separations_pg.hpp: what was taken apart and must stay so (cdp.identity_separation).
//
// Identifiers carry marks: which part of which separation they were in when it was made. A person is marked by all
// of theirs; two persons who are of different parts of one separation are made one by no message. The states of
// marked people say that they are (profile::kMarkedTypeId), so that nothing is read for anybody else.
#pragma once

#include <functional>

#include "identity/resolver.hpp"
#include "pg/spi.hpp"

namespace cdp::identity {

/// Calls `visit` with every mark of these people, ascending ids; the same mark perhaps more than once.
void ReadMarks(std::span<const int64> profile_ids, const std::function<void(int64 profile_id, Mark mark)>& visit);

/// An identifier, and the part it is in from now on.
struct Parted {
    int64 identifier_id;
    int part;  // 0 or 1
};
/// Makes a separation of the two parts. `act`: collect::NumberAct().
void Separate(std::span<const Parted> identifiers, int64 act);

/// Somebody says that two profiles are one person: nothing separates them any more, but whatever was separated from
/// either is separated from both.
void LiftSeparations(int64 profile_a, int64 profile_b);

}  // namespace cdp::identity
