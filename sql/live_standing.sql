-- live_standing.sql: a live segment misses nothing of what happens while its table has another name or shape, or its triggers are disabled.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_live_standing;
\c cdp_regress_live_standing
SET client_min_messages = error;
CREATE EXTENSION cdp;
CREATE SCHEMA crm;
CREATE TABLE crm.t (id int PRIMARY KEY, email text, status text);
CREATE TABLE crm.other (email text);
INSERT INTO crm.t SELECT i, 'e' || i || '@x.org', CASE i WHEN 1 THEN 'open' ELSE 'closed' END FROM generate_series(1, 5) i;
SELECT count(cdp.identify('e' || i, jsonb_build_object('email', 'e' || i || '@x.org'))) FROM generate_series(1, 4) i;
SELECT cdp.process();
SELECT cdp.create_segment('open_case', $$EXISTS (SELECT FROM crm.t JOIN cdp.identifier i ON i.type = 'email' AND i.value = t.email
    WHERE i.profile_id = profile.profile_id AND t.status = 'open')$$);
CREATE VIEW standing AS SELECT name, size, problem FROM cdp.segment ORDER BY 1;

-- A column.
ALTER TABLE crm.t RENAME COLUMN status TO st;
UPDATE crm.t SET st = 'open' WHERE id = 2;
SELECT cdp.process();
TABLE standing;
ALTER TABLE crm.t RENAME COLUMN st TO status;
SELECT cdp.process();
TABLE standing;
-- Without any change meanwhile, too, it says so.
ALTER TABLE crm.t RENAME COLUMN status TO st;
SELECT cdp.process();
TABLE standing;
ALTER TABLE crm.t RENAME COLUMN st TO status;
SELECT cdp.process();
TABLE standing;

-- The table, beside another segment that is live, and whose changes concern nobody.
SELECT cdp.create_segment('other', $$EXISTS (SELECT FROM crm.other o JOIN cdp.identifier i ON i.type = 'email' AND i.value = o.email WHERE i.profile_id = profile.profile_id)$$);
ALTER TABLE crm.t RENAME TO t2;
UPDATE crm.t2 SET status = 'open' WHERE id = 5;
INSERT INTO crm.other VALUES ('nobody@x.org');
SELECT cdp.process();
TABLE standing;
UPDATE crm.t2 SET status = 'open' WHERE id = 3;
ALTER TABLE crm.t2 RENAME TO t;
SELECT cdp.process();
TABLE standing;

-- Its triggers; as they were, or only by ENABLE TRIGGER ALL.
ALTER TABLE crm.t DISABLE TRIGGER ALL;
UPDATE crm.t SET status = 'open' WHERE id = 4;
SELECT cdp.process();
TABLE standing;
ALTER TABLE crm.t ENABLE TRIGGER ALL;
SELECT cdp.process();
TABLE standing;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'crm.t'::regclass ORDER BY 1;
ALTER TABLE crm.t DISABLE TRIGGER cdp_follow_updated;
UPDATE crm.t SET status = 'closed' WHERE id = 4;
SELECT cdp.process();
ALTER TABLE crm.t ENABLE ALWAYS TRIGGER cdp_follow_updated;
SELECT cdp.process();
TABLE standing;

-- Before anybody has looked.
ALTER TABLE crm.t DISABLE TRIGGER ALL;
UPDATE crm.t SET status = 'closed' WHERE id = 3;
ALTER TABLE crm.t ENABLE TRIGGER ALL;
SELECT cdp.process();
TABLE standing;
ALTER TABLE crm.t RENAME TO t2;
ALTER TABLE crm.t2 RENAME COLUMN status TO st;
UPDATE crm.t2 SET st = 'closed' WHERE id = 2;
ALTER TABLE crm.t2 RENAME COLUMN st TO status;
ALTER TABLE crm.t2 RENAME TO t;
SELECT cdp.process();
TABLE standing;
-- Whatever it is called.
ALTER TRIGGER cdp_follow_deleted ON crm.t RENAME TO "x; SELECT 1";
ALTER TABLE crm.t ENABLE TRIGGER ALL;
SELECT cdp.process();
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'crm.t'::regclass ORDER BY 1;
ALTER TRIGGER "x; SELECT 1" ON crm.t RENAME TO cdp_follow_deleted;
-- One that somebody disables stays so.
ALTER TABLE crm.t DISABLE TRIGGER cdp_follow_truncated;
SELECT cdp.process();
SELECT cdp.process();
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'crm.t'::regclass AND tgname ~ 'cdp_follow_truncated';
TABLE standing;
SELECT * FROM cdp.alter_segment('open_case', (SELECT definition FROM cdp.segment WHERE name = 'open_case'));
TABLE standing;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing <> 0;

\c :main
DROP DATABASE cdp_regress_live_standing;
