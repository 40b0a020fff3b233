-- consent.sql: purposes, what people said of them, what holds now, and whom nothing is sent to.

CREATE TABLE cdp.purpose (
    name        text PRIMARY KEY CHECK (name <> '' AND length(name) <= 200),
    description text,
    mode        text NOT NULL CHECK (mode IN ('opt_in', 'opt_out')),
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cdp.purpose IS 'What people may consent to.';
COMMENT ON COLUMN cdp.purpose.mode IS 'opt_in: only an explicit yes covers it; opt_out: all but an explicit no does.';

-- Of contact points, not of people: who has one may change, and nobody may have it yet.
CREATE SEQUENCE cdp.consent_record_id_seq;
CREATE TABLE cdp.consent_record (
    record_id   bigint PRIMARY KEY,
    type        text NOT NULL,
    value       text COLLATE "C" NOT NULL,
    purpose     text NOT NULL,
    channel     text CHECK (channel <> ''),
    granted     boolean NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    source      text,
    proof       jsonb,
    event_id    bigint,
    actor       text
);
CREATE INDEX consent_record_type_value ON cdp.consent_record (type, value);
COMMENT ON TABLE cdp.consent_record IS
    'The ledger of every statement about consent, append-only: who has the identifier said yes or no to the purpose. What holds now is in cdp.consent.';
COMMENT ON COLUMN cdp.consent_record.channel IS 'The channel that it was said of; NULL: all channels.';
COMMENT ON COLUMN cdp.consent_record.event_id IS 'The event that said so (context.consent.categoryPreferences); NULL: cdp.set_consent did.';
COMMENT ON COLUMN cdp.consent_record.actor IS 'The role that called cdp.set_consent; NULL: a message said so.';

CREATE FUNCTION cdp.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Record another statement with cdp.set_consent.';
END $$;
COMMENT ON FUNCTION cdp.refuse_change() IS 'Internal: keeps a ledger append-only.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cdp.consent_record
    FOR EACH STATEMENT EXECUTE FUNCTION cdp.refuse_change();

CREATE TABLE cdp.consent (
    profile_id  bigint NOT NULL,
    purpose     text NOT NULL,
    channel     text,
    granted     boolean NOT NULL,
    occurred_at timestamptz NOT NULL,
    record_id   bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (profile_id, purpose, channel)
) WITH (fillfactor = 70);
COMMENT ON TABLE cdp.consent IS
    'What holds now: of what was said with any of a person''s identifiers, the most recent statement per purpose and channel (NULL: all channels); at the same instant the refusal.';
COMMENT ON COLUMN cdp.consent.record_id IS 'The statement in cdp.consent_record.';

CREATE TABLE cdp.suppression (
    type          text NOT NULL,
    value         text COLLATE "C" NOT NULL,
    reason        text,
    suppressed_at timestamptz NOT NULL DEFAULT now(),
    actor         text NOT NULL,
    PRIMARY KEY (type, value)
);
COMMENT ON TABLE cdp.suppression IS
    'Identifiers that nothing is sent to, whatever their people consent to: whoever has one is out of every destination.';

CREATE TABLE cdp.suppressed_profile (
    profile_id bigint PRIMARY KEY
);
COMMENT ON TABLE cdp.suppressed_profile IS 'Who has an identifier that is suppressed.';

SELECT pg_extension_config_dump('cdp.purpose', '');
SELECT pg_extension_config_dump('cdp.consent_record', '');
SELECT pg_extension_config_dump('cdp.consent_record_id_seq', '');
SELECT pg_extension_config_dump('cdp.consent', '');
SELECT pg_extension_config_dump('cdp.suppression', '');
SELECT pg_extension_config_dump('cdp.suppressed_profile', '');

-- The ledger and the list as those may see them who may not see personal data.
CREATE VIEW cdp.consent_record_masked AS
    SELECT r.record_id, r.type, CASE WHEN (SELECT cdp.sees_personal()) THEN r.value ELSE '***' END AS value, r.purpose, r.channel,
           r.granted, r.occurred_at, r.recorded_at, r.source, CASE WHEN (SELECT cdp.sees_personal()) THEN r.proof END AS proof,
           r.event_id, r.actor, i.profile_id
    FROM cdp.consent_record r LEFT JOIN cdp.identifier i ON i.value = r.value AND i.type = r.type;
COMMENT ON VIEW cdp.consent_record_masked IS
    'The ledger of consent as you may see it, each statement with the profile that it is of now: values and proofs masked unless you are a member of cdp_pii or cdp_admin.';
