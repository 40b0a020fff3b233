-- matching.sql: matchers, and the pairs that they found.

CREATE SEQUENCE cdp.matcher_id_seq;
CREATE TABLE cdp.matcher (
    matcher_id  bigint PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    source      text,
    comparisons jsonb,
    blocking    text[],
    review      double precision NOT NULL DEFAULT 0.01 CHECK (review > 0 AND review < 1),
    model       jsonb,
    owner       name NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    trained_at  timestamptz,
    matched_at  timestamptz,
    records     bigint
);
COMMENT ON TABLE cdp.matcher IS
    'The matchers: what they compare (as it was asked for; NULL: chosen from the data), which pairs they look at, and the model that they learnt. Change them with cdp.alter_matcher.';
COMMENT ON COLUMN cdp.matcher.source IS 'The table whose rows are compared, as a qualified and quoted name; NULL: the profiles.';
COMMENT ON COLUMN cdp.matcher.review IS 'Pairs of a lower probability are not kept.';
COMMENT ON COLUMN cdp.matcher.model IS
    'The comparisons with their levels: m, u (see docs/matching.md), and the blocking rules in use. NULL until it is trained.';
COMMENT ON COLUMN cdp.matcher.owner IS 'The role that made or last changed it: the source is read, and conditions run, with this role''s rights.';
COMMENT ON COLUMN cdp.matcher.matched_at IS 'When cdp.find_matches last ran; NULL: not since the model changed, so the next run looks at all records.';
COMMENT ON COLUMN cdp.matcher.records IS 'How many records there were then.';

-- So that the next run knows which records are new or have changed.
CREATE TABLE cdp.matcher_seen (
    matcher_id bigint NOT NULL,
    part       int NOT NULL,
    prints     bytea NOT NULL,
    PRIMARY KEY (matcher_id, part)
);
ALTER TABLE cdp.matcher_seen ALTER COLUMN prints SET STORAGE EXTERNAL;
COMMENT ON TABLE cdp.matcher_seen IS
    'Internal: fingerprints of the records that cdp.find_matches has looked at, 16 bytes each, sorted.';

CREATE SEQUENCE cdp.match_id_seq;
CREATE TABLE cdp.match (
    match_id    bigint PRIMARY KEY,
    matcher     text NOT NULL,
    id_a        text COLLATE "C" NOT NULL,
    id_b        text COLLATE "C" NOT NULL,
    weight      double precision NOT NULL,
    probability double precision NOT NULL,
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'rejected', 'applied', 'refused')),
    levels      smallint[] NOT NULL,
    weights     real[] NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT now(),
    decided_at  timestamptz,
    decided_by  text,
    link_id     bigint,
    UNIQUE (matcher, id_a, id_b)
);
CREATE INDEX match_matcher_probability ON cdp.match (matcher, probability);
CREATE INDEX match_link_id ON cdp.match (link_id) WHERE link_id IS NOT NULL;
COMMENT ON TABLE cdp.match IS
    'Pairs of records that may be one person: profile ids, or keys of the matcher''s source, as text; id_a is the one that comes first there. weight: log2 of the odds that they are.';
COMMENT ON COLUMN cdp.match.status IS
    'pending; accepted or rejected by somebody, or by cdp.apply_matches where there is nothing to merge; applied: the profiles were made one; refused: that would have broken a limit, or undone a separation.';
COMMENT ON COLUMN cdp.match.levels IS 'Internal, for cdp.explain_match: the level of each comparison; 0: a value is missing.';
COMMENT ON COLUMN cdp.match.weights IS 'Internal: what each comparison says, then what each term frequency adds, then what it takes away that they may be related.';
COMMENT ON COLUMN cdp.match.link_id IS 'The link in cdp.identity_link that it became.';

SELECT pg_extension_config_dump('cdp.matcher', '');
SELECT pg_extension_config_dump('cdp.matcher_id_seq', '');
SELECT pg_extension_config_dump('cdp.matcher_seen', '');
SELECT pg_extension_config_dump('cdp.match', '');
SELECT pg_extension_config_dump('cdp.match_id_seq', '');
