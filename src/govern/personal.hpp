// govern/personal.hpp: which fields are personal data, by their names.
// Knows no PostgreSQL.
#pragma once

#include <string_view>

namespace cdp::govern {

/// Whether a field of that name, or at that dotted path, looks like personal data: a contact, a name, an address, a
/// date of birth, an account number, an identifier of a person or a device, …. Spelling does not matter: firstName,
/// first_name and FIRST-NAME are the same. In doubt it does; `email_type`, `address.city` or `is_email_verified` do
/// not, since they say something about the field, or what many share.
bool LooksPersonal(std::string_view name);

/// Whether a text has the shape of an e-mail address, in whole or in part.
bool HoldsEmail(std::string_view text);

}  // namespace cdp::govern
