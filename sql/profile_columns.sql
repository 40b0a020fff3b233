-- profile_columns.sql: conditions over columns that users added to cdp.profile, and over its rows as a whole.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_profile_columns;
\c cdp_regress_profile_columns
SET client_min_messages = warning;
CREATE EXTENSION cdp;
CREATE VIEW members AS
    SELECT s.name, s.size, array_agg(i.value ORDER BY i.value) FILTER (WHERE i.value IS NOT NULL) AS members
    FROM cdp.segment s LEFT JOIN cdp.segment_member m USING (segment_id) LEFT JOIN cdp.identifier i USING (profile_id) GROUP BY s.segment_id, s.name, s.size ORDER BY s.name;
INSERT INTO cdp.inbox (user_id, event) VALUES ('ann', 'Visit'), ('ben', 'Visit');
SELECT cdp.process();

-- A column of one's own is read when the segment is made, when it is computed afresh, and when the person has a message.
ALTER TABLE cdp.profile ADD COLUMN vip boolean, ADD COLUMN "full name" text, ADD COLUMN shout text GENERATED ALWAYS AS (upper("full name")) STORED;
UPDATE cdp.profile SET vip = true, "full name" = 'Ann' WHERE profile_id = cdp.resolve('user_id', 'ann');
SELECT cdp.create_segment('vip', 'vip'), cdp.create_segment('named', '"full name" IS NOT NULL AND shout = ''ANN''');
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
UPDATE cdp.profile SET vip = NOT coalesce(vip, false);
SELECT cdp.process();
TABLE members;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;
INSERT INTO cdp.inbox (user_id, event) VALUES ('ben', 'Visit');
SELECT cdp.process();
TABLE members;
SELECT count(*) FROM cdp.rebuild(true);
TABLE members;
SELECT vip, "full name", shout FROM cdp.profile ORDER BY profile_id;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;

-- Who reads the row as a whole follows traits that come and go.
SELECT cdp.create_trait('plan', 'text');
INSERT INTO cdp.inbox (user_id, type, traits) VALUES ('ann', 'identify', '{"plan": "pro"}');
SELECT cdp.process();
SELECT cdp.create_segment('has plan', $$to_jsonb(profile) ? 'plan'$$), cdp.create_segment('pro', $$to_jsonb(profile) ->> 'plan' = 'pro'$$),
       cdp.create_segment('has city', $$to_jsonb(profile) ? 'city'$$), cdp.create_segment('neither', $$NOT cdp.in_segment('has plan') AND NOT cdp.in_segment('has city')$$);
SELECT cdp.drop_trait('plan');
TABLE members;
SELECT cdp.create_trait('city', 'text');
TABLE members;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;

DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_profile_columns;
