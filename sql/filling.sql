-- filling.sql: traits and segments are filled from what is there already, however the planner reads it.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_filling;
\c cdp_regress_filling
SET client_min_messages = warning;
CREATE EXTENSION cdp;

-- Each of twenty people did A as often as their number says, and the first is last in the table.
INSERT INTO cdp.inbox (type, event, user_id, traits)
SELECT 'track', 'A', 'user-' || i, NULL FROM generate_series(1, 20) i, generate_series(1, i)
UNION ALL SELECT 'identify', NULL, 'user-' || i, jsonb_build_object('number', i) FROM generate_series(1, 20) i;
SELECT cdp.process();
INSERT INTO cdp.inbox (type, event, user_id) VALUES ('track', 'B', 'user-1');
SELECT cdp.process();
ANALYZE cdp.profile;

SELECT cdp.create_trait('number', 'integer');
SELECT cdp.create_computed_trait('times_a', 'count', 'A');
SELECT cdp.create_segment('many', $$cdp.did('A', at_least => 11)$$);
SELECT count(*), count(*) FILTER (WHERE number = times_a AND number = (traits ->> 'number')::int) AS right FROM cdp.profile;

-- What was filled is gone on from.
INSERT INTO cdp.inbox (type, event, user_id) SELECT 'track', 'A', 'user-' || i FROM generate_series(1, 20) i;
SELECT cdp.process();
SELECT count(*) FILTER (WHERE times_a = number + 1) AS right,
    array_agg(number ORDER BY number) FILTER (WHERE EXISTS (SELECT FROM cdp_segment.many m WHERE m.profile_id = p.profile_id)) AS many FROM cdp.profile p;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

\c :main
DROP DATABASE cdp_regress_filling;
