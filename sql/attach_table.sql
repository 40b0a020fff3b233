-- attach_table.sql: a table that is there already becomes a source: each inserted row is a track message.
-- Everything happens in transactions that are rolled back, so that no worker takes the messages away.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cdp;
DROP ROLE IF EXISTS cdp_test_admin, cdp_test_writer;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE TEMP VIEW arrived AS
    SELECT i.message_id, i.type, i.source, i.user_id, i.anonymous_id, i.event, i.properties, i.context,
           CASE WHEN i.occurred_at = now() THEN 'now' ELSE i.occurred_at::text END AS occurred_at
    FROM cdp.inbox i WHERE i.inbox_xid = pg_current_xact_id() ORDER BY i.inbox_id;
GRANT SELECT ON arrived TO PUBLIC;

CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    order_id    int PRIMARY KEY,
    customer_id bigint,
    email       text,
    placed_at   timestamptz,
    total       numeric,
    coupon      text,
    details     jsonb
);
INSERT INTO shop.orders VALUES
    (3, 30, 'c@example.com', '2024-03-03 10:00+00', 3.00, NULL, NULL),
    (1, 10, 'a@example.com', '2024-03-01 10:00+00', 1.50, 'SPRING', '{"gift": true, "note": null}'),
    (2, 20, NULL, NULL, NULL, NULL, 'null');

-- The rows already there are sent in the order of the primary key, then each one that is inserted, by any statement.
BEGIN;
SELECT cdp.attach_table('shop.orders', 'Order Placed', '{"user_id": "customer_id", "email": "email"}', 'placed_at');
SELECT type, source, user_id, event, properties, context, occurred_at FROM arrived;
ROLLBACK;
BEGIN;
SELECT cdp.attach_table('shop.orders', 'Order Placed', '{"user_id": "customer_id", "email": "email"}', 'placed_at', backfill => false);
INSERT INTO shop.orders VALUES (4, 40, 'd@example.com', '2024-03-04 10:00+00', 4), (5, 50, NULL, '2024-03-05 10:00+00', 5);
INSERT INTO shop.orders SELECT n, n * 10 FROM generate_series(6, 7) n;
INSERT INTO shop.orders SELECT 8 WHERE false;
COPY shop.orders (order_id, customer_id, total) FROM stdin;
9	90	9
10	100	10
\.
INSERT INTO shop.orders VALUES (4, 41), (11, 110) ON CONFLICT (order_id) DO UPDATE SET customer_id = EXCLUDED.customer_id;
WITH copied AS (INSERT INTO shop.orders VALUES (12, 120) RETURNING order_id) SELECT * FROM copied;
SELECT user_id, properties, context, occurred_at FROM arrived;
-- whatever else is done to the table sends nothing
UPDATE shop.orders SET total = 0;
DELETE FROM shop.orders WHERE order_id > 5;
TRUNCATE shop.orders;
SELECT count(*) FROM arrived;
ROLLBACK;
BEGIN;
SELECT cdp.attach_table('shop.orders', 'Order Placed', '{"user_id": "customer_id"}', backfill => false);
INSERT INTO shop.orders SELECT n, n FROM generate_series(1001, 3000) n;
SELECT count(*), count(DISTINCT message_id) AS message_ids,
       bool_and(message_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') AS uuids,
       bool_and(user_id::int = 1000 + n) AS in_order
FROM (SELECT *, row_number() OVER () AS n FROM arrived) _;
ROLLBACK;

-- The properties are the columns named.
BEGIN;
SELECT cdp.attach_table('shop.orders', 'Order Placed', '{"anonymous_id": "order_id"}', properties => '{total, email, order_id}');
SELECT user_id, anonymous_id, properties, context, occurred_at FROM arrived;
ROLLBACK;
BEGIN;
SELECT cdp.attach_table('shop.orders', 'Order Placed', '{"user_id": "customer_id"}', properties => '{}');
SELECT user_id, properties FROM arrived;
ROLLBACK;

-- Values of every type arrive as JSON has them, identifiers as text, whatever the session's settings.
CREATE TYPE shop.size AS ENUM ('small', 'large');
CREATE TYPE shop.place AS (street text, nr int);
CREATE DOMAIN shop.amount AS numeric(10, 2) CHECK (VALUE >= 0);
CREATE TABLE shop.everything (
    "User ""Id""" uuid, card char(8), flag boolean, day date, moment timestamp, instant timestamptz, span interval,
    small smallint, real_nr float4, double_nr float8, nr numeric, amount shop.amount, size shop.size, place shop.place,
    list int[], texts text[], during daterange, doc json, bytes bytea, address inet, gone text, twice int GENERATED ALWAYS AS (small * 2) STORED
);
ALTER TABLE shop.everything DROP COLUMN gone;
ALTER TABLE shop.everything ADD COLUMN "weird \ name'" text DEFAULT 'x';
BEGIN;
SELECT cdp.attach_table('shop.everything', 'It''s a \ "thing"', '{"user_id": "User \"Id\"", "email": "card", "device_id": "flag", "phone": "day"}', 'instant', '{"weird \\ name''", card, flag, day, moment, instant, span, small, real_nr, double_nr, nr, amount, size, place, list, texts, during, doc, bytes, address, twice}');
SET LOCAL datestyle = 'SQL, DMY';
SET LOCAL bytea_output = 'escape';
SET LOCAL intervalstyle = 'sql_standard';
SET LOCAL extra_float_digits = 0;
SET LOCAL timezone = 'Asia/Tokyo';
INSERT INTO shop.everything VALUES
    ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'card', true, '2024-02-29', '2024-02-29 12:00', '2024-02-29 23:30+00', '1 day',
     7, 0.1, 'NaN', 'Infinity', 3.5, 'large', ('High St', NULL), '{1,NULL,2}', '{"a b"}', '[2024-02-01,2024-03-01)', '{"b": [1, null]}', '\x00ff', '10.0.0.1');
INSERT INTO shop.everything DEFAULT VALUES;
SET LOCAL datestyle = 'ISO, MDY';
SET LOCAL timezone = 'UTC';
\x
SELECT user_id, event, properties, context, occurred_at FROM arrived;
\x
ROLLBACK;

-- JSON that makes no jsonb does not stop the writer.
CREATE TABLE shop.feedback (who int, doc json);
BEGIN;
SELECT cdp.attach_table('shop.feedback', 'Feedback', '{"user_id": "who"}');
INSERT INTO shop.feedback VALUES (1, '{"a": "\u0000"}'), (2, '[1e1000000]'), (3, '{"a": "fine"}'), (4, '"scalar"');
SELECT user_id, properties FROM arrived;
ROLLBACK;

-- The time may be a date, a timestamp or a timestamptz; what none can say, and NULL, is now.
CREATE TABLE shop.visits (visitor text, day date, at timestamp);
BEGIN;
SELECT cdp.attach_table('shop.visits', 'Visit', '{"anonymous_id": "visitor"}', 'day');
INSERT INTO shop.visits VALUES ('v1', '2024-02-29'), ('v2', NULL), ('v3', '300000-01-01'), ('v4', 'infinity');
SELECT anonymous_id, properties, occurred_at FROM arrived;
ROLLBACK;

-- The table may change, as far as what was named is still there.
BEGIN;
SELECT cdp.attach_table('shop.visits', 'Visit', '{"anonymous_id": "visitor"}');
INSERT INTO shop.visits VALUES ('v1', '2024-02-29');
ALTER TABLE shop.visits ADD COLUMN page text DEFAULT '/';
ALTER TABLE shop.visits DROP COLUMN day;
ALTER TABLE shop.visits RENAME TO "Visits";
INSERT INTO shop."Visits" VALUES ('v2', NULL, '/home');
ALTER TABLE shop."Visits" ALTER COLUMN visitor TYPE int USING 1;
INSERT INTO shop."Visits" VALUES (3);
SELECT source, anonymous_id, properties FROM arrived;
ALTER TABLE shop."Visits" RENAME COLUMN visitor TO who;
INSERT INTO shop."Visits" VALUES (4);
ROLLBACK;

-- Columns change: other names are followed, as a view does; without those that are gone the shop sells on.
BEGIN;
ALTER TABLE shop.visits ADD COLUMN page text;
SELECT cdp.attach_table('shop.visits', 'Visit', '{"anonymous_id": "visitor", "user_id": "page"}', 'at', '{day}');
ALTER TABLE shop.visits RENAME COLUMN visitor TO who;
ALTER TABLE shop.visits RENAME COLUMN page TO visitor;
INSERT INTO shop.visits (who, visitor, day, at) VALUES ('w1', 'p1', '2024-02-29', '2024-03-01 00:00');
SELECT anonymous_id, user_id, properties, occurred_at FROM arrived;
SELECT ok, detail FROM cdp.check() WHERE check_name = 'attached_tables';
ALTER TABLE shop.visits DROP COLUMN visitor, DROP COLUMN at, DROP COLUMN day;
INSERT INTO shop.visits (who) VALUES ('w2');
INSERT INTO shop.visits (who) VALUES ('w3');
SELECT anonymous_id, user_id, properties, occurred_at > '2025' AS now FROM arrived WHERE anonymous_id > 'w1';
SELECT ok, detail FROM cdp.check() WHERE check_name = 'attached_tables';
ALTER TABLE shop.visits RENAME COLUMN who TO page;
INSERT INTO shop.visits VALUES ('w4');
SELECT anonymous_id, user_id FROM arrived WHERE anonymous_id = 'w4';
ALTER TABLE shop.visits DROP COLUMN page, ADD COLUMN note text;
INSERT INTO shop.visits VALUES ('nobody');
SELECT user_id, anonymous_id, properties, context FROM arrived WHERE anonymous_id IS NULL;
ROLLBACK;

-- Attached is attached until it is detached, and then it may be attached otherwise.
BEGIN;
SELECT cdp.attach_table('shop.visits', 'Visit', '{"anonymous_id": "visitor"}', 'at', '{day}');
SELECT * FROM cdp.attached_table;
ALTER TRIGGER cdp_send_inserted_rows ON shop.visits RENAME TO something_else;
SAVEPOINT s;
SELECT cdp.attach_table('shop.visits', 'Visit', '{"anonymous_id": "visitor"}');
ROLLBACK TO s;
SELECT cdp.detach_table('shop.visits');
SELECT cdp.detach_table('shop.visits');
INSERT INTO shop.visits VALUES ('v1');
SELECT cdp.attach_table('shop.visits', 'Visited', '{"user_id": "visitor"}');
INSERT INTO shop.visits VALUES ('v2');
SELECT event, user_id, anonymous_id FROM arrived;
-- and no longer than it is there
DROP TABLE shop.visits;
SELECT * FROM cdp.attached_table;
ROLLBACK;

-- Of a partitioned table, all that is inserted through it.
CREATE TABLE shop.clicks (id int, visitor text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE shop.clicks_b PARTITION OF shop.clicks FOR VALUES FROM (100) TO (200);
CREATE TABLE shop.clicks_a (visitor text, id int NOT NULL);
ALTER TABLE shop.clicks ATTACH PARTITION shop.clicks_a FOR VALUES FROM (0) TO (100);
BEGIN;
INSERT INTO shop.clicks VALUES (150, 'b'), (50, 'a');
SELECT cdp.attach_table('shop.clicks', 'Click', '{"anonymous_id": "visitor"}');
INSERT INTO shop.clicks VALUES (151, 'bb'), (51, 'aa');
SELECT source, anonymous_id, properties FROM arrived;
ROLLBACK;

-- A transaction with an old snapshot misses nothing.
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO shop.visits VALUES ('v1');
SELECT cdp.attach_table('shop.visits', 'Visit', '{"anonymous_id": "visitor"}');
INSERT INTO shop.visits VALUES ('v2');
SELECT anonymous_id FROM arrived;
ROLLBACK;

-- What cannot be, and what to do.
CREATE VIEW shop.order_view AS SELECT * FROM shop.orders;
CREATE FUNCTION pg_temp.refusal(call text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || call;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
\x
SELECT call, r.* FROM (VALUES
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": "nobody"}')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": "ctid"}')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": "customer_id"}', 'never')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": "customer_id"}', 'total')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": "customer_id"}', properties => '{total, price}')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": "customer_id"}', properties => '{total, NULL}')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": "customer_id", "cookie": "email"}')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{}')$$),
    ($$cdp.attach_table('shop.orders', 'e', NULL)$$),
    ($$cdp.attach_table('shop.orders', 'e', '["customer_id"]')$$),
    ($$cdp.attach_table('shop.orders', 'e', '{"user_id": 7}')$$),
    ($$cdp.attach_table('shop.orders', ' ', '{"user_id": "customer_id"}')$$),
    ($$cdp.attach_table('shop.orders', NULL, '{"user_id": "customer_id"}')$$),
    ($$cdp.attach_table('shop.orders', repeat('e', 501), '{"user_id": "customer_id"}')$$),
    ($$cdp.attach_table(NULL, 'e', '{"user_id": "customer_id"}')$$),
    ($$cdp.attach_table(1, 'e', '{"user_id": "customer_id"}')$$),
    ($$cdp.attach_table('shop.order_view', 'e', '{"user_id": "customer_id"}')$$),
    ($$cdp.attach_table('shop.orders_pkey', 'e', '{"user_id": "customer_id"}')$$),
    ($$cdp.attach_table('cdp.inbox', 'e', '{"user_id": "user_id"}')$$),
    ($$cdp.attach_table('pg_class', 'e', '{"user_id": "relname"}')$$)
) _ (call), pg_temp.refusal(call) r;
\x
CREATE TRIGGER by_hand BEFORE INSERT ON shop.visits FOR EACH ROW EXECUTE FUNCTION cdp.send_inserted_rows();
INSERT INTO shop.visits VALUES ('v1');
DROP TRIGGER by_hand ON shop.visits;
SELECT * FROM cdp.attached_table;

-- An administrator may attach tables of their own, and then anybody may write them who may write them.
CREATE ROLE cdp_test_admin IN ROLE cdp_admin;
CREATE ROLE cdp_test_writer;
GRANT USAGE, CREATE ON SCHEMA shop TO cdp_test_admin;
GRANT USAGE ON SCHEMA shop TO cdp_test_writer;
SET ROLE cdp_test_admin;
SELECT cdp.attach_table('shop.orders', 'e', '{"user_id": "customer_id"}');
SELECT cdp.detach_table('shop.orders');
CREATE TABLE shop.own (who text);
GRANT INSERT ON shop.own TO cdp_test_writer;
SET ROLE cdp_test_writer;
SELECT cdp.attach_table('shop.own', 'e', '{"user_id": "who"}');
BEGIN;
SET LOCAL ROLE cdp_test_admin;
SELECT cdp.attach_table('shop.own', 'e', '{"user_id": "who"}');
SET LOCAL ROLE cdp_test_writer;
INSERT INTO shop.own VALUES ('w1');
SELECT current_user;
SAVEPOINT s;
SELECT * FROM cdp.inbox;
ROLLBACK TO s;
RESET ROLE;
SELECT user_id FROM arrived;
-- what the columns' types do, they do as the table's owner
SET LOCAL ROLE cdp_test_admin;
CREATE TYPE shop.spy AS ENUM ('x');
CREATE FUNCTION shop.report(shop.spy) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RETURN to_json(current_user::text); END $$;
CREATE CAST (shop.spy AS json) WITH FUNCTION shop.report(shop.spy);
GRANT EXECUTE ON FUNCTION shop.report TO PUBLIC;
ALTER TABLE shop.own ADD COLUMN spy shop.spy;
SET LOCAL ROLE cdp_test_writer;
INSERT INTO shop.own VALUES ('w2', 'x');
RESET ROLE;
SELECT user_id, properties FROM arrived;
ROLLBACK;
RESET ROLE;
-- What has become of its columns is said once a session.
BEGIN;
CREATE TABLE shop.kept (id int PRIMARY KEY, who text NOT NULL DEFAULT 'w', gone text);
SELECT cdp.attach_table('shop.kept', 'Kept', '{"user_id": "who", "email": "gone"}');
ALTER TABLE shop.kept DROP COLUMN gone;
INSERT INTO shop.kept VALUES (1);
INSERT INTO shop.kept VALUES (2);
SELECT user_id, properties FROM arrived;
ROLLBACK;
SELECT cdp.flush(NULL);

SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;
DROP ROLE cdp_test_admin, cdp_test_writer;
