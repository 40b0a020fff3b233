-- sql/segment.sql: traits and segments, live, altered, explained, and what is refused.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_segment;
\c cdp_regress_segment
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';

-- Traits are filled from history.
INSERT INTO cdp.inbox (message_id, type, user_id, event, properties, occurred_at) VALUES
    ('1', 'track', 'ann', 'Order', '{"total": 10.50, "sku": "x"}', '2024-01-01'),
    ('2', 'track', 'ann', 'Order', '{"total": 5, "sku": "y"}', '2024-01-03'),
    ('3', 'track', 'ann', 'Order', '{"total": "n/a", "sku": "y"}', '2024-01-02'),
    ('4', 'track', 'bob', 'View', '{}', '2024-01-01');
INSERT INTO cdp.inbox (message_id, type, source, user_id, traits, occurred_at) VALUES
    ('5', 'identify', 'crm', 'ann', '{"plan": "pro", "age": "41"}', '2024-01-05'),
    ('6', 'identify', 'web', 'ann', '{"plan": "free", "age": "old"}', '2024-01-06');
SELECT cdp.process();
SELECT cdp.create_computed_trait('orders', 'count', 'Order');
SELECT cdp.create_computed_trait('revenue', 'sum', 'Order', 'total');
SELECT cdp.create_computed_trait('mean', 'avg', 'Order', 'total');
SELECT cdp.create_computed_trait('last_sku', 'last', 'Order', 'sku');
SELECT cdp.create_computed_trait('skus', 'unique_list', 'Order', 'sku');
SELECT cdp.create_computed_trait('sku_count', 'distinct_count', 'Order', 'sku');
SELECT cdp.create_computed_trait('favourite', 'most_frequent', 'Order', 'sku');
SELECT cdp.create_computed_trait('large', 'count', 'Order', filter => $$jsonb_typeof(properties->'total') = 'number' AND (properties->>'total')::numeric > 7$$);
SELECT cdp.create_trait('plan', 'text');
SELECT cdp.create_trait('crm_plan', 'text', 'plan', 'source_priority', '{crm, web}');
SELECT cdp.create_trait('age', 'int');
SELECT profile_id, event_count, last_seen_at, orders, revenue, mean, last_sku, skus, sku_count, favourite, large, plan, crm_plan, age FROM cdp.profile ORDER BY 1;

-- A segment is filled, and live from then on; one may refer to another.
SELECT cdp.create_segment('buyers', 'orders >= 2 AND revenue > 10', 'bought twice');
SELECT cdp.create_segment('known_buyers', $$cdp.in_segment('buyers') AND cdp.has_identifier('email')$$);
SELECT cdp.identify('ann', '{"email": "ann@example.com"}', message_id => '7');
SELECT cdp.track('Order', 'bob', properties => '{"total": 20}', message_id => '8');
SELECT cdp.track('Order', 'bob', properties => '{"total": 20}', message_id => '9');
SELECT cdp.process();
SELECT s.name, m.profile_id FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) ORDER BY 1, 2;
SELECT s.name, t.profile_id, t.entered, t.cause, t.event_id FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) ORDER BY 1, 2, t.at;
SELECT profile_id, orders FROM cdp_segment.buyers ORDER BY 1;
SELECT * FROM cdp.explain_segment('known_buyers', cdp.resolve('user_id', 'bob'));
SELECT * FROM cdp.preview_segment('orders > 0 OR plan IS NULL');
SELECT * FROM cdp.alter_segment('buyers', 'orders >= 3');
SELECT name, size FROM cdp.segment ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- Written in other ways.
SELECT cdp.create_segment('by_name', $$cdp.has_identifier(type => 'email') AND cdp.in_segment(name => E'buyers')$$);
SELECT cdp.drop_segment('by_name');

-- The whole comes last, also where it is but the contrary of its only part.
SELECT cdp.create_segment('others', $$NOT cdp.in_segment('buyers')$$), cdp.create_segment('strangers', $$NOT (NOT NOT cdp.has_identifier('user_id'))$$),
    cdp.create_segment('quiet', $$(NOT cdp.did('Order')) IS TRUE$$);
SELECT s.name, e.condition, e.holds FROM cdp.segment s, cdp.explain_segment(s.name, cdp.resolve('user_id', 'bob')) WITH ORDINALITY e(condition, value, holds, place)
    WHERE s.name IN ('others', 'strangers', 'quiet') ORDER BY name, place;
SELECT cdp.drop_segment('others'), cdp.drop_segment('strangers'), cdp.drop_segment('quiet');

-- What is refused, and where it is wrong.
SELECT cdp.create_segment('bad', '*');
SELECT cdp.create_segment('bad', '');
SELECT cdp.create_segment('bad', 'plan = ''pro'' AND');
SELECT cdp.create_segment('bad', 'orders > 1 AND -- much');
SELECT cdp.create_segment('bad', '''x'' <> '''' big');
SELECT cdp.create_segment('bad', 'orders > 1 FROM cdp.profile');
SELECT cdp.create_segment('bad', 'DISTINCT orders > 1');
SELECT cdp.create_segment('bad', 'orders > 1, true');
SELECT cdp.create_segment('bad', 'orders > 1 AND cdp.has_identifier(''emial'')');
SELECT cdp.create_segment('bad', 'ltv > 100 and orders >= 2');
SELECT cdp.create_segment('bad', 'orders + 1');
SELECT cdp.create_segment('bad', 'revenue > random()');
SELECT cdp.create_segment('bad', 'orders > 1; DROP TABLE cdp.event');
SELECT cdp.create_segment('bad', 'nope(orders)');
SELECT cdp.create_segment('bad', 'last_seen_at = now()');
SELECT cdp.create_segment('bad', 'last_seen_at > clock_timestamp()');
SELECT cdp.create_segment('bad', $$last_seen_at > 'Today 12:00'$$);
SELECT cdp.create_segment('bad', $$orders > 0 OR first_seen_at > timestamptz 'now'$$);
SELECT cdp.create_segment('bad', 'EXISTS (SELECT FROM cdp.event)');
SELECT cdp.create_segment('bad', $$cdp.in_segment('nope')$$);
SELECT cdp.create_segment('buyers', 'true');
SELECT cdp.alter_segment('buyers', $$cdp.in_segment('known_buyers')$$);
SELECT cdp.drop_segment('buyers');
SELECT * FROM cdp.alter_segment('nope', 'true');
SELECT cdp.drop_segment('nope');
SELECT * FROM cdp.explain_segment('nope', 1);
SELECT cdp.drop_trait('orders');
SELECT cdp.create_trait('plan', 'text');
SELECT cdp.create_trait('where', 'point');
SELECT cdp.create_trait('x', 'text', survivorship => 'best');
SELECT cdp.create_trait('x', 'text', survivorship => 'source_priority');
SELECT cdp.create_trait('x', 'text', survivorship => 'source_priority', sources => '{}');
SELECT cdp.create_trait('x', 'text', survivorship => 'source_priority', sources => '{crm, NULL}');
SELECT cdp.create_computed_trait('x', 'median', 'Order', 'total');
SELECT cdp.create_computed_trait('x', 'sum', 'Order');
SELECT cdp.create_computed_trait('x', 'count', 'Order', filter => 'total > 7');
SELECT cdp.create_computed_trait('x', 'count', '');
SELECT cdp.create_segment('ratio', '10 / (event_count - event_count) > 0');
SELECT cdp.drop_trait('nope');
SELECT cdp.in_segment('buyers');

SELECT cdp.drop_segment('known_buyers');
SELECT cdp.drop_segment('buyers');
SELECT cdp.drop_trait('orders');
DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_segment;
