// relay/row.cpp: see row.hpp.
#include "relay/row.hpp"

#include <charconv>

#include "pg/error.hpp"
#include "relay/digest.hpp"

namespace cdp::relay {

namespace {

using nlohmann::json;

// OIDs of pg_type.dat, which never change.
enum Type : uint32_t {
    kBool = 16, kInt8 = 20, kInt2 = 21, kInt4 = 23, kJson = 114, kFloat4 = 700, kFloat8 = 701, kTimestamp = 1114,
    kTimestamptz = 1184, kNumeric = 1700, kJsonb = 3802, kText = 25
};

/// The type of an array's elements; 0: it is none that we know.
uint32_t ElementOf(uint32_t array) {
    switch (array) {
        case 1000: return kBool;
        case 1005: return kInt2;
        case 1007: return kInt4;
        case 1016: return kInt8;
        case 1021: return kFloat4;
        case 1022: return kFloat8;
        case 1231: return kNumeric;
        case 1115: return kTimestamp;
        case 1185: return kTimestamptz;
        case 199: return kJson;
        case 3807: return kJsonb;
        case 1001: case 1002: case 1003: case 1009: case 1014: case 1015: case 1041: case 1182: case 1183: case 1187: case 2951:
            return kText;  // bytea, char, name, text, bpchar, varchar, inet, date, time, interval, uuid
        default: return 0;
    }
}

json String(std::string_view text) {
    json value = text;
    try {
        value.dump();
        return value;
    } catch (const json::exception&) {
        return json::parse(value.dump(-1, ' ', false, json::error_handler_t::replace));
    }
}

json Number(std::string_view text) {
    // A double, which most readers of JSON make of any number, keeps 15 digits.
    size_t digits = 0;
    for (const char c : text) {
        if (c == 'e' || c == 'E') break;
        if ((c >= '0' && c <= '9') && (digits > 0 || c != '0')) ++digits;
    }
    if (digits > 15) return String(text);
    if (text.find('.') != std::string_view::npos && text.find_first_of("eE") == std::string_view::npos) {  // no zeros at the end of the fraction
        text.remove_suffix(text.size() - 1 - text.find_last_not_of('0'));
        if (text.ends_with('.')) text.remove_suffix(1);
    }
    int64_t whole = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (error == std::errc() && end == text.data() + text.size()) return whole;
    const json value = json::parse(text, nullptr, false);
    return value.is_number() ? value : String(text);  // NaN, Infinity
}

json Float(std::string_view text) {
    const json value = json::parse(text, nullptr, false);  // 17 digits give the same double again
    return value.is_number() ? value : String(text);
}

/// 2026-01-31 10:00:00.5+00 → 2026-01-31T10:00:00.5+00:00
json Time(std::string_view text, bool zone) {
    std::string iso(text);
    if (const size_t space = iso.find(' '); space != std::string::npos) iso[space] = 'T';
    if (zone && iso.size() > 3 && (iso[iso.size() - 3] == '+' || iso[iso.size() - 3] == '-')) iso += ":00";
    return String(iso);
}

/// PostgreSQL's text of an array.
class ArrayReader {
public:
    ArrayReader(std::string_view text, uint32_t element) : text_(text), element_(element) {
        // Bounds that do not begin with 1 stand in front: [0:2]={…}
        if (!text_.empty() && text_[0] == '[') at_ = std::min(text_.find('='), text_.size() - 1) + 1;
    }

    /// Nothing if that is no array.
    std::optional<json> Read() {
        json array = json::array();
        if (!Level(array, 0) || at_ != text_.size()) return std::nullopt;
        return array;
    }

private:
    bool Level(json& array, int depth) {
        if (depth == 6 || !Skip('{')) return false;  // PostgreSQL has up to six dimensions
        if (Skip('}')) return true;
        do {
            if (at_ < text_.size() && text_[at_] == '{') {
                json inner = json::array();
                if (!Level(inner, depth + 1)) return false;
                array.push_back(std::move(inner));
            } else if (!Element(array)) {
                return false;
            }
        } while (Skip(','));
        return Skip('}');
    }

    bool Element(json& array) {
        std::string value;
        if (Skip('"')) {
            for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
                if (text_[at_] == '\\' && ++at_ == text_.size()) return false;
                value += text_[at_];
            }
            if (!Skip('"')) return false;
            array.push_back(TypedValue(element_, value));
            return true;
        }
        for (; at_ < text_.size() && text_[at_] != ',' && text_[at_] != '}'; ++at_) {
            if (text_[at_] == '\\' && ++at_ == text_.size()) return false;
            value += text_[at_];
        }
        array.push_back(value == "NULL" ? json() : TypedValue(element_, value));
        return true;
    }

    bool Skip(char c) {
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }

    std::string_view text_;
    uint32_t element_;
    size_t at_ = 0;
};

/// JSON with the numbers in it that a double would change as texts.
std::string WithLongNumbersQuoted(std::string_view text) {
    std::string quoted;
    for (size_t i = 0; i < text.size();) {
        const size_t begin = i;
        if (text[i] == '"') {
            for (++i; i < text.size() && text[i] != '"'; ++i)
                if (text[i] == '\\') ++i;
            i = std::min(i + 1, text.size());
            quoted += text.substr(begin, i - begin);
        } else if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9')) {
            while (i < text.size() && (text[i] == '-' || text[i] == '+' || text[i] == '.' || text[i] == 'e' || text[i] == 'E' || (text[i] >= '0' && text[i] <= '9'))) ++i;
            const std::string_view number = text.substr(begin, i - begin);
            // As many digits as give the double again are no more than it holds: 0.30000000000000004.
            const json value = json::parse(number, nullptr, false);
            if (Number(number).is_number() || (value.is_number_float() && value.dump() == number))
                quoted += number;
            else
                (quoted += '"').append(number) += '"';
        } else {
            quoted += text[i++];
        }
    }
    return quoted;
}

/// Nested too deeply, it is sent as it stands: as a text.
json Embedded(std::string_view text) {
    int depth = 0;
    const auto shallow = [&](int level, json::parse_event_t, json&) {
        depth = std::max(depth, level);
        return depth < 100;
    };
    json value = json::parse(WithLongNumbersQuoted(text), shallow, false);
    return value.is_discarded() || depth >= 100 ? String(text) : value;
}

}  // namespace

json TypedValue(uint32_t type, std::string_view text) {
    switch (type) {
        case kBool: return text == "t" || text == "f" ? json(text == "t") : String(text);
        case kInt2: case kInt4: case kInt8: case kNumeric: return Number(text);
        case kFloat4: case kFloat8: return Float(text);
        case kTimestamp: case kTimestamptz: return Time(text, type == kTimestamptz);
        case kJson: case kJsonb: return Embedded(text);
        default: break;
    }
    if (const uint32_t element = ElementOf(type))
        if (auto array = ArrayReader(text, element).Read()) return std::move(*array);
    return String(text);
}

json TypedRow(std::span<const pgoutput::Column> columns, const pgoutput::Tuple& row) {
    if (columns.size() != row.size())
        throw Error(sqlstate::data_corrupted, "the replication stream has a row that does not fit its table");
    json object = json::object();
    for (size_t i = 0; i < row.size(); ++i)
        object[String(columns[i].name).get_ref<const std::string&>()] =
            row[i].kind == pgoutput::Field::Kind::kText ? TypedValue(columns[i].type, row[i].text) : json();
    return object;
}

std::string RowHash(const pgoutput::Tuple& row) {
    // As record_out writes a row.
    std::string text = "(";
    for (size_t i = 0; i < row.size(); ++i) {
        if (i > 0) text += ',';
        if (row[i].kind != pgoutput::Field::Kind::kText) continue;
        const std::string& field = row[i].text;
        if (!field.empty() && field.find_first_of("\"\\(), \t\n\r\v\f") == std::string::npos) {
            text += field;
            continue;
        }
        text += '"';
        for (const char c : field) {
            if (c == '"' || c == '\\') text += c;
            text += c;
        }
        text += '"';
    }
    text += ')';

    return Hex(Hash(Digest::kMd5, text));
}

std::string LsnText(uint64_t lsn) {
    char text[32];
    snprintf(text, sizeof text, "%X/%X", static_cast<unsigned>(lsn >> 32), static_cast<unsigned>(lsn));
    return text;
}

uint64_t ParseLsn(std::string_view text) {
    uint32_t high = 0, low = 0;
    const char* const end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, high, 16);
    if (first.ec == std::errc() && first.ptr != end && *first.ptr == '/') {
        const auto second = std::from_chars(first.ptr + 1, end, low, 16);
        if (second.ec == std::errc() && second.ptr == end) return uint64_t{high} << 32 | low;
    }
    throw Error(sqlstate::data_corrupted, "\"" + std::string(text) + "\" is no position in the write-ahead log");
}

}  // namespace cdp::relay
