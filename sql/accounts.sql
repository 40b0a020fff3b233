-- sql/accounts.sql: what group messages say of accounts, and who belongs to them, whatever the order they arrive in.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_accounts;
\c cdp_regress_accounts
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE VIEW members AS
    SELECT m.group_id, m.since, cdp.resolve('user_id', 'ann') = m.profile_id AS ann, cdp.resolve('user_id', 'ben') = m.profile_id AS ben
    FROM cdp.account_member m ORDER BY 1, 2;

-- Each key's last value counts, by the time it was said; the account's traits are not the person's.
INSERT INTO cdp.inbox (message_id, type, user_id, anonymous_id, group_id, traits, occurred_at) VALUES
    ('1', 'group', 'ann', NULL, 'acme', '{"plan": "gold", "seats": 5, "email": "info@acme.example"}', '2024-02-01'),
    ('2', 'group', 'ben', NULL, 'acme', '{"plan": "trial", "city": "Rome"}', '2024-01-01'),
    ('3', 'group', 'ann', NULL, 'acme', '{"seats": null}', '2024-03-01'),
    ('4', 'group', NULL, 'tab-1', 'acme', NULL, '2023-01-01'),
    ('5', 'group', 'ann', NULL, 'Acme', '[1]', '2024-01-05'),
    ('6', 'group', 'ben', NULL, NULL, '{}', '2024-01-05'),
    ('7', 'group', 'ben', NULL, '  ', '{}', '2024-01-05'),
    ('8', 'group', NULL, NULL, 'acme', '{}', '2024-01-05');
SELECT cdp.process();
SELECT group_id, traits, first_seen_at, last_seen_at FROM cdp.account ORDER BY 1;
SELECT * FROM members;
SELECT traits, event_count FROM cdp.profile ORDER BY profile_id;
SELECT cdp.resolve('email', 'info@acme.example');
SELECT message ->> 'message_id' AS id, reason FROM cdp.rejected_message ORDER BY 1;

-- Two people who become one belong to what either belonged to, since the first of them did.
SELECT cdp.alias('tab-1', 'ann', occurred_at => '2024-04-01') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT * FROM members;
SELECT cdp.join_group('umbrella', 'ben', '{"plan": "gold"}', occurred_at => '2024-05-01') IS NOT NULL AS sent;
SELECT cdp.process();
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'ann'), cdp.resolve('user_id', 'ben'), 'the same') = cdp.resolve('user_id', 'ann') AS ann;
SELECT * FROM members;
SELECT jsonb_path_query_array(cdp.get_profile('user_id', 'ben'), '$.accounts[*].group_id') AS accounts;
SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0;

DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_accounts;
