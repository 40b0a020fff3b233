-- sql/live_tables.sql: segments over the company's own tables follow each changed row of them.
SELECT current_database() AS main \gset
SET client_min_messages = error;
DROP DATABASE IF EXISTS cdp_regress_live_tables WITH (FORCE);
CREATE DATABASE cdp_regress_live_tables;
\c cdp_regress_live_tables
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SELECT cdp.stop_worker() IS NOT NULL AS no_worker;
CREATE SCHEMA crm;
CREATE TABLE crm.ticket (ticket_id int PRIMARY KEY, email text, customer_no int, status text, note text);
CREATE INDEX ON crm.ticket (email);
INSERT INTO crm.ticket VALUES (1, 'ann@x.org', 1, 'open', ''), (2, 'bob@x.org', 2, 'closed', ''), (3, 'nobody@x.org', 9, 'open', '');
SELECT cdp.create_identifier_type('customer_no', 2, NULL, 'none', '{traits.customer_no}');
SELECT cdp.create_trait('plan', 'text');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES
    ('identify', 'ann', '{"email": "ann@x.org", "customer_no": "1", "plan": "pro"}'), ('identify', 'bob', '{"email": "bob@x.org", "customer_no": "2"}'),
    ('identify', 'cid', '{"email": "cid@x.org", "plan": "pro"}');
SELECT cdp.process();
CREATE VIEW who AS SELECT i.profile_id, i.value AS who FROM cdp.identifier i WHERE type = 'user_id';
CREATE VIEW members AS SELECT s.name, string_agg(who, ' ' ORDER BY who) AS members FROM cdp.segment s LEFT JOIN cdp.segment_member m USING (segment_id) LEFT JOIN who USING (profile_id)
    GROUP BY 1 ORDER BY 1;

SELECT cdp.create_segment('open_case', $$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email AND i.type = 'email'
    WHERE i.profile_id = profile.profile_id AND t.status = 'open')$$);
SELECT cdp.create_segment('marketing', $$plan = 'pro' AND NOT cdp.in_segment('open_case')$$);
SELECT * FROM members;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'crm.ticket'::regclass ORDER BY 1;
SELECT * FROM cdp.followed_table;

-- Each way in which a row may change, and who follows in the same batch.
INSERT INTO crm.ticket VALUES (4, 'cid@x.org', NULL, 'open', ''), (5, 'bob@x.org', NULL, 'new', '');
SELECT cdp.process();
SELECT * FROM members;
UPDATE crm.ticket SET status = 'closed' WHERE ticket_id IN (1, 4);
SELECT cdp.process();
SELECT * FROM members;
UPDATE crm.ticket SET email = 'bob@x.org' WHERE ticket_id = 3;
SELECT cdp.process();
SELECT * FROM members;
DELETE FROM crm.ticket WHERE ticket_id = 3;
SELECT cdp.process();
SELECT * FROM members;
-- What does not matter is not followed.
UPDATE crm.ticket SET note = 'x', status = status;
SELECT count(*) FROM cdp.inbox WHERE cdp.is_pending(inbox_xid, inbox_id);
INSERT INTO crm.ticket SELECT i, 'mail' || i % 10 || '@x.org', NULL, 'open' FROM generate_series(10, 109) i;
SELECT count(*) FROM cdp.inbox WHERE cdp.is_pending(inbox_xid, inbox_id);
-- Nor is it a message.
SELECT cdp.process();
SELECT backlog, rejected FROM cdp.status;
SELECT count(*) FROM cdp.event;
-- Somebody whose identifier comes after the row.
SELECT cdp.identify('dan', '{"email": "Mail3@X.org"}') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT * FROM members;
SELECT cdp.identify('eve') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT cdp.identify('eve', '{"email": "mail4@x.org"}') IS NOT NULL AS sent;
INSERT INTO crm.ticket VALUES (200, 'ann@x.org', NULL, 'open');
SELECT cdp.process();
SELECT * FROM members;
-- Merges and splits.
SELECT cdp.identify(NULL, '{"email": "mail5@x.org"}', anonymous_id => 'cookie') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'bob'), cdp.resolve('anonymous_id', 'cookie'), 'test') IS NOT NULL AS merged;
SELECT * FROM members;
SELECT cdp.split_identifier('email', 'mail5@x.org', 'test') IS NOT NULL AS split;
SELECT cdp.split_identifier('email', 'mail4@x.org', 'test') IS NOT NULL AS split;
SELECT * FROM members;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
TRUNCATE crm.ticket;
SELECT cdp.process();
SELECT * FROM members;
SELECT s.name, t.cause, t.entered, count(*), count(received_at) AS timed FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- A transaction that is rolled back changes nothing; a failing one of the writer's neither.
BEGIN;
INSERT INTO crm.ticket VALUES (1, 'ann@x.org', 1, 'open', '');
ROLLBACK;
SELECT cdp.process();
SELECT * FROM members;

-- Other ways to tie a row to people.
INSERT INTO crm.ticket VALUES (1, 'ann@x.org', 1, 'open', ''), (2, 'BOB@x.org', 2, 'open', '');
SELECT cdp.create_segment('by_number', $$(SELECT count(*) FROM crm.ticket t, cdp.identifier i WHERE i.profile_id = profile.profile_id
    AND i.type = 'customer_no' AND i.value = t.customer_no::text AND t.status = 'open') >= 1 AND plan = 'pro'$$);
SELECT cdp.create_segment('by_lower', $$EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = profile.profile_id AND i.type = 'email'
    AND i.value IN (SELECT lower(t.email) FROM crm.ticket t WHERE t.status = 'open'))$$);
SELECT cdp.create_segment('by_in', $$profile_id NOT IN (SELECT i.profile_id FROM cdp.identifier i JOIN crm.ticket t ON t.email = i.value)$$);
CREATE TABLE crm.vip (profile_id bigint PRIMARY KEY, level text);
CREATE TABLE crm.perk (email text, level text);
SELECT cdp.create_segment('vip', $$(SELECT v.level FROM crm.vip v WHERE v.profile_id = profile.profile_id) = plan$$);
SELECT cdp.create_segment('perks', $$EXISTS (SELECT FROM crm.perk p JOIN crm.ticket t USING (email) JOIN cdp.identifier i ON i.value = email WHERE i.profile_id = profile.profile_id AND p.level = t.status)
    AND last_seen_at < now() + interval '1 hour' AND NOT cdp.did('Refund')$$);
SELECT relation, identifiers, profiles, columns FROM cdp.followed_table ORDER BY relation::text;
SELECT * FROM members;
INSERT INTO crm.vip SELECT profile_id, 'pro' FROM who;
INSERT INTO crm.perk VALUES ('ann@x.org', 'open');
UPDATE crm.ticket SET customer_no = 3 - customer_no;
SELECT cdp.process();
SELECT * FROM members;
SELECT cdp.track('Refund', 'ann') IS NOT NULL AS sent, cdp.identify('bob', '{"plan": "pro"}') IS NOT NULL AS too;
SELECT cdp.process();
SELECT * FROM members;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT condition, holds FROM cdp.explain_segment('perks', cdp.resolve('user_id', 'ann'));
-- As often as it is asked.
SELECT holds FROM cdp.explain_segment('open_case', cdp.resolve('user_id', 'ann'));
SELECT holds FROM cdp.explain_segment('open_case', cdp.resolve('user_id', 'ann'));
SELECT holds FROM cdp.explain_segment('open_case', cdp.resolve('user_id', 'ann'));
SELECT size FROM cdp.preview_segment($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
-- A table that has another shape for a moment.
BEGIN;
ALTER TABLE crm.vip RENAME COLUMN level TO grade;
UPDATE crm.vip SET grade = 'none' WHERE profile_id = cdp.resolve('user_id', 'cid');
ALTER TABLE crm.vip RENAME COLUMN grade TO level;
ALTER TABLE crm.vip RENAME COLUMN profile_id TO who;
UPDATE crm.vip SET level = 'none' WHERE who = cdp.resolve('user_id', 'bob');
ALTER TABLE crm.vip RENAME COLUMN who TO profile_id;
COMMIT;
SELECT cdp.process();
SELECT * FROM members WHERE name = 'vip';

-- From live to refresh and back.
SELECT * FROM cdp.alter_segment('by_number', $$EXISTS (SELECT FROM crm.ticket WHERE note = '')$$);
SELECT * FROM cdp.alter_segment('by_number', $$EXISTS (SELECT FROM crm.ticket WHERE note = '')$$, refresh => '1 hour');
SELECT refresh FROM cdp.segment WHERE name = 'by_number';
SELECT * FROM cdp.alter_segment('by_number', $$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.customer_no::text WHERE i.profile_id = profile.profile_id)$$, refresh => '0');
SELECT refresh, refreshed_at FROM cdp.segment WHERE name = 'by_number';
SELECT * FROM cdp.alter_segment('by_number', $$plan = 'free'$$);
SELECT relation, identifiers, profiles FROM cdp.followed_table ORDER BY relation::text;

-- What cannot be followed is refused, where it stands.
CREATE VIEW crm.open AS SELECT * FROM crm.ticket;
CREATE TABLE crm.old (LIKE crm.ticket) PARTITION BY LIST (status);
CREATE TABLE crm.rule (least int);
CREATE TABLE crm.secret (email text);
ALTER TABLE crm.secret ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION crm.norm(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
CREATE FUNCTION try(text) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE m text; h text; s text; BEGIN
    PERFORM cdp.create_segment('bad', $1); PERFORM cdp.drop_segment('bad'); RETURN 'followed';
EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, h = PG_EXCEPTION_HINT, s = RETURNED_SQLSTATE; RETURN s || ': ' || m || E'\n' || h; END $f$;
\pset tuples_only on
\pset format unaligned
SELECT cdp.create_segment('bad', $$plan = 'pro' AND EXISTS (SELECT FROM crm.ticket t WHERE t.status = 'open')$$);
SELECT try($$event_count > (SELECT min(least) FROM crm.rule)$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email)$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email OR i.value = t.note WHERE i.profile_id = profile.profile_id)$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON crm.norm(t.email) = i.value WHERE i.profile_id = profile.profile_id)$$);
SELECT try($$EXISTS (SELECT FROM crm.perk p, crm.ticket t JOIN cdp.identifier i ON t.email = i.value WHERE i.profile_id = profile.profile_id AND p.level = t.note)$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t LEFT JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
SELECT try($$EXISTS (SELECT FROM crm.open t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
SELECT try($$EXISTS (SELECT FROM crm.old t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
SELECT try($$EXISTS (SELECT FROM cdp.event e WHERE e.user_id = plan)$$);
SELECT try($$EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = profile.profile_id AND i.last_seen_at > '2024-01-01')$$);
SELECT try($$EXISTS (SELECT FROM pg_class t JOIN cdp.identifier i ON i.value = t.relname::text WHERE i.profile_id = profile.profile_id)$$);
SELECT try($$EXISTS (WITH t AS (TABLE crm.ticket) SELECT FROM t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
SELECT try($$EXISTS (SELECT email FROM crm.ticket UNION SELECT email FROM crm.perk)$$);
SELECT try($$plan NOT IN (SELECT t.note FROM crm.ticket t JOIN cdp.identifier i ON i.profile_id = profile.profile_id AND i.value = 'x')$$);
SELECT try($$profile_id IN (SELECT i.profile_id FROM cdp.identifier i JOIN crm.ticket t ON t.email = i.value ORDER BY t.note LIMIT 1)$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id AND now() > '2024-01-01')$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id AND random() < 0.5)$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id AND profile IS NOT NULL)$$);
SELECT try($$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id AND t.xmin IS NOT NULL)$$);
-- And what can be.
SELECT try($$cdp.has_identifier('email') AND (SELECT string_agg(t.note, ',' ORDER BY t.ticket_id) FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id) LIKE '%x%'$$);
SELECT try($$EXISTS (SELECT t.email, count(*) FROM cdp.identifier i, LATERAL (SELECT * FROM crm.ticket t WHERE t.email = i.value ORDER BY ticket_id LIMIT 3) t WHERE i.profile_id = profile.profile_id GROUP BY 1 HAVING count(*) > 2)$$);
SELECT try($$plan IN (SELECT unnest(ARRAY['pro', 'team']))$$);
SELECT try($$EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = profile.profile_id AND i.value LIKE '%@x.org')$$);
\pset tuples_only off
\pset format aligned

-- Rights: to follow a table takes the right to put a trigger there; to write to it takes nothing more than before.
CREATE ROLE cdp_regress_live;
GRANT cdp_marketer, cdp_pii TO cdp_regress_live;
GRANT USAGE ON SCHEMA crm TO cdp_regress_live;
GRANT SELECT, TRIGGER ON crm.secret TO cdp_regress_live;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON crm.perk TO cdp_regress_live;
SET ROLE cdp_regress_live;
SELECT cdp.create_segment('theirs', $$EXISTS (SELECT FROM crm.perk t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
RESET ROLE;
GRANT TRIGGER ON crm.perk TO cdp_regress_live;
SET ROLE cdp_regress_live;
SELECT cdp.create_segment('theirs', $$EXISTS (SELECT FROM crm.perk t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
INSERT INTO crm.perk VALUES ('bob@x.org', 'x');
SELECT cdp.create_segment('hidden', $$EXISTS (SELECT FROM crm.secret t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
RESET ROLE;
SELECT cdp.process();
SELECT * FROM members WHERE name = 'theirs';
-- A right that is taken away makes it stand still; given back, it goes on.
REVOKE SELECT ON crm.perk FROM cdp_regress_live;
DELETE FROM crm.perk;
SET client_min_messages = error;
SELECT cdp.process();
SELECT name, problem, unreadable FROM cdp.segment WHERE problem IS NOT NULL;
GRANT SELECT ON crm.perk TO cdp_regress_live;
SELECT count(*) FROM cdp.rebuild(true) WHERE differing <> 0;
SELECT * FROM members WHERE name = 'theirs';
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;

-- A table that changes its shape, loses its triggers or is gone: it stands still, and goes on when it can.
ALTER TABLE crm.vip RENAME COLUMN level TO grade;
SELECT cdp.track('View', 'ann') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;
DELETE FROM crm.vip;
ALTER TABLE crm.vip RENAME COLUMN grade TO level;
SELECT cdp.track('View', 'ann') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;
SELECT * FROM members WHERE name = 'vip';
ALTER TABLE crm.vip DISABLE TRIGGER cdp_follow_inserted;
INSERT INTO crm.vip SELECT profile_id, 'pro' FROM who;
SELECT cdp.track('View', 'ann') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;
SELECT check_name, detail FROM cdp.check() WHERE NOT ok AND check_name LIKE 'segment%';
SELECT * FROM cdp.alter_segment('vip', $$(SELECT v.level FROM crm.vip v WHERE v.profile_id = profile.profile_id) = plan$$);
ALTER TABLE crm.vip ALTER level TYPE varchar USING 'free';
SELECT cdp.track('View', 'ann') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;
DROP TABLE crm.vip;
SELECT cdp.track('View', 'ann') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;
SELECT cdp.drop_segment('vip');
ALTER TABLE crm.ticket RENAME TO request;
INSERT INTO crm.request VALUES (300, 'bob@x.org', NULL, 'open');
SELECT cdp.process();
ALTER TABLE crm.request RENAME TO ticket;
SELECT cdp.track('View', 'ann') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;
SELECT * FROM members;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

-- A condition that fails on somebody's rows stands still alone, and no writer suffers.
SELECT cdp.create_segment('fragile', $$(SELECT max(1 / length(t.note)) FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id) = 1$$);
UPDATE crm.ticket SET note = 'x';
SELECT cdp.create_segment('fragile', $$(SELECT max(1 / length(t.note)) FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id) = 1$$);
SELECT cdp.create_segment('tight', $$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = repeat('x', t.customer_no / t.ticket_id) WHERE i.profile_id = profile.profile_id)$$);
INSERT INTO crm.ticket VALUES (0, 'ann@x.org', 1, 'open', ''), (400, 'cid@x.org', 1, 'open', 'x');
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL ORDER BY 1;
SELECT name, members FROM members WHERE name IN ('open_case', 'fragile');
SELECT cdp.drop_segment('fragile'), cdp.drop_segment('tight'), cdp.drop_segment('theirs'), cdp.drop_segment('perks');

-- Not within a transaction that sees an older moment.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cdp.create_segment('late', $$EXISTS (SELECT FROM crm.perk t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)$$);
ROLLBACK;

-- Nobody needs them any more: nothing is left on the tables.
SELECT relation FROM cdp.followed_table ORDER BY relation::text;
SELECT cdp.drop_segment('marketing'), cdp.drop_segment('open_case'), cdp.drop_segment('by_lower');
SELECT relation, columns FROM cdp.followed_table;
DROP EXTENSION cdp;
SET client_min_messages = error;
DROP EXTENSION cdp CASCADE;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cdp%';
INSERT INTO crm.ticket VALUES (500);
REVOKE ALL ON SCHEMA crm FROM cdp_regress_live;
DROP OWNED BY cdp_regress_live;
DROP ROLE cdp_regress_live;
\c :main
DROP DATABASE cdp_regress_live_tables;
