// profile/accounts_pg.hpp: what group messages say of accounts and their members.
#pragma once

#include <functional>

#include "profile/traits_pg.hpp"

namespace cdp::profile {

/// Writes the accounts and members that the group messages among `events` speak of. `profile_of(i)` is whose
/// event i is. With `any_gone`, first hands on the memberships of the profiles staged in cdp_batch_merge.
void WriteAccounts(std::span<const EventRow> events, const std::function<int64(size_t)>& profile_of, bool any_gone);

/// Fills `table`, of the shape of cdp.account, from all group messages.
void RebuildAccounts(const std::string& table);

}  // namespace cdp::profile
