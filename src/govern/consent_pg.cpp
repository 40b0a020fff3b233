// govern/consent_pg.cpp: see consent_pg.hpp.
#include "govern/consent_pg.hpp"

#include <map>

#include "collect/events_pg.hpp"
#include "pg/names.hpp"
#include "pg/probes.hpp"
#include "pg/table_writer.hpp"

namespace cdp::govern {

namespace {

/// Of statements, the one that holds of each person, purpose and channel, out of `people` (which gives profile_id, and
/// identifiers as i). Of equal ones the first.
std::string Holding(const std::string& people) {
    return "SELECT DISTINCT ON (profile_id, r.purpose, r.channel) profile_id, r.purpose, r.channel, r.granted, r.occurred_at, r.record_id"
           " FROM (" + people + ") i JOIN cdp.consent_record r ON r.value = i.value AND r.type = i.type"
           " JOIN cdp.purpose u ON u.name = r.purpose"
           " ORDER BY profile_id, r.purpose, r.channel, r.occurred_at DESC, r.granted, r.record_id";
}

std::string Suppressed(const std::string& people) {
    return "SELECT DISTINCT profile_id FROM (" + people + ") i JOIN cdp.suppression s ON s.value = i.value AND s.type = i.type";
}

constexpr const char* kUnlessOutweighed =
    " ON CONFLICT (profile_id, purpose, channel) DO UPDATE"
    " SET granted = EXCLUDED.granted, occurred_at = EXCLUDED.occurred_at, record_id = EXCLUDED.record_id"
    " WHERE (EXCLUDED.occurred_at, NOT EXCLUDED.granted, -EXCLUDED.record_id) > (c.occurred_at, NOT c.granted, -c.record_id)";

}  // namespace

Purposes Purposes::Load() {
    Purposes loaded;
    const auto rows = pg::Query("SELECT name, mode = 'opt_out' FROM cdp.purpose ORDER BY name COLLATE \"C\"");
    for (uint64 i = 0; i < rows.size(); ++i) loaded.all_.push_back({rows.Text(i, 1), rows.Bool(i, 2)});
    return loaded;
}

const Purpose* Purposes::Named(std::string_view name) const {
    const auto found = std::lower_bound(all_.begin(), all_.end(), name, [](const Purpose& p, std::string_view n) { return p.name < n; });
    return found == all_.end() || found->name != name ? nullptr : &*found;
}

Error NoPurpose(std::string_view name) {
    return Error(sqlstate::undefined_object, "purpose \"" + std::string(name) + "\" does not exist").Hint("Create it with cdp.create_purpose.");
}

ConsentQuestion ConsentAt(const pg::Condition& condition, size_t call, const Purposes& purposes) {
    const auto& arguments = condition.specials()[call].arguments;
    if (!arguments[0])
        throw condition.At(call, Error(sqlstate::null_value_not_allowed, "cdp.consented: the purpose must not be null").Hint("Name a purpose of cdp.purpose."));
    if (arguments[1] && arguments[1]->empty())
        throw condition.At(call, Error(sqlstate::invalid_parameter_value, "cdp.consented: the channel must not be empty").Hint("NULL is all channels."));
    const std::string& name = *arguments[0];
    if (const auto* purpose = purposes.Named(name)) return {*purpose, arguments[1]};
    std::string detail = condition.what() + " asks for it.";
    detail[0] = static_cast<char>(toupper(detail[0]));
    throw condition.At(call, NoPurpose(name).Detail(std::move(detail)));
}

std::string CoversSql(const std::string& person, const ConsentQuestion& question, const std::string& consents) {
    const auto& [purpose, channel] = question;
    const auto said = [&](const char* alias) {
        return "FROM " + consents + " " + alias + " WHERE " + alias + ".profile_id = " + person + " AND " + alias + ".purpose = " + pg::Literal(purpose.name);
    };
    if (channel)
        return "coalesce((SELECT k.granted " + said("k") + " AND (k.channel IS NULL OR k.channel = " + pg::Literal(*channel) +
               ") ORDER BY k.occurred_at DESC, k.granted LIMIT 1), " + (purpose.opt_out ? "true" : "false") + ")";
    // No refusal is in force that a later yes on all channels has not outweighed; and there is that yes, where one is needed.
    const std::string unrefused = "NOT EXISTS (SELECT " + said("n") + " AND NOT n.granted AND NOT EXISTS (SELECT " + said("y") +
                                  " AND y.channel IS NULL AND y.granted AND y.occurred_at > n.occurred_at))";
    return purpose.opt_out ? unrefused : "(EXISTS (SELECT " + said("k") + " AND k.channel IS NULL AND k.granted) AND " + unrefused + ")";
}

Contact ContactNamed(const identity::Rules& rules, std::string_view type, std::string_view value) {
    static pg::Statement find("SELECT profile_id FROM cdp.identifier WHERE value = $1 AND type = $2", {TEXTOID, TEXTOID});
    const int place = rules.TypeNamed(type);
    if (place < 0) throw identity::NoType(type);
    const auto normal = rules.Normalise(place, value);
    Contact contact{std::string(type), normal.value_or(std::string(value)), std::nullopt};
    const auto rows = find.Query({pg::Text(contact.value), pg::Text(type)}, 1);
    if (!rows.empty())
        contact.profile_id = rows.Int8(0, 1);
    else if (!normal)
        throw Error(sqlstate::invalid_parameter_value, "\"" + std::string(value) + "\" is no " + std::string(type) + " that identifies anybody")
            .Detail("It is blank, blocked, or cannot be normalised.");
    if (collect::Characters(value) > collect::kLongestIdentifier)
        throw Error(sqlstate::invalid_parameter_value, std::string(type) + " is too long")
            .Detail(std::to_string(collect::Characters(value)) + " characters; at most " + std::to_string(collect::kLongestIdentifier) + " are allowed");
    return contact;
}

bool ConsentsInUse() {
    static pg::Statement any("SELECT EXISTS (SELECT FROM cdp.consent_record) OR EXISTS (SELECT FROM cdp.suppression)");
    return any.Query().Bool(0, 1);
}

bool TakeAnswer(int64 profile_id, const std::string& purpose, const std::optional<std::string>& channel, const Statement& statement, int64 record_id) {
    static pg::Statement take(std::string("INSERT INTO cdp.consent AS c (profile_id, purpose, channel, granted, occurred_at, record_id)"
                                          " VALUES ($1, $2, $3, $4, $5, $6)") + kUnlessOutweighed,
                              {INT8OID, TEXTOID, TEXTOID, BOOLOID, TIMESTAMPTZOID, INT8OID});
    return take.Execute({pg::Int8(profile_id), pg::Text(purpose), pg::TextOrNull(channel), pg::Bool(statement.granted), pg::Time(statement.occurred_at),
                         pg::Int8(record_id)}) > 0;
}

void ComputeConsents(std::span<const int64> people) {
    static const std::string identifiers =
        "SELECT p.profile_id, i.type, i.value FROM cdp_consenting p JOIN cdp.identifier i ON i.profile_id = p.profile_id";
    static pg::Statement forget("DELETE FROM cdp.consent c USING cdp_consenting p WHERE c.profile_id = p.profile_id");
    static pg::Statement compute("INSERT INTO cdp.consent (profile_id, purpose, channel, granted, occurred_at, record_id) " + Holding(identifiers));
    static pg::Statement release("DELETE FROM cdp.suppressed_profile s USING cdp_consenting p WHERE s.profile_id = p.profile_id");
    static pg::Statement suppress("INSERT INTO cdp.suppressed_profile (profile_id) " + Suppressed(identifiers));
    if (people.empty()) return;
    const pg::Probes probes;
    pg::StagedRows staged("cdp_consenting", {{"profile_id", INT8OID}});
    for (const int64 profile_id : people) staged.Add({Int64GetDatum(profile_id)});
    for (auto* statement : {&forget, &compute, &release, &suppress}) statement->Execute();
}

void MergeConsents() {
    static pg::Statement answers(std::string(
        "WITH gone AS (DELETE FROM cdp.consent c USING cdp_batch_merge b WHERE c.profile_id = b.gone"
        "   RETURNING b.survivor, c.purpose, c.channel, c.granted, c.occurred_at, c.record_id)"
        " INSERT INTO cdp.consent AS c (profile_id, purpose, channel, granted, occurred_at, record_id)"
        " SELECT DISTINCT ON (survivor, purpose, channel) * FROM gone"
        " ORDER BY survivor, purpose, channel, occurred_at DESC, granted, record_id") + kUnlessOutweighed);
    static pg::Statement suppressed(
        "WITH gone AS (DELETE FROM cdp.suppressed_profile s USING cdp_batch_merge b WHERE s.profile_id = b.gone RETURNING b.survivor)"
        " INSERT INTO cdp.suppressed_profile (profile_id) SELECT DISTINCT survivor FROM gone ON CONFLICT DO NOTHING");
    const pg::Probes probes;
    answers.Execute();
    suppressed.Execute();
}

void BatchConsents::Take(const profile::EventRow& event, int entry) {
    if (purposes_.empty() || event.nulls[profile::kEventContext]) return;
    const auto consent = event.Object(profile::kEventContext).Find("consent");
    if (!consent) return;
    const auto preferences = consent->Find("categoryPreferences");
    if (!preferences || !preferences->IsObject()) return;
    preferences->ForEach([&](std::string_view name, const pg::Json& answer) {
        if (!answer.IsBool()) return;
        if (const Purpose* purpose = purposes_.Named(name)) said_.push_back({event, entry, purpose, answer.Boolean()});
    });
}

void BatchConsents::WriteRecords(identity::BatchIdentifiers& identifiers, int64 first_id) {
    static pg::Statement write(
        "INSERT INTO cdp.consent_record (record_id, type, value, purpose, granted, occurred_at, source, proof, event_id)"
        " SELECT record_id, type, value, purpose, granted, occurred_at, source, jsonb_build_object('message_id', message_id), event_id"
        " FROM cdp_batch_record ORDER BY record_id");
    pg::StagedRows staged("cdp_batch_record", {{"record_id", INT8OID}, {"type", TEXTOID}, {"value", TEXTOID}, {"purpose", TEXTOID},
                                               {"granted", BOOLOID}, {"occurred_at", TIMESTAMPTZOID}, {"source", TEXTOID},
                                               {"message_id", TEXTOID}, {"event_id", INT8OID}});
    for (size_t i = 0; i < said_.size(); ++i) {
        const Said& said = said_[i];
        const auto& entry = identifiers.entries()[static_cast<size_t>(said.entry)];
        const Datum* event = said.event.values;
        staged.Add({Int64GetDatum(first_id + static_cast<int64>(i)), pg::TextDatum(identifiers.rules().types()[entry.type].name),
                    pg::TextDatum(entry.value), pg::TextDatum(said.purpose->name), BoolGetDatum(said.granted), event[profile::kEventOccurredAt],
                    event[profile::kEventSource], event[profile::kEventMessageId], event[profile::kEventId]});
    }
    write.Execute();
}

void BatchConsents::WriteAnswers(const std::function<int64(int)>& profile_of, int64 first_id, std::vector<int64>* people) {
    static pg::Statement write(std::string(
        "INSERT INTO cdp.consent AS c (profile_id, purpose, granted, occurred_at, record_id)"
        " SELECT profile_id, purpose, granted, occurred_at, record_id FROM cdp_batch_answer") + kUnlessOutweighed + " RETURNING profile_id");
    struct Answer {
        Statement statement;
        int64 record_id;
    };
    std::map<std::pair<int64, const Purpose*>, Answer> answers;
    for (size_t i = 0; i < said_.size(); ++i) {
        const Statement statement{said_[i].event.stamp().occurred_at, said_[i].granted};
        const Answer answer{statement, first_id + static_cast<int64>(i)};
        const auto [known, is_new] = answers.try_emplace({profile_of(said_[i].entry), said_[i].purpose}, answer);
        if (!is_new && Outweighs(statement, known->second.statement)) known->second = answer;
    }
    pg::StagedRows staged("cdp_batch_answer", {{"profile_id", INT8OID}, {"purpose", TEXTOID}, {"granted", BOOLOID},
                                               {"occurred_at", TIMESTAMPTZOID}, {"record_id", INT8OID}});
    for (const auto& [key, answer] : answers)
        staged.Add({Int64GetDatum(key.first), pg::TextDatum(key.second->name), BoolGetDatum(answer.statement.granted),
                    TimestampTzGetDatum(answer.statement.occurred_at), Int64GetDatum(answer.record_id)});
    const auto changed = write.Query();
    for (uint64 i = 0; i < changed.size(); ++i) people->push_back(changed.Int8(i, 1));
}

/// What was said of contact points before anybody had them comes to what holds for those who have them now.
void BatchConsents::TakeNew(identity::BatchIdentifiers& identifiers, const std::function<int64(int)>& profile_of, int64 first_new, std::vector<int64>* people) {
    static pg::Statement answers(Holding("SELECT * FROM cdp_batch_new"));
    static pg::Statement add(std::string("INSERT INTO cdp.consent AS c (profile_id, purpose, channel, granted, occurred_at, record_id)"
                                         " SELECT * FROM cdp_batch_answer") + kUnlessOutweighed + " RETURNING profile_id");
    static pg::Statement suppressed("INSERT INTO cdp.suppressed_profile (profile_id) " + Suppressed("SELECT * FROM cdp_batch_new") +
                                    " ON CONFLICT DO NOTHING RETURNING profile_id");
    // Of most new identifiers, cookies, nobody ever says anything: they are not even looked up.
    static pg::Statement types(
        "SELECT t.name FROM cdp.identifier_type t WHERE EXISTS (SELECT FROM cdp.consent_record r WHERE r.type = t.name)"
        " OR EXISTS (SELECT FROM cdp.suppression s WHERE s.type = t.name)");
    std::vector<std::string> spoken_of;
    const auto rows = types.Query();
    for (uint64 i = 0; i < rows.size(); ++i) spoken_of.push_back(rows.Text(i, 1));
    pg::StagedRows fresh("cdp_batch_new", {{"profile_id", INT8OID}, {"type", TEXTOID}, {"value", TEXTOID}});
    for (const int place : identifiers.by_value()) {
        const auto& entry = identifiers.entries()[static_cast<size_t>(place)];
        const auto& type = identifiers.rules().types()[entry.type].name;
        if (entry.is_new && std::find(spoken_of.begin(), spoken_of.end(), type) != spoken_of.end())
            fresh.Add({Int64GetDatum(profile_of(place)), pg::TextDatum(type), pg::TextDatum(entry.value)});
    }
    if (fresh.size() == 0) return;
    const auto note = [&](const pg::Rows& changed) {
        for (uint64 i = 0; i < changed.size(); ++i) people->push_back(changed.Int8(i, 1));
    };
    note(suppressed.Query());
    // Of who is new nothing holds yet.
    const auto said = answers.Query();
    pg::TableWriter of_new("cdp.consent", {"profile_id", "purpose", "channel", "granted", "occurred_at", "record_id"});
    pg::StagedRows of_others("cdp_batch_answer", {{"profile_id", INT8OID}, {"purpose", TEXTOID}, {"channel", TEXTOID}, {"granted", BOOLOID},
                                                  {"occurred_at", TIMESTAMPTZOID}, {"record_id", INT8OID}});
    Datum values[6];
    bool nulls[6];
    for (uint64 i = 0; i < said.size(); ++i) {
        said.Deform(i, values, nulls);
        const int64 profile_id = DatumGetInt64(values[0]);
        if (profile_id < first_new) {
            of_others.Add(values, nulls);
        } else {
            of_new.Insert(values, nulls);
            people->push_back(profile_id);
        }
    }
    of_new.Write();
    if (of_others.size() > 0) note(add.Query());
}

std::vector<int64> BatchConsents::Write(identity::BatchIdentifiers& identifiers, const std::function<int64(int)>& profile_of, int64 first_new,
                                        bool any_gone) {
    std::vector<int64> people;
    if (ConsentsInUse()) {
        const pg::Probes probes;
        if (any_gone) MergeConsents();
        TakeNew(identifiers, profile_of, first_new, &people);
    }
    if (!said_.empty()) {
        const int64 first_id = collect::TakeIds("cdp.consent_record_id_seq", static_cast<int64>(said_.size()));
        WriteRecords(identifiers, first_id);
        WriteAnswers(profile_of, first_id, &people);
    }
    std::sort(people.begin(), people.end());
    people.erase(std::unique(people.begin(), people.end()), people.end());
    return people;
}

std::vector<std::pair<std::string, int64>> CompareConsents(const std::string& identifiers, bool repair) {
    const std::string people = "SELECT f.profile_id, i.type, i.value FROM " + identifiers + " f JOIN cdp.identifier i USING (identifier_id)";
    pg::Execute("CREATE TEMP TABLE cdp_fresh_consent ON COMMIT DROP AS " + Holding(people));
    pg::Execute("CREATE INDEX ON cdp_fresh_consent (profile_id, purpose)");
    pg::Execute("ANALYZE cdp_fresh_consent");
    const int64 answers = pg::Query(
        "SELECT count(*) FROM cdp.consent l FULL JOIN cdp_fresh_consent f"
        " ON f.profile_id = l.profile_id AND f.purpose = l.purpose AND coalesce(f.channel, '') = coalesce(l.channel, '')"
        " WHERE ROW(l.granted, l.occurred_at, l.record_id) IS DISTINCT FROM ROW(f.granted, f.occurred_at, f.record_id)").Int8(0, 1);
    const int64 suppressed = pg::Query(
        "SELECT count(*) FROM cdp.suppressed_profile l FULL JOIN (" + Suppressed(people) + ") f ON f.profile_id = l.profile_id"
        " WHERE l.profile_id IS NULL OR f.profile_id IS NULL").Int8(0, 1);
    if (repair && answers > 0) {
        pg::Execute("DELETE FROM cdp.consent");
        pg::Execute("INSERT INTO cdp.consent (profile_id, purpose, channel, granted, occurred_at, record_id) SELECT * FROM cdp_fresh_consent");
    }
    if (repair && suppressed > 0) {
        pg::Execute("DELETE FROM cdp.suppressed_profile");
        pg::Execute("INSERT INTO cdp.suppressed_profile (profile_id) " + Suppressed(people));
    }
    return {{"consent", answers}, {"suppressed_profile", suppressed}};
}

}  // namespace cdp::govern
