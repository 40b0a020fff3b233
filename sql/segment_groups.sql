-- sql/segment_groups.sql: segments from lists of identifiers, random splits that stay, and lists where the first that fits counts.
SELECT current_database() AS main \gset
SET client_min_messages = error;
DROP DATABASE IF EXISTS cdp_regress_segment_groups WITH (FORCE);
CREATE DATABASE cdp_regress_segment_groups;
\c cdp_regress_segment_groups
SET client_min_messages = notice;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SELECT cdp.stop_worker() IS NOT NULL AS no_worker;
CREATE VIEW member AS
    SELECT s.name AS segment, string_agg(coalesce((SELECT min(i.value) FROM cdp.identifier i WHERE i.profile_id = m.profile_id AND i.type = 'user_id'), '?'), ' ' ORDER BY m.profile_id) AS people
    FROM cdp.segment s LEFT JOIN cdp.segment_member m USING (segment_id) GROUP BY 1;
CREATE VIEW problem AS SELECT table_name FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;

INSERT INTO cdp.inbox (user_id, event, traits, type) VALUES
    ('ann', NULL, '{"email": "ann@example.com", "plan": "pro"}', 'identify'), ('bob', NULL, '{"email": "bob@example.com"}', 'identify'),
    ('cid', NULL, '{"plan": "pro"}', 'identify'), ('dan', 'Login', NULL, 'track');
SELECT cdp.process();
SELECT cdp.create_trait('plan', 'text');

-- A segment of the people who have these identifiers, normalised as their type says; those to come enter when they come.
SELECT cdp.import_segment('vips', 'email', '{" Ann@Example.com", ann@example.com, cid@example.com, unknown, "", dora@example.com, null}');
SELECT cdp.create_segment('pro_vips', $$plan = 'pro' AND cdp.in_segment('vips')$$);
SELECT cdp.create_destination('vip_mail', 'vips', 'email', '{}');
SELECT segment, people FROM member ORDER BY 1;
INSERT INTO cdp.inbox (user_id, traits, type) VALUES ('cid', '{"email": "CID@example.com"}', 'identify'), ('dan', '{"email": "dan@example.com"}', 'identify');
INSERT INTO cdp.inbox (anonymous_id, event, context) VALUES ('c1', 'Login', '{"traits": {"email": "dora@example.com"}}');
SELECT cdp.process();
SELECT segment, people FROM member ORDER BY 1;
SELECT email FROM cdp_out.vip_mail ORDER BY 1;
SELECT s.name, t.profile_id, t.entered, t.cause FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) ORDER BY 1, 2, t.at, t.entered;
SELECT * FROM cdp.explain_segment('vips', cdp.resolve('user_id', 'cid'));
SELECT * FROM problem;

-- Whoever has the identifier now is in it: by a merge, and after taking apart.
SELECT cdp.identify('bob', '{"email": "dora@example.com"}') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT segment, people FROM member ORDER BY 1;
SELECT cdp.split_identifier('email', 'ann@example.com', 'not hers') > 0 AS split;
SELECT segment, people FROM member ORDER BY 1;
SELECT email FROM cdp_out.vip_mail ORDER BY 1;
SELECT * FROM problem;

-- Another list takes the place of the first: a difference, and what refers to it follows.
SELECT count(*) AS before FROM cdp.segment_transition \gset
SELECT cdp.import_segment('vips', 'user_id', '{ann, cid, eve}');
SELECT segment, people FROM member ORDER BY 1;
SELECT email FROM cdp_out.vip_mail ORDER BY 1;
SELECT count(*) - :before AS transitions FROM cdp.segment_transition;
SELECT segment_id IS NOT NULL AS of_segment, type, value FROM cdp.segment_list ORDER BY 2, 3;
SELECT cdp.track('Login', 'eve') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT name, size FROM cdp.segment ORDER BY 1;
SELECT cdp.import_segment('nobody', 'phone', '{}');
SELECT * FROM problem;

-- What is refused.
SELECT cdp.alter_segment('vips', 'true');
SELECT cdp.import_segment('pro_vips', 'email', '{a@example.com}');
SELECT cdp.import_segment('x', 'nope', '{a}');
SELECT cdp.import_segment('', 'email', '{a}');
SELECT cdp.create_segment('x', $$plan = 'pro' OR cdp.on_list('vips')$$);
SELECT * FROM cdp.preview_segment($$cdp.on_list('vips')$$);
SELECT cdp.drop_segment('vips');
SELECT cdp.drop_segment('pro_vips'), cdp.drop_destination('vip_mail');
SELECT cdp.drop_segment('vips'), cdp.drop_segment('nobody');
SELECT * FROM cdp.segment_list;

-- Random splits. The shares lie in the order of their names, whatever the order in which they are given.
INSERT INTO cdp.inbox (user_id, event) SELECT 'u' || i, 'Login' FROM generate_series(1, 400) i;
SELECT cdp.process();
SELECT cdp.create_segment('trial', $$profile_id <= 300$$) AS size;
SELECT segment, size BETWEEN 100 AND 200 AS fair FROM cdp.split_segment('trial', '{"control": 50, "a": 50}');
SELECT segment, size BETWEEN 5 AND 60 AS fair FROM cdp.split_segment('trial', '{"small": 10, "none": 0.0001}', split => 'ramp');
SELECT name, definition, description FROM cdp.segment ORDER BY 1;
SELECT count(*) FILTER (WHERE a.profile_id IS NULL) AS a_missing, count(*) FILTER (WHERE c.profile_id IS NOT NULL AND a.profile_id IS NOT NULL) AS both, count(*) AS trial
FROM cdp_segment.trial t LEFT JOIN cdp_segment.trial_a a USING (profile_id) LEFT JOIN cdp_segment.trial_control c USING (profile_id)
WHERE a.profile_id IS NULL AND c.profile_id IS NULL OR a.profile_id IS NOT NULL AND c.profile_id IS NOT NULL;
SELECT cdp.split_share('trial', 1) AS one, cdp.split_share('trial', 2) AS two, cdp.split_share('ramp', 1) AS other;
-- Somebody who leaves and comes again is in the same share; people who become one are in the survivor's.
CREATE TEMP TABLE before AS SELECT m.segment_id, m.profile_id FROM cdp.segment_member m JOIN cdp.segment USING (segment_id) WHERE name LIKE 'trial_%';
SELECT * FROM cdp.alter_segment('trial', 'profile_id <= 100');
SELECT * FROM cdp.alter_segment('trial', 'profile_id <= 300');
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'u1'), cdp.resolve('user_id', 'u2'), 'test') = cdp.resolve('user_id', 'u1') AS merged;
SELECT count(*) AS moved FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) WHERE name LIKE 'trial_%'
    AND NOT EXISTS (SELECT FROM before b WHERE (b.segment_id, b.profile_id) = (m.segment_id, m.profile_id));
SELECT * FROM problem;
SELECT * FROM cdp.split_segment('trial', '{"a": 10}');
SELECT * FROM cdp.split_segment('nope', '{"a": 10}');
SELECT * FROM cdp.split_segment('trial', '{"x": 60, "y": 60}');
SELECT * FROM cdp.split_segment('trial', '{"x": 60, "y": "5"}');
SELECT * FROM cdp.split_segment('trial', '{"x": -1}');
SELECT * FROM cdp.split_segment('trial', '[50, 50]');
SELECT * FROM cdp.split_segment(NULL, '{"x": 1}');

-- A priority list: everybody is in the first that fits only.
SELECT cdp.create_segment('low', 'profile_id <= 3'), cdp.create_segment('even', 'profile_id % 2 = 0 AND profile_id < 10'), cdp.create_segment('pros', $$plan = 'pro'$$);
SELECT * FROM cdp.create_priority_list('mail', '{pros, low, even}');
SELECT name, definition FROM cdp.segment WHERE name LIKE 'mail_%' ORDER BY 1;
SELECT * FROM cdp.priority_list ORDER BY place;
SELECT cdp.create_destination('low_mail', 'mail_low');
SELECT profile_id FROM cdp_out.low_mail ORDER BY 1;
SELECT cdp.identify('bob', '{"plan": "pro"}') IS NOT NULL AS sent, cdp.identify('cid', '{"plan": "free"}') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT profile_id FROM cdp_out.low_mail ORDER BY 1;
SELECT profile_id, count(*) FROM cdp.segment_member m JOIN cdp.segment USING (segment_id) WHERE name LIKE 'mail_%' GROUP BY 1 HAVING count(*) > 1;
SELECT name, size FROM cdp.segment WHERE name LIKE 'mail_%' ORDER BY 1;
SELECT * FROM problem;
SELECT * FROM cdp.create_priority_list('mail', '{low}');
SELECT * FROM cdp.create_priority_list('x', '{low, nope}');
SELECT * FROM cdp.create_priority_list('x', '{low, low}');
SELECT * FROM cdp.create_priority_list('x', '{}');
SELECT * FROM cdp.create_priority_list('x', '{low, NULL}');
SELECT cdp.alter_segment('mail_low', 'true');
SELECT cdp.drop_segment('mail_low');
SELECT cdp.drop_segment('low');
SELECT cdp.drop_priority_list('mail');
SELECT count(*) FROM cdp.priority_list;
SELECT cdp.drop_destination('low_mail');
SELECT cdp.drop_priority_list('mail');
SELECT cdp.drop_priority_list('mail');
SELECT count(*) AS segments FROM cdp.segment WHERE name LIKE 'mail_%';

-- A marketer makes all of it without seeing an identifier, and what a marketer made is the marketer's.
SET ROLE cdp_marketer;
SELECT cdp.import_segment('mine', 'user_id', '{ann, bob}');
SELECT segment FROM cdp.split_segment('mine', '{"a": 50}');
SELECT * FROM cdp.create_priority_list('my', '{mine, pros}');
SELECT owner, count(*) FROM cdp.segment WHERE name ~ '^(mine|my)' GROUP BY 1;
SELECT * FROM cdp.segment_list;
SELECT * FROM cdp.split_segment('trial', '{"mine": 1}') \g /dev/null
SELECT list, place, segment FROM cdp.priority_list ORDER BY place;
INSERT INTO cdp.priority_list VALUES ('x', 1, 'y');
RESET ROLE;
CREATE ROLE cdp_regress_other;
GRANT cdp_marketer TO cdp_regress_other;
SELECT cdp.import_segment('ours', 'user_id', '{ann}');
SET ROLE cdp_regress_other;
SELECT cdp.import_segment('ours', 'user_id', '{bob}');
SELECT cdp.drop_priority_list('my');
RESET ROLE;
SELECT name FROM cdp.segment WHERE owner = 'cdp_marketer' ORDER BY 1;
SELECT * FROM problem;
DROP ROLE cdp_regress_other;

SET client_min_messages = error;
DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_segment_groups;
