-- causes.sql: a transition names the message that caused it, however many messages of its person are in one batch.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_causes;
\c cdp_regress_causes
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SET cdp.mock_time = '2024-05-10 12:00:00+00';
SELECT cdp.create_trait('plan', 'text'), cdp.create_computed_trait('orders', 'count', 'Order'), cdp.create_computed_trait('revenue', 'sum', 'Order', 'total'),
       cdp.create_computed_trait('dear', 'count', 'Order', filter => $$(properties ->> 'total')::numeric >= 50$$),
       cdp.create_computed_trait('today', 'count', 'Order', "window" => '3 hours');
SELECT cdp.create_segment(name, definition) FROM (VALUES
    ('two orders', 'orders >= 2'), ('in between', 'orders BETWEEN 2 AND 4'), ('rich', 'revenue > 150'), ('odd', 'orders % 2 = 1'), ('dear', 'dear >= 2'),
    ('pro', $$plan = 'pro'$$), ('not pro', $$plan IS DISTINCT FROM 'pro'$$), ('by json', $$traits ->> 'city' = 'Bonn'$$), ('busy today', 'today >= 2'),
    ('reachable', $$cdp.has_identifier('email')$$), ('seen late', $$last_seen_at >= '2024-05-10 11:00+00'$$),
    ('viewed', $$cdp.did('View', at_least => 2)$$), ('viewed dear', $$cdp.did('View', filter => '(properties ->> ''total'')::numeric > 60')$$),
    ('few views', $$cdp.times_did('View', interval '2 hours') BETWEEN 1 AND 2$$), ('funnel', $$cdp.did_sequence(ARRAY['View', 'Order', 'View'], interval '90 minutes')$$),
    ('nested', $$cdp.in_segment('two orders') AND NOT cdp.in_segment('rich')$$), ('deep', $$cdp.in_segment('nested') AND cdp.in_segment('reachable')$$),
    ('fresh', $$now() - last_seen_at < interval '30 minutes'$$), ('somebody', 'event_count < 1000')) s(name, definition);
SELECT cdp.create_segment('careful', '12 / (orders - 1) > 5');

-- The third order is the second that counts.
INSERT INTO cdp.inbox (user_id, event, properties, occurred_at) VALUES
    ('ann', 'Visit', NULL, '2024-05-10 09:00+00'), ('ann', 'Order', '{"total": 20}', '2024-05-10 09:10+00'),
    ('ann', 'Visit', NULL, '2024-05-10 09:20+00'), ('ann', 'Order', '{"total": 140}', '2024-05-10 09:30+00'), ('ann', 'Visit', NULL, '2024-05-10 09:40+00');
SELECT cdp.process();
SELECT s.name, t.entered, t.cause, e.event, e.occurred_at FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) LEFT JOIN cdp.event e USING (event_id) ORDER BY 1;

-- Where the condition fails on the way it is the last one.
SELECT cdp.drop_segment('careful');

-- A visitor who signs in within a batch: what they had become by themselves, and what they became by that.
INSERT INTO cdp.inbox (anonymous_id, user_id, event, properties, occurred_at) VALUES
    ('a1', NULL, 'Order', '{"total": 1}', '2024-05-10 09:00+00'), (NULL, 'bob', 'Order', '{"total": 2}', '2024-05-10 09:10+00'),
    ('a1', NULL, 'View', NULL, '2024-05-10 09:20+00'), ('a1', 'bob', 'Visit', NULL, '2024-05-10 09:30+00'), ('a1', NULL, 'Order', '{"total": 3}', '2024-05-10 09:40+00');
SELECT cdp.process();
SELECT s.name, t.entered, t.cause, e.event, e.occurred_at FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) JOIN cdp.event e USING (event_id)
WHERE profile_id = cdp.resolve('user_id', 'bob') ORDER BY 1;

-- Where consent that has changed or a list decides, too, it is the last one.
SELECT cdp.create_purpose('news');
SELECT name, cdp.create_segment(name, definition) FROM (VALUES ('mail', $$cdp.consented('news')$$), ('mail or new', $$cdp.consented('news') OR orders = 0$$),
    ('nested mail', $$cdp.in_segment('mail') OR orders = 0$$)) s(name, definition);
SELECT cdp.import_segment('list', 'email', '{eve@x.org}');
SELECT cdp.create_segment('listed', $$cdp.in_segment('list') AND orders > 1$$);
INSERT INTO cdp.inbox (user_id, event, context, occurred_at) VALUES ('eve', 'Visit', '{"consent": {"categoryPreferences": {"news": true}}}', '2024-05-10 09:00+00');
SELECT cdp.process();
INSERT INTO cdp.inbox (message_id, type, user_id, event, context, traits, occurred_at) VALUES
    ('m1', 'track', 'eve', 'Order', NULL, NULL, '2024-05-10 10:00+00'), ('m2', 'track', 'eve', 'Order', NULL, NULL, '2024-05-10 10:01+00'),
    ('m3', 'track', 'eve', 'Visit', '{"consent": {"categoryPreferences": {"news": false}}}', NULL, '2024-05-10 10:02+00'),
    ('m4', 'identify', 'eve', NULL, NULL, '{"email": "eve@x.org"}', '2024-05-10 10:03+00'), ('m5', 'track', 'eve', 'Visit', NULL, NULL, '2024-05-10 10:04+00');
SELECT cdp.process();
SELECT s.name, t.entered, t.cause, e.message_id FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) JOIN cdp.event e USING (event_id)
WHERE e.message_id ~ '^m[1-5]$' AND s.name ~ 'mail|list|orders' ORDER BY 1;
SELECT cdp.drop_segment(name) FROM (VALUES ('nested mail'), ('mail or new'), ('mail'), ('listed'), ('list')) s(name);

-- What the clock had due comes before messages that came later, and a destination gets what is left of all of it.
SELECT cdp.create_segment('lately', $$cdp.did('Call', within => '1 hour')$$);
SELECT cdp.create_destination('lately', 'lately', columns => '{}');
INSERT INTO cdp.inbox (user_id, event, occurred_at) VALUES ('fay', 'Call', '2024-05-10 12:00+00'), ('gus', 'Call', '2024-05-10 12:00+00');
SELECT cdp.process();
CREATE TABLE kept AS SELECT xmin::text AS version FROM cdp_out.lately WHERE profile_id = cdp.resolve('user_id', 'fay');
SET cdp.mock_time = '2024-05-10 15:00:00+00';
INSERT INTO cdp.inbox (user_id, event, occurred_at) VALUES ('fay', 'Call', '2024-05-10 14:50+00');
SELECT cdp.process();
SELECT i.value, t.entered, t.cause, e.occurred_at, t.due_at FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) JOIN cdp.identifier i USING (profile_id) LEFT JOIN cdp.event e USING (event_id)
WHERE s.name = 'lately' ORDER BY 1, coalesce(t.due_at, e.occurred_at);
SELECT i.value, d.xmin::text = kept.version AS untouched FROM cdp_out.lately d JOIN cdp.identifier i USING (profile_id), kept;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
SELECT cdp.drop_destination('lately'), cdp.drop_segment('lately');
SET cdp.mock_time = '2024-05-10 12:00:00+00';

-- Whatever comes: in one batch as one message at a time, where of the changes those count that are left at the end.
CREATE TABLE round (number int, first_event bigint);
CREATE TABLE moved (round int, profile_id bigint, segment_id bigint, entered boolean, cause text, event_id bigint);
CREATE PROCEDURE play(seed float8, batch bigint) LANGUAGE plpgsql AS $$
DECLARE number int := (SELECT count(*) FROM round); first_event bigint := (SELECT max(event_id) + 1 FROM cdp.event);
BEGIN
    PERFORM setseed(seed);
    INSERT INTO cdp.inbox (anonymous_id, user_id, type, event, traits, properties, occurred_at)
    SELECT CASE WHEN who < 0.6 OR who > 0.8 THEN 'a' || floor(a * 40) END, CASE WHEN who >= 0.6 THEN 'u' || floor(a * 40 + b * 0.6) END,
        CASE WHEN what < 0.25 THEN 'identify' ELSE 'track' END, CASE WHEN what < 0.25 THEN NULL WHEN what < 0.6 THEN 'Order' ELSE 'View' END,
        CASE WHEN what < 0.25 THEN jsonb_strip_nulls(jsonb_build_object('plan', (ARRAY['pro', 'free'])[1 + floor(b * 2)::int],
            'city', (ARRAY['Bonn', 'Rome'])[1 + floor(c * 2)::int], 'email', CASE WHEN c < 0.5 THEN 'm' || floor(a * 40) || '@x.org' END)) END,
        CASE WHEN what >= 0.25 THEN jsonb_build_object('total', floor(c * 100)) END,
        timestamptz '2024-05-10 08:00+00' + floor(d * 235) * interval '1 minute'
    FROM (SELECT random() AS who, random() AS what, random() AS a, random() AS b, random() AS c, random() AS d FROM generate_series(1, 150)) m;
    INSERT INTO round VALUES (number, first_event);
    COMMIT;
    WHILE cdp.process(batch) > 0 LOOP END LOOP;
    INSERT INTO moved SELECT number, profile_id, segment_id, (array_agg(entered ORDER BY event_id))[count(*)], (array_agg(cause ORDER BY event_id))[count(*)], max(event_id)
    FROM cdp.segment_transition t WHERE event_id >= first_event AND profile_id IN (SELECT profile_id FROM cdp.profile)
    GROUP BY profile_id, segment_id HAVING count(*) % 2 = 1;
END $$;
\c :main
CREATE DATABASE cdp_regress_causes_one TEMPLATE cdp_regress_causes;
\c cdp_regress_causes_one
SET client_min_messages = warning;
SET cdp.mock_time = '2024-05-10 12:00:00+00';
DO $$ BEGIN FOR i IN 1..8 LOOP CALL play(i / 10.0, 1); END LOOP; END $$;
SELECT string_agg(m::text, ';' ORDER BY m) AS one_by_one FROM moved m \gset
\c cdp_regress_causes
SET client_min_messages = warning;
SET cdp.mock_time = '2024-05-10 12:00:00+00';
DO $$ BEGIN FOR i IN 1..8 LOOP CALL play(i / 10.0, NULL); END LOOP; END $$;
CREATE TABLE expected AS SELECT (m::moved).* FROM unnest(string_to_array(:'one_by_one', ';')) m;
SELECT count(*) > 500 AS many, count(DISTINCT segment_id) AS segments, array_agg(DISTINCT cause ORDER BY cause) AS causes FROM moved;
(TABLE moved EXCEPT TABLE expected) UNION ALL (TABLE expected EXCEPT TABLE moved) ORDER BY 1, 2, 3;

DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_causes;
DROP DATABASE cdp_regress_causes_one;
