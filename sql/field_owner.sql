-- sql/field_owner.sql: whoever owns a field wins, whoever spoke last; the loser's value is kept, and holds where the
-- owner said nothing. Rows of attached tables may be traits, and rows that change become messages.
SELECT current_database() AS main \gset
SET client_min_messages = error;
CREATE DATABASE cdp_regress_field_owner;
\c cdp_regress_field_owner
SET client_min_messages = error;  -- wal_level may be too low for subscribers
CREATE EXTENSION cdp;
SET timezone = 'UTC';
\set VERBOSITY default

-- A table of contacts: its rows, and those that change, are identify messages.
CREATE TABLE contact (email text PRIMARY KEY, city text, phone text, changed_at timestamptz);
INSERT INTO contact VALUES ('ann@x.org', 'Bonn', NULL, '2024-01-01');
SELECT cdp.attach_table('contact', 'Contact', '{"email": "email"}', type => 'identify');
SELECT cdp.attach_table('contact', NULL, '{"email": "email"}', type => 'alias');
SELECT cdp.attach_table('contact', NULL, '{"email": "email"}');
SELECT cdp.attach_table('contact', NULL, '{"email": "email"}', 'changed_at', '{city}', type => 'identify', updates => true);
SELECT event, type, updates FROM cdp.attached_table;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'contact'::regclass ORDER BY 1;
INSERT INTO contact VALUES ('bob@x.org', 'Kiel', NULL, '2024-01-02'), ('cid@x.org', NULL, NULL, '2024-01-02');
UPDATE contact SET city = 'Köln', changed_at = '2024-01-03' WHERE email = 'bob@x.org';
UPDATE contact SET city = city, phone = CASE email WHEN 'ann@x.org' THEN '1' END;
INSERT INTO contact VALUES ('bob@x.org', 'Jena', NULL, '2024-01-04'), ('dan@x.org', 'Gera', NULL, '2024-01-04')
    ON CONFLICT (email) DO UPDATE SET city = EXCLUDED.city, changed_at = EXCLUDED.changed_at;
DELETE FROM contact WHERE email = 'dan@x.org';
SELECT type, source, context -> 'externalIds' -> 0 ->> 'id' AS email, traits, occurred_at FROM cdp.inbox ORDER BY inbox_id;
-- Rows for which triggers are switched off send nothing.
SET session_replication_role = replica;
INSERT INTO contact VALUES ('eve@x.org', 'Jena', NULL, '2024-01-04');
RESET session_replication_role;
SELECT count(*) FROM cdp.inbox;

SELECT cdp.create_trait('city', 'text');
SELECT cdp.create_segment('in Jena', $$city = 'Jena'$$);
SELECT cdp.create_destination('crm', key => 'email', columns => '{"city": "city"}');
SELECT cdp.identify(p.u, jsonb_build_object('email', p.u || '@x.org', 'city', p.city), occurred_at => '2024-02-01', message_id => p.u)
FROM (VALUES ('ann', 'Ulm'), ('bob', 'Ulm'), ('cid', 'Ulm')) p (u, city);
SELECT cdp.process();

CREATE VIEW cities AS SELECT email, city, EXISTS (SELECT FROM cdp_segment."in Jena" s JOIN cdp.identifier i USING (profile_id) WHERE i.value = d.email) AS in_jena FROM cdp_out.crm d ORDER BY email;
SELECT * FROM cities;
SELECT cdp.set_field_owner('city', 'crm', 'public.contact');
SELECT * FROM cities;
SELECT * FROM cdp.explain_field('user_id', 'bob', 'city');
SELECT cdp.identify('bob', '{"city": "Trier"}', message_id => 'later');
SELECT cdp.identify('cid', '{"city": "Trier"}', message_id => 'later too');
SELECT cdp.process();
SELECT * FROM cities;
SELECT cdp.set_field_owner('city', 'cdp', 'public.contact');
SELECT * FROM cities;
UPDATE contact SET city = 'Jena', changed_at = now();
SELECT cdp.process();
SELECT * FROM cities;
SELECT name, aggregate, sources FROM cdp.trait;
SELECT source, said, wins FROM cdp.explain_field('email', 'cid@x.org', 'city');
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT cdp.set_field_owner('city', NULL);
SELECT * FROM cities;
SELECT name, aggregate, sources FROM cdp.trait;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

-- Mistakes
SELECT cdp.set_field_owner('town', 'crm');
SELECT cdp.set_field_owner('city', 'me');
SELECT cdp.set_field_owner('city', 'crm', '*');
SELECT * FROM cdp.explain_field('email', 'cid@x.org', 'town');
SELECT cdp.detach_table('contact');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'contact'::regclass;

\c :main
DROP DATABASE cdp_regress_field_owner;
