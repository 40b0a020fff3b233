// collect/spec_message_pg.hpp: messages as the Segment spec writes them, in JSON, as rows of the inbox.
#pragma once

#include "collect/inbox_pg.hpp"

namespace cdp::collect {

/// A message on its way into the inbox. Its texts and Datums live as long as the JSON that it was read from and
/// the memory context that was current then. A text without data() is NULL.
struct IncomingMessage : InboxMessage {
    std::optional<int64> sent_at;
};

/// Reads a Segment message that was received at `received_at`; returns why it is none, if so. Then `message` holds
/// what could be read. What the spec knows and the inbox has no column for goes into the context, under its name.
/// Throws.
std::optional<Refusal> ReadSpecMessage(const pg::Json& json, std::string_view source, int64 received_at,
                                       IncomingMessage* message);

/// Reads a row of the inbox that was turned into JSON. Throws.
std::optional<Refusal> ReadInboxRow(const pg::Json& json, int64 received_at, IncomingMessage* message);

/// A message of a batch, with what the batch says for all of its messages and this one does not: sentAt, context
/// and integrations; contexts are merged. Throws.
pg::Json InBatch(const pg::Json& batch, const pg::Json& message);

/// "object", "text", …: what kind of JSON it is, for people.
const char* KindOf(const pg::Json& json);

}  // namespace cdp::collect
