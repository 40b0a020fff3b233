-- sql/import_links.sql: many links at once: who is who is as if messages had carried each pair.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_import;
\c cdp_regress_import
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SELECT cdp.create_computed_trait('orders', 'count', 'Order') \g /dev/null
SELECT cdp.create_segment('reachable', $$cdp.has_identifier('email')$$) \g /dev/null
SELECT cdp.create_segment('buyers', 'orders >= 2') \g /dev/null
CREATE VIEW who AS SELECT profile_id, string_agg(type || ' ' || value, ', ' ORDER BY type, value) AS identifiers FROM cdp.identifier GROUP BY 1;
CREATE TABLE crm (n serial, type_a text, value_a text, type_b text, value_b text);

-- Two visitors and a user, who are known already.
SELECT cdp.track('Order', NULL, 'c1') \g /dev/null
SELECT cdp.track('Order', NULL, 'c2') \g /dev/null
SELECT cdp.track('Order', 'eve', 'c9') \g /dev/null
SELECT cdp.process();
INSERT INTO crm (type_a, value_a, type_b, value_b) VALUES
    ('email', ' Ann@X.org', 'user_id', 'ann'), ('user_id', 'ann', 'anonymous_id', 'c1'), ('anonymous_id', 'c2', 'email', 'ann@x.org'),
    ('user_id', 'bob', 'email', 'bob@x.org'), ('user_id', 'carl', 'anonymous_id', 'c1'), ('user_id', 'null', 'email', 'x@x.org'),
    ('user_id', 'bob', 'email', 'BOB@x.org'), ('user_id', 'bob', 'user_id', 'bob'), ('user_id', NULL, 'email', 'y@x.org');
SELECT cdp.import_links('crm', 'from the CRM');
SELECT type_a, value_a, type_b, value_b, why, relation FROM cdp.refused_link ORDER BY why, value_b;
SELECT * FROM who ORDER BY 1;
SELECT profile_id, event_count, orders, ARRAY(SELECT s.name FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) WHERE m.profile_id = p.profile_id ORDER BY 1) AS segments
    FROM cdp.profile p ORDER BY 1;
SELECT profile_id, entered, cause FROM cdp.segment_transition ORDER BY 1, 2;
SELECT alias_id, profile_id, reason FROM cdp.profile_alias;
SELECT DISTINCT cause, reason, actor = current_user AS by_us FROM cdp.identity_link WHERE cause <> 'message';
SELECT value, first_seen_at FROM cdp.identifier WHERE type = 'email' ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- Once more is once; messages go on from there.
SELECT cdp.import_links('crm');
SELECT cdp.track('Order', 'bob', 'c7', context => '{"traits": {"email": "bob@x.org"}}', occurred_at => '2026-01-01 00:00+00') \g /dev/null
SELECT cdp.process();
SELECT value, first_seen_at AT TIME ZONE 'UTC' AS first, last_seen_at AT TIME ZONE 'UTC' AS last FROM cdp.identifier WHERE value = 'bob@x.org';
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- What was taken apart stays so; what was imported can be taken back.
SELECT cdp.split_identifier('anonymous_id', 'c2', 'not hers') > 0 AS split;
DELETE FROM cdp.refused_link;
SELECT cdp.import_links('crm');
SELECT type_a, value_a, type_b, value_b, why ~ '^separation [0-9]+$' AS separated FROM cdp.refused_link ORDER BY why, value_b;
SELECT identifiers FROM who WHERE identifiers ~ 'ann|c2' ORDER BY 1;
-- What was left out can be tried again: once somebody has said that they are one.
SELECT cdp.merge_profiles(cdp.resolve('anonymous_id', 'c2'), cdp.resolve('user_id', 'ann'), 'hers after all') > 0 AS merged;
DELETE FROM cdp.refused_link WHERE why !~ '^separation';
SELECT cdp.import_links('cdp.refused_link') AS links;
SELECT count(*) FROM cdp.refused_link;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;
SELECT * FROM cdp.preview_identity_rules();

-- What is refused, and how.
SELECT cdp.import_links(NULL);
SELECT cdp.import_links('cdp.profile');
SELECT cdp.import_links(0);
INSERT INTO crm (type_a, value_a, type_b, value_b) VALUES ('nope', 'x', 'email', 'z@x.org');
SELECT cdp.import_links('crm');
SET ROLE cdp_pii;
SELECT cdp.import_links('crm');
RESET ROLE;
\c :main
DROP DATABASE cdp_regress_import;
