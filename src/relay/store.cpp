// relay/store.cpp: see store.hpp.
#include "relay/store.hpp"

#include <atomic>

#include <pqxx/pqxx>

#include "pg/error.hpp"
#include "relay/replication.hpp"
#include "relay/row.hpp"

namespace cdp::relay {

namespace {

using nlohmann::json;

constexpr const char* kLockNotAvailable = "55P03";

const char* StatusOf(const Settled& outcome) {
    return outcome.refused ? "refused" : outcome.parcel.change.kind == Change::Kind::kDelete ? "removed" : "delivered";
}

const char* TypeOf(const Change& change) {
    switch (change.kind) {
        case Change::Kind::kInsert: return "insert";
        case Change::Kind::kUpdate: return "update";
        default: return "delete";
    }
}

std::optional<std::string> OptionalText(const json& value) {
    return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
}

std::string Dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

/// PostgreSQL's text and jsonb hold no zero bytes.
std::string WithoutZeros(std::string text) {
    std::erase(text, '\0');
    return text;
}

}  // namespace

struct Store::Connection : pqxx::connection {
    using pqxx::connection::connection;
};

bool Target::SameAs(const Target& other) const {
    return generation == other.generation && table == other.table && columns == other.columns && connector == other.connector;
}

bool IsBusy(const std::exception& error) {
    const auto* ours = dynamic_cast<const Error*>(&error);
    return ours != nullptr && (ours->sqlstate == kLockNotAvailable || ours->sqlstate.starts_with("40"));
}

template <class F>
auto Store::Run(F&& work) {
    // libpqxx would connect again by itself, without our settings.
    if (!connection_->is_open()) throw Error("08006", "the connection to the database is broken");
    try {
        pqxx::work transaction(*connection_);
        if constexpr (std::is_void_v<decltype(work(transaction))>) {
            work(transaction);
            transaction.commit();
        } else {
            auto result = work(transaction);
            transaction.commit();
            return result;
        }
    } catch (const pqxx::sql_error& error) {
        throw Error(error.sqlstate().empty() ? "08000" : error.sqlstate().c_str(), error.what());
    } catch (const pqxx::failure& error) {
        throw Error("08006", error.what());
    }
}

Store::Store(const std::string& conninfo) {
    static std::atomic<uint64_t> sessions = 0;
    session_ = ++sessions;
    try {
        connection_ = std::make_unique<Connection>(OurConninfo(conninfo, "cdp-relay"));
        pqxx::nontransaction session(*connection_);
        // What is answered is stored for good before it is confirmed; and nobody's lock holds up all destinations.
        session.exec("SET synchronous_commit = on; SET lock_timeout = '100ms'; SET statement_timeout = '60s';"
                     "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off");
    } catch (const pqxx::sql_error& error) {
        throw Error(error.sqlstate().empty() ? "08000" : error.sqlstate().c_str(), error.what());
    } catch (const pqxx::failure& error) {
        throw Error("08006", error.what());
    }
}

Store::~Store() = default;

bool Store::alive() const { return connection_->is_open(); }

void Store::Patiently() {
    Run([](pqxx::work& t) {
        t.exec("SET lock_timeout = 0; SET statement_timeout = 0; SET enable_seqscan = on; SET enable_hashjoin = on; SET enable_mergejoin = on");
    });
}

std::vector<Target> Store::Targets(uint64_t& end_of_log) {
    return Run([&](pqxx::work& t) {
        std::vector<Target> targets;
        const auto there = t.exec1("SELECT to_regclass('cdp.delivery_target') IS NOT NULL, pg_current_wal_lsn()");
        end_of_log = ParseLsn(there[1].c_str());
        if (!there[0].as<bool>()) return targets;
        const auto rows = t.exec(
            "SELECT jsonb_build_object('destination', t.destination, 'generation', t.generation::text,"
            " 'slot', cdp.delivery_slot(t.destination), 'publication', 'cdp_' || t.destination, 'table', d.table_name, 'key', d.key,"
            " 'columns', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a"
            "             WHERE a.attrelid = to_regclass(d.table_name) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),"
            " 'types', (SELECT jsonb_agg(jsonb_build_array(a.attname, a.atttypid::bigint) ORDER BY a.attnum) FROM pg_attribute a"
            "           WHERE a.attrelid = to_regclass(d.table_name) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),"
            " 'options', t.options, 'endpoint', t.endpoint, 'secret_env', t.secret_env, 'started', t.started_lsn IS NOT NULL,"
            " 'connector', to_jsonb(c) - 'shipped' - 'description',"
            " 'pending', EXISTS (SELECT FROM cdp.delivery v WHERE v.destination = t.destination AND v.status = 'pending'))"
            " FROM cdp.delivery_target t JOIN cdp.destination d ON d.name = t.destination"
            " LEFT JOIN cdp.connector c ON c.name = t.connector ORDER BY t.destination");
        for (const auto& row : rows) {
            const json j = json::parse(row[0].c_str());
            Target target;
            target.destination = j["destination"];
            target.generation = j["generation"];
            target.slot = j["slot"];
            target.publication = j["publication"];
            target.table = j["table"];
            target.key_column = j["key"];
            target.keyed_by_profile = target.key_column == "profile_id";
            target.columns = OptionalText(j["columns"]).value_or("");
            for (const json& column : j["types"])
                target.types.push_back({column[0], column[1].get<uint32_t>(), column[0] == target.key_column});
            target.connector = j["connector"];
            target.options = j["options"];
            target.endpoint = OptionalText(j["endpoint"]);
            target.secret_env = OptionalText(j["secret_env"]);
            target.started = j["started"];
            target.pending = j["pending"];
            targets.push_back(std::move(target));
        }
        return targets;
    });
}

std::optional<uint64_t> Store::SlotPosition(const std::string& slot, bool& lost) {
    return Run([&](pqxx::work& t) -> std::optional<uint64_t> {
        const auto rows = t.exec_params(
            "SELECT confirmed_flush_lsn, wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = $1 AND database = current_database()", slot);
        if (rows.empty()) return std::nullopt;
        lost = rows[0][1].as<bool>(false);
        return ParseLsn(rows[0][0].as<std::string>("0/0"));
    });
}

void Store::Unstarted(const Target& target) {
    Run([&](pqxx::work& t) { t.exec_params("UPDATE cdp.delivery_target SET started_lsn = NULL WHERE destination = $1 AND started_lsn IS NOT NULL", target.destination); });
}

uint64_t Store::Started(const Target& target) {
    return Run([&](pqxx::work& t) {
        return t.exec_params1("SELECT cdp.start_delivery($1, $2)", target.destination, target.generation)[0].as<uint64_t>();
    });
}

Store::Known Store::WhatIsKnown(const Target& target) {
    return Run([&](pqxx::work& t) {
        const auto row = t.exec_params1("SELECT coalesce(max(d.wanted_lsn), '0/0'), coalesce(max(t.started_lsn), '0/0'),"
                                        " coalesce(bool_or(d.status = 'pending' AND d.after IS NOT NULL), false)"
                                        " FROM cdp.delivery_target t LEFT JOIN cdp.delivery d USING (destination) WHERE t.destination = $1", target.destination);
        return Known{ParseLsn(row[0].c_str()), ParseLsn(row[1].c_str()), row[2].as<bool>()};
    });
}

std::map<std::string, uint64_t> Store::Positions(const Target& target, const std::vector<std::string>& keys) {
    return Run([&](pqxx::work& t) {
        std::map<std::string, uint64_t> positions;
        const auto rows = t.exec_params(
            "SELECT d.key, d.wanted_lsn FROM cdp.delivery d WHERE d.destination = $1"
            " AND d.key = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))", target.destination, Dump(json(keys)));
        for (const auto& row : rows) positions[row[0].c_str()] = ParseLsn(row[1].c_str());
        return positions;
    });
}

void Store::RecordAnswers(const Target& target, const std::vector<Settled>& settled) {
    json answers = json::array();
    for (const Settled& outcome : settled) {
        const Change& change = outcome.parcel.change;
        json answer = {{"key", change.key}, {"status", StatusOf(outcome)}, {"lsn", LsnText(change.lsn)},
                       {"sent_at", std::chrono::duration<double>(outcome.sent_at.time_since_epoch()).count()}};
        if (!outcome.parcel.hash.empty()) answer["hash"] = outcome.parcel.hash;
        if (outcome.http_status != 0) answer["http_status"] = outcome.http_status;
        if (!outcome.reason.empty()) answer["reason"] = WithoutZeros(outcome.reason);
        if (outcome.refused) {
            answer["id"] = change.id;
            answer["type"] = TypeOf(change);
            answer["row"] = change.row;
        }
        answers.push_back(std::move(answer));
    }
    Run([&](pqxx::work& t) {
        t.exec_params("SELECT cdp.record_answers($1, $2, $3)", target.destination, target.generation, Dump(answers));
    });
}

void Store::RecordWanted(const Target& target, const std::vector<Parcel>& parcels, bool only_waiting) {
    // Of each key the last change, which follows all that any of them follows, and what that follows.
    std::map<std::string_view, const Parcel*> last;
    std::map<std::string_view, std::set<std::string_view>> follows;
    for (const Parcel& parcel : parcels) {
        last[parcel.change.key] = &parcel;
        for (const std::string& other : parcel.after) {
            const auto theirs = follows[other];
            auto& ours = follows[parcel.change.key];
            ours.insert(other);
            ours.insert(theirs.begin(), theirs.end());
        }
    }
    json wanted = json::array();
    for (const auto& [key, parcel] : last) {
        wanted.push_back({{"key", key}, {"lsn", LsnText(parcel->change.lsn)}});
        if (!parcel->hash.empty()) wanted.back()["hash"] = parcel->hash;
        if (const auto& after = follows[key]; !after.empty()) wanted.back()["after"] = after;
    }
    Run([&](pqxx::work& t) {
        t.exec_params("SELECT cdp.record_wanted($1, $2, $3, $4)", target.destination, target.generation, Dump(wanted), only_waiting);
    });
}

Store::Standing Store::StandingOf(const Target& target) {
    return Run([&](pqxx::work& t) {
        const auto row = t.exec_params1("SELECT EXISTS (SELECT FROM cdp.delivery WHERE destination = $1 AND status = 'pending'),"
                                        " EXISTS (SELECT FROM cdp.delivery WHERE destination = $1 AND status = 'refused')", target.destination);
        return Standing{row[0].as<bool>(), row[1].as<bool>()};
    });
}

std::set<std::string> Store::NeverHeld(const Target& target, const std::vector<std::string>& keys) {
    return Run([&](pqxx::work& t) {
        std::set<std::string> those;
        const auto rows = t.exec_params(
            "SELECT d.key FROM cdp.delivery d WHERE d.destination = $1 AND d.status IN ('pending', 'refused') AND d.held IS NULL"
            " AND d.key = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))", target.destination, Dump(json(keys)));
        for (const auto& row : rows) those.insert(row[0].c_str());
        return those;
    });
}

std::vector<Wanted> Store::Waiting(const Target& target, const std::string& after, size_t limit, const std::vector<std::string>& busy) {
    return Run([&](pqxx::work& t) {
        std::vector<Wanted> waiting;
        json keys = json::object();  // which is searched for each row; an array would be read through
        for (const std::string& key : busy) keys[key] = nullptr;
        const auto rows = t.exec_params("SELECT key, lsn, held, taken, fields FROM cdp.take_wanted($1, $2, $3, $4, $5)", target.destination,
                                        target.generation, after, static_cast<int>(limit), Dump(keys));
        for (const auto& row : rows) {
            Wanted one{row[0].c_str(), ParseLsn(row[1].c_str()), row[2].as<bool>(), row[3].as<bool>(), {}};
            if (!row[4].is_null()) {
                one.row.emplace();
                for (const json& field : json::parse(row[4].c_str()))
                    one.row->push_back(field.is_null() ? pgoutput::Field{} : pgoutput::Field{pgoutput::Field::Kind::kText, field.get<std::string>()});
            }
            waiting.push_back(std::move(one));
        }
        return waiting;
    });
}

std::optional<pgoutput::Tuple> Store::Current(const Target& target, const std::string& key) {
    return Run([&](pqxx::work& t) -> std::optional<pgoutput::Tuple> {
        const auto rows = t.exec_params("SELECT " + target.columns + " FROM ONLY " + target.table + " WHERE " + t.quote_name(target.key_column) +
                                        " = $1" + (target.keyed_by_profile ? "::bigint" : ""), key);
        if (rows.empty()) return std::nullopt;
        pgoutput::Tuple row;
        for (const auto& field : rows[0])
            row.push_back(field.is_null() ? pgoutput::Field{} : pgoutput::Field{pgoutput::Field::Kind::kText, std::string(field.c_str(), field.size())});
        return row;
    });
}

void Store::Resync(const Target& target) {
    Run([&](pqxx::work& t) { t.exec_params("SELECT cdp.resync_destination($1)", target.destination); });
}

void Store::Purge(const Target& target, uint64_t lsn) {
    Run([&](pqxx::work& t) {
        t.exec_params("DELETE FROM cdp.delivery WHERE destination = $1 AND status = 'removed' AND wanted_lsn < $2::pg_lsn",
                      target.destination, LsnText(lsn));
    });
}

std::pair<uint64_t, uint64_t> Store::LastCheckpoint() {
    return Run([](pqxx::work& t) {
        const auto row = t.exec1("SELECT redo_lsn, pg_current_wal_insert_lsn() FROM pg_control_checkpoint()");
        return std::pair(ParseLsn(row[0].c_str()), ParseLsn(row[1].c_str()));
    });
}

void Store::NoteError(const Target& target, const std::optional<std::string>& message) {
    Run([&](pqxx::work& t) {
        t.exec_params("UPDATE cdp.delivery_target SET last_error = $3, last_error_at = CASE WHEN $3 IS NULL THEN last_error_at ELSE now() END"
                      " WHERE destination = $1 AND generation = $2::bigint AND last_error IS DISTINCT FROM $3",
                      target.destination, target.generation, message ? WithoutZeros(*message).c_str() : nullptr);
    });
}

}  // namespace cdp::relay
