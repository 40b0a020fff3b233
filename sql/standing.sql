-- sql/standing.sql: a segment or a filter that fails stops nobody but itself, says why, and can be mended.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_standing;
\c cdp_regress_standing
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';

CREATE FUNCTION grade(amount numeric) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF amount > 1000 THEN RAISE EXCEPTION 'no grade for %', amount; END IF;
    RETURN amount::int / 10;
END $$;
SELECT cdp.create_computed_trait('revenue', 'sum', 'Order', 'total'), cdp.create_computed_trait('orders', 'count', 'Order'),
       cdp.create_computed_trait('large', 'count', 'Order', filter => $$(properties ->> 'total')::numeric >= 100$$);
SELECT cdp.create_segment('graded', 'public.grade(revenue) > 5'), cdp.create_segment('dear', '1000 / (orders - 3) > 400'),
       cdp.create_segment('buyers', 'orders > 0'), cdp.create_segment('nested', $$cdp.in_segment('graded') AND orders < 10$$);
CREATE VIEW members AS
    SELECT s.name, s.size, array_agg(i.value ORDER BY i.value) FILTER (WHERE i.value IS NOT NULL) AS members, s.problem
    FROM cdp.segment s LEFT JOIN cdp.segment_member m USING (segment_id) LEFT JOIN cdp.identifier i USING (profile_id)
    GROUP BY s.segment_id, s.name, s.size, s.problem ORDER BY s.name;
CREATE VIEW people AS
    SELECT i.value, p.orders, p.revenue, p.large FROM cdp.profile p JOIN cdp.identifier i USING (profile_id) ORDER BY 1;

INSERT INTO cdp.inbox (user_id, event, properties) VALUES
    ('ann', 'Order', '{"total": 120}'), ('ben', 'Order', '{"total": 20}');
SELECT cdp.process();
SELECT * FROM members;

-- Ann's revenue has no grade, and Carl's total is no number: all messages are applied, and whoever is not concerned
-- goes on. What failed keeps what it had.
INSERT INTO cdp.inbox (user_id, event, properties) VALUES
    ('ann', 'Order', '{"total": 1000}'), ('carl', 'Order', '{"total": "much"}'), ('ben', 'Order', '{"total": 300}'),
    ('dora', 'Visit', NULL);
SELECT cdp.process();
SELECT * FROM members;
SELECT * FROM people;
SELECT name, problem FROM cdp.trait WHERE problem IS NOT NULL;
SELECT reason FROM cdp.rejected_message;
SELECT ok, detail FROM cdp.check() WHERE check_name = 'segment_definitions';

-- Somebody with three orders: another one.
INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('ann', 'Order', '{"total": 1}');
SELECT cdp.process();
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL ORDER BY 1;
-- They are not asked again.
INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('ben', 'Order', '{"total": 100}');
SELECT cdp.process();
SELECT * FROM people;

-- A destination whose columns fail on somebody costs no message either.
SET client_min_messages = error;
SELECT cdp.create_destination('ratio', key => 'user_id', columns => '{"ratio": "12 / (4 - orders)"}');
INSERT INTO cdp.inbox (user_id, event) VALUES ('ben', 'Order'), ('carl', 'Order');
SELECT cdp.process();
SELECT name, problem FROM cdp.destination;
SELECT * FROM cdp_out.ratio ORDER BY 1;
SELECT count(*) FROM cdp.rejected_message;
SELECT cdp.drop_destination('ratio');
SET client_min_messages = warning;

-- What cannot be computed has no number of differences, and is kept.
SELECT * FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
SELECT * FROM cdp.rebuild(true) WHERE differing IS DISTINCT FROM 0;
SELECT * FROM members;
SELECT * FROM people;

-- A segment is mended by another definition, or by another function and a rebuild.
SELECT * FROM cdp.alter_segment('dear', 'orders > 1 AND 1000 / orders > 400');
CREATE OR REPLACE FUNCTION grade(amount numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT amount::int / 10';
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
SELECT table_name, differing FROM cdp.rebuild(true) WHERE differing IS DISTINCT FROM 0;
SELECT * FROM members;
SELECT entered, cause, count(*) FROM cdp.segment_transition t JOIN cdp.segment USING (segment_id) WHERE name = 'graded' GROUP BY 1, 2 ORDER BY 1, 2;

-- A trait too, once its filter holds for every event.
UPDATE cdp.event SET properties = '{"total": 150}' WHERE properties ->> 'total' = 'much';
SELECT count(*) FROM cdp.rebuild(true);
SELECT name, problem FROM cdp.trait WHERE problem IS NOT NULL;
SELECT * FROM people;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
SELECT ok FROM cdp.check() WHERE check_name = 'segment_definitions';

-- The role that a segment belongs to goes; a function; a right.
CREATE ROLE cdp_regress_lea;
GRANT cdp_marketer TO cdp_regress_lea;
SET ROLE cdp_regress_lea;
SELECT cdp.create_segment('of_lea', 'orders > 1');
RESET ROLE;
DROP ROLE cdp_regress_lea;
INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('carl', 'Order', '{"total": 7}');
SELECT cdp.process();
SELECT * FROM members WHERE name = 'of_lea';
SELECT * FROM cdp.explain_segment('of_lea', cdp.resolve('user_id', 'ann'));
SELECT cdp.drop_trait('orders');
SELECT cdp.process();
SELECT * FROM cdp.alter_segment('of_lea', 'orders > 1');
SELECT * FROM members WHERE name = 'of_lea';
SELECT cdp.drop_segment('of_lea');
DROP FUNCTION grade;
INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('ben', 'Visit', NULL), ('eve', 'Order', '{"total": 99}');
SELECT cdp.process();
SELECT * FROM members;
SELECT cdp.create_segment('more', 'orders > 2');
SELECT cdp.drop_segment('graded');
SELECT cdp.drop_segment('nested');
SELECT cdp.drop_segment('graded');
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;

-- What could not be read goes on by itself once it can be, with what depends on it: a role and a right, a function.
CREATE ROLE cdp_regress_lea;
GRANT cdp_marketer TO cdp_regress_lea;
CREATE FUNCTION cheap(properties jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT (properties ->> 'total')::numeric < 50$$;
SELECT cdp.create_computed_trait('cheap', 'count', 'Order', filter => 'public.cheap(properties)');
SET ROLE cdp_regress_lea;
SELECT cdp.create_segment('of_lea', 'cheap > 0');
RESET ROLE;
SELECT cdp.create_segment('not_of_lea', $$NOT cdp.in_segment('of_lea')$$), cdp.create_segment('frugal', 'cheap > 1');
SELECT cdp.create_destination('frugal', 'frugal', 'user_id', '{"cheap": "cheap"}');
REVOKE cdp_marketer FROM cdp_regress_lea;
DROP FUNCTION cheap;
INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('fay', 'Order', '{"total": 7}'), ('fay', 'Order', '{"total": 8}'), ('fay', 'Order', '{"total": 9}'), ('ann', 'Order', '{"total": 9}');
SELECT cdp.process();
SELECT name, unreadable, problem FROM cdp.trait WHERE problem IS NOT NULL UNION ALL SELECT name, unreadable, problem FROM cdp.segment WHERE problem IS NOT NULL ORDER BY 1;
SELECT * FROM members WHERE name IN ('of_lea', 'not_of_lea', 'frugal');
SELECT * FROM cdp_out.frugal ORDER BY 1;
SET client_min_messages = notice;
GRANT cdp_marketer TO cdp_regress_lea;
SELECT cdp.process();
-- With the old events counted otherwise: the function is another.
CREATE FUNCTION cheap(properties jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT (properties ->> 'total')::numeric BETWEEN 8 AND 50$$;
SELECT cdp.process();
SET client_min_messages = warning;
SELECT * FROM members WHERE name IN ('of_lea', 'not_of_lea', 'frugal');
SELECT * FROM cdp_out.frugal ORDER BY 1;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
-- One that fails on somebody as soon as it can be read waits for its author.
DROP FUNCTION cheap;
SELECT cdp.process();
INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('fay', 'Order', '{"total": 0}');
SELECT cdp.process();
CREATE FUNCTION cheap(properties jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT 1 / (properties ->> 'total')::numeric > 0.02$$;
SELECT cdp.process();
SELECT name, unreadable, problem FROM cdp.trait WHERE problem IS NOT NULL;
SELECT cdp.drop_destination('frugal'), cdp.drop_segment('frugal'), cdp.drop_segment('not_of_lea'), cdp.drop_segment('of_lea'), cdp.drop_trait('cheap');
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
DROP ROLE cdp_regress_lea;

-- So does what a segment asks of people's events, and the segment with it.
CREATE OR REPLACE FUNCTION cheap(properties jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT (properties ->> 'total')::numeric < 50$$;
SELECT cdp.create_segment('thrifty', $$cdp.did('Order', at_least => 2, filter => 'public.cheap(properties)')$$);
DROP FUNCTION cheap;
INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('gil', 'Order', '{"total": 7}'), ('gil', 'Order', '{"total": 8}'), ('fay', 'Order', '{"total": 9}');
SELECT cdp.process();
SELECT unreadable, problem FROM cdp.activity;
SELECT * FROM members WHERE name = 'thrifty';
CREATE FUNCTION cheap(properties jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT (properties ->> 'total')::numeric BETWEEN 1 AND 8$$;
SELECT cdp.process();
SELECT problem FROM cdp.activity;
SELECT * FROM members WHERE name = 'thrifty';
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
SELECT cdp.drop_segment('thrifty');

-- A part that the whole does not come to may fail.
SELECT cdp.create_segment('guarded', 'orders = 0 OR 12 / orders > 3');
SELECT * FROM cdp.explain_segment('guarded', (SELECT profile_id FROM cdp.profile WHERE orders = 0));

-- To make something that fails at once is refused.
SELECT cdp.create_segment('bad', '1 / orders > 0');
SELECT cdp.create_computed_trait('bad', 'count', filter => '1 / (event_id - event_id) > 0');
SELECT count(*) FROM cdp.segment WHERE name = 'bad';

DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_standing;
