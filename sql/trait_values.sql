-- trait_values.sql: what a message's value is as a trait does not depend on who processes it, nor when.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_trait_values;
\c cdp_regress_trait_values
SET client_min_messages = warning;
CREATE EXTENSION cdp;

SELECT cdp.create_trait('d', 'date'), cdp.create_trait('t', 'time'), cdp.create_trait('ts', 'timestamp'), cdp.create_trait('tz', 'timestamptz'),
    cdp.create_trait('i', 'interval'), cdp.create_trait('longest', 'interval', 'i', 'max');
SELECT cdp.create_computed_trait('due', 'last', 'Bill', 'due', type => 'timestamptz'), cdp.create_computed_trait('first_due', 'first', 'Bill', 'due', type => 'date'),
    cdp.create_computed_trait('term', 'most_frequent', 'Bill', 'term', type => 'interval');

CREATE FUNCTION pg_temp.send(person text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO cdp.inbox (type, user_id, traits, occurred_at) VALUES
        ('identify', person, '{"d": "03/04/2024", "t": "10:00", "ts": "03/04/2024 10:00", "tz": "2024-06-01 00:00", "i": "-1 2:03:04"}', '2024-06-02');
    INSERT INTO cdp.inbox (event, user_id, properties, occurred_at) VALUES
        ('Bill', person, '{"due": "05/06/2024 23:30", "term": "-1 2:03:04"}', '2024-06-02');
$$;
CREATE FUNCTION pg_temp.all_values() RETURNS TABLE (people bigint, d date, t time, ts timestamp, tz timestamptz, i interval, longest interval,
                                                    due timestamptz, first_due date, term interval) LANGUAGE sql AS $$
    SELECT count(*), p.d, p.t, p.ts, p.tz, p.i, p.longest, p.due, p.first_due, p.term FROM cdp.profile p GROUP BY 2, 3, 4, 5, 6, 7, 8, 9, 10 $$;

-- Four sessions' settings, four people who say the same.
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres';
SELECT pg_temp.send('ann'); SELECT cdp.process();
SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard';
SELECT pg_temp.send('bob'); SELECT cdp.process();
SET timezone = 'America/New_York'; SET datestyle = 'German, DMY'; SET intervalstyle = 'iso_8601';
SELECT pg_temp.send('cid'); SELECT cdp.process();
SET timezone = 'Pacific/Chatham'; SET datestyle = 'Postgres, YMD'; SET intervalstyle = 'postgres_verbose';
SELECT pg_temp.send('dan'); SELECT cdp.process();
-- What is read is put back as it was.
SHOW timezone;
SELECT timestamptz '2024-03-04 10:00:00+00' AS chatham, interval '-1 day 02:03:04' AS verbose;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
RESET timezone; RESET datestyle; RESET intervalstyle;
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres';
SELECT * FROM pg_temp.all_values();

-- What depends on when it is read is no value; constants are.
INSERT INTO cdp.inbox (type, user_id, traits, occurred_at)
SELECT 'identify', 'ann', jsonb_build_object(name, value), '2024-06-03'
FROM unnest(ARRAY['now', 'today', 'TOMORROW', ' Yesterday ', 'today 10:00', '10:00 tomorrow', 'yesterday+00', 'now()', 'tonight']) AS value,
    unnest(ARRAY['d', 't', 'ts', 'tz']) AS name;
INSERT INTO cdp.inbox (event, user_id, properties, occurred_at) SELECT 'Bill', 'ann', jsonb_build_object('due', value), '2024-06-03' FROM unnest(ARRAY['now', 'Today 12:00']) AS value;
SELECT cdp.process();
SELECT * FROM pg_temp.all_values();
INSERT INTO cdp.inbox (type, user_id, traits, occurred_at) VALUES
    ('identify', 'ann', '{"d": "infinity", "t": "allballs", "ts": "epoch", "tz": "-infinity"}', '2024-06-04'), ('identify', 'bob', '{"d": "epoch", "tz": "epoch"}', '2024-06-04');
SELECT cdp.process();
SELECT d, t, ts, tz FROM cdp.profile WHERE profile_id IN (cdp.resolve('user_id', 'ann'), cdp.resolve('user_id', 'bob')) ORDER BY profile_id;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
-- Only of types whose texts know such words.
SELECT cdp.create_trait('said', 'text');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'cid', '{"said": "now"}');
SELECT cdp.process();
SELECT said FROM cdp.profile WHERE profile_id = cdp.resolve('user_id', 'cid');
-- Types that hold such values inside are none of a trait.
SELECT cdp.create_trait('days', 'date[]');
CREATE DOMAIN public.birthday AS date;
SELECT cdp.create_trait('born', 'public.birthday');

\c :main
DROP DATABASE cdp_regress_trait_values;
