// identity/ledger_pg.cpp: see ledger_pg.hpp.
#include "identity/ledger_pg.hpp"

#include <unordered_set>

#include "collect/events_pg.hpp"
#include "pg/read_ahead.hpp"
#include "pg/table_writer.hpp"

namespace cdp::identity {

namespace {

/// The oldest identifier of each profile that ended, as it was then: with those of profiles that had become it before.
std::unordered_map<ProfileId, int64> OldestOfGone(Resolver& resolver, BatchIdentifiers& identifiers) {
    static pg::Statement find(
        "SELECT b.profile_id, min(i.identifier_id) FROM cdp_batch_gone b JOIN cdp.identifier i ON i.profile_id = b.profile_id GROUP BY 1");
    std::unordered_map<ProfileId, int64> oldest;
    pg::StagedRows staged("cdp_batch_gone", {{"profile_id", INT8OID}});
    for (const Merge& merge : resolver.merges()) {
        oldest[merge.gone] = PG_INT64_MAX;
        staged.Add({Int64GetDatum(merge.gone)});
    }
    const auto rows = find.Query();
    for (uint64 i = 0; i < rows.size(); ++i) oldest[rows.Int8(i, 1)] = rows.Int8(i, 2);
    for (size_t i = 0; i < identifiers.entries().size(); ++i) {
        const int node = resolver.NodeOf(static_cast<int>(i));
        const auto& entry = identifiers.entries()[i];
        if (node < 0 || !entry.is_new) continue;
        if (const auto gone = oldest.find(resolver.OwnProfile(node)); gone != oldest.end()) gone->second = std::min(gone->second, entry.identifier_id);
    }
    for (const Merge& merge : resolver.merges())
        if (const auto survivor = oldest.find(merge.survivor); survivor != oldest.end())
            survivor->second = std::min(survivor->second, oldest.at(merge.gone));
    return oldest;
}

}  // namespace

StagedMerges::StagedMerges(Resolver& resolver, BatchIdentifiers& identifiers, const std::function<std::string_view(size_t)>& why)
    : staged_("cdp_batch_merge", {{"gone", INT8OID}, {"survivor", INT8OID}, {"identifier_id", INT8OID}, {"reason", TEXTOID}}) {
    if (resolver.merges().empty()) return;
    std::unordered_map<ProfileId, Datum> reasons;
    if (why)
        for (const Merge& merge : resolver.merges()) reasons[merge.gone] = pg::TextDatum(why(merge.message));
    const auto oldest = OldestOfGone(resolver, identifiers);
    for (int node = 0; node < resolver.nodes(); ++node)
        if (const ProfileId gone = resolver.OwnProfile(node); gone != resolver.ProfileOf(node)) {
            const Datum values[] = {Int64GetDatum(gone), Int64GetDatum(resolver.ProfileOf(node)), Int64GetDatum(oldest.at(gone)), why ? reasons.at(gone) : Datum(0)};
            const bool nulls[] = {false, false, false, !why};
            staged_.Add(values, nulls);
        }
}

ProfileId Ledger::NextProfileId() {
    static pg::Statement next("SELECT last_value + is_called::int FROM cdp.profile_id_seq");
    return next.Query().Int8(0, 1);
}

void Ledger::NumberNewIdentifiers(size_t messages, const std::function<std::span<Candidate>(size_t)>& kept,
                                  BatchIdentifiers& identifiers) {
    auto& entries = identifiers.entries();
    std::vector<BatchIdentifiers::Entry*> fresh;
    for (size_t i = 0; i < messages; ++i)
        for (const Candidate& candidate : kept(i)) {
            auto& entry = entries[candidate.identifier];
            if (entry.identifier_id != 0 || entry.is_new) continue;
            entry.is_new = true;
            fresh.push_back(&entry);
        }
    if (fresh.empty()) return;
    new_count_ = static_cast<int64>(fresh.size());
    int64 id = first_new_ = collect::TakeIds("cdp.identifier_id_seq", new_count_);
    for (auto* entry : fresh) entry->identifier_id = id++;
}

void Ledger::Record(const collect::InboxMessage& message, int64 event_id, std::span<const Candidate> carried,
                    const Joined& joined, BatchIdentifiers& identifiers) {
    auto& entries = identifiers.entries();
    const auto kept = carried.first(joined.kept);
    for (const Candidate& candidate : kept) {
        auto& entry = entries[candidate.identifier];
        const bool first = entry.is_new && !entry.seen_changed;
        if (first || message.occurred_at < entry.first_seen) {
            entry.first_seen = message.occurred_at;
            entry.seen_changed = true;
        }
        if (first || message.occurred_at > entry.last_seen) {
            entry.last_seen = message.occurred_at;
            entry.seen_changed = true;
        }
    }
    const int64 strongest = entries[kept.front().identifier].identifier_id;
    for (const Candidate& candidate : kept.subspan(1))
        links_.push_back({strongest, entries[candidate.identifier].identifier_id, message.message_id, event_id, message.occurred_at,
                          entries[kept.front().identifier].is_new || entries[candidate.identifier].is_new});
    for (const Candidate& candidate : carried.subspan(joined.kept)) {
        auto [entry, is_new] = conflicts_.try_emplace(
            {strongest, candidate.identifier},
            Conflict{joined.limit_type, joined.separation, std::string(message.message_id), event_id, 0, message.occurred_at, message.occurred_at});
        ++entry->second.refusals;
        entry->second.first_at = std::min(entry->second.first_at, message.occurred_at);
        entry->second.last_at = std::max(entry->second.last_at, message.occurred_at);
    }
}

void Ledger::WriteIdentifiers(BatchIdentifiers& identifiers, Resolver& resolver, const StagedMerges& merges) {
    auto& entries = identifiers.entries();
    std::vector<Datum> type_names;
    for (const auto& type : identifiers.rules().types()) type_names.push_back(pg::TextDatum(type.name));
    const std::vector<std::string> columns{"identifier_id", "type", "value", "profile_id", "first_seen_at", "last_seen_at"};
    pg::TableWriter known("cdp.identifier", columns), fresh("cdp.identifier", columns);
    std::unordered_set<int64> updated;
    for (const int i : identifiers.by_value()) {
        auto& entry = entries[i];
        if (!entry.is_new && !entry.seen_changed) continue;
        const std::initializer_list<Datum> row = {Int64GetDatum(entry.identifier_id), type_names[entry.type], pg::TextDatum(entry.value),
                                                  Int64GetDatum(resolver.ProfileOf(resolver.NodeOf(i))),
                                                  TimestampTzGetDatum(entry.first_seen), TimestampTzGetDatum(entry.last_seen)};
        if (entry.is_new) {
            fresh.Insert(row);
            continue;
        }
        known.Update(&entry.place, row);
        if (merges.any()) updated.insert(entry.identifier_id);
    }
    pg::Rows others;  // of profiles that end, which the batch did not see
    if (merges.any()) {
        static pg::Statement of_gone(
            "SELECT i.ctid, i.identifier_id, i.type, i.value, b.survivor, i.first_seen_at, i.last_seen_at"
            " FROM cdp.identifier i JOIN cdp_batch_merge b ON i.profile_id = b.gone");
        others = of_gone.Query();
        Datum values[7];
        bool nulls[7];
        for (uint64 i = 0; i < others.size(); ++i) {
            others.Deform(i, values, nulls);
            if (updated.contains(DatumGetInt64(values[1]))) continue;
            ItemPointerData place = pg::Place(values[0]);
            known.Update(&place, values + 1, nulls + 1);
        }
    }
    known.Write();
    fresh.Write();
}

void Ledger::WriteLinks() {
    if (links_.empty()) return;
    // Each pair once: the first message that carried it is the reason.
    const auto pair = [](const Link& link) { return std::pair(link.a, link.b); };
    std::stable_sort(links_.begin(), links_.end(), [&](const Link& x, const Link& y) { return pair(x) < pair(y); });
    links_.erase(std::unique(links_.begin(), links_.end(), [&](const Link& x, const Link& y) { return pair(x) == pair(y); }), links_.end());
    {
        pg::StagedRows staged("cdp_batch_pair", {{"place", INT4OID}, {"identifier_a", INT8OID}, {"identifier_b", INT8OID}});
        std::vector<std::pair<int64, int64>> wanted;
        for (size_t i = 0; i < links_.size(); ++i) {
            if (links_[i].surely_new) continue;
            staged.Add({Int32GetDatum(static_cast<int32>(i)), Int64GetDatum(links_[i].a), Int64GetDatum(links_[i].b)});
            wanted.push_back(pair(links_[i]));
        }
        pg::ReadAhead("identity_link_a", wanted.size(), [&](size_t i, Datum* values) {
            values[0] = Int64GetDatum(wanted[i].first);
            values[1] = Int64GetDatum(wanted[i].second);
        });
        static pg::Statement find(
            "SELECT b.place FROM cdp_batch_pair b JOIN cdp.identity_link l"
            " ON l.identifier_a = b.identifier_a AND l.identifier_b = b.identifier_b AND l.cause = 'message'"
            " AND (l.revoked_at IS NULL OR l.revoked_by IS NOT NULL)");
        const auto known = staged.size() > 0 ? find.Query() : pg::Rows();
        for (uint64 i = 0; i < known.size(); ++i) links_[DatumGetInt32(*known.Get(i, 1))].event_id = 0;
        std::erase_if(links_, [](const Link& link) { return link.event_id == 0; });
    }
    if (links_.empty()) return;
    std::sort(links_.begin(), links_.end(), [](const Link& x, const Link& y) { return std::tie(x.event_id, x.b) < std::tie(y.event_id, y.b); });
    pg::TableWriter writer("cdp.identity_link", {"link_id", "identifier_a", "identifier_b", "cause", "message_id", "event_id", "linked_at"});
    const Datum cause = pg::TextDatum("message");
    int64 id = collect::TakeIds("cdp.identity_link_id_seq", static_cast<int64>(links_.size()));
    for (const Link& link : links_)
        writer.Insert({Int64GetDatum(id++), Int64GetDatum(link.a), Int64GetDatum(link.b), cause, pg::TextDatum(link.message_id),
                       Int64GetDatum(link.event_id), TimestampTzGetDatum(link.at)});
    writer.Write();
}

void Ledger::WriteConflicts(BatchIdentifiers& identifiers) {
    if (conflicts_.empty()) return;
    pg::StagedRows staged("cdp_batch_conflict", {{"identifier_id", INT8OID}, {"type", TEXTOID}, {"value", TEXTOID}, {"limit_type", TEXTOID},
                                                 {"message_id", TEXTOID}, {"event_id", INT8OID}, {"refusals", INT8OID},
                                                 {"first_at", TIMESTAMPTZOID}, {"last_at", TIMESTAMPTZOID}, {"separation_id", INT8OID}});
    const auto& types = identifiers.rules().types();
    for (const auto& [pair, conflict] : conflicts_) {
        const auto& entry = identifiers.entries()[pair.second];
        const bool of_limit = conflict.limit_type >= 0;
        const Datum values[] = {Int64GetDatum(pair.first), pg::TextDatum(types[entry.type].name), pg::TextDatum(entry.value),
                                of_limit ? pg::TextDatum(types[conflict.limit_type].name) : Datum(0), pg::TextDatum(conflict.message_id),
                                Int64GetDatum(conflict.event_id), Int64GetDatum(conflict.refusals), TimestampTzGetDatum(conflict.first_at),
                                TimestampTzGetDatum(conflict.last_at), Int64GetDatum(conflict.separation)};
        const bool nulls[] = {false, false, false, !of_limit, false, false, false, false, false, of_limit};
        staged.Add(values, nulls);
    }
    static pg::Statement record(
        "INSERT INTO cdp.identity_conflict AS c (identifier_id, type, value, limit_type, message_id, event_id, refusals, first_at, last_at, separation_id)"
        " SELECT identifier_id, type, value, limit_type, message_id, event_id, refusals, first_at, last_at, separation_id FROM cdp_batch_conflict"
        " ON CONFLICT (identifier_id, type, value) DO UPDATE SET refusals = c.refusals + excluded.refusals,"
        " first_at = least(c.first_at, excluded.first_at), last_at = greatest(c.last_at, excluded.last_at)");
    record.Execute();
}

void Ledger::WriteAliases(Resolver& resolver, const StagedMerges& merges, std::string_view why_merged) {
    static pg::Statement advance("SELECT setval('cdp.profile_id_seq', $1)", {INT8OID});
    if (resolver.next_profile_id() > NextProfileId()) advance.Query({pg::Int8(resolver.next_profile_id() - 1)});
    if (!merges.any()) return;
    static pg::Statement redirect(
        "UPDATE cdp.profile_alias a SET profile_id = b.survivor FROM cdp_batch_merge b WHERE a.profile_id = b.gone");
    static pg::Statement add(
        "INSERT INTO cdp.profile_alias (alias_id, profile_id, reason, identifier_id)"
        " SELECT gone, survivor, coalesce(reason, $1), identifier_id FROM cdp_batch_merge", {TEXTOID});
    redirect.Execute();
    add.Execute({pg::Text(why_merged)});
}

void Ledger::Write(BatchIdentifiers& identifiers, Resolver& resolver, const StagedMerges& merges, std::string_view why_merged) {
    WriteIdentifiers(identifiers, resolver, merges);
    WriteLinks();
    WriteConflicts(identifiers);
    WriteAliases(resolver, merges, why_merged);
}

}  // namespace cdp::identity
