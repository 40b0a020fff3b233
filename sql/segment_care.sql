-- sql/segment_care.sql: trying a segment out, how segments overlap, how they went and how fresh they are.
SELECT current_database() AS main \gset
SET client_min_messages = error;
DROP DATABASE IF EXISTS cdp_regress_segment_care WITH (FORCE);
CREATE DATABASE cdp_regress_segment_care;
\c cdp_regress_segment_care
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SELECT cdp.stop_worker() IS NOT NULL AS no_worker;

INSERT INTO cdp.inbox (user_id, traits, type) SELECT 'u' || i, jsonb_build_object('plan', (ARRAY['free', 'pro', 'team'])[i % 3 + 1], 'age', i % 80), 'identify'
FROM generate_series(1, 60) i;
SELECT cdp.process();
SELECT cdp.create_trait('plan', 'text'), cdp.create_trait('age', 'int');

-- What nobody can ever meet is warned of, wherever it is said.
SELECT cdp.create_segment('never', $$plan = 'free' AND age > 3 AND plan = 'pro'$$);
SELECT * FROM cdp.alter_segment('never', 'age > 5 AND age < 3');
SELECT * FROM cdp.preview_segment('age BETWEEN 10 AND 5');
SELECT * FROM cdp.preview_segment($$plan = NULL$$);
SELECT * FROM cdp.preview_segment($$plan IS NULL AND plan <> 'pro'$$);
SELECT * FROM cdp.preview_segment($$age IN (1, 2) AND age = 3$$);
SELECT * FROM cdp.preview_segment($$NOT (age < 10 OR age >= 10) AND age IS NOT NULL$$);
SELECT * FROM cdp.preview_segment($$cdp.in_segment('never') AND NOT cdp.in_segment('never')$$);
SELECT * FROM cdp.preview_segment($$(age > 5 AND age < 3) OR (plan = 'a' AND plan = 'b')$$);
SELECT * FROM cdp.preview_segment($$first_seen_at > now() AND first_seen_at < now()$$);
SELECT * FROM cdp.preview_segment('false');
-- But not of what may be met.
SELECT size FROM cdp.preview_segment($$(age > 5 AND age < 3) OR plan = 'pro'$$);
SELECT size FROM cdp.preview_segment($$plan = 'free' AND upper(plan) = 'FREE'$$);
SELECT size FROM cdp.preview_segment($$age > 3 AND age < 5$$);
SELECT size FROM cdp.preview_segment($$cdp.did('Login') AND NOT cdp.did('Logout')$$);

-- Whatever happens to functions and tables meanwhile (here by a trigger; autovacuum does as well), a segment finds what it asks for.
CREATE FUNCTION public.meanwhile() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    EXECUTE 'CREATE OR REPLACE FUNCTION public.touched() RETURNS int LANGUAGE sql AS $$SELECT ' || floor(random() * 1e9) || '$$';
    RETURN NULL;
END $f$;
CREATE TRIGGER meanwhile AFTER INSERT OR UPDATE ON cdp.segment FOR EACH ROW EXECUTE FUNCTION public.meanwhile();
SELECT cdp.create_segment('viewers', $$cdp.days_did('View', within => '40 days') >= 2$$);
SELECT * FROM cdp.alter_segment('viewers', $$cdp.days_did('View', within => '30 days') >= 2$$);
SELECT cdp.drop_segment('viewers');
DROP TRIGGER meanwhile ON cdp.segment;

-- How two segments overlap.
SELECT cdp.create_segment('pros', $$plan = 'pro'$$), cdp.create_segment('young', 'age < 30'), cdp.create_segment('empty', 'age > 1000');
SELECT in_a, in_b, in_both, only_a, only_b, round(similarity::numeric, 3) AS similarity FROM cdp.segment_overlap('pros', 'young');
SELECT * FROM cdp.segment_overlap('pros', 'pros');
SELECT * FROM cdp.segment_overlap('empty', 'never');
SELECT cdp.segment_overlap('pros', 'nope');

-- How they went. Days are those of the session's TimeZone.
UPDATE cdp.segment_transition SET at = '2024-03-01 23:30+00';
SELECT * FROM cdp.segment_day WHERE segment IN ('pros', 'young') ORDER BY segment, day;
INSERT INTO cdp.inbox (user_id, traits, type) SELECT 'u' || i, '{"age": 70, "plan": "pro"}', 'identify' FROM generate_series(1, 10) i;
SELECT cdp.process();
UPDATE cdp.segment_transition SET at = '2024-03-02 01:00+00' WHERE at > '2024-03-02';
INSERT INTO cdp.inbox (user_id, traits, type) SELECT 'u' || i, '{"age": 20}', 'identify' FROM generate_series(1, 3) i;
SELECT cdp.process();
SELECT segment, CASE WHEN day = current_date THEN 'today' ELSE day::text END AS day, entered, left_, size FROM cdp.segment_day WHERE segment IN ('pros', 'young') ORDER BY segment, cdp.segment_day.day;
SET timezone = 'Asia/Kolkata';
SELECT segment, day, entered, left_, size FROM cdp.segment_day WHERE segment = 'young' AND day < '2024-04-01' ORDER BY 1, 2;
SET timezone = 'UTC';
-- Sizes are those that plain SQL over all transitions gives; and hold where old ones are gone.
SELECT count(*) AS wrong FROM cdp.segment_day d JOIN cdp.segment s ON s.name = d.segment
WHERE d.size <> (SELECT count(*) FILTER (WHERE entered) - count(*) FILTER (WHERE NOT entered) FROM cdp.segment_transition t
                 WHERE t.segment_id = s.segment_id AND t.at::date <= d.day);
DELETE FROM cdp.segment_transition WHERE at < '2024-03-02';
SELECT segment, day, entered, left_, size FROM cdp.segment_day WHERE segment = 'young' AND day < '2024-04-01' ORDER BY 1, 2;

-- How fresh they are: of changes by messages, not of what was filled at once.
SELECT segment, changes, p50 BETWEEN '0' AND '1 min' AS p50, p99 BETWEEN p50 AND '1 min' AS p99, upper(measured_over) - lower(measured_over) < '1 min' AS lately
FROM cdp.segment_freshness ORDER BY 1;
SELECT count(*) AS wrong FROM cdp.segment_transition t WHERE (cause = 'event') <> (received_at IS NOT NULL AND written_at IS NOT NULL) OR received_at > written_at;
SELECT * FROM cdp.alter_segment('young', 'age < 40');
SELECT segment, changes, measured_over FROM cdp.segment_freshness WHERE segment = 'young';

-- Estimated: not further off than it says, and the same each time.
SELECT cdp.drop_segment('young'), cdp.drop_segment('pros'), cdp.drop_segment('empty'), cdp.drop_segment('never');
INSERT INTO cdp.profile (profile_id, plan, age, event_count) SELECT i, (ARRAY['free', 'pro', 'team'])[i % 3 + 1], hashint8(i) & 127, 0 FROM generate_series(1000, 60000) i;
SELECT definition, e.error > 0 AS estimated, abs(e.size - x.size) <= e.error AS within, e.error < 1000 AS close, x.error AS exact,
       cardinality(e.sample) AS sample, e.sample = again.sample AND e.size = again.size AS same
FROM unnest(ARRAY[$$plan = 'pro'$$, 'age < 10', 'age = 127', 'true', 'age > 127']) definition, cdp.preview_segment(definition) x,
     cdp.preview_segment(definition, exact => false) e, cdp.preview_segment(definition, false) again;
SET ROLE cdp_marketer;
SELECT size BETWEEN 19000 AND 21000 AS size, error BETWEEN 1 AND 1000 AS error FROM cdp.preview_segment($$plan = 'pro'$$, false);
SELECT * FROM cdp.segment_overlap('x', 'y');
SELECT count(*) FROM cdp.segment_day;
SELECT count(*) FROM cdp.segment_freshness;
RESET ROLE;
SET ROLE cdp_analyst;
SELECT count(*) FROM cdp.segment_day;
SELECT count(*) FROM cdp.segment_freshness;
RESET ROLE;

-- What no live segment may be can be tried, too.
SET client_min_messages = notice;
SELECT size FROM cdp.preview_segment('last_seen_at = now()');
SET client_min_messages = warning;
-- What is in the way of its view.
CREATE TABLE cdp_segment."in the way" (i int);
SELECT cdp.create_segment('in the way', 'age < 10');
DROP TABLE cdp_segment."in the way";

DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_segment_care;
