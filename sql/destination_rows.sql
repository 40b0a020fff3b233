-- destination_rows.sql: the rows of destinations are what cdp.profile has, whoever made that, also of people who are in memory; and what
-- becomes of a table that its owner changes.
SELECT current_database() AS main \gset
SET client_min_messages = error;  -- wal_level may be too low for subscribers
CREATE DATABASE cdp_regress_destination_rows;
\c cdp_regress_destination_rows
SET client_min_messages = error;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SELECT cdp.create_trait('city', 'text'), cdp.create_segment('everybody', 'true');

-- People who are new, with one batch: of several addresses the one seen last, what was said before they were anybody, and who is suppressed.
SELECT cdp.create_purpose('letter'), cdp.create_purpose('service', mode => 'opt_out');
SELECT count(cdp.set_consent('email', who || '@x.org', 'letter', true)) FROM unnest('{ann,ben,cleo,old}'::text[]) who;
SELECT cdp.set_consent('email', 'dora@x.org', 'service', false), cdp.suppress('email', 'ben@x.org', 'bounced');
SELECT cdp.create_destination('letter', 'everybody', 'email', '{"city": "city", "in": "cdp.segment_names()", "service": "cdp.consented(''service'')"}', purpose => 'letter'),
       cdp.create_destination('service', key => 'profile_id', columns => '{"city": "upper(city)", "letter": "cdp.consented(''letter'')"}', purpose => 'service'),
       cdp.create_destination('keys', key => 'email', columns => '{}');
INSERT INTO cdp.inbox (type, user_id, traits, occurred_at) VALUES
    ('identify', 'ann', '{"email": "ann@x.org", "city": "Ulm"}', '2024-01-01'), ('identify', 'ben', '{"email": "ben@x.org", "city": "Bonn"}', '2024-01-01'),
    ('identify', 'cleo', '{"email": "new@x.org"}', '2024-01-03'), ('identify', 'cleo', '{"email": "old@x.org"}', '2024-01-02'),
    ('identify', 'dora', '{"email": "dora@x.org", "city": "Kiel"}', '2024-01-01'), ('track', 'emil', NULL, '2024-01-01');
SELECT cdp.process();
TABLE cdp_out.letter ORDER BY 1;
SELECT i.value, d.* FROM cdp_out.service d JOIN cdp.identifier i USING (profile_id) WHERE type = 'user_id' ORDER BY 1;
TABLE cdp_out.keys ORDER BY 1;
SELECT * FROM cdp.destination_difference();
-- Known ones: another address, another city, a refusal.
INSERT INTO cdp.inbox (type, user_id, traits, context, occurred_at) VALUES
    ('identify', 'cleo', '{"email": "old@x.org"}', NULL, '2024-01-04'), ('identify', 'ann', '{"city": "Bern"}', NULL, '2024-01-05'),
    ('track', 'ann', NULL, '{"consent": {"categoryPreferences": {"service": false}}}', '2024-01-06');
SELECT cdp.process();
TABLE cdp_out.letter ORDER BY 1;
SELECT i.value, d.* FROM cdp_out.service d JOIN cdp.identifier i USING (profile_id) WHERE type = 'user_id' ORDER BY 1;
TABLE cdp_out.keys ORDER BY 1;
SELECT * FROM cdp.destination_difference();
SELECT cdp.drop_destination(name) FROM cdp.destination;

-- Columns of one's own, filled by nobody but the table itself; and a trigger that changes what is written.
ALTER TABLE cdp.profile ADD COLUMN branch text DEFAULT 'north', ADD COLUMN shout text GENERATED ALWAYS AS (upper(city)) STORED;
SELECT cdp.create_destination('own', key => 'user_id', columns => '{"branch": "branch", "shout": "shout", "city": "city"}');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'fay', '{"city": "Rome"}'), ('identify', 'ann', '{"city": "Oslo"}');
SELECT cdp.process();
TABLE cdp_out.own ORDER BY 1;
SELECT cdp.create_destination('plain', key => 'user_id', columns => '{"city": "city"}');
CREATE FUNCTION in_brackets() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.city := '[' || NEW.city || ']'; RETURN NEW; END $$;
CREATE TRIGGER in_brackets BEFORE INSERT OR UPDATE ON cdp.profile FOR EACH ROW EXECUTE FUNCTION in_brackets();
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'gil', '{"city": "Lyon"}'), ('identify', 'fay', '{"city": "Bari"}');
SELECT cdp.process();
SELECT user_id, o.city, shout, p.city AS plain FROM cdp_out.own o JOIN cdp_out.plain p USING (user_id) WHERE user_id IN ('fay', 'gil') ORDER BY 1;
SELECT * FROM cdp.destination_difference();
DROP TRIGGER in_brackets ON cdp.profile;
SELECT cdp.create_destination('system', columns => '{"place": "ctid"}');

-- What the users' own columns become is seen with the person's next message, whatever that changes.
UPDATE cdp.profile SET branch = 'south' WHERE profile_id = cdp.resolve('user_id', 'gil');
INSERT INTO cdp.inbox (user_id, event) VALUES ('gil', 'Visit');
SELECT cdp.process();
SELECT * FROM cdp_out.own WHERE user_id = 'gil';
SELECT * FROM cdp.destination_difference() WHERE table_name = 'cdp_out.own';

-- Rows that the destination's owner may not see are not sent, and who is hidden leaves.
CREATE ROLE cdp_regress_owner IN ROLE cdp_admin;
GRANT USAGE ON SCHEMA cdp TO cdp_regress_owner;
GRANT SELECT ON cdp.profile TO cdp_regress_owner;
SET ROLE cdp_regress_owner;
SELECT cdp.create_destination('seen', key => 'user_id', columns => '{"city": "city"}'), cdp.create_destination('seen_keys', columns => '{}');
RESET ROLE;
CREATE POLICY no_paris ON cdp.profile FOR SELECT TO cdp_regress_owner USING (city IS DISTINCT FROM 'Paris');
ALTER TABLE cdp.profile ENABLE ROW LEVEL SECURITY;
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'hal', '{"city": "Paris"}'), ('identify', 'ida', '{"city": "Nice"}');
SELECT cdp.process();
SELECT * FROM cdp_out.seen WHERE user_id IN ('hal', 'ida') ORDER BY 1;
SELECT i.value FROM cdp_out.seen_keys JOIN cdp.identifier i USING (profile_id) WHERE type = 'user_id' AND value IN ('hal', 'ida');
SELECT * FROM cdp.destination_difference() WHERE table_name LIKE 'cdp_out.seen%';
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'hal', '{"city": "Nice"}'), ('identify', 'ida', '{"city": "Paris"}');
SELECT cdp.process();
SELECT * FROM cdp_out.seen WHERE user_id IN ('hal', 'ida') ORDER BY 1;
SELECT i.value FROM cdp_out.seen_keys JOIN cdp.identifier i USING (profile_id) WHERE type = 'user_id' AND value IN ('hal', 'ida');
SELECT m.key FROM cdp.destination_member m JOIN cdp.destination d USING (destination_id) WHERE d.name = 'seen' AND m.key IN ('hal', 'ida');
SELECT * FROM cdp.destination_difference() WHERE table_name LIKE 'cdp_out.seen%';
ALTER TABLE cdp.profile DISABLE ROW LEVEL SECURITY;
REVOKE SELECT ON cdp.profile FROM cdp_regress_owner;
REVOKE cdp_admin FROM cdp_regress_owner;
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ida', '{"city": "Metz"}');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination WHERE problem IS NOT NULL;
SELECT cdp.drop_destination('seen'), cdp.drop_destination('seen_keys'), cdp.drop_destination('own');

-- A table that its owner changes: a narrower type, one that values do not fit, a key of another type, a column that is gone.
ALTER TABLE cdp_out.plain ALTER COLUMN city TYPE varchar(3) USING left(city, 3);
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ida', '{"city": "Lille"}'), ('identify', 'jon', '{"city": "Turin"}');
SELECT cdp.process();
SELECT * FROM cdp_out.plain WHERE user_id IN ('ida', 'jon') ORDER BY 1;
ALTER TABLE cdp_out.plain ALTER COLUMN city TYPE integer USING 0;
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ida', '{"city": "75"}'), ('identify', 'jon', '{"city": "69"}');
SELECT cdp.process();
SELECT * FROM cdp_out.plain WHERE user_id IN ('ida', 'jon') ORDER BY 1;
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ida', '{"city": "Lille"}');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination;
ALTER TABLE cdp_out.plain ALTER COLUMN city TYPE text;
SELECT count(*) FROM cdp.rebuild(true);
SELECT name, problem FROM cdp.destination;
ALTER TABLE cdp_out.plain ALTER COLUMN user_id TYPE varchar(20);
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ida', '{"city": "Brest"}');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination;
ALTER TABLE cdp_out.plain ALTER COLUMN user_id TYPE text;
SELECT count(*) FROM cdp.rebuild(true);
ALTER TABLE cdp_out.plain DROP COLUMN city;
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ida', '{"city": "Lens"}');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination;
ALTER TABLE cdp_out.plain ADD COLUMN city text;
SELECT count(*) FROM cdp.rebuild(true);
SELECT * FROM cdp_out.plain WHERE user_id IN ('ida', 'jon') ORDER BY 1;

-- A row in the way of somebody new, and an index of the owner's that two people do not fit.
INSERT INTO cdp_out.plain VALUES ('kim', 'by hand');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'kim', '{"city": "Gent"}');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination;
SELECT * FROM cdp_out.plain WHERE user_id = 'kim';
CREATE UNIQUE INDEX one_a_city ON cdp_out.plain (city);
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'leo', '{"city": "Gent"}');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination;
DROP INDEX cdp_out.one_a_city;
SELECT count(*) FROM cdp.rebuild(true);
SELECT * FROM cdp_out.plain WHERE city = 'Gent' ORDER BY 1;
SELECT * FROM cdp.destination_difference();

-- Rows of a table that inherits are not ours; composite values are the same, compressed or not; a view is no table.
CREATE TABLE heir () INHERITS (cdp_out.plain);
INSERT INTO heir VALUES ('mia', 'by hand');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'mia', '{"city": "Graz"}');
SELECT cdp.process();
SELECT tableoid::regclass, user_id, city FROM cdp_out.plain WHERE user_id IN ('ida', 'mia') ORDER BY 1, 2;
DROP TABLE heir;
CREATE TYPE two AS (a text, b text);
SELECT cdp.create_destination('composite', key => 'user_id', columns => '{"pair": "ROW(city, ''x'')::public.two"}');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ned', jsonb_build_object('city', repeat('z', 3000)));
SELECT cdp.process();
SELECT * FROM cdp.destination_difference();
ALTER TABLE cdp_out.plain RENAME TO was_plain;
CREATE VIEW cdp_out.plain AS TABLE cdp_out.was_plain;
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'mia', '{"city": "Linz"}');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination WHERE name = 'plain';
DROP VIEW cdp_out.plain;

DROP EXTENSION cdp CASCADE;
DROP OWNED BY cdp_regress_owner;
\c :main
DROP DATABASE cdp_regress_destination_rows;
DROP ROLE cdp_regress_owner;
