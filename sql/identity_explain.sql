-- sql/identity_explain.sql: why people are one: every link, the shortest chain, and who looks like several.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_explain;
\c cdp_regress_explain
SET client_min_messages = notice;
CREATE EXTENSION cdp;

SELECT cdp.track('View', anonymous_id => 'c1', context => '{"device": {"id": "phone-1"}}', message_id => 'm1', occurred_at => '2026-01-01 00:00+00') \g /dev/null
SELECT cdp.identify('ann', '{"email": "ann@x.org"}', anonymous_id => 'c1', message_id => 'm2', occurred_at => '2026-01-02 00:00+00') \g /dev/null
SELECT cdp.track('View', anonymous_id => 'c2', context => '{"device": {"id": "phone-1"}}', message_id => 'm3', occurred_at => '2026-01-03 00:00+00') \g /dev/null
SELECT cdp.identify('bob', '{"email": "bob@x.org"}', message_id => 'm4', occurred_at => '2026-01-04 00:00+00') \g /dev/null
SELECT cdp.process();
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'bob'), cdp.resolve('user_id', 'ann'), 'one and the same') = 1 AS merged;

SELECT link_id, type_a, value_a, type_b, value_b, cause, message_id, event_id, reason, actor = current_user AS by_us, revoked_at FROM cdp.explain_identity(1);
-- An id that was merged away is understood; nobody has no links.
SELECT count(*) FROM cdp.profile_alias, cdp.explain_identity(alias_id);
\set SHOW_CONTEXT never
SELECT count(*) FROM cdp.explain_identity(4711);

SELECT step, from_type, from_value, to_type, to_value, cause, message_id, reason FROM cdp.explain_merge('anonymous_id', 'c2', 'email', 'BOB@x.org ');
SELECT step, from_value, to_value FROM cdp.explain_merge('email', 'bob@x.org', 'anonymous_id', 'c2');
SELECT count(*) AS steps FROM cdp.explain_merge('user_id', 'ann', 'user_id', 'ann');

-- What was taken back is shown, and joins nobody.
SELECT cdp.split_identifier('device_id', 'phone-1', 'lent') AS phone \gset
SELECT value_a, value_b, revoked_by = current_user AS by_us, revoked_reason FROM cdp.explain_identity(:phone);
SELECT step FROM cdp.explain_merge('device_id', 'phone-1', 'user_id', 'ann');
SELECT cdp.explain_merge('user_id', 'nobody', 'user_id', 'ann');
SELECT cdp.explain_merge('nope', 'nobody', 'user_id', 'ann');

-- Who may: those who see personal data.
SET ROLE cdp_analyst;
SELECT cdp.explain_identity(1);
SELECT cdp.explain_merge('user_id', 'ann', 'user_id', 'bob');
SELECT count(*) FROM cdp.suspicious_profile;
SET ROLE cdp_pii;
SELECT count(*) FROM cdp.explain_identity(1);
SELECT count(*) FROM cdp.explain_merge('user_id', 'ann', 'user_id', 'bob');
SELECT cdp.split_identifier('user_id', 'ann', 'x');
SELECT cdp.revoke_link(1, 'x');
RESET ROLE;

-- Who looks like several people, and why.
SELECT cdp.track('View', anonymous_id => 'usual-' || i, occurred_at => CASE WHEN i > 20 THEN now() ELSE '2026-01-01' END) FROM generate_series(1, 50) i \g /dev/null
SELECT cdp.identify('many', jsonb_build_object('email', 'many-' || i || '@x.org'), occurred_at => '2026-01-01') FROM generate_series(1, 5) i \g /dev/null
SELECT cdp.identify('hub', '{}', 'hub-' || i, occurred_at => '2026-01-01') FROM generate_series(1, 25) i \g /dev/null
SELECT cdp.identify('grows', '{}', 'grows-' || i) FROM generate_series(1, 12) i \g /dev/null
SELECT cdp.track('View', 'taken-' || i, 'taken', occurred_at => '2026-01-01') FROM generate_series(1, 8) i \g /dev/null
SELECT cdp.track('View', 'shares', 'shared-' || i, occurred_at => '2026-01-02') FROM (SELECT cdp.track('View', 'owner-' || i, 'shared-' || i, occurred_at => '2026-01-01'), i FROM generate_series(1, 6) i) x \g /dev/null
SELECT cdp.process();
SELECT i.value, s.identifiers, recent_identifiers, refusals, reasons FROM cdp.suspicious_profile s JOIN cdp.identifier i USING (profile_id) WHERE i.type = 'user_id' ORDER BY 1;
\c :main
DROP DATABASE cdp_regress_explain;
