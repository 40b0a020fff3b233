-- between.sql: left of BETWEEN and IN, too, the clock and what people did may stand.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_between;
\c cdp_regress_between
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET cdp.mock_time = '2024-05-10 12:00:00+00';
INSERT INTO cdp.inbox (user_id, event, occurred_at, received_at) VALUES
    ('ann', 'Order', '2024-05-10 09:00+00', '2024-05-10 12:00+00'), ('ann', 'Order', '2024-05-10 11:30+00', '2024-05-10 12:00+00'),
    ('bob', 'View', '2024-05-09 20:00+00', '2024-05-10 12:00+00'), ('bob', 'Order', '2024-05-10 09:30+00', '2024-05-10 12:00+00'),
    ('bob', 'View', '2024-05-10 10:30+00', '2024-05-10 12:00+00'),
    ('cid', 'View', '2024-05-08 12:00+00', '2024-05-10 12:00+00');
SELECT cdp.process();
SELECT name, cdp.create_segment(name, definition) FROM (VALUES
    ('a few orders', $$cdp.times_did('Order') BETWEEN 2 AND 3$$),
    ('either way', $$cdp.times_did('Order')::numeric BETWEEN SYMMETRIC 3 AND event_count - cdp.times_did('View')$$),
    ('not all', $$cdp.times_did('Order') NOT IN (event_count, 0)$$),
    ('ordered between', $$cdp.last_did('Order') NOT IN (first_seen_at, last_seen_at)$$),
    ('by day', $$extract(hour FROM now()) BETWEEN 9 AND 17$$),
    ('fresh', $$now() BETWEEN first_seen_at AND last_seen_at + interval '1 day'$$),
    ('hours ago', $$now() - last_seen_at BETWEEN interval '1 hour' AND interval '3 hours'$$),
    ('today', $$CURRENT_DATE BETWEEN first_seen_at::date AND last_seen_at::date$$),
    ('first or last day', $$CURRENT_DATE IN (first_seen_at::date + 1, last_seen_at::date)$$),
    ('both', $$cdp.in_segment('today') IN (cdp.in_segment('fresh'), event_count > 0)$$)) s(name, definition);
SELECT cdp.create_destination('crm', columns => '{"few": "array_length(cdp.segment_names(), 1) BETWEEN 1 AND 7"}');
SELECT size, array_length(sample, 1) FROM cdp.preview_segment($$now() - cdp.last_did('Order') BETWEEN interval '1 hour' AND interval '3 hours'$$);

CREATE VIEW members AS
    SELECT i.value AS person, array_agg(s.name ORDER BY s.name) AS segments, few FROM cdp.identifier i
    LEFT JOIN cdp.segment_member m USING (profile_id) LEFT JOIN cdp.segment s USING (segment_id) JOIN cdp_out.crm USING (profile_id) GROUP BY 1, few ORDER BY 1;
-- Whose membership is not what plain SQL over the events says.
CREATE VIEW mistaken AS
    WITH person AS (
        SELECT p.profile_id, event_count, first_seen_at, last_seen_at, current_setting('cdp.mock_time')::timestamptz AS clock, e.* FROM cdp.profile p,
        LATERAL (SELECT count(*) FILTER (WHERE event = 'Order') AS orders, count(*) FILTER (WHERE event = 'View') AS views, max(occurred_at) FILTER (WHERE event = 'Order') AS ordered
                 FROM cdp.profile_event e WHERE e.profile_id = p.profile_id) e),
    said AS (
        SELECT profile_id, s.* FROM person, LATERAL (VALUES
            ('a few orders', orders >= 2 AND orders <= 3),
            ('either way', orders >= least(3, event_count - views) AND orders <= greatest(3, event_count - views)),
            ('not all', orders <> event_count AND orders <> 0),
            ('ordered between', ordered <> first_seen_at AND ordered <> last_seen_at),
            ('by day', extract(hour FROM clock) >= 9 AND extract(hour FROM clock) <= 17),
            ('fresh', clock >= first_seen_at AND clock <= last_seen_at + interval '1 day'),
            ('hours ago', clock - last_seen_at >= interval '1 hour' AND clock - last_seen_at <= interval '3 hours'),
            ('today', clock::date >= first_seen_at::date AND clock::date <= last_seen_at::date),
            ('first or last day', clock::date = first_seen_at::date + 1 OR clock::date = last_seen_at::date),
            ('both', (clock::date >= first_seen_at::date AND clock::date <= last_seen_at::date) = (clock >= first_seen_at AND clock <= last_seen_at + interval '1 day')
                OR (clock::date >= first_seen_at::date AND clock::date <= last_seen_at::date))) s(name, member))
    SELECT name, profile_id FROM said JOIN cdp.segment USING (name)
    WHERE coalesce(member, false) <> EXISTS (SELECT FROM cdp.segment_member m WHERE m.profile_id = said.profile_id AND m.segment_id = segment.segment_id);
TABLE members;
TABLE mistaken;

-- Messages change it,
INSERT INTO cdp.inbox (user_id, event, occurred_at, received_at) VALUES
    ('ann', 'Order', '2024-05-10 11:40+00', '2024-05-10 12:00+00'), ('ann', 'Order', '2024-05-10 11:50+00', '2024-05-10 12:00+00'),
    ('bob', 'Order', '2024-05-10 11:00+00', '2024-05-10 12:00+00'), ('dan', 'Order', '2024-05-10 10:00+00', '2024-05-10 12:00+00');
SELECT cdp.process();
TABLE members;
TABLE mistaken;
-- and so does the clock, at the very instant.
SET cdp.mock_time = '2024-05-10 12:49:59.999999+00';
SELECT cdp.process();
TABLE mistaken;
SET cdp.mock_time = '2024-05-10 12:50:00+00';
SELECT cdp.process();
TABLE mistaken;
SET cdp.mock_time = '2024-05-10 13:00:00.000001+00';
SELECT cdp.process();
TABLE mistaken;
SET cdp.mock_time = '2024-05-10 17:59:59.999999+00';
SELECT cdp.process();
TABLE mistaken;
SET cdp.mock_time = '2024-05-10 18:00:00+00';
SELECT cdp.process();
TABLE mistaken;
SET cdp.mock_time = '2024-05-11 00:00:00+00';
SELECT cdp.process();
TABLE mistaken;
SET cdp.mock_time = '2024-05-11 11:50:00.000001+00';
SELECT cdp.process();
TABLE mistaken;
TABLE members;
SELECT s.name, i.value AS person, entered, due_at FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id)
    JOIN cdp.identifier i USING (profile_id) WHERE cause = 'clock' ORDER BY due_at, name, person;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing <> 0;

\c :main
DROP DATABASE cdp_regress_between;
