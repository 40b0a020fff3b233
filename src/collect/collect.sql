-- collect.sql: the inbox, the kept events, what was refused, and which messages have been seen.

-- The inbox -----------------------------------------------------------------------------------------------------
--
-- Writers only append. A row carries the transaction that wrote it, so that a batch is what has become visible
-- since the last one (as PgQ does it); a sequence alone would miss a slow transaction that commits behind it.
-- inbox_mark() also tells the committing session to wake the worker. It is generated, not a default, so that a
-- restored row is marked with the transaction that restored it: transaction ids mean nothing in another cluster.

CREATE SEQUENCE cdp.inbox_id_seq;

CREATE FUNCTION cdp.inbox_mark() RETURNS xid8
    LANGUAGE c IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_inbox_mark';
COMMENT ON FUNCTION cdp.inbox_mark() IS
    'Internal: the current transaction, whose commit will wake the worker. Declared immutable because a generated column asks for it.';

CREATE TABLE cdp.inbox (
    message_id   text DEFAULT gen_random_uuid()::text,
    type         text DEFAULT 'track',
    source       text DEFAULT 'default',
    user_id      text,
    anonymous_id text,
    previous_id  text,
    group_id     text,
    event        text,
    properties   jsonb,
    traits       jsonb,
    context      jsonb,
    occurred_at  timestamptz DEFAULT now(),
    sent_at      timestamptz,
    received_at  timestamptz DEFAULT clock_timestamp(),
    inbox_id     bigint DEFAULT nextval('cdp.inbox_id_seq'),
    inbox_xid    xid8 GENERATED ALWAYS AS (cdp.inbox_mark()) STORED
) PARTITION BY LIST (((inbox_id >> 18) & 3));
COMMENT ON TABLE cdp.inbox IS
    'Messages on their way in: INSERT or COPY them here, in any transaction. COPY needs a list of columns: inbox_id and inbox_xid are not for senders. Emptied by rotation once processed.';
COMMENT ON COLUMN cdp.inbox.inbox_id IS 'Internal: insertion order, and by its bits 18 and 19 the partition.';
COMMENT ON COLUMN cdp.inbox.inbox_xid IS 'Internal: the transaction that wrote the row.';

-- Bits 18 and 19 of inbox_id choose the partition: writers move on every 262,144 messages, or sooner when the
-- pipeline moves the sequence on; a partition that is left and done with is truncated.
CREATE TABLE cdp.inbox_0 PARTITION OF cdp.inbox FOR VALUES IN (0) WITH (autovacuum_enabled = false);
CREATE TABLE cdp.inbox_1 PARTITION OF cdp.inbox FOR VALUES IN (1) WITH (autovacuum_enabled = false);
CREATE TABLE cdp.inbox_2 PARTITION OF cdp.inbox FOR VALUES IN (2) WITH (autovacuum_enabled = false);
CREATE TABLE cdp.inbox_3 PARTITION OF cdp.inbox FOR VALUES IN (3) WITH (autovacuum_enabled = false);
CREATE INDEX inbox_order ON cdp.inbox (inbox_xid, inbox_id);

-- How far the pipeline is. Not dumped: a restored inbox holds just the messages that were not processed.
CREATE TABLE cdp.pipeline (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    done_snapshot    pg_snapshot NOT NULL,
    tick_snapshot    pg_snapshot,
    tick_xid         xid8,
    tick_inbox_id    bigint,
    last_batch_at    timestamptz,
    last_batch_size  bigint,
    last_batch_ms    double precision,
    last_error       text,
    last_error_at    timestamptz
) WITH (fillfactor = 10);
COMMENT ON TABLE cdp.pipeline IS
    'Internal, one row: what is processed. Everything visible in done_snapshot; of what is visible in tick_snapshot, everything up to (tick_xid, tick_inbox_id).';
INSERT INTO cdp.pipeline (done_snapshot) SELECT pg_current_snapshot();

CREATE FUNCTION cdp.is_pending(xid xid8, id bigint) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT NOT pg_visible_in_snapshot(xid, p.done_snapshot)
           AND NOT coalesce(pg_visible_in_snapshot(xid, p.tick_snapshot) AND (xid, id) <= (p.tick_xid, p.tick_inbox_id), false)
    FROM cdp.pipeline p
$$;
COMMENT ON FUNCTION cdp.is_pending(xid8, bigint) IS
    'Internal: whether the inbox row with this transaction and id is still to be processed.';
REVOKE ALL ON FUNCTION cdp.is_pending(xid8, bigint) FROM PUBLIC;

-- What a dump holds of the inbox: what is pending, in the order of insertion. Were the partitions dumped, each would be
-- restored by a transaction of its own, in any order, and messages are taken in the order of their transactions.
CREATE TABLE cdp.inbox_dump (
    message_id   text,
    type         text,
    source       text,
    user_id      text,
    anonymous_id text,
    previous_id  text,
    group_id     text,
    event        text,
    properties   jsonb,
    traits       jsonb,
    context      jsonb,
    occurred_at  timestamptz,
    sent_at      timestamptz,
    received_at  timestamptz,
    inbox_id     bigint
);
COMMENT ON TABLE cdp.inbox_dump IS
    'Internal, always empty: pg_dump reads the pending messages of cdp.inbox as if they were here, and what is restored into it goes there.';

CREATE FUNCTION cdp.restore_to_inbox() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context,
                           occurred_at, sent_at, received_at, inbox_id)
    SELECT NEW.*;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION cdp.restore_to_inbox() IS 'Internal: lets pg_restore put the pending messages of the dump into cdp.inbox.';
REVOKE ALL ON FUNCTION cdp.restore_to_inbox() FROM PUBLIC;
CREATE TRIGGER restore_to_inbox BEFORE INSERT ON cdp.inbox_dump
    FOR EACH ROW EXECUTE FUNCTION cdp.restore_to_inbox();

SELECT pg_extension_config_dump('cdp.inbox_dump', $$WHERE false UNION ALL
    SELECT message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context,
           occurred_at, sent_at, received_at, inbox_id
    FROM cdp.inbox WHERE cdp.is_pending(inbox_xid, inbox_id) ORDER BY inbox_id$$);
SELECT pg_extension_config_dump('cdp.inbox_id_seq', '');

-- The kept events -----------------------------------------------------------------------------------------------

CREATE SEQUENCE cdp.event_id_seq;

CREATE TABLE cdp.event (
    event_id      bigint NOT NULL,
    message_id    text NOT NULL,
    type          text NOT NULL,
    event         text,
    source        text NOT NULL,
    identifier_id bigint NOT NULL,
    occurred_at   timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    sent_at       timestamptz,
    user_id       text,
    anonymous_id  text,
    previous_id   text,
    group_id      text,
    linked_ids    bigint[],
    properties    jsonb,
    traits        jsonb,
    context       jsonb
) PARTITION BY RANGE (occurred_at);
COMMENT ON TABLE cdp.event IS
    'Every accepted message, for ever; one partition a month. event_id is the order of processing.';
COMMENT ON COLUMN cdp.event.identifier_id IS
    'The strongest identifier that the message carried. It never changes; the person it belongs to may: see cdp.profile_event.';
COMMENT ON COLUMN cdp.event.linked_ids IS
    'The message''s other identifiers that were joined to it, strongest first; NULL if none. Those refused are in cdp.identity_conflict. cdp.apply_identity_rules adds what new rules find.';

SELECT pg_extension_config_dump('cdp.event_id_seq', '');

-- What was refused ----------------------------------------------------------------------------------------------

CREATE TABLE cdp.rejected_message (
    rejection_id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    message      jsonb NOT NULL,
    reason       text NOT NULL,
    detail       text,
    source       text,
    from_inbox   boolean NOT NULL,
    received_at  timestamptz,
    rejected_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE cdp.rejected_message IS
    'Messages that could not be applied, whole, with the reason. cdp.retry_rejected() sends them through again.';
COMMENT ON COLUMN cdp.rejected_message.from_inbox IS
    'Whether message is a row of cdp.inbox as jsonb; otherwise it is what cdp.ingest was given.';
SELECT pg_extension_config_dump('cdp.rejected_message', '');
SELECT pg_extension_config_dump('cdp.rejected_message_rejection_id_seq', '');

-- Which messages have been seen: collect/message_keys.hpp --------------------------------------------------------

CREATE SEQUENCE cdp.message_key_run_id_seq;

CREATE TABLE cdp.message_key_run (
    run_id       bigint PRIMARY KEY,
    key_count    bigint NOT NULL,
    max_received timestamptz NOT NULL,
    filter       bytea NOT NULL,
    fences       bytea NOT NULL
);
COMMENT ON TABLE cdp.message_key_run IS
    'Internal: sorted runs of message keys; key_count 0: one that is being merged. filter: a Bloom filter; fences: the first 8 bytes of each chunk''s first key.';

CREATE TABLE cdp.message_key_chunk (
    run_id   bigint NOT NULL,
    chunk_no int NOT NULL,
    keys     bytea NOT NULL,
    PRIMARY KEY (run_id, chunk_no)
);
COMMENT ON TABLE cdp.message_key_chunk IS
    'Internal: the keys of the runs, up to 320 a row of 24 bytes each: 128 bits of the hash of message_id, and received_at.';
ALTER TABLE cdp.message_key_run ALTER COLUMN filter SET STORAGE EXTERNAL;
ALTER TABLE cdp.message_key_chunk ALTER COLUMN keys SET STORAGE PLAIN;
SELECT pg_extension_config_dump('cdp.message_key_run_id_seq', '');
SELECT pg_extension_config_dump('cdp.message_key_run', '');
SELECT pg_extension_config_dump('cdp.message_key_chunk', '');
