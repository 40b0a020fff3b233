-- clock.sql: windows slide, and memberships begin and end, by the clock alone.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_clock;
\c cdp_regress_clock
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET cdp.mock_time = '2024-05-10 12:00:30+00';

CREATE VIEW members AS
    SELECT name, size, (SELECT array_agg(i.value ORDER BY i.value) FROM cdp.segment_member m JOIN cdp.identifier i USING (profile_id)
                        WHERE m.segment_id = s.segment_id AND i.type = 'user_id') AS members
    FROM cdp.segment s ORDER BY name;
-- A window's edge moves in steps of a minute up to a day, of an hour beyond; within that it is exact.
SELECT cdp.create_computed_trait('orders_hour', 'count', 'Order', "window" => '1 hour');
SELECT cdp.create_computed_trait('orders_week', 'count', 'Order', "window" => '7 days');
SELECT cdp.create_computed_trait('spent_week', 'sum', 'Order', 'total', "window" => '7 days');
SELECT cdp.create_computed_trait('spent', 'sum', 'Order', 'total');
CREATE VIEW people AS
    SELECT i.value AS person, p.* FROM cdp.profile p JOIN cdp.identifier i USING (profile_id) WHERE i.type = 'user_id' ORDER BY 1;
INSERT INTO cdp.inbox (message_id, user_id, event, properties, occurred_at, received_at) VALUES
    ('1', 'ann', 'Order', '{"total": 10, "sku": "x"}', '2024-05-10 11:00:00+00', '2024-05-10 12:00+00'),
    ('2', 'ann', 'Order', '{"total": 5.5, "sku": "y"}', '2024-05-10 11:00:01+00', '2024-05-10 12:00+00'),
    ('3', 'ann', 'Order', '{"total": 7, "sku": "x"}', '2024-05-03 12:30:00+00', '2024-05-10 12:00+00'),
    ('4', 'bob', 'Order', '{"total": 1, "sku": "x"}', '2024-05-03 12:00:00+00', '2024-05-10 12:00+00'),
    ('5', 'bob', 'View', '{"sku": "x"}', '2024-05-03 11:00:00+00', '2024-05-10 12:00+00');
SELECT cdp.process();
SELECT person, orders_hour, orders_week, spent_week, spent FROM people;
SET cdp.mock_time = '2024-05-10 12:01:00+00';
SELECT cdp.process();
SELECT person, orders_hour, orders_week, spent_week, spent FROM people;
SET cdp.mock_time = '2024-05-10 13:00:00+00';
SELECT cdp.flush();
SELECT person, orders_hour, orders_week, spent_week, spent FROM people;
-- A late event lands in the windows that it still belongs to.
INSERT INTO cdp.inbox (message_id, user_id, event, properties, occurred_at, received_at) VALUES
    ('6', 'bob', 'Order', '{"total": 2}', '2024-05-03 13:30:00+00', '2024-05-10 13:00+00');
SELECT cdp.process();
SELECT person, orders_hour, orders_week, spent_week, spent FROM people;
-- Two people who become one, and are taken apart again.
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'ann'), cdp.resolve('user_id', 'bob'), 'test') IS NOT NULL AS merged;
SELECT DISTINCT orders_week, spent_week, spent FROM people;
SELECT cdp.split_identifier('user_id', 'bob', 'test') IS NOT NULL AS split;
SELECT person, orders_week, spent_week, spent FROM people;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing <> 0;

-- What people did, and when that was.
SELECT cdp.create_segment('ordered', $$cdp.did('Order')$$);
SELECT cdp.create_segment('ordered_twice_this_week', $$cdp.did('Order', '7 days', 2)$$);
SELECT cdp.create_segment('ordered_once_of_x', $$cdp.did('Order', at_most => 1, filter => 'properties ->> ''sku'' = ''x''')$$);
SELECT cdp.create_segment('never_viewed', $$NOT cdp.did('View')$$);
SELECT cdp.create_segment('viewed_never', $$cdp.did('View', at_least => 0, at_most => 0)$$);
SELECT cdp.create_segment('lapsed', $$cdp.last_did('Order') < now() - interval '2 days'$$);
SELECT cdp.create_segment('fresh', $$cdp.first_did('Order') > now() - interval '7 days 1 hour'$$);
SELECT cdp.create_segment('two_days', $$cdp.days_did('Order', within => '30 days') = 2$$);
SELECT cdp.create_segment('spree', $$cdp.times_did('Order', '7 days') * 10 > 15 AND spent > 3$$);
SELECT cdp.create_segment('viewed_then_ordered', $$cdp.did_sequence(ARRAY['View', 'Order'], '2 hours', same => 'sku')$$);
SELECT cdp.create_segment('quiet', $$last_seen_at < now() - interval '1 day' AND NOT cdp.in_segment('lapsed')$$);
SELECT * FROM members;
-- Equal questions are kept once.
SELECT measure, events, within, filter, same, filled, problem FROM cdp.activity ORDER BY trait_id;
SET cdp.mock_time = '2024-05-11 11:00:01.000002+00';
SELECT cdp.process();
SELECT * FROM members;
SET cdp.mock_time = '2024-06-20 00:00:00+00';
SELECT cdp.process();
SELECT * FROM members;
-- What the clock did is on record, with the instant that had come.
SELECT s.name, i.value AS person, entered, due_at FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id)
    JOIN cdp.identifier i USING (profile_id) WHERE cause = 'clock' AND i.type = 'user_id' ORDER BY due_at, name, person;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing <> 0;
SELECT count(*) FROM cdp.timer;

-- Why.
SELECT * FROM cdp.explain_segment('ordered_twice_this_week', cdp.resolve('user_id', 'ann'));
SELECT condition, regexp_replace(value, 'event \d+', 'event #', 'g') AS value, holds FROM cdp.explain_segment('spree', cdp.resolve('user_id', 'ann'));
SELECT condition, regexp_replace(value, 'event \d+', 'event #', 'g') AS value, holds FROM cdp.explain_segment('viewed_then_ordered', cdp.resolve('user_id', 'bob'));
SELECT condition, regexp_replace(value, 'event \d+', 'event #', 'g') AS value, holds FROM cdp.explain_segment('fresh', cdp.resolve('user_id', 'ann'));

-- To try one makes nothing.
SELECT size, array_length(sample, 1) FROM cdp.preview_segment($$cdp.did('View', filter => 'properties ? ''sku''') AND cdp.times_did('Order') > 1$$);
SELECT size FROM cdp.preview_segment($$(SELECT count(*) FROM generate_series(1, 3)) = 3 AND last_seen_at < now()$$);
SELECT count(*) FROM cdp.activity WHERE filter LIKE '%? ''sku''%';

-- What is asked for by nobody is not kept.
SELECT cdp.drop_segment('two_days');
SELECT * FROM cdp.alter_segment('lapsed', $$cdp.last_did('View') < now() - interval '2 days'$$);
SELECT measure, events, within FROM cdp.activity ORDER BY trait_id;

-- Over one's own tables, computed afresh from time to time.
CREATE TABLE public.ticket (customer text, status text);
INSERT INTO public.ticket VALUES ('ann', 'open'), ('bob', 'closed');
SELECT cdp.create_segment('complaining', $$EXISTS (SELECT FROM public.ticket t WHERE t.status = 'open')$$);
SELECT cdp.create_segment('complaining', $$EXISTS (SELECT FROM public.ticket t JOIN cdp.identifier i ON i.value = t.customer
    WHERE i.profile_id = profile.profile_id AND t.status = 'open')$$, refresh => '1 hour');
SELECT cdp.create_segment('happy', $$NOT cdp.in_segment('complaining')$$);
UPDATE public.ticket SET status = 'open';
SELECT cdp.process();
SELECT * FROM members WHERE name IN ('complaining', 'happy');
SET cdp.mock_time = '2024-06-20 01:00:00+00';
SELECT cdp.process();
SELECT * FROM members WHERE name IN ('complaining', 'happy');
SELECT s.name, cause, entered, count(*) FROM cdp.segment_transition JOIN cdp.segment s USING (segment_id) WHERE cause IN ('refresh') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT condition, value, holds FROM cdp.explain_segment('complaining', cdp.resolve('user_id', 'ann'));
-- A table that is gone stops nobody else; when it is back, it goes on.
ALTER TABLE public.ticket RENAME TO ticket_gone;
SET cdp.mock_time = '2024-06-20 02:00:00+00';
SET client_min_messages = error;
SELECT cdp.process();
SET client_min_messages = warning;
SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL;
ALTER TABLE public.ticket_gone RENAME TO ticket;
SET cdp.mock_time = '2024-06-20 03:00:00+00';
SELECT cdp.process();
SELECT name, size, problem FROM cdp.segment WHERE name = 'complaining';

-- A month before March 28th, 29th, 30th and 31st is February 28th: what has left by the evening counts again from midnight.
SELECT cdp.create_computed_trait('clicks_month', 'count', 'Clicked', "window" => '1 month');
SELECT cdp.create_segment('clicked_this_month', $$cdp.did('Clicked', '1 month')$$);
SET cdp.mock_time = '2025-02-28 20:00+00';
SELECT cdp.track('Clicked', 'leap', occurred_at => '2025-02-28 12:30+00', message_id => 'clicked');
SELECT cdp.process();
SET cdp.mock_time = '2025-03-29 12:59:59+00';
SELECT cdp.process();
SELECT clicks_month FROM cdp.profile WHERE profile_id = cdp.resolve('user_id', 'leap');
SET cdp.mock_time = '2025-03-29 13:00+00';
SELECT cdp.process();
SELECT clicks_month FROM cdp.profile WHERE profile_id = cdp.resolve('user_id', 'leap');
SELECT table_name, differing FROM cdp.rebuild() WHERE differing <> 0;
SELECT * FROM cdp.explain_segment('clicked_this_month', cdp.resolve('user_id', 'leap'));
SET cdp.mock_time = '2025-04-30+00';
SELECT cdp.process();
SELECT entered, cause, due_at FROM cdp.segment_transition JOIN cdp.segment USING (segment_id)
    WHERE name = 'clicked_this_month' ORDER BY due_at NULLS FIRST;

-- What makes no sense is refused, where it stands.
SELECT cdp.create_computed_trait('bad', 'count', "window" => '-1 day');
SELECT cdp.create_segment('bad', $$cdp.did('')$$);
SELECT cdp.create_segment('bad', $$cdp.did(NULL)$$);
SELECT cdp.create_segment('bad', $$cdp.did('Order', within => '0')$$);
SELECT cdp.create_segment('bad', $$cdp.did('Order', at_least => 3, at_most => 2)$$);
SELECT cdp.create_segment('bad', $$spent > 0 AND cdp.did('Order', at_least => -1)$$);
SELECT cdp.create_segment('bad', $$cdp.did_sequence('{}')$$);
SELECT cdp.create_segment('bad', $$true AND cdp.did_sequence(ARRAY['View', NULL], '1 day')$$);
SELECT cdp.create_segment('bad', $$cdp.did(plan)$$);
SELECT cdp.create_segment('bad', $$cdp.did('Order', filter => 'nope = 1')$$);
SELECT cdp.create_segment('bad', $$cdp.did('Order', filter => 'occurred_at > now()')$$);
SELECT cdp.create_segment('bad', 'true', refresh => '0.1 second');
SELECT cdp.did('Order');

\c :main
DROP DATABASE cdp_regress_clock;
