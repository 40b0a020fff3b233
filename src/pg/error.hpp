// pg/error.hpp: our one exception. Knows no PostgreSQL, so the pure rooms throw it too.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace cdp {

/// A failure that the user should read: SQLSTATE, primary message, and optionally DETAIL, HINT and the
/// position (in characters, from 1) in `source`, the text that the user wrote.
class Error : public std::exception {
public:
    Error(const char* sqlstate, std::string message) : sqlstate(sqlstate), message(std::move(message)) {}

    Error&& Detail(std::string text) && { detail = std::move(text); return std::move(*this); }
    Error&& Hint(std::string text) && { hint = std::move(text); return std::move(*this); }
    Error&& At(int character, std::string text) && {
        position = character;
        source = std::move(text);
        return std::move(*this);
    }

    const char* what() const noexcept override { return message.c_str(); }

    std::string sqlstate, message, detail, hint, source;
    int position = 0;
};

// The SQLSTATEs we raise, by PostgreSQL's names for them.
namespace sqlstate {
inline constexpr const char* invalid_parameter_value = "22023";
inline constexpr const char* null_value_not_allowed = "22004";
inline constexpr const char* datetime_field_overflow = "22008";
inline constexpr const char* undefined_object = "42704";
inline constexpr const char* duplicate_object = "42710";
inline constexpr const char* undefined_column = "42703";
inline constexpr const char* duplicate_column = "42701";
inline constexpr const char* undefined_table = "42P01";
inline constexpr const char* undefined_schema = "3F000";
inline constexpr const char* name_too_long = "42622";
inline constexpr const char* reserved_name = "42939";
inline constexpr const char* wrong_object_type = "42809";
inline constexpr const char* syntax_error = "42601";
inline constexpr const char* datatype_mismatch = "42804";
inline constexpr const char* feature_not_supported = "0A000";
inline constexpr const char* insufficient_privilege = "42501";
inline constexpr const char* unique_violation = "23505";
inline constexpr const char* dependent_objects_still_exist = "2BP01";
inline constexpr const char* object_not_in_prerequisite_state = "55000";
inline constexpr const char* invalid_object_definition = "42P17";
inline constexpr const char* trigger_protocol_violated = "39P01";
inline constexpr const char* event_trigger_protocol_violated = "39P03";
inline constexpr const char* serialization_failure = "40001";
inline constexpr const char* out_of_memory = "53200";
inline constexpr const char* data_corrupted = "XX001";
inline constexpr const char* program_limit_exceeded = "54000";
inline constexpr const char* configuration_limit_exceeded = "53400";
inline constexpr const char* read_only_sql_transaction = "25006";
inline constexpr const char* internal_error = "XX000";
}  // namespace sqlstate

/// Called by long loops of the pure rooms; throws when the user or an administrator asked to stop.
/// The server's side sets it (pg/guard.cpp); elsewhere it does nothing.
inline void (*poll_stop)() = [] {};

}  // namespace cdp
