-- sql/identity_rules.sql: rules that change on live data: what they would do, and doing it.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_rules;
\c cdp_regress_rules
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SELECT cdp.create_computed_trait('orders', 'count', 'Order') \g /dev/null
SELECT cdp.create_segment('buyers', 'orders >= 1') \g /dev/null
CREATE VIEW who AS SELECT profile_id, string_agg(type || ' ' || value, ', ' ORDER BY identifier_id) AS identifiers FROM cdp.identifier GROUP BY 1;

-- A test account that welds cookies, a kiosk that two users share, a loyalty card that nobody knows of, upper-case accounts.
SELECT cdp.track('View', 'test', 'c1') \g /dev/null
SELECT cdp.track('View', 'test', 'c2') \g /dev/null
SELECT cdp.track('Order', 'ann', 'c1') \g /dev/null
SELECT cdp.track('Order', NULL, 'c2') \g /dev/null
SELECT cdp.track('View', 'bob', 'kiosk') \g /dev/null
SELECT cdp.track('View', 'carl', 'kiosk') \g /dev/null
SELECT cdp.track('View', 'dora', properties => '{"card": "77"}', message_id => 'first card', occurred_at => '2026-01-01 00:00+00') \g /dev/null
SELECT cdp.track('View', NULL, 'c5', properties => '{"card": "77"}', message_id => 'second card', occurred_at => '2026-01-02 00:00+00') \g /dev/null
SELECT cdp.process();
SELECT * FROM who ORDER BY 1;

-- As they are, the rules change nothing. Proposed ones would; nothing is changed by asking.
SELECT * FROM cdp.preview_identity_rules();
SELECT * FROM cdp.preview_identity_rules(blocked => '[{"type": "user_id", "pattern": "^test$"}]');
SELECT * FROM cdp.preview_identity_rules('{"user_id": {"max_per_profile": 0}, "loyalty": {"priority": 3, "paths": ["properties.card"]}}');
SELECT name, max_per_profile FROM cdp.identifier_type WHERE name IN ('user_id', 'loyalty');
SELECT count(*) FROM cdp.blocked_identifier;
SELECT * FROM who ORDER BY 1;

-- Changed rules hold for messages from now on, until they are applied to all.
SELECT cdp.block_identifier('user_id', '^test$') \g /dev/null
SELECT cdp.create_identifier_type('loyalty', 3, NULL, 'none', '{properties.card}') \g /dev/null
SELECT * FROM cdp.preview_identity_rules();
SELECT * FROM cdp.apply_identity_rules();
SELECT w.*, event_count, orders FROM who w JOIN cdp.profile USING (profile_id) ORDER BY 1;
SELECT profile_id, entered, cause FROM cdp.segment_transition WHERE cause = 'rules' ORDER BY 1;
SELECT alias_id, profile_id, reason FROM cdp.profile_alias ORDER BY 1;
SELECT a.value AS a, b.value AS b, cause, message_id = 'first card' AS first, revoked_reason FROM cdp.identity_link
    JOIN cdp.identifier a ON a.identifier_id = identifier_a JOIN cdp.identifier b ON b.identifier_id = identifier_b ORDER BY a.value, b.value;
SELECT value, first_seen_at AT TIME ZONE 'UTC' AS first, last_seen_at AT TIME ZONE 'UTC' AS last FROM cdp.identifier WHERE type = 'loyalty';
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;
SELECT * FROM cdp.preview_identity_rules();

-- And back: what only rules took back, rules and messages may make again.
DELETE FROM cdp.blocked_identifier;
SELECT cdp.touch_configuration() \g /dev/null
SELECT change, profiles FROM cdp.apply_identity_rules();
SELECT * FROM who WHERE identifiers ~ 'test' ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- What people said stays: what is by hand, and what was taken apart.
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'bob'), cdp.resolve('user_id', 'carl'), 'one') > 0 AS merged;
SELECT cdp.split_identifier('anonymous_id', 'c5', 'not hers') > 0 AS split;
SELECT cdp.alter_identifier_type('anonymous_id', priority => 1) \g /dev/null
SELECT cdp.alter_identifier_type('user_id', normalizer => 'lower') \g /dev/null
SELECT count(*) FROM cdp.apply_identity_rules() WHERE 3 = ANY (profiles);
SELECT identifiers FROM who WHERE identifiers ~ 'bob|dora|c5' ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- A normaliser that writes values otherwise: whoever was known by the old one is the same person.
SELECT cdp.alter_identifier_type('user_id', normalizer => 'none') \g /dev/null
SELECT cdp.track('Order', 'Zoe', 'z1') \g /dev/null
SELECT cdp.track('Order', 'zoe', 'z2') \g /dev/null
SELECT cdp.process();
SELECT cdp.alter_identifier_type('user_id', normalizer => 'lower') \g /dev/null
SELECT change, number FROM cdp.preview_identity_rules();
SELECT change, number FROM cdp.apply_identity_rules();
SELECT identifiers, orders FROM who JOIN cdp.profile USING (profile_id) WHERE identifiers ~ 'zoe';
SELECT value_a, value_b, cause, reason FROM cdp.explain_identity(cdp.resolve('user_id', 'ZOE')) WHERE cause = 'rule';
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- As long as rules do not change, nothing would: what was taken apart was together until then, and is kept apart from then on.
SELECT cdp.alter_identifier_type('anonymous_id', priority => 5) \g /dev/null
SELECT count(*) > 0 AS changed FROM cdp.apply_identity_rules();
SELECT cdp.identify('sue', '{"email": "sue@x"}') \g /dev/null
SELECT cdp.process();
SELECT cdp.split_identifier('email', 'sue@x', 'a shared address') > 0 AS split;
SELECT cdp.identify('sue', '{"email": "sue@x"}', 'sc1') \g /dev/null
SELECT cdp.process();
SELECT identifiers FROM who WHERE identifiers ~ 'sue|sc1' ORDER BY profile_id;
SELECT * FROM cdp.preview_identity_rules();
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'sue'), cdp.resolve('email', 'sue@x'), 'hers alone') > 0 AS merged;
SELECT cdp.identify('sue', '{"email": "sue@x"}', 'sc1') \g /dev/null
SELECT cdp.process();
SELECT identifiers FROM who WHERE identifiers ~ 'sue|sc1' ORDER BY profile_id;
SELECT * FROM cdp.preview_identity_rules();
-- What a device was refused to, while it was somebody else's.
SELECT cdp.track('View', 'tom', 'device') \g /dev/null
SELECT cdp.track('View', 'tim', 'device') \g /dev/null
SELECT cdp.process();
SELECT cdp.split_identifier('anonymous_id', 'device', 'a kiosk') > 0 AS split;
SELECT * FROM cdp.preview_identity_rules();

-- What is refused, and how.
\set SHOW_CONTEXT never
SELECT cdp.preview_identity_rules('{"user_id": {"limit": 3}}');
SELECT cdp.preview_identity_rules('{"user_id": {"priority": 0}}');
SELECT cdp.preview_identity_rules('{"user_id": {"paths": "traits.id"}}');
SELECT cdp.preview_identity_rules('{"user_id": 3}');
SELECT cdp.preview_identity_rules('[]');
SELECT cdp.preview_identity_rules(blocked => '{}');
SELECT cdp.preview_identity_rules(blocked => '[{"type": "*"}]');
SELECT cdp.preview_identity_rules(blocked => '[5]');
SELECT cdp.preview_identity_rules(blocked => '[{"type": "nope", "pattern": "x"}]');
SET ROLE cdp_pii;
SELECT cdp.preview_identity_rules();
SELECT cdp.apply_identity_rules();
RESET ROLE;
\c :main
DROP DATABASE cdp_regress_rules;
