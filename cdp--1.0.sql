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
-- activate.sql: destinations, and who is in them. Their tables and publications are ordinary objects, no members of
-- the extension: they come back from pg_dump whole, and are found again by name.

CREATE SCHEMA cdp_out;
COMMENT ON SCHEMA cdp_out IS 'The tables of destinations: what leaves for other systems.';
GRANT USAGE ON SCHEMA cdp_out TO cdp_admin;

CREATE SEQUENCE cdp.destination_id_seq;
CREATE TABLE cdp.destination (
    destination_id bigint PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    segment        text,
    key            text NOT NULL,
    columns        jsonb NOT NULL,
    purpose        text,
    table_name     text NOT NULL UNIQUE,
    owner          name NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    reads          name[] NOT NULL,
    problem        text
);
COMMENT ON TABLE cdp.destination IS
    'The destinations: whom (members of segment, or everybody), by which key, and which columns, as SQL over cdp.profile.';
COMMENT ON COLUMN cdp.destination.table_name IS 'The table, as a qualified and quoted name.';
COMMENT ON COLUMN cdp.destination.owner IS 'The role that made it: its columns are computed with this role''s rights.';
COMMENT ON COLUMN cdp.destination.reads IS 'The columns of cdp.profile that its columns are computed from.';
COMMENT ON COLUMN cdp.destination.problem IS
    'Why it stands still: people leave it, nobody enters or changes. cdp.rebuild(true) puts it right and clears this. NULL: it is kept current.';

-- Of destinations that are keyed by an identifier: which row is whose. So a row is found again when its person has
-- lost that identifier.
CREATE TABLE cdp.destination_member (
    destination_id bigint NOT NULL,
    profile_id     bigint NOT NULL,
    key            text COLLATE "C" NOT NULL,
    PRIMARY KEY (destination_id, profile_id),
    UNIQUE (destination_id, key)
);
COMMENT ON TABLE cdp.destination_member IS
    'Who is in which destination under which key, where that is not profile_id.';

SELECT pg_extension_config_dump('cdp.destination', '');
SELECT pg_extension_config_dump('cdp.destination_id_seq', '');
SELECT pg_extension_config_dump('cdp.destination_member', '');
-- activate_doors.sql: making and dropping destinations, and putting them right.

CREATE FUNCTION cdp.create_destination(name text, segment text DEFAULT NULL, key text DEFAULT 'profile_id',
                                       columns jsonb DEFAULT NULL, purpose text DEFAULT NULL,
                                       table_name text DEFAULT NULL) RETURNS regclass
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_destination';
COMMENT ON FUNCTION cdp.create_destination(text, text, text, jsonb, text, text) IS
    'Makes the table (default: cdp_out.<name>), one row per member of the segment, or per profile; fills it, keeps it current, and publishes it as cdp_<name>. columns: column → SQL expression over the profile row, which may call cdp.segment_names(); by default first_seen_at, last_seen_at, event_count and every trait there is now. key: profile_id, or an identifier type.';
REVOKE ALL ON FUNCTION cdp.create_destination(text, text, text, jsonb, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.drop_destination(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_destination';
COMMENT ON FUNCTION cdp.drop_destination(text) IS
    'Drops the destination with its table and its publication.';
REVOKE ALL ON FUNCTION cdp.drop_destination(text) FROM PUBLIC;

CREATE FUNCTION cdp.segment_names() RETURNS text[]
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_segment_names';
COMMENT ON FUNCTION cdp.segment_names() IS
    'In the columns of a destination: the names of the person''s segments, sorted. An error anywhere else.';
REVOKE ALL ON FUNCTION cdp.segment_names() FROM PUBLIC;

CREATE FUNCTION cdp.destination_difference(repair boolean DEFAULT false)
    RETURNS TABLE (table_name text, differing bigint)
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_destination_difference';
COMMENT ON FUNCTION cdp.destination_difference(boolean) IS
    'Internal, for cdp.rebuild: how many rows of each destination''s table are not what its definition gives now (NULL: it cannot be computed); with repair, puts them right.';
REVOKE ALL ON FUNCTION cdp.destination_difference(boolean) FROM PUBLIC;

CREATE FUNCTION cdp.refresh_destinations(segment text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_refresh_destinations';
COMMENT ON FUNCTION cdp.refresh_destinations(text) IS
    'Internal, for what changes the members of a segment outside a batch: brings the destinations that depend on the segment in line.';
REVOKE ALL ON FUNCTION cdp.refresh_destinations(text) FROM PUBLIC;

-- Publications are in no schema, and tables may be outside of ours: DROP EXTENSION … CASCADE would leave them behind.
CREATE FUNCTION cdp.drop_destinations_first() RETURNS event_trigger
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_destinations_first';
COMMENT ON FUNCTION cdp.drop_destinations_first() IS
    'Internal: before DROP EXTENSION cdp CASCADE, drops the destinations with their tables and publications.';
REVOKE ALL ON FUNCTION cdp.drop_destinations_first() FROM PUBLIC;
CREATE EVENT TRIGGER cdp_drop_destinations_first ON ddl_command_start WHEN TAG IN ('DROP EXTENSION')
    EXECUTE FUNCTION cdp.drop_destinations_first();
CREATE FUNCTION cdp.refresh_views() RETURNS void LANGUAGE sql AS $$ $$;
CREATE FUNCTION cdp.drop_views() RETURNS void LANGUAGE sql AS $$ $$;

-- identity_doors.sql: configuring identifier types, finding people, merging them by hand.

CREATE FUNCTION cdp.resolve(type text, value text) RETURNS bigint
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_resolve';
COMMENT ON FUNCTION cdp.resolve(text, text) IS
    'The profile that an identifier belongs to now, or NULL. The value is normalised as its type says.';
REVOKE ALL ON FUNCTION cdp.resolve(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.resolve(text, text) TO cdp_marketer, cdp_analyst, cdp_pii;

CREATE FUNCTION cdp.merge_profiles(a bigint, b bigint, reason text) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_merge_profiles';
COMMENT ON FUNCTION cdp.merge_profiles(bigint, bigint, text) IS
    'Makes two profiles one because you say so, whatever the limits of identifiers; returns the survivor, the one with the lower id. Ids that were merged away are understood.';
REVOKE ALL ON FUNCTION cdp.merge_profiles(bigint, bigint, text) FROM PUBLIC;

CREATE FUNCTION cdp.create_identifier_type(
        name text, priority int, max_per_profile int DEFAULT NULL, normalizer text DEFAULT 'none', paths text[] DEFAULT '{}')
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.check_identifier_type(name, priority, max_per_profile, normalizer, paths);
    IF EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = create_identifier_type.name AND t.dropped_at IS NULL) THEN
        RAISE EXCEPTION 'identifier type "%" already exists', name
            USING ERRCODE = 'duplicate_object', HINT = 'Change it with cdp.alter_identifier_type.';
    END IF;
    -- A type that was dropped comes back: identifiers of it may still be there.
    UPDATE cdp.identifier_type t
       SET priority = create_identifier_type.priority, max_per_profile = create_identifier_type.max_per_profile,
           normalizer = create_identifier_type.normalizer, paths = create_identifier_type.paths, dropped_at = NULL
     WHERE t.name = create_identifier_type.name;
    IF NOT FOUND THEN
        INSERT INTO cdp.identifier_type (type_id, name, priority, max_per_profile, normalizer, paths)
        VALUES (nextval('cdp.identifier_type_id_seq'), name, priority, max_per_profile, normalizer, paths);
    END IF;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.create_identifier_type(text, int, int, text, text[]) IS
    'Declares a type of identifiers. priority: 1 is strongest; max_per_profile: NULL is no limit; normalizer: none, trim, lower, email or phone; paths: where messages carry it, e.g. context.ids.loyalty, traits.tax_id (of identify), properties.order_email.';
REVOKE ALL ON FUNCTION cdp.create_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.alter_identifier_type(
        name text, priority int DEFAULT NULL, max_per_profile int DEFAULT NULL, normalizer text DEFAULT NULL, paths text[] DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old cdp.identifier_type;
BEGIN
    PERFORM cdp.lock_pipeline();
    SELECT * INTO old FROM cdp.identifier_type t WHERE t.name = alter_identifier_type.name AND t.dropped_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', name USING ERRCODE = 'undefined_object';
    END IF;
    old.priority := coalesce(priority, old.priority);
    -- NULL leaves the limit as it is; 0 takes it away.
    old.max_per_profile := CASE WHEN max_per_profile = 0 THEN NULL ELSE coalesce(max_per_profile, old.max_per_profile) END;
    old.normalizer := coalesce(normalizer, old.normalizer);
    old.paths := coalesce(paths, old.paths);
    PERFORM cdp.check_identifier_type(old.name, old.priority, old.max_per_profile, old.normalizer, old.paths);
    UPDATE cdp.identifier_type t
       SET priority = old.priority, max_per_profile = old.max_per_profile, normalizer = old.normalizer, paths = old.paths
     WHERE t.type_id = old.type_id;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.alter_identifier_type(text, int, int, text, text[]) IS
    'Changes a type of identifiers for messages from now on; what is NULL stays as it is, max_per_profile 0 is no limit.';
REVOKE ALL ON FUNCTION cdp.alter_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.drop_identifier_type(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF name IN ('user_id', 'anonymous_id') THEN
        RAISE EXCEPTION 'identifier type "%" cannot be dropped', name
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = 'It is a field of every message.',
                  HINT = 'cdp.block_identifier(''' || name || ''', ''.*'') makes its values identify nobody.';
    END IF;
    UPDATE cdp.identifier_type t SET dropped_at = now() WHERE t.name = drop_identifier_type.name AND t.dropped_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', name USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.drop_identifier_type(text) IS
    'Messages from now on carry no identifiers of this type. Those known stay with their profiles.';
REVOKE ALL ON FUNCTION cdp.drop_identifier_type(text) FROM PUBLIC;

CREATE FUNCTION cdp.check_identifier_type(name text, priority int, max_per_profile int, normalizer text, paths text[]) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    path text;
BEGIN
    IF name IS NULL OR name !~ '^[A-Za-z_][A-Za-z0-9_.-]{0,62}$' THEN
        RAISE EXCEPTION 'invalid name of an identifier type: "%"', name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Up to 63 letters, digits and _ . -, not beginning with a digit.';
    END IF;
    IF priority IS NULL OR priority < 1 THEN
        RAISE EXCEPTION 'priority must be at least 1' USING ERRCODE = 'invalid_parameter_value', HINT = '1 is strongest.';
    END IF;
    IF max_per_profile < 1 THEN
        RAISE EXCEPTION 'max_per_profile must be at least 1' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF normalizer IS NULL OR normalizer NOT IN ('none', 'trim', 'lower', 'email', 'phone') THEN
        RAISE EXCEPTION 'normalizer "%" does not exist', normalizer
            USING ERRCODE = 'undefined_object', HINT = 'There are none, trim, lower, email and phone.';
    END IF;
    FOREACH path IN ARRAY coalesce(paths, '{}') LOOP
        IF path IS NULL OR path !~ '^(traits|context|properties)(\.[^.]+)+$' THEN
            RAISE EXCEPTION 'invalid path of identifier type "%": "%"', name, path
                USING ERRCODE = 'invalid_parameter_value', HINT = 'It begins with traits., context. or properties.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.check_identifier_type(text, int, int, text, text[]) IS 'Internal: raises what is wrong with an identifier type.';
REVOKE ALL ON FUNCTION cdp.check_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.block_identifier(type text, pattern text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF type IS DISTINCT FROM '*' AND NOT EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = type AND t.dropped_at IS NULL) THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', type
            USING ERRCODE = 'undefined_object', HINT = 'Type * blocks the pattern for all types.';
    END IF;
    IF pattern IS NULL THEN
        RAISE EXCEPTION 'pattern must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM '' ~ pattern;  -- raises invalid_regular_expression
    INSERT INTO cdp.blocked_identifier AS b (type, pattern) VALUES (type, pattern) ON CONFLICT DO NOTHING;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.block_identifier(text, text) IS
    'From now on, values of the type (* is all) that match the regular expression identify nobody. Anchor it with ^ and $ to block whole values only.';
REVOKE ALL ON FUNCTION cdp.block_identifier(text, text) FROM PUBLIC;
-- rebuild_doors.sql: the law of equality, checked and repaired.

CREATE FUNCTION cdp.rebuild(repair boolean DEFAULT false, OUT table_name text, OUT differing bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_rebuild';
COMMENT ON FUNCTION cdp.rebuild(boolean) IS
    'Computes all derived state afresh from events, links and definitions, beside the live one, and reports how many rows of each table differ. With repair, puts the fresh one in place. Keeps the pipeline waiting meanwhile.';
REVOKE ALL ON FUNCTION cdp.rebuild(boolean) FROM PUBLIC;
-- status_doors.sql: the worker, waiting for it, and how things stand.

CREATE FUNCTION cdp.start_worker() RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_start_worker';
COMMENT ON FUNCTION cdp.start_worker() IS
    'Starts the background worker of this database, without a restart; true once it is up, also if it was. If it backs off from a failure, it tries again now. In the transaction of CREATE EXTENSION it starts at commit.';
REVOKE ALL ON FUNCTION cdp.start_worker() FROM PUBLIC;

CREATE FUNCTION cdp.stop_worker() RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_stop_worker';
COMMENT ON FUNCTION cdp.stop_worker() IS
    'Stops the background worker of this database and waits until it is gone; whether there was one. It stays away until start_worker() or a restart of the server.';
REVOKE ALL ON FUNCTION cdp.stop_worker() FROM PUBLIC;

CREATE FUNCTION cdp.flush(timeout interval DEFAULT '30 s') RETURNS boolean
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    -- As for cdp.process(): where no worker runs it processes by itself.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_material = off
    SET jit = off
    SET max_parallel_workers_per_gather = 0
    SET plan_cache_mode = force_generic_plan
    AS 'MODULE_PATHNAME', 'cdp_flush';
COMMENT ON FUNCTION cdp.flush(interval) IS
    'True as soon as everything committed before the call is reflected in every derived table; false on timeout. Where no worker runs it processes the messages itself, in this transaction.';
REVOKE ALL ON FUNCTION cdp.flush(interval) FROM PUBLIC;

CREATE FUNCTION cdp.worker_status(OUT pid int, OUT state text, OUT started_at timestamptz, OUT batches bigint,
                                  OUT messages bigint, OUT messages_per_second double precision,
                                  OUT last_error text, OUT last_error_at timestamptz) RETURNS record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_worker_status';
COMMENT ON FUNCTION cdp.worker_status() IS
    'Internal, for cdp.status: what shared memory knows of the worker of this database, since the server started.';
REVOKE ALL ON FUNCTION cdp.worker_status() FROM PUBLIC;

CREATE FUNCTION cdp.pending_messages(OUT messages bigint, OUT oldest timestamptz) RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
        SELECT count(i.inbox_xid), min(i.received_at)
        FROM cdp.pipeline p
        JOIN cdp.inbox i ON i.inbox_xid >= pg_snapshot_xmin(p.done_snapshot)
                        AND NOT pg_visible_in_snapshot(i.inbox_xid, p.done_snapshot)
                        AND NOT coalesce(pg_visible_in_snapshot(i.inbox_xid, p.tick_snapshot)
                                         AND (i.inbox_xid, i.inbox_id) <= (p.tick_xid, p.tick_inbox_id), false)
    $$;
COMMENT ON FUNCTION cdp.pending_messages() IS
    'Internal, for cdp.status: how many messages are committed and not processed, and when the oldest was received. Reads only those.';
REVOKE ALL ON FUNCTION cdp.pending_messages() FROM PUBLIC;

-- A function, since a view over cdp.profile would keep pg_restore from putting the restored table in its place.
CREATE FUNCTION cdp.count_profiles() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT count(*) FROM cdp.profile $$;
COMMENT ON FUNCTION cdp.count_profiles() IS 'Internal, for cdp.status: how many profiles there are.';
REVOKE ALL ON FUNCTION cdp.count_profiles() FROM PUBLIC;

CREATE VIEW cdp.status AS
    SELECT b.messages AS backlog,
           coalesce(greatest(clock_timestamp() - b.oldest, interval '0'), interval '0') AS lag,
           w.pid AS worker_pid,
           w.state AS worker_state,
           w.started_at AS worker_started_at,
           CASE WHEN w.last_error_at > coalesce(p.last_error_at, '-infinity') THEN w.last_error ELSE p.last_error END AS last_error,
           greatest(w.last_error_at, p.last_error_at) AS last_error_at,
           p.last_batch_at,
           p.last_batch_size,
           p.last_batch_ms,
           (SELECT count(*) FROM cdp.event) AS events,
           (SELECT cdp.count_profiles()) AS profiles,
           (SELECT count(*) FROM cdp.rejected_message) AS rejected,
           w.batches,
           w.messages,
           w.messages_per_second
    FROM cdp.pipeline p, cdp.worker_status() w, cdp.pending_messages() b;
COMMENT ON VIEW cdp.status IS
    'How things stand, in one row. events, profiles and rejected are counted exactly, row by row, when they are selected: leave them out of what is asked often. batches, messages: since the server started.';
COMMENT ON COLUMN cdp.status.backlog IS 'Messages that are committed and not processed.';
COMMENT ON COLUMN cdp.status.lag IS 'How long ago the oldest of the backlog was received; zero if there is none.';
COMMENT ON COLUMN cdp.status.worker_state IS 'idle, running, backing off (from last_error), starting, stopped, or standby.';
COMMENT ON COLUMN cdp.status.last_error IS 'Why the pipeline last failed as a whole; it may have gone on since. What single messages did wrong is in cdp.rejected_message.';
COMMENT ON COLUMN cdp.status.messages_per_second IS 'Processed, on average of the last minute.';

GRANT SELECT ON cdp.status TO cdp_marketer, cdp_analyst, cdp_pii;
GRANT EXECUTE ON FUNCTION cdp.worker_status(), cdp.pending_messages(), cdp.count_profiles()
    TO cdp_marketer, cdp_analyst, cdp_pii;

-- With shared_preload_libraries the commit of CREATE EXTENSION starts the worker.
DO $$ BEGIN PERFORM cdp.inbox_mark(); END $$;
-- profile_doors.sql: declaring traits, reading people.

CREATE FUNCTION cdp.create_trait(
        name text, type regtype, path text DEFAULT NULL, survivorship text DEFAULT 'last', sources text[] DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_trait';
COMMENT ON FUNCTION cdp.create_trait(text, regtype, text, text, text[]) IS
    'Makes a trait of identify messages a typed column of cdp.profile, filled from history. path: where in the traits, by default name; survivorship: last, first, most_frequent, min, max or source_priority (sources, best first; of one source the last). Values that the type refuses do not count; null unsets, for last and source_priority.';
REVOKE ALL ON FUNCTION cdp.create_trait(text, regtype, text, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.create_computed_trait(
        name text, aggregate text, event text DEFAULT NULL, property text DEFAULT NULL, filter text DEFAULT NULL,
        "window" interval DEFAULT NULL, type regtype DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_computed_trait';
COMMENT ON FUNCTION cdp.create_computed_trait(text, text, text, text, text, interval, regtype) IS
    'Makes an aggregate over a person''s events a column of cdp.profile, filled from history: count, sum, avg, min, max, first, last, distinct_count, most_frequent or unique_list, of the events named event (NULL: all), of a property (a.b for nested ones), of those only that meet filter, an SQL condition over the columns of cdp.event. Numbers are numeric, counts bigint; first, last and most_frequent are text or of the given type.';
REVOKE ALL ON FUNCTION cdp.create_computed_trait(text, text, text, text, text, interval, regtype) FROM PUBLIC;

CREATE FUNCTION cdp.drop_trait(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_trait';
COMMENT ON FUNCTION cdp.drop_trait(text) IS
    'Drops a declared or computed trait and its column. Refused while a segment or a destination uses it.';
REVOKE ALL ON FUNCTION cdp.drop_trait(text) FROM PUBLIC;

CREATE FUNCTION cdp.get_profile(type text, value text) RETURNS jsonb
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_get_profile';
COMMENT ON FUNCTION cdp.get_profile(text, text) IS
    'The whole person that an identifier belongs to: profile_id, first_seen_at, last_seen_at, event_count, traits (with those declared and computed), identifiers, segments, accounts, consents. NULL if nobody has it. Personal data are masked unless the caller is a member of cdp_pii.';
REVOKE ALL ON FUNCTION cdp.get_profile(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.get_profile(text, text) TO cdp_marketer, cdp_analyst, cdp_pii;

CREATE FUNCTION cdp.timeline(
        profile_id bigint, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, max_rows int DEFAULT 100)
    RETURNS SETOF cdp.profile_event
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT i.profile_id, e.*
    FROM cdp.identifier i JOIN cdp.event e USING (identifier_id)
    WHERE i.profile_id = coalesce((SELECT a.profile_id FROM cdp.profile_alias a WHERE a.alias_id = timeline.profile_id), timeline.profile_id)
      AND e.occurred_at >= coalesce(since, '-infinity') AND e.occurred_at < coalesce(until, 'infinity')
    ORDER BY e.occurred_at DESC, e.event_id DESC
    LIMIT max_rows
$$;
COMMENT ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) IS
    'A person''s events from since (inclusive) until (exclusive), newest first; max_rows NULL is all. An id that was merged away is understood.';
REVOKE ALL ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) TO cdp_pii;
-- segment_doors.sql: making, changing, trying and explaining segments.

-- What a condition may call. They are never executed: conditions have their values put in their place.
CREATE FUNCTION cdp.in_segment(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.in_segment(text) IS 'In a segment''s condition: whether the person is in that other segment.';

CREATE FUNCTION cdp.has_identifier(type text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.has_identifier(text) IS 'In a segment''s condition: whether the person has an identifier of that type.';

CREATE FUNCTION cdp.create_segment(
        name text, definition text, description text DEFAULT NULL, refresh interval DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_segment';
COMMENT ON FUNCTION cdp.create_segment(text, text, text, interval) IS
    'Makes a segment of the people whose row of cdp.profile meets an SQL condition, fills it and keeps it from then on; returns its size. The condition runs with your rights. It may call cdp.in_segment(name) and cdp.has_identifier(type).';

CREATE FUNCTION cdp.alter_segment(name text, definition text, OUT entered bigint, OUT left_ bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_alter_segment';
COMMENT ON FUNCTION cdp.alter_segment(text, text) IS
    'Gives a segment another condition; how many people entered and left by that. Segments that refer to it follow.';

CREATE FUNCTION cdp.drop_segment(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_segment';
COMMENT ON FUNCTION cdp.drop_segment(text) IS
    'Drops a segment with its members, transitions and view. Refused while another segment or a destination uses it.';

CREATE FUNCTION cdp.preview_segment(definition text, OUT size bigint, OUT sample bigint[]) RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_preview_segment';
COMMENT ON FUNCTION cdp.preview_segment(text) IS
    'How many people meet a condition now, and the profile ids of up to ten of them. Changes nothing.';

CREATE FUNCTION cdp.explain_segment(name text, profile_id bigint, OUT condition text, OUT value text, OUT holds boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_segment';
COMMENT ON FUNCTION cdp.explain_segment(text, bigint) IS
    'Why a person is in a segment or not: its condition part by part (split at AND, OR and NOT), with the values it reads; last the whole.';

REVOKE ALL ON FUNCTION cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text), cdp.drop_segment(text), cdp.preview_segment(text), cdp.explain_segment(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text), cdp.drop_segment(text), cdp.preview_segment(text), cdp.explain_segment(text, bigint)
    TO cdp_marketer, cdp_admin;
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
