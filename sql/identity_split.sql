-- sql/identity_split.sql: taking people apart again: everything is as if they had never been linked, and stays so.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_split;
\c cdp_regress_split
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SELECT cdp.create_trait('plan', 'text') \g /dev/null
SELECT cdp.create_trait('first_plan', 'text', 'plan', 'first') \g /dev/null
SELECT cdp.create_computed_trait('orders', 'count', 'Order') \g /dev/null
SELECT cdp.create_computed_trait('spent', 'sum', 'Order', 'total') \g /dev/null
SELECT cdp.create_segment('buyers', 'orders >= 1') \g /dev/null
SELECT cdp.create_segment('rich', $$cdp.in_segment('buyers') AND spent > 50$$) \g /dev/null
ALTER TABLE cdp.profile ADD COLUMN note text;
SELECT cdp.refresh_views() \g /dev/null
CREATE VIEW who AS SELECT profile_id, string_agg(type || ' ' || value, ', ' ORDER BY identifier_id) AS identifiers FROM cdp.identifier GROUP BY 1;
CREATE VIEW people AS SELECT profile_id, identifiers, event_count AS events, plan, first_plan, orders, spent, traits, note,
    extract(epoch FROM first_seen_at)::int AS first, extract(epoch FROM last_seen_at)::int AS last,
    (SELECT string_agg(s.name, ', ' ORDER BY s.name) FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) WHERE m.profile_id = p.profile_id) AS segments,
    (SELECT string_agg(group_id || ' since ' || extract(epoch FROM since)::int, ', ' ORDER BY group_id) FROM cdp.account_member m WHERE m.profile_id = p.profile_id) AS accounts
    FROM cdp.profile p JOIN who USING (profile_id);
CREATE FUNCTION at(seconds int) RETURNS timestamptz LANGUAGE sql AS 'SELECT to_timestamp(seconds)';

-- A cookie that was Bob's is taken for Ann's.
SELECT cdp.identify('ann', '{"plan": "pro", "email": "ann@x.org"}', anonymous_id => 'c1', occurred_at => at(10)) \g /dev/null
SELECT cdp.track('Order', 'ann', properties => '{"total": 20}', occurred_at => at(20)) \g /dev/null
SELECT cdp.track('Order', anonymous_id => 'c2', properties => '{"total": 70}', occurred_at => at(5)) \g /dev/null
SELECT cdp.identify(NULL, '{"plan": "free", "shoe": 42}', anonymous_id => 'c2', occurred_at => at(30)) \g /dev/null
SELECT cdp.join_group('acme', NULL, anonymous_id => 'c2', occurred_at => at(6)) \g /dev/null
SELECT cdp.join_group('acme', 'ann', occurred_at => at(40)) \g /dev/null
SELECT cdp.track('View', 'ann', anonymous_id => 'c2', occurred_at => at(50)) \g /dev/null
SELECT cdp.process();
UPDATE cdp.profile SET note = 'called her' WHERE profile_id = 1;
SELECT * FROM people ORDER BY 1;
SELECT alias_id, profile_id FROM cdp.profile_alias;
SELECT cdp.split_identifier('anonymous_id', 'c2', 'a shared computer');
SELECT * FROM people ORDER BY 1;
SELECT profile_id, name, entered, cause FROM cdp.segment_transition JOIN cdp.segment USING (segment_id) WHERE cause = 'split' ORDER BY 1, 2;
-- The id that the cookie had before it was Ann's means the cookie again.
SELECT alias_id, profile_id FROM cdp.profile_alias;
SELECT a.value AS a, b.value AS b, revoked_at IS NOT NULL AS revoked, revoked_reason FROM cdp.identity_link
    JOIN cdp.identifier a ON a.identifier_id = identifier_a JOIN cdp.identifier b ON b.identifier_id = identifier_b ORDER BY link_id;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- Messages that carry both do not link them again, nor does a third identifier; the conflict says why.
SELECT cdp.track('View', 'ann', anonymous_id => 'c2', occurred_at => at(60), message_id => 'both') \g /dev/null
SELECT cdp.identify(NULL, '{"email": "new@x.org"}', anonymous_id => 'c2', occurred_at => at(61)) \g /dev/null
SELECT cdp.identify('ann', '{"email": "new@x.org"}', occurred_at => at(62), message_id => 'third') \g /dev/null
SELECT cdp.process();
SELECT * FROM who ORDER BY 1;
SELECT i.value AS kept, c.value AS left_out, limit_type, separation_id, refusals, message_id FROM cdp.identity_conflict c JOIN cdp.identifier i USING (identifier_id) ORDER BY message_id;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- By hand they can be joined again, and then messages may join what belongs to them.
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'ann'), cdp.resolve('anonymous_id', 'c2'), 'hers after all');
SELECT cdp.track('View', 'ann', anonymous_id => 'c2', occurred_at => at(70)) \g /dev/null
SELECT cdp.process();
SELECT * FROM people ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- Taking back the link by hand takes them apart again; the part with the strongest identifier keeps the id.
SELECT cdp.revoke_link(link_id, 'not hers') FROM cdp.identity_link WHERE cause = 'manual';
SELECT * FROM who ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- What hangs together by the identifier alone comes apart too. But only it is kept apart: the others may meet again.
SELECT cdp.track('View', anonymous_id => 'd1', context => '{"device": {"id": "kiosk"}}') \g /dev/null
SELECT cdp.track('View', anonymous_id => 'd2', context => '{"device": {"id": "kiosk"}}') \g /dev/null
SELECT cdp.track('View', anonymous_id => 'd3', context => '{"device": {"id": "kiosk"}}') \g /dev/null
SELECT cdp.process();
SELECT identifiers FROM who WHERE identifiers ~ 'kiosk';
SELECT cdp.split_identifier('device_id', 'kiosk', 'a kiosk') AS kiosk \gset
SELECT identifiers FROM who WHERE profile_id = :kiosk;
SELECT identifiers FROM who WHERE identifiers ~ 'd[0-9]|kiosk' ORDER BY 1;
SELECT cdp.alias('d1', 'dora') \g /dev/null
SELECT cdp.alias('d2', 'dora') \g /dev/null
SELECT cdp.track('View', 'dora', context => '{"device": {"id": "kiosk"}}') \g /dev/null
SELECT cdp.process();
SELECT identifiers FROM who WHERE identifiers ~ 'd[0-9]|kiosk' ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- A link whose ends others hold together changes nobody, and messages do not make it anew.
SELECT cdp.identify('eve', '{"email": "eve@x.org"}', anonymous_id => 'e1') \g /dev/null
SELECT cdp.track('View', anonymous_id => 'e1', context => '{"traits": {"email": "eve@x.org"}}') \g /dev/null
SELECT cdp.process();
CREATE VIEW eves AS SELECT link_id, value_a, value_b, revoked_at IS NULL AS in_force FROM cdp.explain_identity(cdp.resolve('user_id', 'eve'));
SELECT cdp.revoke_link(link_id, NULL) FROM eves WHERE value_a = 'eve' AND value_b = 'e1';
SELECT cdp.track('View', 'eve', 'e1') \g /dev/null
SELECT cdp.process();
SELECT value_a, value_b, in_force FROM eves ORDER BY 1, 2, 3;
-- Then the other goes too, and those two are kept apart.
SELECT cdp.split_identifier('email', 'EVE@x.org', NULL) = max(profile_id) + 1 AS new FROM cdp.profile;
SELECT cdp.track('View', 'eve', 'e1') \g /dev/null
SELECT cdp.process();
SELECT identifiers FROM who WHERE identifiers ~ 'eve|e1' ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- The strongest may go, too, with its events; what they carried beside it hangs together without it.
SELECT cdp.identify('fay', '{"email": "fay@x.org"}', anonymous_id => 'f1') \g /dev/null
SELECT cdp.process();
SELECT cdp.resolve('anonymous_id', 'f1') AS fay \gset
SELECT cdp.split_identifier('user_id', 'fay', 'x') > :fay AS its_own;
SELECT profile_id - :fay AS profile, identifiers, events FROM people WHERE identifiers ~ 'fay|f1' ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- One after the other may go, and what else the message carried stays one, whatever the rules are applied to afterwards.
SELECT cdp.identify('gus', '{"email": "gus@x.org"}', anonymous_id => 'h1', context => '{"device": {"id": "h2"}}', message_id => 'four') \g /dev/null
SELECT cdp.process();
SELECT cdp.split_identifier('user_id', 'gus', 'x') > 0 AS split;
SELECT value_a, value_b, message_id, revoked_at IS NULL AS in_force FROM cdp.explain_identity(cdp.resolve('email', 'gus@x.org'));
SELECT cdp.split_identifier('email', 'gus@x.org', 'x') > 0 AS split;
SELECT identifiers FROM who WHERE identifiers ~ 'gus|h1|h2' ORDER BY 1;
SELECT change, number FROM cdp.apply_identity_rules();
SELECT identifiers FROM who WHERE identifiers ~ 'gus|h1|h2' ORDER BY 1;
SELECT cdp.identify('gus', '{"email": "gus@x.org"}', anonymous_id => 'h1', context => '{"device": {"id": "h2"}}', message_id => 'four again') \g /dev/null
SELECT cdp.process();
SELECT identifiers FROM who WHERE identifiers ~ 'gus|h1|h2' ORDER BY 1;
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

-- An only identifier stays where it is, and says so.
SET client_min_messages = notice;
SELECT cdp.split_identifier('user_id', 'fay', 'x') = cdp.resolve('user_id', 'fay') AS unchanged;

-- One that was blocked after it had welded people is found as it stands.
SELECT cdp.track('View', 'test', anonymous_id => 'g1') \g /dev/null
SELECT cdp.process();
SELECT cdp.block_identifier('user_id', '^test$') \g /dev/null
SELECT cdp.split_identifier('user_id', 'test', 'no user') > 0 AS split;
SELECT identifiers FROM who WHERE identifiers ~ 'test|g1' ORDER BY 1;

-- What is refused, and how.
SELECT cdp.split_identifier('user_id', 'nobody', 'x');
SELECT cdp.split_identifier('nope', 'x', 'x');
SELECT cdp.split_identifier(NULL, 'x', 'x');
SELECT cdp.revoke_link(4711, 'x');
SELECT cdp.revoke_link(link_id, 'x') FROM cdp.identity_link WHERE revoked_at IS NOT NULL ORDER BY link_id LIMIT 1;
SELECT cdp.revoke_link(NULL, 'x');
-- Where statistics know of one person only, each one's events and identifiers are looked up all the same.
SELECT cdp.create_identifier_type('session', 6, paths => '{context.session}');
INSERT INTO cdp.inbox (user_id, event, context) SELECT 'hub', 'Hit', jsonb_build_object('session', 's' || i) FROM generate_series(1, 3000) i;
SELECT cdp.process();
ANALYZE;
SET statement_timeout = '5s';
SELECT count(cdp.split_identifier('user_id', 'hub', 'a test account'));
RESET statement_timeout;
SELECT count(*), count(DISTINCT profile_id) FROM cdp.identifier WHERE type = 'session' OR value = 'hub';

\c :main
DROP DATABASE cdp_regress_split;
