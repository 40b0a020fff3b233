-- cdp--1.0.sql is joined from the rooms' parts by `make cdp--1.0.sql`: change those, not this file.
\echo Use "CREATE EXTENSION cdp" to load this file. \quit

CREATE SCHEMA cdp;
COMMENT ON SCHEMA cdp IS 'Customer data platform: messages in, people, profiles, segments out.';

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['cdp_admin', 'cdp_ingest', 'cdp_marketer', 'cdp_analyst', 'cdp_pii'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) role_name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END $$;

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
    'Messages on their way in: INSERT or COPY them here, in any transaction. Emptied by rotation once processed.';
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
    RETURN (SELECT NOT pg_visible_in_snapshot(xid, p.done_snapshot)
                   AND NOT coalesce(pg_visible_in_snapshot(xid, p.tick_snapshot)
                                    AND (xid, id) <= (p.tick_xid, p.tick_inbox_id), false)
            FROM cdp.pipeline p);
COMMENT ON FUNCTION cdp.is_pending(xid8, bigint) IS
    'Internal: whether the inbox row with this transaction and id is still to be processed.';
REVOKE ALL ON FUNCTION cdp.is_pending(xid8, bigint) FROM PUBLIC;

SELECT pg_extension_config_dump('cdp.inbox_0', 'WHERE cdp.is_pending(inbox_xid, inbox_id)');
SELECT pg_extension_config_dump('cdp.inbox_1', 'WHERE cdp.is_pending(inbox_xid, inbox_id)');
SELECT pg_extension_config_dump('cdp.inbox_2', 'WHERE cdp.is_pending(inbox_xid, inbox_id)');
SELECT pg_extension_config_dump('cdp.inbox_3', 'WHERE cdp.is_pending(inbox_xid, inbox_id)');
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
    'The message''s other identifiers that were joined to it, strongest first; NULL if none. Those refused are in cdp.identity_conflict.';

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
    'Internal: sorted runs of message keys. filter: a Bloom filter; fences: the first 8 bytes of each chunk''s first key.';

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
-- identity.sql: identifier types, identifiers, the ledger of links.

CREATE TABLE cdp.identifier_type (
    type_id         int PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    priority        int NOT NULL CHECK (priority >= 1),
    max_per_profile int CHECK (max_per_profile >= 1),
    normalizer      text NOT NULL DEFAULT 'none' CHECK (normalizer IN ('none', 'trim', 'lower', 'email', 'phone')),
    paths           text[] NOT NULL DEFAULT '{}',
    dropped_at      timestamptz
);
COMMENT ON TABLE cdp.identifier_type IS
    'The types of identifiers: priority 1 is strongest; at most max_per_profile values a profile (NULL: no limit).';
COMMENT ON COLUMN cdp.identifier_type.paths IS
    'Where in a message values of the type are, e.g. traits.email (of identify), context.device.id. context.externalIds is read for every type.';

CREATE SEQUENCE cdp.identifier_type_id_seq START 100;

INSERT INTO cdp.identifier_type (type_id, name, priority, max_per_profile, normalizer, paths) VALUES
    (1, 'user_id', 1, 1, 'none', '{}'),
    (2, 'email', 2, 5, 'email', '{traits.email, context.traits.email}'),
    (3, 'phone', 3, 5, 'phone', '{traits.phone, context.traits.phone}'),
    (4, 'device_id', 4, 20, 'none', '{context.device.id}'),
    (5, 'anonymous_id', 5, 100, 'none', '{}');

-- A dump holds the types of above too, perhaps altered: the restored row takes the place of the built-in one.
CREATE FUNCTION cdp.replace_identifier_type() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM cdp.identifier_type t WHERE t.type_id = NEW.type_id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION cdp.replace_identifier_type() IS
    'Internal: lets pg_restore put the identifier types of the dump in the place of the built-in ones.';
REVOKE ALL ON FUNCTION cdp.replace_identifier_type() FROM PUBLIC;
CREATE TRIGGER replace_built_in BEFORE INSERT ON cdp.identifier_type
    FOR EACH ROW EXECUTE FUNCTION cdp.replace_identifier_type();

CREATE TABLE cdp.blocked_identifier (
    type    text NOT NULL,
    pattern text NOT NULL,
    PRIMARY KEY (type, pattern)
);
COMMENT ON TABLE cdp.blocked_identifier IS
    'Values that identify nobody, beside the built-in ones: a regular expression for a type, or for all (*).';

CREATE SEQUENCE cdp.identifier_id_seq;
CREATE TABLE cdp.identifier (
    identifier_id bigint PRIMARY KEY,
    type          text NOT NULL,
    value         text COLLATE "C" NOT NULL,
    profile_id    bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX identifier_value_type ON cdp.identifier (value, type);
CREATE INDEX identifier_profile_id ON cdp.identifier (profile_id);
COMMENT ON TABLE cdp.identifier IS
    'Every identifier that ever identified somebody, normalised, and whom. Seen: by occurred_at of the messages that carried it.';

CREATE SEQUENCE cdp.identity_link_id_seq;
CREATE TABLE cdp.identity_link (
    link_id        bigint PRIMARY KEY,
    identifier_a   bigint NOT NULL,
    identifier_b   bigint NOT NULL,
    cause          text NOT NULL,
    message_id     text,
    event_id       bigint,
    matcher        text,
    score          double precision,
    reason         text,
    actor          text,
    linked_at      timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_by     text,
    revoked_reason text
);
CREATE INDEX identity_link_a ON cdp.identity_link (identifier_a, identifier_b);
CREATE INDEX identity_link_b ON cdp.identity_link (identifier_b);
COMMENT ON TABLE cdp.identity_link IS
    'Why identifiers are one person: each pair once for each cause (message, manual, match). Nothing is deleted, only revoked. identifier_a is the stronger.';
COMMENT ON COLUMN cdp.identity_link.linked_at IS 'For a message: its occurred_at.';

CREATE TABLE cdp.identity_conflict (
    identifier_id bigint NOT NULL,
    type          text NOT NULL,
    value         text COLLATE "C" NOT NULL,
    limit_type    text NOT NULL,
    message_id    text NOT NULL,
    event_id      bigint NOT NULL,
    refusals      bigint NOT NULL DEFAULT 1,
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    PRIMARY KEY (identifier_id, type, value)
);
COMMENT ON TABLE cdp.identity_conflict IS
    'What was left out of a message because joining it would have broken the limit of limit_type: the message''s strongest identifier, and the type and value left out. message_id and event_id are of the first refusal, refusals counts them.';

CREATE SEQUENCE cdp.profile_id_seq;
CREATE TABLE cdp.profile_alias (
    alias_id   bigint PRIMARY KEY,
    profile_id bigint NOT NULL,
    merged_at  timestamptz NOT NULL DEFAULT now(),
    reason     text
);
CREATE INDEX profile_alias_profile_id ON cdp.profile_alias (profile_id);
COMMENT ON TABLE cdp.profile_alias IS
    'Profile ids that were merged away: alias_id now means profile_id.';

SELECT pg_extension_config_dump('cdp.identifier_type', '');
SELECT pg_extension_config_dump('cdp.identifier_type_id_seq', '');
SELECT pg_extension_config_dump('cdp.blocked_identifier', '');
SELECT pg_extension_config_dump('cdp.identifier', '');
SELECT pg_extension_config_dump('cdp.identifier_id_seq', '');
SELECT pg_extension_config_dump('cdp.identity_link', '');
SELECT pg_extension_config_dump('cdp.identity_link_id_seq', '');
SELECT pg_extension_config_dump('cdp.identity_conflict', '');
SELECT pg_extension_config_dump('cdp.profile_alias', '');
SELECT pg_extension_config_dump('cdp.profile_id_seq', '');
-- profile.sql: profiles, traits, accounts.

-- cdp.profile gains a column with every trait, and users index and publish it. A member of the extension would
-- not come back whole from pg_dump, so it is none; restoring makes it anew (govern.sql: replace_blank_profile).
CREATE TABLE cdp.profile (
    profile_id    bigint PRIMARY KEY,
    first_seen_at timestamptz,
    last_seen_at  timestamptz,
    event_count   bigint NOT NULL DEFAULT 0,
    traits        jsonb NOT NULL DEFAULT '{}',
    state         bytea
) WITH (fillfactor = 70);
COMMENT ON TABLE cdp.profile IS
    'A row a person: what is known of them, one column for each declared and computed trait.';
COMMENT ON COLUMN cdp.profile.traits IS 'All traits of identify messages, each key''s last value by occurred_at.';
COMMENT ON COLUMN cdp.profile.state IS 'Internal: what the traits remember. Do not change it; cdp.rebuild(true) makes it afresh.';
ALTER EXTENSION cdp DROP TABLE cdp.profile;

CREATE SEQUENCE cdp.trait_id_seq;
CREATE TABLE cdp.trait (
    trait_id     int PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    kind         text NOT NULL CHECK (kind IN ('declared', 'computed')),
    aggregate    text NOT NULL,
    type         regtype NOT NULL,
    event        text,
    path         text,
    filter       text,
    "window"     interval,
    sources      text[],
    owner        name NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cdp.trait IS
    'The columns of cdp.profile that are kept by themselves. aggregate: of a declared trait its survivorship; path: the trait, or the property, that it reads.';

CREATE TABLE cdp.account (
    group_id      text COLLATE "C" PRIMARY KEY,
    traits        jsonb NOT NULL DEFAULT '{}',
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    state         bytea
) WITH (fillfactor = 70);
COMMENT ON TABLE cdp.account IS
    'What group messages say of each group: all its traits, each key''s last value by occurred_at.';

CREATE TABLE cdp.account_member (
    profile_id bigint NOT NULL,
    group_id   text COLLATE "C" NOT NULL,
    since      timestamptz NOT NULL,
    PRIMARY KEY (profile_id, group_id)
);
CREATE INDEX account_member_group_id ON cdp.account_member (group_id);
COMMENT ON TABLE cdp.account_member IS 'Who belongs to which group, since the first group message that says so.';

SELECT pg_extension_config_dump('cdp.trait', '');
SELECT pg_extension_config_dump('cdp.trait_id_seq', '');
SELECT pg_extension_config_dump('cdp.account', '');
SELECT pg_extension_config_dump('cdp.account_member', '');

CREATE VIEW cdp.profile_event AS
    SELECT i.profile_id, e.*
    FROM cdp.event e JOIN cdp.identifier i USING (identifier_id);
COMMENT ON VIEW cdp.profile_event IS 'The events, each with the profile that it belongs to now.';
-- segment.sql: segments, their members, and every enter and exit.

CREATE SCHEMA cdp_segment;
COMMENT ON SCHEMA cdp_segment IS 'A view of each segment''s members.';

CREATE SEQUENCE cdp.segment_id_seq;
CREATE SEQUENCE cdp.segment_epoch_seq;
CREATE TABLE cdp.segment (
    segment_id   bigint PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    definition   text NOT NULL,
    description  text,
    owner        name NOT NULL,
    size         bigint NOT NULL DEFAULT 0,
    refresh      interval,
    filled_epoch bigint NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    altered_at   timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE cdp.segment IS 'The segments: an SQL condition over cdp.profile each, and how many people meet it now.';
COMMENT ON COLUMN cdp.segment.filled_epoch IS 'Internal: when membership was last computed for everybody; states older than that do not know it.';

CREATE TABLE cdp.segment_member (
    profile_id bigint NOT NULL,
    segment_id bigint NOT NULL,
    entered_at timestamptz NOT NULL,
    PRIMARY KEY (profile_id, segment_id)
);
CREATE INDEX segment_member_segment_id ON cdp.segment_member (segment_id, profile_id);
COMMENT ON TABLE cdp.segment_member IS 'Who is in which segment now.';

CREATE TABLE cdp.segment_transition (
    profile_id  bigint NOT NULL,
    segment_id  bigint NOT NULL,
    entered     boolean NOT NULL,
    at          timestamptz NOT NULL,
    cause       text NOT NULL,
    event_id    bigint
);
CREATE INDEX segment_transition_profile_id ON cdp.segment_transition (profile_id, segment_id);
COMMENT ON TABLE cdp.segment_transition IS
    'Every enter and exit: when, and what caused it: event (event_id: the person''s last event of that batch), merge, create, alter, rebuild.';

SELECT pg_extension_config_dump('cdp.segment', '');
SELECT pg_extension_config_dump('cdp.segment_id_seq', '');
SELECT pg_extension_config_dump('cdp.segment_epoch_seq', '');
SELECT pg_extension_config_dump('cdp.segment_member', '');
SELECT pg_extension_config_dump('cdp.segment_transition', '');
-- pipeline.sql: processing what is in the inbox.

CREATE SEQUENCE cdp.configuration_seq;

CREATE FUNCTION cdp.lock_pipeline() RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_lock_pipeline';
COMMENT ON FUNCTION cdp.lock_pipeline() IS
    'Internal: keeps every other processor out until the transaction ends; waits for them. Whatever changes configuration or derived state takes it first.';
REVOKE ALL ON FUNCTION cdp.lock_pipeline() FROM PUBLIC;

CREATE FUNCTION cdp.touch_configuration() RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT nextval('cdp.configuration_seq') $$;
COMMENT ON FUNCTION cdp.touch_configuration() IS
    'Internal: says that traits, segments, identifier types or destinations changed; every session reads them afresh.';
REVOKE ALL ON FUNCTION cdp.touch_configuration() FROM PUBLIC;

CREATE FUNCTION cdp.process(max_messages bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    -- The pipeline's statements probe big tables by key from a few staged rows; these keep a plan that was made
    -- while the tables were small from scanning them when they have grown.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_material = off
    SET jit = off
    SET max_parallel_workers_per_gather = 0
    SET plan_cache_mode = force_generic_plan
    AS 'MODULE_PATHNAME', 'cdp_process';
COMMENT ON FUNCTION cdp.process(bigint) IS
    'Processes committed messages here and now, in this transaction, at most max_messages; returns how many. One processor at a time a database: a second waits.';
REVOKE ALL ON FUNCTION cdp.process(bigint) FROM PUBLIC;

SELECT pg_extension_config_dump('cdp.configuration_seq', '');
