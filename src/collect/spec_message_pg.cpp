// collect/spec_message_pg.cpp: see spec_message_pg.hpp.
#include "collect/spec_message_pg.hpp"

#include <array>

#include "collect/message_time.hpp"
#include "pg/guard.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "utils/numeric.h"
}

namespace cdp::collect {

static_assert(kFirstTime == MIN_TIMESTAMP && kEndOfTime == END_TIMESTAMP);

namespace {

enum class Field {
    kType, kMessageId, kSource, kUserId, kAnonymousId, kPreviousId, kGroupId, kEvent, kName, kCategory,
    kProperties, kTraits, kContext, kOccurredAt, kOriginalTimestamp, kTimestamp, kSentAt, kReceivedAt, kWriteKey,
    kCount
};

/// What a field is called: by the spec; by the inbox, and by the spec's own older examples ("action").
struct FieldNames {
    Field field;
    std::string_view name, other;
};

constexpr FieldNames kSpecFields[] = {
    {Field::kType, "type", "action"},
    {Field::kMessageId, "messageId", "message_id"},
    {Field::kUserId, "userId", "user_id"},
    {Field::kAnonymousId, "anonymousId", "anonymous_id"},
    {Field::kPreviousId, "previousId", "previous_id"},
    {Field::kGroupId, "groupId", "group_id"},
    {Field::kEvent, "event", ""},
    {Field::kName, "name", ""},
    {Field::kCategory, "category", ""},
    {Field::kProperties, "properties", ""},
    {Field::kTraits, "traits", ""},
    {Field::kContext, "context", ""},
    {Field::kOccurredAt, "occurredAt", "occurred_at"},
    {Field::kOriginalTimestamp, "originalTimestamp", "original_timestamp"},
    {Field::kTimestamp, "timestamp", ""},
    {Field::kSentAt, "sentAt", "sent_at"},
    {Field::kReceivedAt, "receivedAt", "received_at"},  // the server says that
    {Field::kWriteKey, "writeKey", ""},                 // which is a secret
};

constexpr FieldNames kInboxFields[] = {
    {Field::kType, "type", ""},
    {Field::kMessageId, "message_id", ""},
    {Field::kSource, "source", ""},
    {Field::kUserId, "user_id", ""},
    {Field::kAnonymousId, "anonymous_id", ""},
    {Field::kPreviousId, "previous_id", ""},
    {Field::kGroupId, "group_id", ""},
    {Field::kEvent, "event", ""},
    {Field::kProperties, "properties", ""},
    {Field::kTraits, "traits", ""},
    {Field::kContext, "context", ""},
    {Field::kOccurredAt, "occurred_at", ""},
    {Field::kSentAt, "sent_at", ""},
    {Field::kReceivedAt, "received_at", ""},
};

using Member = std::pair<std::string_view, pg::Json>;

/// The fields of a message, and the first thing that is wrong with any that has been asked for.
class Fields {
public:
    /// null counts as absent.
    Fields(const pg::Json& json, std::span<const FieldNames> names) {
        json.ForEach([&](std::string_view name, const pg::Json& value) {
            if (value.IsNull()) return;
            for (const FieldNames& known : names)
                if (known.name == name) return static_cast<void>(At(known.field) = {name, value});
            rest_.emplace_back(name, value);
        });
        for (const FieldNames& known : names) {
            if (known.other.empty() || At(known.field)) continue;
            const auto other = std::find_if(rest_.begin(), rest_.end(), [&](const Member& m) { return m.first == known.other; });
            if (other == rest_.end()) continue;
            At(known.field) = *other;
            rest_.erase(other);
        }
    }

    std::optional<Member>& At(Field field) { return fields_[static_cast<size_t>(field)]; }
    /// What is no known field.
    const std::vector<Member>& rest() const { return rest_; }
    const std::optional<Refusal>& refusal() const { return refusal_; }

    /// A field that the type of message has no use for is kept with the rest.
    void SetAside(Field field) {
        if (At(field)) rest_.push_back(*std::exchange(At(field), std::nullopt));
    }

    /// An identifier: text, or a number as text.
    std::string_view Id(Field field) {
        const auto& member = At(field);
        if (member && member->second.IsNumber()) return pg::Bytes(pg::TextDatum(member->second.NumberText()));
        return Text(field, "text or a number");
    }

    std::string_view Text(Field field, const char* expected = "text") {
        const auto& member = At(field);
        if (!member) return {};
        if (member->second.IsString()) return member->second.String();
        WrongKind(*member, expected);
        return {};
    }

    /// A jsonb of its own; 0 if absent.
    Datum Object(Field field) {
        const auto& member = At(field);
        if (!member) return 0;
        if (member->second.IsObject()) return pg::Standalone(member->second);
        // PHP's empty object.
        if (member->second.IsArray() && member->second.ArraySize() == 0) return pg::EmptyObject();
        WrongKind(*member, "an object");
        return 0;
    }

    Datum Any(Field field) {
        const auto& member = At(field);
        return member ? pg::Standalone(member->second) : 0;
    }

    std::optional<int64> Time(Field field) {
        const auto& member = At(field);
        if (!member) return std::nullopt;
        const auto& [name, value] = *member;
        std::optional<int64> time;
        if (value.IsString()) {
            if (IsBlank(value.String())) return std::nullopt;
            time = ParseIsoTime(value.String());
        } else if (value.IsNumber()) {
            time = FromEpochMilliseconds(pg::Call([&] {
                return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value.Number())));
            }));
        } else {
            WrongKind(*member, "text or a number");
            return std::nullopt;
        }
        if (!time)
            Refuse({std::string(name) + " is no time",
                    "\"" + std::string(Beginning(value.ToText(), 100)) + "\" is neither ISO 8601 nor milliseconds since 1970"});
        return time;
    }

    void Refuse(Refusal refusal) {
        if (!refusal_) refusal_ = std::move(refusal);
    }

private:
    void WrongKind(const Member& member, const char* expected) {
        Refuse({std::string(member.first) + " has the wrong type",
                std::string("it is ") + KindOf(member.second) + ", not " + expected});
    }

    std::array<std::optional<Member>, static_cast<size_t>(Field::kCount)> fields_;
    std::vector<Member> rest_;
    std::optional<Refusal> refusal_;
};

/// The name of a page or a screen is its event; its category is one of its properties.
void ReadPage(Fields* fields, IncomingMessage* m) {
    if (!fields->At(Field::kName)) std::swap(fields->At(Field::kName), fields->At(Field::kEvent));
    m->event = fields->Text(Field::kName);
    const pg::Json properties = m->properties ? pg::Json(m->properties) : pg::Json();
    if (!fields->At(Field::kName))
        if (const auto name = properties.Find("name"); name && name->IsString()) m->event = name->String();
    if (const auto& category = fields->At(Field::kCategory); category && !properties.Find("category")) {
        const Datum addition = pg::ObjectOf(std::span(&*category, 1));
        m->properties = m->properties ? pg::Concat(addition, m->properties) : addition;
        fields->At(Field::kCategory).reset();
    }
}

}  // namespace

const char* KindOf(const pg::Json& json) {
    if (json.IsObject()) return "an object";
    if (json.IsArray()) return "an array";
    if (json.IsString()) return "text";
    if (json.IsNumber()) return "a number";
    return json.IsNull() ? "null" : "a boolean";
}

std::optional<Refusal> ReadSpecMessage(const pg::Json& json, std::string_view source, int64 received_at,
                                       IncomingMessage* m) {
    if (!json.IsObject()) return Refusal{"not a message", std::string("it is ") + KindOf(json) + ", not an object"};
    Fields fields(json, kSpecFields);
    m->received_at = received_at;
    m->source = source;
    m->message_id = fields.Id(Field::kMessageId);
    m->type = fields.Text(Field::kType);
    m->user_id = fields.Id(Field::kUserId);
    m->anonymous_id = fields.Id(Field::kAnonymousId);
    m->previous_id = fields.Id(Field::kPreviousId);
    m->group_id = fields.Id(Field::kGroupId);
    m->properties = fields.Object(Field::kProperties);
    m->traits = fields.Object(Field::kTraits);
    if (m->type == "page" || m->type == "screen")
        ReadPage(&fields, m);
    else
        fields.SetAside(Field::kName);
    fields.SetAside(Field::kCategory);
    if (m->type == "page" || m->type == "screen")
        fields.SetAside(Field::kEvent);
    else
        m->event = fields.Text(Field::kEvent);
    m->context = fields.Object(Field::kContext);
    if (!fields.rest().empty()) {
        const Datum rest = pg::ObjectOf(fields.rest());
        m->context = m->context ? pg::Concat(rest, m->context) : rest;
    }
    m->sent_at = fields.Time(Field::kSentAt);
    const auto occurred_at = OccurredAt({.occurred = fields.Time(Field::kOccurredAt),
                                         .original = fields.Time(Field::kOriginalTimestamp),
                                         .timestamp = fields.Time(Field::kTimestamp),
                                         .sent = m->sent_at}, received_at);
    if (!occurred_at) fields.Refuse({"occurred_at is out of range", "sentAt and timestamp are too far apart"});
    m->occurred_at = occurred_at.value_or(received_at);
    CountBytes(m);
    return fields.refusal();
}

std::optional<Refusal> ReadInboxRow(const pg::Json& json, int64 received_at, IncomingMessage* m) {
    if (!json.IsObject()) return Refusal{"not a message", std::string("it is ") + KindOf(json) + ", not an object"};
    Fields fields(json, kInboxFields);
    m->message_id = fields.Id(Field::kMessageId);
    m->type = fields.Text(Field::kType);
    m->source = fields.Text(Field::kSource);
    m->user_id = fields.Id(Field::kUserId);
    m->anonymous_id = fields.Id(Field::kAnonymousId);
    m->previous_id = fields.Id(Field::kPreviousId);
    m->group_id = fields.Id(Field::kGroupId);
    m->event = fields.Text(Field::kEvent);
    m->properties = fields.Any(Field::kProperties);
    m->traits = fields.Any(Field::kTraits);
    m->context = fields.Any(Field::kContext);
    m->received_at = fields.Time(Field::kReceivedAt).value_or(received_at);
    m->occurred_at = fields.Time(Field::kOccurredAt).value_or(m->received_at);
    m->sent_at = fields.Time(Field::kSentAt);
    CountBytes(m);
    return fields.refusal();
}

pg::Json InBatch(const pg::Json& batch, const pg::Json& message) {
    if (!message.IsObject()) return message;
    std::vector<Member> inherited;
    for (const std::string_view name : {"sentAt", "integrations", "context"}) {
        const auto of_all = batch.Find(name);
        if (!of_all || of_all->IsNull()) continue;
        const auto own = message.Find(name);
        if (!own || own->IsNull())
            inherited.emplace_back(name, *of_all);
        else if (name == "context" && own->IsObject() && of_all->IsObject())
            inherited.emplace_back(name, pg::Json(pg::Concat(pg::Standalone(*of_all), pg::Standalone(*own))));
    }
    if (inherited.empty()) return message;
    return pg::Json(pg::Concat(pg::Standalone(message), pg::ObjectOf(inherited)));
}

}  // namespace cdp::collect
