// relay/functions.cpp: see functions.hpp.
#include "relay/functions.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "collect/message.hpp"
#include "identity/match_text.hpp"
#include "identity/phone.hpp"
#include "pg/error.hpp"
#include "relay/digest.hpp"
#include "relay/normalise.hpp"
#include "relay/times.hpp"

namespace cdp::relay {

std::optional<std::string> Text(const Json& value) {
    if (value.is_null() || value.is_discarded()) return std::nullopt;
    if (value.is_string()) return value.get<std::string>();
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool Truth(const Json& value) {
    if (value.is_boolean()) return value.get<bool>();
    if (value.is_number()) return value.get<double>() != 0;
    return !value.is_null() && !value.empty() && value != "";
}

std::string PercentEncoded(std::string_view text) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    std::string encoded;
    for (const unsigned char c : text) {
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
            c == '~') {
            encoded += static_cast<char>(c);
        } else {
            encoded += '%';
            encoded += kDigits[c >> 4];
            encoded += kDigits[c & 15];
        }
    }
    return encoded;
}

Json ParseJson(std::string_view text) {
    // The library keeps no limit of depth, and what is nested deeper than the stack can take cannot be walked.
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted) {
            if (c == '\\') ++i;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > kDeepest) return nullptr;
        } else if ((c == ']' || c == '}') && depth > 0) {
            --depth;
        }
    }
    Json value = Json::parse(text, nullptr, false);
    if (value.is_discarded()) return nullptr;
    return value;
}

namespace {

using Arguments = std::span<const Json>;

Json OrNull(std::optional<std::string> text) { return text ? Json(*std::move(text)) : Json(); }

std::string TextOf(const Json& value) { return Text(value).value_or(""); }

std::optional<double> NumberOf(const Json& value) {
    if (value.is_number()) return value.get<double>();
    if (value.is_string()) return matching::ParseNumber(value.get_ref<const std::string&>());
    return std::nullopt;
}

// A number as a whole one where it is.
Json Number(double number) {
    if (!std::isfinite(number)) return nullptr;
    if (std::trunc(number) == number && std::abs(number) < 9e15) return static_cast<int64_t>(number);
    return number;
}

// Text --------------------------------------------------------------------------------------------------------------

template <std::string (*kChange)(std::string_view)>
Json Changed(Arguments a, const Scope&) { return kChange(TextOf(a[0])); }

template <std::optional<std::string> (*kChange)(std::string_view)>
Json Normalised(Arguments a, const Scope&) { return OrNull(kChange(TextOf(a[0]))); }

Json ToText(Arguments a, const Scope&) { return OrNull(Text(a[0])); }
std::string Trim(std::string_view text) { return std::string(collect::Trimmed(text)); }

Json Concat(Arguments a, const Scope&) {
    std::string all;
    for (const Json& part : a) {
        const auto text = Text(part);
        if (!text) return nullptr;
        all += *text;
    }
    return all;
}

Json Beginning(Arguments a, const Scope&) {
    const auto length = NumberOf(a[1]);
    if (!length || *length < 0 || *length > 1e6) return nullptr;
    const std::string text = TextOf(a[0]);
    return std::string(collect::Beginning(text, static_cast<size_t>(*length)));
}

Json Replace(Arguments a, const Scope&) {
    const std::string text = TextOf(a[0]), from = TextOf(a[1]), to = TextOf(a[2]);
    if (from.empty()) return text;
    std::string replaced;
    for (size_t at = 0;;) {
        const size_t found = text.find(from, at);
        replaced.append(text, at, found - at);
        if (found == std::string::npos) return replaced;
        if (replaced.size() + to.size() > kLargestRendering) throw Error(sqlstate::program_limit_exceeded, "a request becomes too large");
        replaced += to;
        at = found + from.size();
    }
}

Json After(Arguments a, const Scope&) {
    const std::string text = TextOf(a[0]), prefix = TextOf(a[1]);
    const size_t found = text.find(prefix);
    if (found == std::string::npos) return nullptr;
    return text.substr(found + prefix.size());
}

Json Before(Arguments a, const Scope&) {
    const std::string text = TextOf(a[0]);
    return text.substr(0, text.find(TextOf(a[1])));
}

Json Contains(Arguments a, const Scope&) {
    if (a[0].is_array()) return std::find(a[0].begin(), a[0].end(), a[1]) != a[0].end();
    return TextOf(a[0]).find(TextOf(a[1])) != std::string::npos;
}

Json Join(Arguments a, const Scope&) {
    if (!a[0].is_array()) return OrNull(Text(a[0]));
    const std::string between = a.size() > 1 ? TextOf(a[1]) : ", ";
    std::string all;
    for (const Json& part : a[0]) {
        if (part.is_null()) continue;
        if (!all.empty()) all += between;
        all += TextOf(part);
    }
    return all;
}

Json ReadJson(Arguments a, const Scope&) { return ParseJson(TextOf(a[0])); }
Json WriteJson(Arguments a, const Scope&) { return a[0].dump(-1, ' ', false, Json::error_handler_t::replace); }

// People's data -----------------------------------------------------------------------------------------------------

Json Phone(Arguments a, const Scope&) {
    return OrNull(identity::NormalisePhone(TextOf(a[0]), a.size() > 1 ? TextOf(a[1]) : ""));
}

std::string Digits(std::string_view text) { return matching::Digits(text); }

std::optional<std::string> Year(std::string_view text) {
    const auto parts = PartsOfDate(text);
    return parts ? std::optional(parts->year) : std::nullopt;
}
std::optional<std::string> Month(std::string_view text) {
    const auto parts = PartsOfDate(text);
    return parts ? std::optional(parts->month) : std::nullopt;
}
std::optional<std::string> Day(std::string_view text) {
    const auto parts = PartsOfDate(text);
    return parts ? std::optional(parts->day) : std::nullopt;
}
std::optional<std::string> Date(std::string_view text) {
    const auto parts = PartsOfDate(text);
    return parts ? std::optional(parts->year + "-" + parts->month + "-" + parts->day) : std::nullopt;
}

// Only what is written as a time is changed.
Json IsoTime(Arguments a, const Scope&) {
    if (!a[0].is_string()) return a[0];
    const std::string& text = a[0].get_ref<const std::string&>();
    const auto seconds = text.size() > 10 ? ParseTime(text) : std::nullopt;
    return seconds ? Json(FormatTime(*seconds)) : a[0];
}

Json Unix(Arguments a, const Scope&) {
    const auto seconds = ParseTime(TextOf(a[0]));
    return seconds ? Number(std::floor(*seconds)) : Json();
}

Json SecondsUntil(Arguments a, const Scope& scope) {
    const auto then = NumberOf(a[0]), now = NumberOf(scope[Name::kNow]);
    return then && now ? Number(std::max(0.0, *then - *now)) : Json();
}

// Hashes ------------------------------------------------------------------------------------------------------------

template <Digest kDigest>
std::string HexHash(std::string_view text) { return Hex(Hash(kDigest, text)); }

Json Hmac(Arguments a, const Scope&) { return Base64(HmacSha256(TextOf(a[1]), TextOf(a[0]))); }

Json Signature(Arguments a, const Scope&) {
    return SignWebhook(TextOf(a[0]), TextOf(a[1]), TextOf(a[2]), TextOf(a[3]));
}

// Logic, lists ------------------------------------------------------------------------------------------------------

Json Default(Arguments a, const Scope&) { return a[0].is_null() ? a[1] : a[0]; }
Json Is(Arguments a, const Scope&) { return a[0] == a[1]; }
Json In(Arguments a, const Scope&) { return std::find(a.begin() + 1, a.end(), a[0]) != a.end(); }
Json Not(Arguments a, const Scope&) { return !Truth(a[0]); }
Json Any(Arguments a, const Scope&) { return std::any_of(a.begin(), a.end(), Truth); }
Json All(Arguments a, const Scope&) { return std::all_of(a.begin(), a.end(), Truth); }
Json If(Arguments a, const Scope&) { return Truth(a[0]) ? a[1] : a[2]; }
Json Nothing(Arguments a, const Scope&) { return Truth(a[0]) ? a[0] : Json(); }

Json Above(Arguments a, const Scope&) {
    const auto left = NumberOf(a[0]), right = NumberOf(a[1]);
    return left && right && *left > *right;
}

Json ToNumber(Arguments a, const Scope&) {
    const auto number = NumberOf(a[0]);
    return number ? Number(*number) : Json();
}

// The digits that a text begins with.
Json ToInteger(Arguments a, const Scope&) {
    if (a[0].is_number()) return Number(std::trunc(a[0].get<double>()));
    const std::string text = TextOf(a[0]);
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() ? Json(number) : Json();
}

Json Times(Arguments a, const Scope&) {
    const auto left = NumberOf(a[0]), right = NumberOf(a[1]);
    return left && right ? Number(*left * *right) : Json();
}

Json Max(Arguments a, const Scope&) {
    std::optional<double> most;
    for (const Json& element : a[0].is_array() ? a[0] : Json::array({a[0]}))
        if (const auto number = NumberOf(element); number && (!most || *number > *most)) most = number;
    return most ? Number(*most) : Json();
}

Json List(Arguments a, const Scope&) {
    Json list = Json::array();
    for (const Json& element : a)
        if (!element.is_null()) list.push_back(element);
    return list;
}

Json First(Arguments a, const Scope&) {
    if (!a[0].is_array()) return a[0];
    return a[0].empty() ? Json() : a[0].front();
}

Json Size(Arguments a, const Scope&) {
    if (a[0].is_string()) return collect::Characters(a[0].get_ref<const std::string&>());
    return a[0].size();
}

Json At(Arguments a, const Scope&) {
    if (a[0].is_object()) {
        const auto found = a[0].find(TextOf(a[1]));
        return found == a[0].end() ? Json() : *found;
    }
    if (!a[0].is_array() || !a[1].is_number_integer()) return nullptr;
    const auto place = a[1].get<int64_t>();
    return place >= 0 && place < static_cast<int64_t>(a[0].size()) ? a[0][static_cast<size_t>(place)] : Json();
}

// The column that options.fields names for the network's field; by default that of the same name.
Json Field(Arguments a, const Scope& scope) {
    std::string column = TextOf(a[0]);
    const Json& options = scope[Name::kOptions];
    if (options.is_object() && options.contains("fields")) {
        const Json& fields = options["fields"];
        if (fields.is_object() && fields.contains(column)) column = TextOf(fields[column]);
    }
    const Json& row = scope[Name::kRow];
    if (!row.is_object()) return nullptr;
    const auto found = row.find(column);
    return found == row.end() ? Json() : *found;
}

constexpr size_t kMany = 64;

constexpr std::array kFunctions = std::to_array<Function>({
    {"text", 1, 1, false, ToText},
    {"lower", 1, 1, false, Changed<LowerCase>},
    {"upper", 1, 1, false, Changed<UpperCase>},
    {"trim", 1, 1, false, Changed<Trim>},
    {"without_space", 1, 1, false, Changed<WithoutSpace>},
    {"url", 1, 1, false, Changed<PercentEncoded>},
    {"concat", 1, kMany, true, Concat},
    {"beginning", 2, 2, false, Beginning},
    {"replace", 3, 3, false, Replace},
    {"after", 2, 2, false, After},
    {"before", 2, 2, false, Before},
    {"contains", 2, 2, false, Contains},
    {"join", 1, 2, false, Join},
    {"parse_json", 1, 1, false, ReadJson},
    {"json", 1, 1, true, WriteJson},

    {"email", 1, 1, false, Normalised<NormaliseEmail>},
    {"gmail", 1, 1, false, Normalised<PlainGmail>},
    {"e164", 1, 2, false, Phone},
    {"digits", 1, 1, false, Changed<Digits>},
    {"name", 1, 1, false, Normalised<NormaliseName>},
    {"place", 1, 1, false, Normalised<NormalisePlace>},
    {"gender", 1, 1, false, Normalised<NormaliseGender>},
    {"country", 1, 1, false, Normalised<NormaliseCountry>},
    {"postal_code", 1, 1, false, Normalised<NormalisePostalCode>},
    {"year", 1, 1, false, Normalised<Year>},
    {"month", 1, 1, false, Normalised<Month>},
    {"day", 1, 1, false, Normalised<Day>},
    {"date", 1, 1, false, Normalised<Date>},
    {"iso_time", 1, 1, false, IsoTime},
    {"unix", 1, 1, false, Unix},
    {"seconds_until", 1, 1, false, SecondsUntil},

    {"md5", 1, 1, false, Changed<HexHash<Digest::kMd5>>},
    {"sha1", 1, 1, false, Changed<HexHash<Digest::kSha1>>},
    {"sha256", 1, 1, false, Changed<HexHash<Digest::kSha256>>},
    {"sha512", 1, 1, false, Changed<HexHash<Digest::kSha512>>},
    {"base64", 1, 1, false, Changed<Base64>},
    {"hmac_sha256", 2, 2, false, Hmac},
    {"sign_webhook", 4, 4, false, Signature},

    {"default", 2, 2, true, Default},
    {"is", 2, 2, true, Is},
    {"in", 2, kMany, true, In},
    {"not", 1, 1, true, Not},
    {"any", 1, kMany, true, Any},
    {"all", 1, kMany, true, All},
    {"if", 3, 3, true, If},
    {"unless_empty", 1, 1, true, Nothing},
    {"above", 2, 2, true, Above},
    {"number", 1, 1, false, ToNumber},
    {"integer", 1, 1, false, ToInteger},
    {"times", 2, 2, false, Times},
    {"max", 1, 1, false, Max},
    {"list", 0, kMany, true, List},
    {"first", 1, 1, false, First},
    {"size", 1, 1, false, Size},
    {"at", 2, 2, false, At},
    {"field", 1, 1, false, Field},
});

}  // namespace

const Function* FindFunction(std::string_view name) {
    const auto* found = std::find_if(kFunctions.begin(), kFunctions.end(), [&](const Function& f) { return f.name == name; });
    return found == kFunctions.end() ? nullptr : &*found;
}

}  // namespace cdp::relay
