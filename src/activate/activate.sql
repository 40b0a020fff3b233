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
    problem        text,
    channel        text,
    asks_segments  boolean NOT NULL,
    asks_purposes  text[] NOT NULL
);
COMMENT ON TABLE cdp.destination IS
    'The destinations: whom (members of segment, or everybody), by which key, and which columns, as SQL over cdp.profile.';
COMMENT ON COLUMN cdp.destination.table_name IS 'The table, as a qualified and quoted name.';
COMMENT ON COLUMN cdp.destination.owner IS 'The role that made it: its columns are computed with this role''s rights.';
COMMENT ON COLUMN cdp.destination.reads IS 'The columns of cdp.profile that its columns are computed from.';
COMMENT ON COLUMN cdp.destination.asks_segments IS 'Whether its columns call cdp.segment_names().';
COMMENT ON COLUMN cdp.destination.asks_purposes IS 'The purposes that its columns ask cdp.consented for.';
COMMENT ON COLUMN cdp.destination.purpose IS 'Only people whose consent covers this purpose are ever in it; NULL: everybody.';
COMMENT ON COLUMN cdp.destination.channel IS 'The channel that the consent must be for; NULL: every channel.';
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
