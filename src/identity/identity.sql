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
    'Every identifier that ever identified somebody, normalised, and whom. Seen: by occurred_at of the messages that carried it; infinity and -infinity: by none yet.';

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
    revoked_reason text,
    after_event_id bigint,
    revoked_after_event_id bigint
);
CREATE INDEX identity_link_a ON cdp.identity_link (identifier_a, identifier_b);
CREATE INDEX identity_link_b ON cdp.identity_link (identifier_b);
COMMENT ON TABLE cdp.identity_link IS
    'Why identifiers are one person: each pair once for each cause (message, manual, match, rule). Nothing is deleted, only revoked. identifier_a is the stronger.';
COMMENT ON COLUMN cdp.identity_link.revoked_by IS
    'Who took it back; NULL for cdp.apply_identity_rules, which may make it again.';
COMMENT ON COLUMN cdp.identity_link.after_event_id IS
    'Of a link that was not made by a message when it was processed: its own number among those of events, so that cdp.apply_identity_rules makes it when it was made.';
COMMENT ON COLUMN cdp.identity_link.revoked_after_event_id IS
    'Of a link that somebody took back: when that was, as a number among those of events.';
COMMENT ON COLUMN cdp.identity_link.linked_at IS 'For a message: its occurred_at.';

CREATE TABLE cdp.identity_conflict (
    identifier_id bigint NOT NULL,
    type          text NOT NULL,
    value         text COLLATE "C" NOT NULL,
    limit_type    text,
    message_id    text NOT NULL,
    event_id      bigint NOT NULL,
    refusals      bigint NOT NULL DEFAULT 1,
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    separation_id bigint,
    PRIMARY KEY (identifier_id, type, value)
);
COMMENT ON TABLE cdp.identity_conflict IS
    'What was left out of a message: the message''s strongest identifier, and the type and value left out. message_id and event_id are of the first refusal, refusals counts them.';
COMMENT ON COLUMN cdp.identity_conflict.limit_type IS
    'The type whose limit joining it would have broken, at the first refusal; NULL if that was because of a separation.';
COMMENT ON COLUMN cdp.identity_conflict.separation_id IS
    'The separation (cdp.identity_separation) that joining it would have undone, at the first refusal.';

CREATE SEQUENCE cdp.identity_separation_id_seq;
CREATE TABLE cdp.identity_separation (
    identifier_id bigint NOT NULL,
    separation_id bigint NOT NULL,
    part          bigint NOT NULL,
    first_part    bigint NOT NULL,
    after_event_id bigint NOT NULL,
    PRIMARY KEY (identifier_id, separation_id)
);
COMMENT ON TABLE cdp.identity_separation IS
    'What was taken apart (cdp.split_identifier, cdp.revoke_link) and must stay so: no message makes identifiers of different parts of one separation one person.';
COMMENT ON COLUMN cdp.identity_separation.first_part IS
    'Internal: the part when it was made. cdp.merge_profiles changes part alone.';
COMMENT ON COLUMN cdp.identity_separation.after_event_id IS
    'Internal: when it was made, as a number among those of events.';

CREATE TABLE cdp.refused_link (
    type_a     text,
    value_a    text,
    type_b     text,
    value_b    text,
    why        text NOT NULL,
    relation   text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cdp.refused_link IS
    'Rows that cdp.import_links left out, and why: of which relation. Delete those that are settled; cdp.import_links(''cdp.refused_link'') tries them again.';

CREATE SEQUENCE cdp.profile_id_seq;
CREATE TABLE cdp.profile_alias (
    alias_id   bigint PRIMARY KEY,
    profile_id bigint NOT NULL,
    merged_at  timestamptz NOT NULL DEFAULT now(),
    reason     text,
    identifier_id bigint
);
CREATE INDEX profile_alias_profile_id ON cdp.profile_alias (profile_id);
COMMENT ON TABLE cdp.profile_alias IS
    'Profile ids that were merged away: alias_id now means profile_id.';
COMMENT ON COLUMN cdp.profile_alias.identifier_id IS
    'The oldest identifier of the profile that was merged away. Whoever has it is who alias_id means, when people are taken apart.';
COMMENT ON COLUMN cdp.profile_alias.reason IS
    'Why it was merged away: message, or as cdp.merge_profiles was told (manual if nothing).';

SELECT pg_extension_config_dump('cdp.identifier_type', '');
SELECT pg_extension_config_dump('cdp.identifier_type_id_seq', '');
SELECT pg_extension_config_dump('cdp.blocked_identifier', '');
SELECT pg_extension_config_dump('cdp.identifier', '');
SELECT pg_extension_config_dump('cdp.identifier_id_seq', '');
SELECT pg_extension_config_dump('cdp.identity_link', '');
SELECT pg_extension_config_dump('cdp.identity_link_id_seq', '');
SELECT pg_extension_config_dump('cdp.identity_conflict', '');
SELECT pg_extension_config_dump('cdp.identity_separation', '');
SELECT pg_extension_config_dump('cdp.identity_separation_id_seq', '');
SELECT pg_extension_config_dump('cdp.refused_link', '');
SELECT pg_extension_config_dump('cdp.profile_alias', '');
SELECT pg_extension_config_dump('cdp.profile_id_seq', '');
