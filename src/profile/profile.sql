-- profile.sql: profiles, traits, accounts.

-- cdp.profile gains a column with every trait, and users index and publish it. A member of the extension would
-- not come back whole from pg_dump, so roles.sql makes it none, when its grants are set; restoring makes it anew
-- (govern.sql: replace_blank_profile).
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
    created_at   timestamptz NOT NULL DEFAULT now(),
    personal     boolean,
    problem      text,
    unreadable   boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN cdp.trait.problem IS
    'Why the trait stands still: its filter failed, and no event counts for it since. NULL: it is kept. If the filter could not be read (unreadable), the trait is computed afresh as soon as it can be; otherwise by cdp.rebuild(true).';
COMMENT ON COLUMN cdp.trait.unreadable IS 'Whether the problem was in reading the filter, not in applying it to some event.';
COMMENT ON COLUMN cdp.trait.personal IS
    'Whether it is personal data; NULL: its name and path decide. Set it with cdp.set_personal.';
COMMENT ON TABLE cdp.trait IS
    'The columns of cdp.profile that are kept by themselves. aggregate: of a declared trait its survivorship; path: the trait, or the property, that it reads.';

CREATE TABLE cdp.activity (
    trait_id int PRIMARY KEY,
    measure  text NOT NULL CHECK (measure IN ('times', 'days', 'first', 'last', 'sequence')),
    events   text[] NOT NULL,
    within   interval,
    filter   text,
    same     text,
    owner    name,
    filled   boolean NOT NULL DEFAULT false,
    problem  text,
    unreadable boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE cdp.activity IS
    'What segments ask of people''s events (cdp.did and its like), each kept once in every profile''s state, whichever segments ask for it.';
COMMENT ON COLUMN cdp.activity.within IS 'A window; of a sequence the longest time from the first event to the last.';
COMMENT ON COLUMN cdp.activity.owner IS 'With whose rights the filter runs.';
COMMENT ON COLUMN cdp.activity.problem IS
    'Why it stands still: its filter failed, and so do the segments that ask for it. If the filter could not be read (unreadable), all are computed afresh as soon as it can be; otherwise by cdp.rebuild(true).';

CREATE TABLE cdp.timer (
    due_at     timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    PRIMARY KEY (due_at, profile_id)
);
COMMENT ON TABLE cdp.timer IS
    'When to look at people again though no message comes: a window or a comparison with now() may change something about them then. Some rows are early or stand for nothing any more.';

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
SELECT pg_extension_config_dump('cdp.activity', '');
SELECT pg_extension_config_dump('cdp.timer', '');
SELECT pg_extension_config_dump('cdp.account', '');
SELECT pg_extension_config_dump('cdp.account_member', '');

CREATE VIEW cdp.profile_event AS
    SELECT i.profile_id, e.*
    FROM cdp.event e JOIN cdp.identifier i USING (identifier_id);
COMMENT ON VIEW cdp.profile_event IS 'The events, each with the profile that it belongs to now.';
