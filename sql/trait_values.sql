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

-- A trait of type jsonb is the JSON that was sent; null unsets it.
SELECT cdp.create_trait('j', 'jsonb'), cdp.create_trait('first_j', 'jsonb', 'j', 'first'), cdp.create_trait('most_j', 'jsonb', 'j', 'most_frequent');
SELECT cdp.create_computed_trait('last_said', 'last', 'Said', 'what', type => 'jsonb'), cdp.create_computed_trait('first_said', 'first', 'Said', 'what', type => 'jsonb'),
    cdp.create_computed_trait('often_said', 'most_frequent', 'Said', 'what', type => 'jsonb'), cdp.create_computed_trait('all_said', 'unique_list', 'Said', 'what');
CREATE TABLE said (n serial, what jsonb);
INSERT INTO said (what) VALUES ('"str"'), ('"null"'), ('"{\"a\":2}"'), ('""'), ('"5"'), ('"q\"\\ü\n"'), ('5.0'), ('1e30'), ('true'), ('{"b": "x", "a": [1, "2", null]}'), ('[]'), ('null');
INSERT INTO cdp.inbox (type, user_id, traits) SELECT 'identify', 'j' || n, jsonb_build_object('j', what) FROM said;
INSERT INTO cdp.inbox (event, user_id, properties) SELECT 'Said', 'j' || n, jsonb_build_object('what', what) FROM said;
SELECT cdp.process();
SELECT what, p.j, p.j IS NOT DISTINCT FROM nullif(p.traits -> 'j', 'null') AS is_traits,
    (p.first_j, p.most_j, last_said, first_said, often_said) IS NOT DISTINCT FROM (p.j, p.j, p.j, p.j, p.j) AS alike, all_said
FROM said JOIN cdp.profile p ON p.profile_id = cdp.resolve('user_id', 'j' || n) ORDER BY n;
SELECT cdp.create_trait('json', 'json');

-- Aggregates of numbers are of JSON's numbers; others take whatever the type takes.
SELECT cdp.create_computed_trait(a || '_n', a, 'Num', 'n', type => 'numeric') FROM unnest(ARRAY['sum', 'avg', 'min', 'max', 'first', 'last', 'most_frequent']) a;
SELECT cdp.create_trait('amount', 'numeric'), cdp.create_trait('least', 'numeric', 'amount', 'min');
INSERT INTO cdp.inbox (event, user_id, properties, occurred_at) SELECT 'Num', 'num', jsonb_build_object('n', v), timestamptz '2024-01-01' + n * interval '1 hour'
FROM unnest(ARRAY['"5"', '2.50', '3', 'true', '"many"', '"5.0"', '" 7 "']::jsonb[]) WITH ORDINALITY AS v (v, n);
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'num', '{"amount": "5"}'), ('identify', 'num', '{"amount": 6}'), ('identify', 'num', '{"amount": true}');
SELECT cdp.process();
SELECT sum_n, round(avg_n, 2) AS avg_n, min_n, max_n, first_n, last_n, most_frequent_n, amount, least FROM cdp.profile WHERE profile_id = cdp.resolve('user_id', 'num');

-- A number without a fraction is an integer, however it is written.
SELECT cdp.create_trait('small', 'smallint', 'n'), cdp.create_trait('whole', 'integer', 'n'), cdp.create_trait('big', 'bigint', 'n');
SELECT cdp.create_computed_trait('last_whole', 'last', 'Num', 'n', type => 'integer');
CREATE TABLE number (n serial, value jsonb);
INSERT INTO number (value) VALUES ('5'), ('5.0'), ('-5.000'), ('1e2'), ('50e-1'), ('0.0'), ('5.5'), ('0.1'), ('40000.0'), ('3000000000.0'), ('"5"'), ('"5.0"'), ('true');
INSERT INTO cdp.inbox (type, user_id, traits) SELECT 'identify', 'n' || n, jsonb_build_object('n', value) FROM number;
INSERT INTO cdp.inbox (event, user_id, properties) SELECT 'Num', 'n' || n, jsonb_build_object('n', value) FROM number;
SELECT cdp.process();
SELECT value, small, whole, big, last_whole FROM number JOIN cdp.profile p ON p.profile_id = cdp.resolve('user_id', 'n' || n) ORDER BY n;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

\c :main
DROP DATABASE cdp_regress_trait_values;
