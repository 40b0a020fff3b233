-- sql/get_profile.sql: the whole person at once is what plain SQL over the tables says, whatever the types.
SELECT current_database() AS main \gset
SET client_min_messages = error;
DROP DATABASE IF EXISTS cdp_regress_lookup WITH (FORCE);
CREATE DATABASE cdp_regress_lookup;
\c cdp_regress_lookup
SET client_min_messages = error;
CREATE EXTENSION cdp;
SELECT cdp.stop_worker() IS NOT NULL AS no_worker;
SET timezone = 'Asia/Kolkata';

SELECT count(cdp.create_trait('t_' || replace(t::text, ' ', '_'), t)) FROM unnest('{text, varchar, boolean, smallint, integer, bigint, numeric, real,
    double precision, date, time, timestamp, timestamptz, interval, uuid, inet, jsonb}'::regtype[]) t;
SELECT cdp.create_trait('long key that sorts last', 'text', 'a');
SELECT cdp.create_trait('a', 'text', 'nested.b');
SELECT cdp.create_computed_trait('seen', 'count', 'Seen');
SELECT cdp.create_computed_trait('avg', 'avg', 'Seen', 'n');
SELECT cdp.create_computed_trait('list', 'unique_list', 'Seen', 'what');
SELECT cdp.create_computed_trait('last', 'last', 'Seen', 'at', type => 'date');
INSERT INTO cdp.inbox (type, user_id, anonymous_id, traits, occurred_at)
SELECT 'identify', 'u' || i, 'a' || i, jsonb_build_object('email', 'U' || i || '@x.org', 'a', 'A' || i, 'ä', 'ü"\' || i, 'nested', jsonb_build_object('b', i), 'n', null) || t, '2024-01-01'
FROM (VALUES (1, '{"t_text": "x", "t_character_varying": "y", "t_boolean": true, "t_smallint": -3, "t_integer": 7, "t_bigint": 9007199254740993, "t_numeric": 1.50,
                   "t_real": 0.1, "t_double_precision": 1e300, "t_date": "2024-02-29", "t_time_without_time_zone": "12:34:56.7",
                   "t_timestamp_without_time_zone": "2024-05-06 07:08:09", "t_timestamp_with_time_zone": "2024-05-06T07:08:09Z", "t_interval": "1 day 02:03",
                   "t_uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "t_inet": "10.0.0.0/8", "t_jsonb": {"k": [1, "x", null]}}'::jsonb),
             (2, '{"t_numeric": "NaN", "t_real": "-Infinity", "t_double_precision": "NaN", "t_date": "infinity", "t_timestamp_with_time_zone": "-infinity",
                   "t_date_": "0044-03-15 BC", "t_jsonb": "scalar"}'),
             (3, '{}'), (4, '{"t_jsonb": []}')) v (i, t);
INSERT INTO cdp.inbox (event, user_id, properties, occurred_at) VALUES
    ('Seen', 'u1', '{"n": 1, "what": "b", "at": "2024-01-05"}', '2024-01-05'), ('Seen', 'u1', '{"n": 2, "what": "a"}', '2024-01-04'), ('Seen', 'u2', NULL, '2024-01-04');
INSERT INTO cdp.inbox (type, user_id, group_id, occurred_at) VALUES ('group', 'u1', 'z', '2024-01-01'), ('group', 'u1', 'acme', '2024-01-02');
SELECT cdp.process();
SELECT cdp.create_purpose('mail'), cdp.create_purpose('calls', mode => 'opt_out');
SELECT count(cdp.set_consent('user_id', 'u' || i, purpose, i = 1, channel, occurred_at => '2024-03-01')) FROM generate_series(1, 2) i, unnest('{mail, calls}'::text[]) purpose,
    unnest('{NULL, post, Ärger}'::text[]) channel WHERE channel IS NULL OR i = 1;
SELECT cdp.suppress('email', 'u2@x.org', 'bounced');
SELECT cdp.create_segment('seen', 'seen > 0');
SELECT cdp.create_segment('Everybody', 'true');

CREATE VIEW wanted AS
SELECT i.type, i.value, jsonb_build_object(
    'profile_id', p.profile_id, 'first_seen_at', p.first_seen_at, 'last_seen_at', p.last_seen_at, 'event_count', p.event_count,
    'traits', p.traits || (to_jsonb(p) - '{profile_id, first_seen_at, last_seen_at, event_count, traits, state}'::text[]),
    'identifiers', (SELECT jsonb_agg(jsonb_build_object('type', n.type, 'value', n.value, 'first_seen_at', n.first_seen_at, 'last_seen_at', n.last_seen_at)
                                     ORDER BY t.priority, n.value)
                    FROM cdp.identifier n JOIN cdp.identifier_type t ON t.name = n.type WHERE n.profile_id = p.profile_id),
    'segments', (SELECT coalesce(jsonb_agg(s.name ORDER BY s.name COLLATE "C"), '[]') FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id)
                 WHERE m.profile_id = p.profile_id),
    'accounts', (SELECT coalesce(jsonb_agg(jsonb_build_object('group_id', a.group_id, 'since', a.since) ORDER BY a.group_id), '[]')
                 FROM cdp.account_member a WHERE a.profile_id = p.profile_id),
    'consents', (SELECT coalesce(jsonb_agg(jsonb_build_object('purpose', c.purpose, 'channel', c.channel, 'granted', c.granted, 'occurred_at', c.occurred_at)
                                           ORDER BY c.purpose COLLATE "C", c.channel COLLATE "C" NULLS FIRST), '[]') FROM cdp.consent c WHERE c.profile_id = p.profile_id),
    'suppressed', EXISTS (SELECT FROM cdp.suppression s JOIN cdp.identifier n ON n.value = s.value AND n.type = s.type WHERE n.profile_id = p.profile_id)) AS person
FROM cdp.identifier i JOIN cdp.profile p USING (profile_id);
CREATE VIEW wrong AS
SELECT type, value, k.key, cdp.get_profile(type, value) -> k.key AS got, person -> k.key AS wanted
FROM wanted, jsonb_object_keys(person || cdp.get_profile(type, value)) k (key)
WHERE cdp.get_profile(type, value) -> k.key IS DISTINCT FROM person -> k.key;
SELECT count(*) FROM wanted;
SELECT * FROM wrong ORDER BY 1, 2, 3;
SELECT cdp.get_profile('email', ' u1@X.org ') -> 'traits' ->> 't_timestamp_with_time_zone' AS in_my_time_zone;

-- As the configuration changes, and as nothing of a rollback stays.
BEGIN;
SELECT cdp.create_trait('fresh', 'text', 'a');
SELECT cdp.create_segment('more', 'true');
SELECT cdp.get_profile('user_id', 'u1') -> 'traits' -> 'fresh' AS fresh, cdp.get_profile('user_id', 'u1') -> 'segments' AS segments;
ROLLBACK;
SELECT cdp.get_profile('user_id', 'u1') -> 'traits' ? 'fresh' AS fresh, cdp.get_profile('user_id', 'u1') -> 'segments' AS segments;
SELECT cdp.drop_trait('t_uuid');
SELECT cdp.drop_segment('seen');
SELECT cdp.create_trait('another', 'int', 't_integer');
ALTER TABLE cdp.profile ADD COLUMN mine text;
SELECT count(*) FROM wrong WHERE key <> 'traits' OR got - 'mine' <> wanted - 'mine';
-- Two who become one.
SELECT cdp.merge_profiles(1, 2, NULL);
SELECT count(*) FROM wrong WHERE key <> 'traits' OR got - 'mine' <> wanted - 'mine';
SELECT jsonb_path_query_array(cdp.get_profile('user_id', 'u2'), '$.identifiers[*].value') AS identifiers;

-- Nobody, and nothing of that kind.
SELECT cdp.get_profile('user_id', 'nobody'), cdp.get_profile('user_id', 'null'), cdp.get_profile('user_id', ''), cdp.get_profile('user_id', NULL), cdp.get_profile(NULL, 'x');
SELECT cdp.get_profile('shoe_size', '42');

\c :main
SET client_min_messages = error;
DROP DATABASE cdp_regress_lookup WITH (FORCE);
