// govern/personal.cpp: see personal.hpp.
#include "govern/personal.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace cdp::govern {

namespace {

constexpr bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
constexpr bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
constexpr bool IsWord(char c) { return IsUpper(c) || IsLower(c) || IsDigit(c) || (c & 0x80) != 0; }

/// The words of a name, in lower case: homeAddress, HOME_ADDRESS and "home address" are home, address.
std::vector<std::string> Words(std::string_view name) {
    std::vector<std::string> words;
    bool open = false;
    for (size_t i = 0; i < name.size(); ++i) {
        const char c = name[i];
        if (!IsWord(c)) {
            open = false;
            continue;
        }
        const bool hump = IsUpper(c) && i > 0 && (IsLower(name[i - 1]) || IsDigit(name[i - 1]) ||
                                                  (IsUpper(name[i - 1]) && i + 1 < name.size() && IsLower(name[i + 1])));
        if (!open || hump) words.emplace_back();
        words.back() += IsUpper(c) ? static_cast<char>(c - 'A' + 'a') : c;
        open = true;
    }
    return words;
}

template <size_t N>
bool In(const std::string_view (&list)[N], std::string_view word) {
    return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

// Words that are personal wherever they stand.
constexpr std::string_view kPersonal[] = {
    "mail", "mails", "tel", "mobile", "cell", "fax", "msisdn", "whatsapp", "skype",
    "forename", "nick", "login", "handle", "initials", "signature",
    "addr", "street", "strasse", "straße", "zip", "postcode", "postal", "plz", "latitude", "longitude", "lat", "lng", "geo",
    "dob", "ip", "ipv4", "ipv6", "mac",
    "iban", "cvv", "cvc", "ssn", "nino", "taxid", "taxnumber", "cardholder", "creditcard", "bankaccount",
    "avatar", "photo", "photos", "picture", "portrait", "selfie", "secret", "token",
    "imei", "imsi", "idfa", "idfv", "gaid", "aaid", "maid",
    "userid", "deviceid", "anonymousid", "externalid", "distinctid", "customerid", "visitorid"};

// Parts of words that are personal: useremail, shippingaddress, birthdate.
constexpr std::string_view kStems[] = {
    "email", "phone", "address", "firstname", "lastname", "fullname", "middlename", "maidenname", "givenname", "familyname",
    "surname", "username", "nickname", "displayname", "birth", "zipcode", "postcode", "passport", "password", "passwd", "ipaddr"};
constexpr std::string_view kNotStems[] = {
    "headphone", "headphones", "earphone", "earphones", "microphone", "microphones", "smartphone", "smartphones", "iphone",
    "saxophone", "addressable"};

// Two words in a row.
constexpr std::string_view kPairs[][2] = {
    {"user", "id"}, {"device", "id"}, {"anonymous", "id"}, {"external", "id"}, {"distinct", "id"}, {"customer", "id"},
    {"visitor", "id"}, {"previous", "id"}, {"advertising", "id"}, {"cookie", "id"}, {"facebook", "id"}, {"google", "id"},
    {"tax", "id"}, {"tax", "number"}, {"tax", "no"}, {"national", "id"}, {"national", "insurance"}, {"social", "security"},
    {"id", "card"}, {"id", "number"}, {"driving", "licence"}, {"driver", "license"}, {"drivers", "license"},
    {"credit", "card"}, {"card", "number"}, {"bank", "account"}, {"account", "number"}, {"account", "holder"}};

// A name is a person's unless it is plainly a thing's.
constexpr std::string_view kThings[] = {
    "product", "item", "plan", "event", "campaign", "category", "company", "brand", "store", "shop", "page", "file", "app",
    "list", "channel", "source", "medium", "segment", "feature", "experiment", "variant", "variation", "coupon", "promotion",
    "currency", "country", "city", "region", "state", "organization", "organisation", "org", "business", "project", "team",
    "course", "carrier", "screen", "library", "os", "browser", "group", "role", "tier", "package", "service", "template",
    "form", "button", "domain", "host", "table", "column", "method", "payment", "creative", "module"};

// What says something about a field, or is a part of it that many share.
constexpr std::string_view kAbout[] = {
    "count", "status", "type", "verified", "confirmed", "valid", "subscribed", "unsubscribed", "enabled", "disabled", "optin",
    "optout", "consent", "opens", "opened", "clicks", "clicked", "sent", "sends", "bounced", "bounces", "frequency",
    "city", "country", "state", "region", "province", "continent", "timezone", "language", "domain"};

bool IsPersonalWord(const std::string& word) {
    if (In(kPersonal, word)) return true;
    if (In(kNotStems, word)) return false;
    return std::any_of(std::begin(kStems), std::end(kStems), [&](auto stem) { return word.find(stem) != std::string::npos; });
}

bool IsAboutAField(const std::vector<std::string>& words) {
    if (words.size() < 2) return false;
    if (words.front() == "is" || words.front() == "has" || In(kAbout, words.back())) return true;
    return words.size() > 2 && words[words.size() - 2] == "opt" && (words.back() == "in" || words.back() == "out");
}

}  // namespace

bool LooksPersonal(std::string_view name) {
    const auto words = Words(name);
    if (IsAboutAField(words)) return false;
    std::string joined;  // whatever its humps: IPv4
    for (const auto& word : words) joined += word;
    if (In(kPersonal, joined)) return true;
    for (size_t i = 0; i < words.size(); ++i) {
        if (IsPersonalWord(words[i])) return true;
        if ((words[i] == "name" || words[i] == "names") && (i == 0 || !In(kThings, words[i - 1]))) return true;
        for (const auto& [first, second] : kPairs)
            if (i > 0 && words[i - 1] == first && words[i] == second) return true;
    }
    return false;
}

bool HoldsEmail(std::string_view text) {
    if (text.find("%40") != std::string_view::npos) return true;  // @ in a URL
    for (size_t at = text.find('@'); at != std::string_view::npos; at = text.find('@', at + 1)) {
        if (at == 0 || !IsWord(text[at - 1])) continue;
        const size_t end = std::min(text.find_first_of(" \t\n\r,;<>\"'()?&@/", at + 1), text.size());
        const size_t dot = text.find('.', at + 1);
        if (dot != std::string_view::npos && dot > at + 1 && dot + 1 < end) return true;
    }
    return false;
}

}  // namespace cdp::govern
