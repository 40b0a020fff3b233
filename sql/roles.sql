-- sql/roles.sql: what each role may do, and what it may not; who sees personal data, and who sees them masked.
SELECT current_database() AS main \gset
SET client_min_messages = error;
DROP DATABASE IF EXISTS cdp_regress_roles WITH (FORCE);
CREATE DATABASE cdp_regress_roles;
\c cdp_regress_roles
SET client_min_messages = error;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT cdp.stop_worker() IS NOT NULL AS no_worker;

SELECT cdp.create_trait('email', 'text');
SELECT cdp.create_trait('plan', 'text');
SELECT cdp.create_trait('birthday', 'date');
SELECT cdp.create_trait('home', 'text', 'address.city');
SELECT cdp.create_computed_trait('orders', 'count', 'Order Completed');
SELECT cdp.create_computed_trait('last_phone', 'last', 'Order Completed', 'phone');
ALTER TABLE cdp.profile ADD COLUMN note text, ADD COLUMN score numeric(5,2);
INSERT INTO cdp.inbox (type, user_id, traits, context, occurred_at) VALUES
    ('identify', 'ann', '{"email": "Ann@X.org", "plan": "pro", "birthday": "1980-02-03", "nickname": "nan", "age": 44, "vip": true,
        "phone": 4912345, "hobbies": ["chess"], "address": {"city": "Ulm", "street": "A 1"}}',
        '{"ip": "1.2.3.4", "userAgent": "Firefox", "campaign": {"source": "spring"}, "page": {"path": "/a", "url": "/a?mail=ann@x.org"}}', '2024-01-01'),
    ('identify', 'bob', '{"plan": "free"}', NULL, '2024-01-02');
INSERT INTO cdp.inbox (event, user_id, anonymous_id, properties, occurred_at) VALUES
    ('Order Completed', 'ann', 'a1', '{"total": 5, "phone": "+49 1", "comment": "write to ann@x.org", "size": "XL", "items": [{"sku": "s", "recipient_name": "Ann"}]}', '2024-01-03');
SELECT cdp.process();
SELECT cdp.create_segment('pros', $$plan = 'pro'$$, 'who pay');
UPDATE cdp.profile SET note = 'call her', score = 1.5 WHERE profile_id = 1;
SELECT cdp.refresh_views();

-- Unmasked for those who may see it.
SET ROLE cdp_pii;
\x
SELECT * FROM cdp.profile_masked WHERE profile_id = 1;
SELECT email, note FROM cdp_segment.pros;
SELECT email, traits ->> 'nickname' AS nickname FROM cdp.profile WHERE profile_id = 1;
SELECT type, value FROM cdp.identifier_masked ORDER BY identifier_id;
SELECT cdp.get_profile('email', 'ann@x.org') -> 'traits' AS traits;
SELECT event, properties FROM cdp.timeline(1, max_rows => 1);
RESET ROLE;

-- Masked for the others.
SET ROLE cdp_marketer;
SELECT * FROM cdp.profile_masked WHERE profile_id = 1;
SELECT * FROM cdp_segment.pros;
SELECT cdp.get_profile('email', 'ann@x.org');
SELECT * FROM cdp.explain_segment('pros', 1);
RESET ROLE;
SET ROLE cdp_analyst;
SELECT profile_id, type, event, user_id, anonymous_id, properties, traits, context FROM cdp.event_masked ORDER BY event_id;
SELECT type, value, profile_id FROM cdp.identifier_masked ORDER BY identifier_id;
RESET ROLE;
\x

-- A marketer makes segments of what is not personal, and of having an identifier.
SET ROLE cdp_marketer;
SELECT cdp.create_segment('active', $$orders >= 1 AND cdp.has_identifier('email') AND cdp.in_segment('pros')$$);
SELECT cdp.create_segment('spied', $$email = 'ann@x.org'$$);
SELECT cdp.preview_segment($$note LIKE 'call%'$$);
SELECT cdp.preview_segment($$traits ->> 'nickname' = 'nan'$$);
SELECT cdp.drop_segment('pros');
SELECT * FROM cdp.alter_segment('active', 'orders >= 0');
SELECT s.name, count(*) FROM cdp.segment s JOIN cdp.segment_member m USING (segment_id) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM cdp.segment_transition;
SELECT type, count(DISTINCT profile_id) FROM cdp.identifier GROUP BY 1 ORDER BY 1;
SELECT value FROM cdp.identifier;
SELECT email FROM cdp.profile;
SELECT * FROM cdp.event;
SELECT * FROM cdp.event_masked;
SELECT * FROM cdp.timeline(1);
INSERT INTO cdp.segment_member VALUES (2, 1, now());
UPDATE cdp.segment SET definition = 'true';
INSERT INTO cdp.inbox (event, user_id) VALUES ('Forged', 'ann');
SELECT cdp.process();
SELECT cdp.set_personal('email', false);
RESET ROLE;

SET ROLE cdp_analyst;
SELECT name, size FROM cdp.segment ORDER BY 1;
SELECT cdp.create_segment('mine', 'orders >= 1');
SELECT profile_id, plan, orders FROM cdp.profile ORDER BY 1;
SELECT birthday FROM cdp.profile;
SELECT value FROM cdp.identifier;
SELECT * FROM cdp.event;
SELECT * FROM cdp.rejected_message;
SELECT * FROM cdp.identity_conflict;
RESET ROLE;

-- Writing to the inbox is all that cdp_ingest may do.
SET ROLE cdp_ingest;
INSERT INTO cdp.inbox (message_id, event, user_id) VALUES ('m1', 'Seen', 'cid');
COPY cdp.inbox (message_id, event, user_id) FROM stdin;
m2	Seen	cid
\.
SELECT cdp.track('Seen', 'cid', message_id => 'm3');
SELECT * FROM cdp.ingest('[{"type": "track", "event": "Seen", "userId": "cid", "messageId": "m4"}, {"type": "track", "messageId": "m5"}]');
SELECT * FROM cdp.inbox;
INSERT INTO cdp.inbox (event, user_id) VALUES ('Seen', 'cid') RETURNING message_id;
-- In every column that is for senders, and in no other: where a message stands is not for them to say.
INSERT INTO cdp.inbox VALUES ('m6', 'track', 'web', 'cid', 'c6', NULL, NULL, 'Seen', '{}', NULL, '{}', '2024-01-01', '2024-01-01', '2024-01-01');
COPY cdp.inbox (message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context, occurred_at, sent_at, received_at) FROM stdin;
m7	identify	web	cid	c7	\N	\N	\N	\N	{}	{}	2024-01-01	2024-01-01	2024-01-01
\.
INSERT INTO cdp.inbox (event, user_id, inbox_id) VALUES ('Seen', 'cid', 1);
INSERT INTO cdp.inbox (event, user_id, inbox_id) VALUES ('Seen', 'cid', DEFAULT);
\copy cdp.inbox (event, user_id, inbox_id) FROM '/dev/null'
\copy cdp.inbox FROM '/dev/null'
INSERT INTO cdp.inbox_0 (event, user_id) VALUES ('Seen', 'cid');
SELECT setval('cdp.inbox_id_seq', 1);
DELETE FROM cdp.inbox;
TRUNCATE cdp.inbox;
SELECT * FROM cdp.profile_masked;
SELECT * FROM cdp.identifier;
SELECT cdp.resolve('user_id', 'cid');
SELECT cdp.get_profile('user_id', 'cid');
SELECT cdp.process();
SELECT nextval('cdp.event_id_seq');
CREATE TABLE cdp.mine ();
RESET ROLE;

-- Who may see personal data may not change any.
SET ROLE cdp_pii;
UPDATE cdp.profile SET email = NULL;
DELETE FROM cdp.event;
SELECT cdp.create_segment('theirs', 'true');
SELECT cdp.merge_profiles(1, 2, 'because');
SELECT reason FROM cdp.rejected_message;
RESET ROLE;

-- cdp_admin may do all that the extension does, and no more than that: nothing that would run with its owner's rights.
SET ROLE cdp_admin;
SELECT cdp.process();
SELECT reason FROM cdp.rejected_message;
SELECT cdp.create_computed_trait('visits', 'count', 'Seen');
SELECT cdp.set_personal('visits', true);
SELECT profile_id, visits FROM cdp.profile ORDER BY 1;
SELECT cdp.create_segment('visitors', 'visits >= 1');
SELECT count(*) FROM cdp_segment.visitors;
SELECT cdp.merge_profiles(1, 2, 'because');
SELECT count(*) FROM cdp.check() WHERE check_name IN ('version', 'roles', 'masking', 'profile_key') AND ok;
UPDATE cdp.profile SET note = NULL WHERE profile_id = 1;
INSERT INTO cdp.segment (segment_id, name, definition, owner, filled_epoch) VALUES (99, 'x', 'true', 'postgres', 0);
UPDATE cdp.segment SET owner = 'postgres';
UPDATE cdp.trait SET filter = 'true';
CREATE TRIGGER mine BEFORE UPDATE ON cdp.profile FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TABLE cdp.mine ();
ALTER TABLE cdp.profile ADD COLUMN mine int;
RESET ROLE;

-- Whether a trait is personal can be said; its views and rights follow.
SELECT cdp.set_personal('birthday', false);
SELECT cdp.set_personal('plan', true);
SELECT cdp.set_personal('orders', true);
SELECT cdp.set_personal('nothing', true);
SET ROLE cdp_marketer;
SELECT profile_id, birthday, plan, traits -> 'plan' AS raw FROM cdp.profile_masked WHERE profile_id = 1;
SELECT birthday FROM cdp.profile WHERE profile_id = 1;
SELECT plan FROM cdp.profile WHERE profile_id = 1;
RESET ROLE;
SELECT cdp.set_personal('plan', NULL);
-- What identifies somebody is personal as well.
SELECT cdp.create_identifier_type('home', 6, NULL, 'none', '{traits.address.city}');
SET ROLE cdp_marketer;
SELECT profile_id, plan, home FROM cdp.profile_masked WHERE profile_id = 1;
RESET ROLE;

-- Views of the user's are in the way of dropping a trait; grants on ours survive it.
GRANT SELECT ON cdp_segment.pros TO PUBLIC;
CREATE VIEW report AS SELECT profile_id FROM cdp_segment.pros;
SELECT cdp.drop_trait('home');
DROP VIEW report;
SELECT cdp.drop_trait('home');
SELECT has_table_privilege('cdp_ingest', 'cdp_segment.pros', 'SELECT');
-- One's own column goes the same way.
SELECT cdp.drop_views();
ALTER TABLE cdp.profile DROP COLUMN score;
SELECT cdp.refresh_views();
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'cdp_segment.pros'::regclass;

-- Nobody else may do anything.
CREATE ROLE regress_nobody;
SET ROLE regress_nobody;
SELECT * FROM cdp.profile_masked;
SELECT cdp.resolve('user_id', 'ann');
INSERT INTO cdp.inbox (event, user_id) VALUES ('Seen', 'cid');
RESET ROLE;
DROP ROLE regress_nobody;

\c :main
SET client_min_messages = error;
DROP DATABASE cdp_regress_roles WITH (FORCE);
