// personal_test.cpp: which fields are personal, by their names.
#include <gtest/gtest.h>

#include "govern/personal.hpp"

namespace cdp::govern {
namespace {

TEST(Personal, ContactsNamesAndNumbers) {
    for (const char* name : {"email", "Email", "e-mail", "EMAIL_ADDRESS", "contactEmail", "work email", "useremail", "phone", "phoneNumber", "mobile",
                             "homePhone", "fax", "name", "firstName", "first_name", "FIRST-NAME", "lastname", "surname", "fullName", "nickname", "username",
                             "user.name", "names", "address", "shippingAddress", "address.street", "address.line1", "street", "zip", "zipCode", "postcode",
                             "postal_code", "birthday", "birthDate", "date_of_birth", "dob", "ip", "ipAddress", "context.ip", "iban", "taxId", "tax_id",
                             "tax number", "ssn", "passport_no", "creditCard", "card_number", "avatar", "photo", "password", "token", "userId", "user_id",
                             "anonymousId", "deviceId", "device.id", "external_id", "latitude", "straße", "IPv4", "HTTPUserName"})
        EXPECT_TRUE(LooksPersonal(name)) << name;
}

TEST(Personal, NotWhatIsAThing) {
    for (const char* name : {"", "plan", "age", "city", "country", "address.city", "address_country", "orders", "total", "currency", "sku", "product_id",
                             "productName", "plan_name", "campaign.name", "companyName", "event name", "title", "headphones", "smartphone", "recipe",
                             "zipper", "ship_date", "description", "tip", "mailed", "celery", "hotel", "skip", "id", "order_id"})
        EXPECT_FALSE(LooksPersonal(name)) << name;
}

TEST(Personal, NotWhatIsSaidAboutAField) {
    for (const char* name : {"email_verified", "emailVerified", "is_email_valid", "hasPhone", "email_opt_in", "phone.type", "emails_sent", "email_count",
                             "email_domain", "sms_opt_out", "address_type"})
        EXPECT_FALSE(LooksPersonal(name)) << name;
    EXPECT_TRUE(LooksPersonal("type_of_email"));
}

TEST(Personal, AddressesInTexts) {
    for (const char* text : {"ann@example.com", "write to ann@x.org!", "<ann@x.org>", "mailto:a.b@c.de?subject=x", "https://x.org/?e=ann%40x.org"})
        EXPECT_TRUE(HoldsEmail(text)) << text;
    for (const char* text : {"", "@", "a@b", "@ann", "ann@ x.org", "3 @ 4.50", "ann@.", "a@b/c.d"}) EXPECT_FALSE(HoldsEmail(text)) << text;
}

}  // namespace
}  // namespace cdp::govern
