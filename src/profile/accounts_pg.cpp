// profile/accounts_pg.cpp: see accounts_pg.hpp.
#include "profile/accounts_pg.hpp"

#include <map>

namespace cdp::profile {

namespace {

struct Account {
    Datum traits = 0;
    KeyStamps stamps;
    int64 first_seen = PG_INT64_MAX, last_seen = PG_INT64_MIN;
};

using Accounts = std::map<std::string, Account>;

void Load(Accounts& accounts) {
    static pg::Statement load(
        "SELECT a.group_id, a.traits, a.first_seen_at, a.last_seen_at, a.state FROM cdp_batch_group b JOIN cdp.account a ON a.group_id = b.group_id");
    pg::StagedRows wanted("cdp_batch_group", {{"group_id", TEXTOID}});
    for (const auto& entry : accounts) wanted.Add({pg::TextDatum(entry.first)});
    const auto rows = load.Query();
    for (uint64 i = 0; i < rows.size(); ++i) {
        Account& account = accounts[rows.Text(i, 1)];
        // The rows die with this function; the traits do not.
        account.traits = pg::Call([&] { return PointerGetDatum(PG_DETOAST_DATUM_COPY(*rows.Get(i, 2))); });
        account.first_seen = DatumGetTimestampTz(*rows.Get(i, 3));
        account.last_seen = DatumGetTimestampTz(*rows.Get(i, 4));
        if (const auto state = rows.Get(i, 5)) {
            Reader in(pg::Bytes(*state));
            account.stamps = KeyStamps::Read(in);
        }
    }
}

#define ACCOUNT_COLUMNS "(group_id, traits, first_seen_at, last_seen_at, state)"                           \
                        " SELECT group_id, traits, first_seen_at, last_seen_at, state FROM cdp_batch_account"

void Add(Account& account, const EventRow& event) {
    const Stamp stamp = event.stamp();
    account.first_seen = std::min(account.first_seen, stamp.occurred_at);
    account.last_seen = std::max(account.last_seen, stamp.occurred_at);
    if (account.traits == 0) account.traits = pg::EmptyObject();
    bool changed;
    if (!event.nulls[kEventTraits] && event.Object(kEventTraits).IsObject())
        account.traits = MergeTraits(account.traits, account.stamps, event.values[kEventTraits], stamp, &changed);
}

void Store(const Accounts& accounts, pg::Statement& store) {
    pg::StagedRows staged("cdp_batch_account", {{"group_id", TEXTOID}, {"traits", JSONBOID}, {"first_seen_at", TIMESTAMPTZOID},
                                                {"last_seen_at", TIMESTAMPTZOID}, {"state", BYTEAOID}});
    for (const auto& [group_id, account] : accounts) {
        Writer state;
        account.stamps.Write(state);
        staged.Add({pg::TextDatum(group_id), account.traits, TimestampTzGetDatum(account.first_seen),
                    TimestampTzGetDatum(account.last_seen), pg::TextDatum(state.bytes())});
    }
    store.Execute();
}

}  // namespace

void WriteAccounts(std::span<const EventRow> events, const std::function<int64(size_t)>& profile_of, bool any_gone) {
    if (any_gone) {
        static pg::Statement hand_on(
            "WITH gone AS (DELETE FROM cdp.account_member m USING cdp_batch_merge b WHERE m.profile_id = b.gone"
            "              RETURNING b.survivor, m.group_id, m.since)"
            " INSERT INTO cdp.account_member AS m (profile_id, group_id, since)"
            " SELECT survivor, group_id, min(since) FROM gone GROUP BY survivor, group_id"
            " ON CONFLICT (profile_id, group_id) DO UPDATE SET since = least(m.since, excluded.since)");
        hand_on.Execute();
    }
    Accounts accounts;
    std::map<std::pair<int64, std::string>, int64> members;  // since when
    for (size_t i = 0; i < events.size(); ++i) {
        if (events[i].Text(kEventType) != "group") continue;
        const std::string group_id(events[i].Text(kEventGroupId));
        accounts.try_emplace(group_id);
        const int64 at = events[i].stamp().occurred_at;
        const auto [member, is_new] = members.try_emplace({profile_of(i), group_id}, at);
        member->second = std::min(member->second, at);
    }
    if (accounts.empty()) return;
    Load(accounts);
    for (const EventRow& event : events) {
        if (event.Text(kEventType) != "group") continue;
        Add(accounts[std::string(event.Text(kEventGroupId))], event);
    }
    static pg::Statement store("INSERT INTO cdp.account " ACCOUNT_COLUMNS
        " ON CONFLICT (group_id) DO UPDATE SET traits = excluded.traits, first_seen_at = excluded.first_seen_at,"
        " last_seen_at = excluded.last_seen_at, state = excluded.state");
    Store(accounts, store);

    static pg::Statement join(
        "INSERT INTO cdp.account_member AS m (profile_id, group_id, since) SELECT profile_id, group_id, since FROM cdp_batch_member"
        " ON CONFLICT (profile_id, group_id) DO UPDATE SET since = excluded.since WHERE excluded.since < m.since");
    pg::StagedRows staged("cdp_batch_member", {{"profile_id", INT8OID}, {"group_id", TEXTOID}, {"since", TIMESTAMPTZOID}});
    for (const auto& [member, since] : members)
        staged.Add({Int64GetDatum(member.first), pg::TextDatum(member.second), TimestampTzGetDatum(since)});
    join.Execute();
}

void RebuildAccounts(const std::string& table) {
    pg::Cursor cursor(
        "SELECT event_id, message_id, type, event, source, identifier_id, occurred_at, received_at, sent_at, user_id, anonymous_id,"
        " previous_id, group_id, linked_ids, properties, traits, context FROM cdp.event WHERE type = 'group' ORDER BY group_id COLLATE \"C\"");
    pg::Statement store("INSERT INTO " + table + " " ACCOUNT_COLUMNS);
    Accounts accounts;
    Datum values[kEventColumns];
    bool nulls[kEventColumns];
    for (pg::Rows rows; !(rows = cursor.Fetch(10'000)).empty();) {
        for (uint64 i = 0; i < rows.size(); ++i) {
            rows.Deform(i, values, nulls);
            if (!nulls[kEventTraits]) values[kEventTraits] = pg::Unpacked(values[kEventTraits]);
            const EventRow event{values, nulls};
            Add(accounts[std::string(event.Text(kEventGroupId))], event);
        }
    }
    if (!accounts.empty()) Store(accounts, store);
}

}  // namespace cdp::profile
