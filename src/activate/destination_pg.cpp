// activate/destination_pg.cpp: see destination_pg.hpp.
#include "activate/destination_pg.hpp"

#include "pg/json.hpp"
#include "pg/probes.hpp"
#include "pg/standing.hpp"

extern "C" {
#include "access/table.h"
#include "catalog/namespace.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
}

namespace cdp::activate {

namespace {

void StandStill(const Definition& definition, const pg::Failure& failure) {
    pg::Execute("UPDATE cdp.destination SET problem = $2 WHERE destination_id = $1",
                {pg::Int8(definition.destination_id), pg::Text(failure.message)});
    pg::Query("SELECT cdp.touch_configuration()");
    const char* name = definition.name.c_str();
    const char* message = failure.message.c_str();
    pg::Call([&] {
        ereport(WARNING, (errmsg("destination \"%s\" stands still", name), errdetail("%s", message),
                          errhint("Remove the cause, then call cdp.rebuild(true).")));
    });
}

/// Runs `work` so that a failure that lies in the destination does no harm. Returns it, if there was one.
template <class F>
std::optional<pg::Failure> Attempt(F&& work) {
    try {
        pg::Subtransaction attempt;
        work();
        attempt.Commit();
        return std::nullopt;
    } catch (const std::exception& error) {
        pg::Failure failure = pg::Describe(error);
        if (!pg::MayBlameDefinition(failure.sqlstate)) throw;
        return failure;
    }
}

/// Runs work(leave_only), and once more where again(failure) says so. Who may not be in it any more leaves a destination that cannot be
/// kept otherwise, too: consent depends on nobody's expressions.
template <class F>
void Keep(const Destination& destination, F&& work, const std::function<bool(const pg::Failure&)>& again = {}) {
    if (!destination.definition().stands_still) {
        auto failure = Attempt([&] { work(false); });
        if (failure && again && again(*failure)) failure = Attempt([&] { work(false); });
        if (!failure) return;
        StandStill(destination.definition(), *failure);
    }
    Attempt([&] { work(true); });
}

bool HasTriggers(Oid table) {
    return pg::Call([&] {
        Relation relation = table_open(table, AccessShareLock);
        const bool has = relation->trigdesc != nullptr;
        table_close(relation, NoLock);
        return has;
    });
}

}  // namespace

Oid ProfileTable() {
    return pg::Call([] { return get_relname_relid("profile", get_namespace_oid("cdp", false)); });
}

bool HidesProfiles(const std::string& owner) {
    const Oid profile = ProfileTable();
    return pg::Call([&] {
        const Oid role = get_role_oid(owner.c_str(), true);
        return OidIsValid(role) && check_enable_rls(profile, role, true) == RLS_ENABLED;
    });
}

bool Definition::DependsOn(std::span<const std::string> segments) const {
    return asks_segments || std::find(segments.begin(), segments.end(), segment) != segments.end();
}

bool Definition::DependsOnConsent(std::string_view to) const {
    return (purpose && purpose->purpose.name == to) || std::find(asks_purposes.begin(), asks_purposes.end(), to) != asks_purposes.end();
}

bool Definition::Concerns(const segment::Touched& touched, std::span<const segment::Transition> moves) const {
    using Change = segment::Touched::Change;
    if (touched.change == Change::kAll) return true;
    profile::Person& person = *touched.person;
    for (const auto& move : moves)
        if (asks_segments || move.segment_id == segment_id) return true;
    if (segment) {
        const auto& memberships = person.state().memberships();
        if (!std::binary_search(memberships.begin(), memberships.end(), segment_id)) return false;
    }
    if (touched.change == Change::kNew || touched.identifiers_changed || touched.consents_changed) return true;
    // Of several identifiers the one that was seen last is the key.
    if (touched.event_id != 0 && key_type != 0 && person.state().IdentifierCount(key_type) > 1) return true;
    if (!as_written) return true;
    const auto& changed = person.Finish();
    return std::any_of(reads.begin(), reads.end(), [&](int column) { return std::binary_search(changed.begin(), changed.end(), column); });
}

const Destination& Destinations::Named(std::string_view name) const {
    const auto found = std::find_if(destinations_.begin(), destinations_.end(), [&](const auto& d) { return d.definition().name == name; });
    if (found == destinations_.end()) throw Error(sqlstate::undefined_object, "destination \"" + std::string(name) + "\" does not exist");
    return *found;
}

Destinations Destinations::Load(const profile::Traits* traits) {
    Destinations loaded;
    loaded.answers_ = std::make_shared<govern::ConsentAnswers>(true);
    const Oid profile = ProfileTable();
    const bool triggers = HasTriggers(profile);
    const auto rows = pg::Query(
        "SELECT d.destination_id, d.name, d.segment, d.key, d.columns, d.table_name, d.owner::text, d.problem IS NOT NULL, d.purpose,"
        " p.mode = 'opt_out', d.channel, d.asks_segments, d.asks_purposes, coalesce(s.segment_id, 0), coalesce(t.type_id, 0), d.reads::text[]"
        " FROM cdp.destination d LEFT JOIN cdp.purpose p ON p.name = d.purpose LEFT JOIN cdp.segment s ON s.name = d.segment"
        " LEFT JOIN cdp.identifier_type t ON t.name = d.key ORDER BY destination_id");
    for (uint64 i = 0; i < rows.size(); ++i) {
        Definition d;
        d.destination_id = rows.Int8(i, 1);
        d.name = rows.Text(i, 2);
        d.segment = rows.OptionalText(i, 3);
        d.segment_id = rows.Int8(i, 14);
        d.key = rows.Text(i, 4);
        d.key_type = DatumGetInt32(*rows.Get(i, 15));
        d.table = rows.Text(i, 6);
        d.owner = rows.Text(i, 7);
        d.stands_still = rows.Bool(i, 8);
        // Of a purpose that is not there (any more) nobody's consent is known.
        if (rows.Get(i, 9)) d.purpose = govern::ConsentQuestion{{rows.Text(i, 9), rows.Bool(i, 10)}, rows.OptionalText(i, 11)};
        d.asks_segments = rows.Bool(i, 12);
        d.asks_purposes = pg::TextArray(*rows.Get(i, 13));
        for (const auto& column : pg::TextArray(*rows.Get(i, 16)))
            if (const auto number = pg::Call([&] { return get_attnum(profile, column.c_str()); }); number > 0) d.reads.push_back(number - 1);
        std::sort(d.reads.begin(), d.reads.end());
        d.hides = HidesProfiles(d.owner);
        d.as_written = traits != nullptr && !triggers && !d.hides &&
                       std::none_of(d.reads.begin(), d.reads.end(), [&](int column) { return traits->IsForeign(column); });
        pg::Json(pg::Unpacked(*rows.Get(i, 5))).ForEach([&](std::string_view name, const pg::Json& expression) {
            d.columns.emplace_back(name, expression.ToText());
        });
        loaded.destinations_.emplace_back(std::move(d), loaded.answers_);
    }
    return loaded;
}

void Destinations::Apply(const std::function<void(const Destination&, std::vector<Candidate>*)>& stage) {
    if (destinations_.empty()) return;
    answers_->Forget();
    const pg::Probes probes;
    for (Destination& destination : destinations_) {
        std::vector<Candidate> candidates;
        stage(destination, &candidates);
        if (candidates.empty()) continue;
        // Somebody may have put a row in the way of who is new: then it is looked up who is there, as for everybody else.
        const auto look_up_all = [&](const pg::Failure& failure) {
            for (Candidate& candidate : candidates) candidate.is_new = false;
            return failure.sqlstate == sqlstate::unique_violation;
        };
        Keep(destination, [&](bool leave_only) { destination.Maintain(candidates, leave_only); }, look_up_all);
    }
}

std::vector<int> Destinations::KeyTypes() const {
    std::vector<int> types;
    for (const Destination& destination : destinations_)
        if (const int type = destination.definition().key_type; type != 0) types.push_back(type);
    std::sort(types.begin(), types.end());
    types.erase(std::unique(types.begin(), types.end()), types.end());
    return types;
}

void Destinations::Follow(std::span<const int64> people) {
    if (destinations_.empty()) return;
    answers_->Forget();
    for (Destination& destination : destinations_) Keep(destination, [&](bool leave_only) { destination.Follow(people, leave_only); });
}

template <class F>
void Destinations::RefillThose(F&& concerned) {
    for (Destination& destination : destinations_)
        if (concerned(destination.definition())) Keep(destination, [&](bool leave_only) { destination.Refill(leave_only); });
}

void Destinations::Refill(std::span<const std::string> segments) {
    RefillThose([&](const Definition& definition) { return definition.DependsOn(segments); });
}

void Destinations::RefillAll() {
    RefillThose([](const Definition&) { return true; });
}

void Destinations::RefillOf(std::string_view purpose) {
    RefillThose([&](const Definition& definition) { return definition.DependsOnConsent(purpose); });
}

std::vector<Destinations::Difference> Destinations::Compare(bool repair) {
    std::vector<Difference> differences;
    uint64 members = 0;
    for (Destination& destination : destinations_) {
        const Definition& definition = destination.definition();
        Difference difference{definition.table, std::nullopt};
        pg::Failure failure;
        try {
            // What differs is what would be changed; without `repair` the change is taken back.
            pg::Subtransaction attempt;
            const Changes changes = destination.Refill();
            difference.differing = changes.rows;
            members += changes.members;
            if (repair) attempt.Commit();
        } catch (const std::exception& error) {
            failure = pg::Describe(error);
            if (!pg::MayBlameDefinition(failure.sqlstate)) throw;
        }
        if (!difference.differing) StandStill(definition, failure);
        if (repair && difference.differing && definition.stands_still) {
            pg::Execute("UPDATE cdp.destination SET problem = NULL WHERE destination_id = $1",
                        {pg::Int8(definition.destination_id)});
            pg::Query("SELECT cdp.touch_configuration()");
        }
        differences.push_back(std::move(difference));
    }
    if (!destinations_.empty()) differences.push_back({"cdp.destination_member", members});
    return differences;
}

}  // namespace cdp::activate
