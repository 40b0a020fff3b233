-- sql/destination.sql: a destination's table is what its definition says of cdp.profile, and each change of it is the
-- smallest possible. Here people are put into the tables by hand; the pipeline's part is in test/t/040_subscriber.pl.
SELECT current_database() AS main \gset
SET client_min_messages = error;  -- wal_level may be too low for subscribers
CREATE DATABASE cdp_regress_destination;
\c cdp_regress_destination
SET client_min_messages = error;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
\set VERBOSITY default

ALTER TABLE cdp.profile ADD COLUMN city text, ADD COLUMN ltv numeric;
INSERT INTO cdp.trait (trait_id, name, kind, aggregate, type, owner)
    VALUES (1, 'city', 'declared', 'last', 'text', current_user), (2, 'ltv', 'computed', 'sum', 'numeric', current_user);
INSERT INTO cdp.profile (profile_id, first_seen_at, last_seen_at, event_count, traits, city, ltv)
    SELECT i, '2024-01-01', '2024-02-01', i, jsonb_build_object('name', 'person ' || i), 'Ulm', i * 10
    FROM generate_series(1, 6) i;
INSERT INTO cdp.identifier (identifier_id, type, value, profile_id, first_seen_at, last_seen_at) VALUES
    (1, 'email', 'one@x.org', 1, '2024-01-01', '2024-01-01'),
    (2, 'email', 'two-old@x.org', 2, '2024-01-01', '2024-01-01'),
    (3, 'email', 'two-new@x.org', 2, '2024-01-01', '2024-01-02'),
    (4, 'email', 'three-lower-id@x.org', 3, '2024-01-01', '2024-01-02'),
    (5, 'email', 'three-higher-id@x.org', 3, '2024-01-01', '2024-01-02'),
    (6, 'email', 'four@x.org', 4, '2024-01-01', '2024-01-01'),
    (7, 'user_id', 'u5', 5, '2024-01-01', '2024-01-01');
INSERT INTO cdp.segment (segment_id, name, definition, owner, filled_epoch)
    VALUES (1, 'rich', 'ltv >= 20', current_user, 1), (2, 'All of them', 'true', current_user, 1);
INSERT INTO cdp.segment_member SELECT profile_id, 1, now() FROM cdp.profile WHERE ltv >= 20;
INSERT INTO cdp.segment_member SELECT profile_id, 2, now() FROM cdp.profile;

-- Everybody, with everything that is told of them.
SELECT cdp.create_destination('everybody');
SELECT * FROM cdp_out.everybody ORDER BY 1;

-- The members of a segment by e-mail: who has none is left out, who has several has the one seen last.
SELECT cdp.create_destination('crm', 'rich', 'email', '{
    "name": "traits ->> ''name'' -- a comment may end it",
    "double": "(ltv * 2)::numeric(10,2)",
    "segments": "cdp.segment_names()",
    "in a list": "''rich'' = ANY (cdp.segment_names ( ))",
    "constant": "''EU''"}');
SELECT * FROM cdp_out.crm ORDER BY 1;
\d cdp_out.crm
SELECT pubname, schemaname, tablename FROM pg_publication_tables ORDER BY 1;
SELECT name, segment, key, purpose, table_name, reads, problem FROM cdp.destination ORDER BY destination_id;

-- The key alone, and a table elsewhere.
SELECT cdp.create_destination('Keys only', key => 'user_id', columns => '{}', table_name => 'public."For Them"');
TABLE public."For Them";

-- A merge (5 into 4), someone who leaves, someone who enters, someone who changes; a row of the table is lost.
CREATE TABLE public.written (op text, email text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.written VALUES (TG_OP, coalesce(NEW.email, OLD.email)); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON cdp_out.crm FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO cdp.identifier VALUES (8, 'email', 'five@x.org', 5, '2024-01-01', '2024-03-01');
SELECT * FROM cdp.destination_difference(true);
TABLE written; TRUNCATE written;
UPDATE cdp.identifier SET profile_id = 4 WHERE profile_id = 5;
DELETE FROM cdp.profile WHERE profile_id = 5;
DELETE FROM cdp.segment_member WHERE profile_id = 5 OR (profile_id = 3 AND segment_id = 1);
INSERT INTO cdp.segment_member VALUES (1, 1, now());
UPDATE cdp.profile SET ltv = 21 WHERE profile_id = 2;
UPDATE cdp.profile SET event_count = event_count + 1 WHERE profile_id = 1;
DELETE FROM cdp_out.everybody WHERE profile_id = 6;
SELECT * FROM cdp.destination_difference();
TABLE written;
SELECT * FROM cdp.destination_difference(true);
SELECT * FROM written ORDER BY op, email; TRUNCATE written;
SELECT * FROM cdp_out.crm ORDER BY 1;
SELECT * FROM cdp.destination_difference(true);
TABLE written;

-- Rows and members that are nobody's.
INSERT INTO cdp_out.crm (email) VALUES ('nobody@x.org');
INSERT INTO cdp_out.everybody (profile_id) VALUES (77);
INSERT INTO cdp.destination_member SELECT destination_id, 88, 'gone@x.org' FROM cdp.destination WHERE name = 'crm';
SELECT * FROM cdp.destination_difference(true);
SELECT * FROM cdp.destination_difference();

-- What changes a segment by itself brings along what depends on it.
UPDATE cdp.segment SET name = 'everyone' WHERE segment_id = 2;
SELECT cdp.refresh_destinations('everyone');
SELECT email, segments FROM cdp_out.crm ORDER BY 1;

-- Every type can be compared.
SELECT cdp.create_destination('types', columns => '{"j": "traits::json", "p": "point(1, 2)", "x": "xmlelement(name a)",
    "d": "''2024-01-01''::date", "v": "city::varchar(3)", "b": "ltv > 20", "n": "NULL", "when": "last_seen_at"}');
SELECT * FROM cdp_out.types WHERE profile_id = 1;
SELECT * FROM cdp.destination_difference();

-- What is no destination is refused, with the place.
SELECT cdp.create_destination('crm');
SELECT cdp.create_destination('');
SELECT cdp.create_destination(NULL);
SELECT cdp.create_destination(repeat('x', 60));
SELECT cdp.create_destination('new', segment => 'poor');
SELECT cdp.create_destination('new', key => 'passport');
SELECT cdp.create_destination('new', key => NULL);
SELECT cdp.create_destination('new', purpose => 'newsletter');
SELECT cdp.create_destination('new', columns => '["city"]');
SELECT cdp.create_destination('new', columns => '{"a": 1}');
SELECT cdp.create_destination('new', columns => '{"": "city"}');
SELECT cdp.create_destination('new', columns => '{"profile_id": "profile_id"}');
SELECT cdp.create_destination('new', columns => '{"xmin": "city"}');
SELECT cdp.create_destination('new', columns => '{"a": "lower(town)"}');
SELECT cdp.create_destination('new', columns => '{"a": "city || "}');
SELECT cdp.create_destination('new', columns => '{"a": "city, ltv"}');
SELECT cdp.create_destination('new', columns => '{"a": "city town"}');
SELECT cdp.create_destination('new', columns => '{"a": "ltv > 0 AND cdp.did(''Order'')"}');
SELECT cdp.create_destination('new', columns => '{"a": "cdp.times_did(''Order'', ''7 days'') BETWEEN 1 AND 3"}');
SELECT cdp.create_destination('new', columns => '{"a": "cdp.in_segment(''rich'')"}');
SELECT cdp.create_destination('new', columns => '{"a": "cdp.has_identifier(''email'')"}');
SELECT cdp.create_destination('new', columns => '{"a": "cdp.consented(NULL)"}');
SELECT cdp.create_destination('new', columns => '{"a": "CURRENT_DATE"}');
SELECT cdp.create_destination('new', columns => '{"a": "city) FROM cdp.profile; --"}');
SELECT cdp.create_destination('new', columns => '{"a": "ltv + city"}');
SELECT cdp.create_destination('new', columns => '{"a": "sum(ltv)"}');
SELECT cdp.create_destination('new', columns => '{"a": "row_number() OVER ()"}');
SELECT cdp.create_destination('new', columns => '{"a": "generate_series(1, 2)"}');
SELECT cdp.create_destination('new', columns => '{"a": "(SELECT 1)"}');
SELECT cdp.create_destination('new', columns => '{"a": "ltv * random()"}');
SELECT cdp.create_destination('new', columns => '{"a": "now() - last_seen_at"}');
SELECT cdp.create_destination('new', columns => '{"a": "ctid"}');
SELECT cdp.create_destination('new', columns => '{"a": "to_jsonb(profile)"}');
SELECT cdp.create_destination('new', columns => '{"a": "state"}');
SELECT cdp.create_destination('new', columns => '{"a": "ROW(city)"}');
SELECT cdp.create_destination('new', columns => '{"a": "city::int"}');
SELECT cdp.create_destination('new', table_name => 'nowhere.new');
SELECT cdp.create_destination('new', table_name => 'cdp.new');
SELECT cdp.create_destination('new', table_name => 'a.b.c');
SELECT cdp.create_destination('new', table_name => 'cdp_out.crm');
SELECT cdp.drop_destination('new');
SELECT cdp.segment_names();
SELECT count(*) FROM cdp.destination;

-- A column is computed with the rights of who made the destination.
CREATE ROLE cdp_regress_owner IN ROLE cdp_admin;
CREATE FUNCTION public.who(text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN current_user; END $$;
SET ROLE cdp_regress_owner;
SELECT cdp.create_destination('mine', table_name => 'public.mine');
SELECT cdp.create_destination('mine', columns => '{"who": "public.who(city)"}');
RESET ROLE;
SELECT DISTINCT who FROM cdp_out.mine;
SELECT tableowner = current_user AS owned_by_the_extensions_owner FROM pg_tables WHERE tablename = 'mine';

-- A destination that cannot be kept stands still and says why; put right, it goes on.
DROP FUNCTION public.who;
SET client_min_messages = warning;
SELECT * FROM cdp.destination_difference(true) WHERE differing IS DISTINCT FROM 0;
SET client_min_messages = error;
SELECT name, problem FROM cdp.destination WHERE problem IS NOT NULL;
CREATE FUNCTION public.who(text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN upper(current_user); END $$;
SELECT * FROM cdp.destination_difference(true) WHERE differing IS DISTINCT FROM 0;
SELECT name, problem FROM cdp.destination WHERE problem IS NOT NULL;

-- Dropping leaves nothing; so does dropping the extension with all that is its.
CREATE VIEW mine AS SELECT * FROM cdp_out.mine;
SELECT cdp.drop_destination('mine');
DROP VIEW mine;
SELECT cdp.drop_destination('mine');
SELECT cdp.drop_destination('crm');
SELECT to_regclass('cdp_out.crm'), (SELECT count(*) FROM pg_publication WHERE pubname = 'cdp_crm') AS publications,
    (SELECT count(*) FROM cdp.destination_member m WHERE m.destination_id NOT IN (SELECT destination_id FROM cdp.destination)) AS members;
\set VERBOSITY sqlstate
DROP EXTENSION cdp;
DROP EXTENSION cdp CASCADE;
SELECT count(*) FROM pg_publication;
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1;

\c :main
SET client_min_messages = error;
DROP DATABASE cdp_regress_destination;
DROP ROLE cdp_regress_owner;
