// pg/standing.cpp: see standing.hpp.
#include "pg/standing.hpp"

#include "pg/spi.hpp"

namespace cdp::pg {

bool MayBlameDefinition(std::string_view sqlstate) {
    for (const std::string_view prefix : {"08", "25", "28", "40", "53", "55006", "55P", "57", "58", "F0", "XX001", "XX002"})
        if (sqlstate.starts_with(prefix)) return false;
    return true;
}

void NoteProblem(const char* table, const char* id_column, int64 id, const std::string& what, const Standing& standing) {
    Execute(std::string("UPDATE ") + table + " SET problem = $2, unreadable = $3 WHERE " + id_column + " = $1",
            {Int8(id), Text(standing.failure->message), Bool(standing.unreadable)});
    const char* name = what.c_str();
    const char* message = standing.failure->message.c_str();
    const char* hint = standing.unreadable ? "It is computed afresh once the cause is removed." : "Remove the cause, then call cdp.rebuild(true).";
    Call([&] { ereport(WARNING, (errmsg("%s stands still", name), errdetail("%s", message), errhint("%s", hint))); });
}

}  // namespace cdp::pg
