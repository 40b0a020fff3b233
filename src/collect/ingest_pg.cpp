// collect/ingest_pg.cpp: SQL's doors for messages as JSON: cdp.ingest, cdp.retry_rejected.
#include "collect/spec_message_pg.hpp"
#include "identity/rules_pg.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"
}

namespace cdp::collect {

namespace {

std::string_view NewMessageId() {
    return pg::Call([] {
        const char* text = DatumGetCString(DirectFunctionCall1(uuid_out, DirectFunctionCall1(gen_random_uuid, Datum(0))));
        return std::string_view(text);
    });
}

/// JSON may be nested deeper, or grow larger, than PostgreSQL can go through once more.
bool IsBeyondLimits(const pg::PgError& error) {
    return ERRCODE_TO_CATEGORY(error.data->sqlerrcode) == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

/// Takes messages one by one: each is accepted or rejected at once. Store() then writes each kind in one statement.
class Intake {
public:
    /// For about `messages` messages, whose JSON lives as long as this.
    Intake(const identity::Rules& rules, size_t messages) : identifiers_(rules, messages) {}

    /// A Segment message, of a batch body perhaps. Returns why it is rejected, if so; `message_id` becomes what it is
    /// called.
    std::optional<Refusal> Take(pg::Json json, const pg::Json* batch, std::string_view source, int64 received_at,
                                std::string_view* message_id) {
        IncomingMessage m{};
        std::optional<Refusal> refusal;
        bool nameless = false;
        try {
            if (batch != nullptr) json = InBatch(*batch, json);
            refusal = ReadSpecMessage(json, source, received_at, &m);
            *message_id = m.message_id;
            nameless = IsBlank(m.message_id);
            if (nameless) m.message_id = NewMessageId();
            if (!refusal) refusal = Check(m);
        } catch (const pg::PgError& error) {
            // Nothing but memory has been touched, so one may go on without rolling back.
            if (!IsBeyondLimits(error)) throw;
            refusal = Refusal{"message is too complex", error.what()};
            FreeErrorData(error.data);
        }
        if (refusal) {
            Reject(json, *refusal, source, received_at, false);
        } else {
            if (nameless) *message_id = m.message_id;
            Accept(m);
        }
        return refusal;
    }

    /// A row of the inbox that the pipeline has rejected, to be judged by the pipeline again.
    void TakeAgain(const pg::Json& json, std::string_view source, int64 received_at) {
        IncomingMessage m{};
        if (const auto refusal = ReadInboxRow(json, received_at, &m))
            Reject(json, *refusal, source, received_at, true);
        else
            Accept(m);
    }

    void Store() {
        static pg::Statement accept(
            "INSERT INTO cdp.inbox (message_id, type, source, user_id, anonymous_id, previous_id, group_id, event,"
            " properties, traits, context, occurred_at, sent_at, received_at)"
            " SELECT * FROM cdp_accepted");
        static pg::Statement reject(
            "INSERT INTO cdp.rejected_message (message, reason, detail, source, from_inbox, received_at)"
            " SELECT * FROM cdp_rejected");
        if (accepted_.size() > 0) accept.Execute();
        if (rejected_.size() > 0) reject.Execute();
    }

private:
    std::optional<Refusal> Check(const IncomingMessage& m) {
        if (auto refusal = Refuse(m)) return refusal;
        candidates_.clear();
        if (auto refusal = identifiers_.Extract(m, &candidates_)) return refusal;
        if (candidates_.empty()) return NoIdentifier();
        return std::nullopt;
    }

    void Accept(const IncomingMessage& m) {
        Row<14> row;
        for (const std::string_view text : {m.message_id, m.type, m.source, m.user_id, m.anonymous_id, m.previous_id,
                                            m.group_id, m.event})
            row.AddText(text);
        for (const Datum json : {m.properties, m.traits, m.context}) row.Add(json, json == 0);
        row.Add(TimestampTzGetDatum(m.occurred_at), false);
        row.Add(TimestampTzGetDatum(m.sent_at.value_or(0)), !m.sent_at);
        row.Add(TimestampTzGetDatum(m.received_at), false);
        accepted_.Add(row.values, row.nulls);
    }

    void Reject(const pg::Json& json, const Refusal& why, std::string_view source, int64 received_at, bool from_inbox) {
        Row<6> row;
        row.Add(pg::Standalone(json), false);
        row.AddText(why.reason);
        row.AddText(why.detail.empty() ? std::string_view() : why.detail);
        row.AddText(source);
        row.Add(BoolGetDatum(from_inbox), false);
        row.Add(TimestampTzGetDatum(received_at), false);
        rejected_.Add(row.values, row.nulls);
    }

    template <size_t size>
    struct Row {
        Datum values[size];
        bool nulls[size];
        size_t used = 0;
        void Add(Datum value, bool null) {
            values[used] = value;
            nulls[used++] = null;
        }
        void AddText(std::string_view text) { Add(text.data() ? pg::TextDatum(text) : 0, text.data() == nullptr); }
    };

    identity::BatchIdentifiers identifiers_;
    std::vector<identity::Candidate> candidates_;
    pg::StagedRows accepted_{"cdp_accepted",
                             {{"message_id", TEXTOID}, {"type", TEXTOID}, {"source", TEXTOID}, {"user_id", TEXTOID},
                              {"anonymous_id", TEXTOID}, {"previous_id", TEXTOID}, {"group_id", TEXTOID}, {"event", TEXTOID},
                              {"properties", JSONBOID}, {"traits", JSONBOID}, {"context", JSONBOID},
                              {"occurred_at", TIMESTAMPTZOID}, {"sent_at", TIMESTAMPTZOID}, {"received_at", TIMESTAMPTZOID}}};
    pg::StagedRows rejected_{"cdp_rejected",
                             {{"message", JSONBOID}, {"reason", TEXTOID}, {"detail", TEXTOID}, {"source", TEXTOID},
                              {"from_inbox", BOOLOID}, {"received_at", TIMESTAMPTZOID}}};
};

/// Calls `take(message, batch)` for each message of what cdp.ingest was given; batch: the body around it, or null.
template <class F>
void ForEachMessage(const pg::Json& given, F&& take) {
    const auto batch = given.Find("batch");
    if (given.IsArray()) {
        for (uint32 i = 0; i < given.ArraySize(); ++i) take(given.Element(i), nullptr);
    } else if (batch && batch->IsArray()) {
        for (uint32 i = 0; i < batch->ArraySize(); ++i) take(batch->Element(i), &given);
    } else {
        take(given, nullptr);
    }
}

/// A row of cdp.ingest's result.
void PutResult(ReturnSetInfo* result, std::string_view message_id, const std::optional<Refusal>& refusal) {
    Datum values[] = {pg::TextDatum(message_id), pg::TextDatum(refusal ? "rejected" : "accepted"),
                      pg::TextDatum(refusal ? refusal->reason : "")};
    bool nulls[] = {message_id.data() == nullptr, false, !refusal};
    pg::Call([&] { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
}

int64 RetryRejected() {
    constexpr int64 kAtATime = 10'000;
    static pg::Statement next(
        "SELECT max(rejection_id) FROM (SELECT rejection_id FROM cdp.rejected_message"
        " WHERE rejection_id > $1 AND rejection_id <= $2 ORDER BY rejection_id LIMIT $3) _",
        {INT8OID, INT8OID, INT8OID});
    static pg::Statement take(
        "WITH taken AS (DELETE FROM cdp.rejected_message WHERE rejection_id > $1 AND rejection_id <= $2 RETURNING *)"
        " SELECT message, source, from_inbox, coalesce(received_at, clock_timestamp()) FROM taken ORDER BY rejection_id",
        {INT8OID, INT8OID});

    int64 sent = 0, done = PG_INT64_MIN, end;
    identity::Rules rules;
    {
        const pg::Spi spi;
        rules = identity::Rules::Load();
        // Those that are rejected anew come behind this one.
        end = pg::Query("SELECT coalesce(max(rejection_id), 0) FROM cdp.rejected_message").Int8(0, 1);
    }
    for (;;) {
        const pg::Spi spi;
        const auto bound = next.Query({pg::Int8(done), pg::Int8(end), pg::Int8(kAtATime)}).Get(0, 1);
        if (!bound) return sent;
        const auto rows = take.Query({pg::Int8(done), pg::Value(INT8OID, *bound)});
        Intake intake(rules, rows.size());
        for (uint64 i = 0; i < rows.size(); ++i) {
            poll_stop();
            const pg::Json json(pg::Unpacked(*rows.Get(i, 1)));
            const auto source = rows.Get(i, 2);
            const std::string_view source_text = source ? pg::Bytes(*source) : "default";
            const int64 received_at = DatumGetTimestampTz(*rows.Get(i, 4));
            std::string_view message_id;
            if (rows.Bool(i, 3))
                intake.TakeAgain(json, source_text, received_at);
            else
                intake.Take(json, nullptr, source_text, received_at, &message_id);
        }
        intake.Store();
        sent += static_cast<int64>(rows.size());
        done = DatumGetInt64(*bound);
    }
}

}  // namespace

}  // namespace cdp::collect

using namespace cdp;

CDP_FUNCTION(cdp_ingest)  // cdp.ingest(messages jsonb, source text) → TABLE(message_id text, status text, reason text)
{
    pg::Call([&] { InitMaterializedSRF(fcinfo, 0); });
    if (PG_ARGISNULL(0)) return Datum(0);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    const std::string_view source = PG_ARGISNULL(1) ? "default" : pg::Bytes(PG_GETARG_DATUM(1));
    const pg::Json given(pg::Unpacked(PG_GETARG_DATUM(0)));
    const pg::ActAs owner(pg::ExtensionOwner());
    const pg::Spi spi;
    const auto rules = identity::Rules::Load();
    const int64 received_at = GetCurrentTimestamp();
    collect::Intake intake(rules, given.ArraySize());
    collect::ForEachMessage(given, [&](const pg::Json& message, const pg::Json* batch) {
        poll_stop();
        std::string_view message_id;
        const auto refusal = intake.Take(message, batch, source, received_at, &message_id);
        collect::PutResult(result, message_id, refusal);
    });
    intake.Store();
    return Datum(0);
}

CDP_FUNCTION(cdp_retry_rejected)  // cdp.retry_rejected() → bigint
{
    const pg::ActAs owner(pg::ExtensionOwner());
    return Int64GetDatum(collect::RetryRejected());
}
