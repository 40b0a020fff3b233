-- sql/matching.sql: finding people whom no identifier joins: matchers, their model, matches, decisions.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_matching;
\c cdp_regress_matching
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SET client_min_messages = notice;

-- A table of customers, made up: every seventh is there twice, the second time with a mistake in every column.
CREATE SCHEMA shop;
CREATE TABLE shop.customer (customer_no int PRIMARY KEY, given_name text, surname text, born date, town text, email text, code text[]);
INSERT INTO shop.customer
SELECT i, 'name' || substr(md5('g' || i % 90), 1, 6), substr(md5('s' || i % 170), 1, 9), DATE '1950-01-01' + (i * 7919) % 18000,
       (ARRAY['leeds', 'york', 'hull', 'bath', 'dover', 'luton', 'derby'])[i % 7 + 1] || i % 11, 'c' || i || '@shop.example', ARRAY['c' || i, 'x']
FROM generate_series(1, 500) i;
INSERT INTO shop.customer
SELECT customer_no + 1000, given_name || 'e', upper(surname), born + CASE WHEN customer_no % 2 = 0 THEN 1 ELSE 0 END, town,
       CASE WHEN customer_no % 3 = 0 THEN email END, code
FROM shop.customer WHERE customer_no % 7 = 0;

-- Everything chosen from the data.
SELECT cdp.create_matcher('customers', source => 'shop.customer');
SELECT found BETWEEN 68 AND 74 AS found FROM cdp.find_matches('customers') found;
SELECT c ->> 'column' AS "column", c ->> 'kind' AS kind, c -> 'levels' -> 1 ->> 'level' AS second_level
FROM cdp.matcher, jsonb_array_elements(model -> 'comparisons') c ORDER BY 1;
SELECT count(*) FILTER (WHERE id_b::int = id_a::int + 1000) AS right, count(*) FILTER (WHERE id_b::int <> id_a::int + 1000) AS wrong
FROM cdp.match WHERE probability >= 0.9;
SELECT count(*) AS records, count(DISTINCT cluster_id) AS people, bool_and(id = cluster_id OR id::int = cluster_id::int + 1000) AS right
FROM cdp.cluster_matches('customers');

-- Why: the parts sum up, and the same comes out when it is computed afresh.
SELECT comparison, level, weight > 0 AS speaks_for FROM cdp.explain_match('customers', '42', '1042') WHERE comparison <> 'sum';
SELECT round(e.weight::numeric, 3) = round(m.weight::numeric, 3) AS same_sum
FROM cdp.explain_match('customers', '42', '1042') e, cdp.match m WHERE e.comparison = 'sum' AND m.id_a = '42' AND m.id_b = '1042';
SELECT comparison, level FROM cdp.explain_match('customers', '1', '2') WHERE comparison IN ('email', 'prior');
SELECT * FROM cdp.explain_match('customers', '1', 'nobody');

-- What somebody decides stays decided.
SELECT cdp.reject_match(match_id) FROM cdp.match WHERE id_a = '42' AND id_b = '1042';
SELECT cdp.accept_match(match_id) FROM cdp.match WHERE id_a = '49' AND id_b = '1049';
SELECT cdp.accept_match(0);

-- Only what is new or has changed is looked at again.
UPDATE shop.customer SET given_name = 'completely', surname = 'else', born = '1900-01-01', town = 'nowhere', email = NULL, code = NULL WHERE customer_no = 1056;
INSERT INTO shop.customer SELECT 2001, given_name, surname, born, town, email, code FROM shop.customer WHERE customer_no = 5;
DELETE FROM shop.customer WHERE customer_no = 1063;
SELECT cdp.find_matches('customers') > 0 AS found;
SELECT id_a, id_b, status FROM cdp.match WHERE probability >= 0.9 AND id_a IN ('5', '42', '49', '56', '63') ORDER BY id_a::int;
SELECT count(DISTINCT cluster_id) AS clusters FROM cdp.cluster_matches('customers') WHERE id IN ('42', '1042');
SELECT cdp.apply_matches('customers') > 60 AS accepted;
SELECT status, count(*) > 0 AS some FROM cdp.match WHERE probability >= 0.9 GROUP BY 1 ORDER BY 1;

-- What is compared and looked at can be said, and changed.
\set VERBOSITY terse
SELECT cdp.create_matcher('named', '[{"column": "surname", "kind": "levenshtein", "levels": [2, 1], "term_frequency": false},
    {"column": "born", "kind": "date", "levels": ["typo", "1 month"]}, {"column": "given_name", "levels": [0.9], "kind": "jaro_winkler", "swapped_with": "surname"},
    {"column": "code", "levels": [1]  , "kind": "array"}, "town"]',
    ARRAY['l.born = r.born', 'abs(l.born - r.born) <= 1 AND lower(l.surname) = lower(r.surname)'], 'shop.customer');
SELECT count(*) FROM (SELECT cdp.train_matcher('named')) t;
SELECT c ->> 'column' AS "column", l ->> 'level' AS level FROM cdp.matcher, jsonb_array_elements(model -> 'comparisons') WITH ORDINALITY c (c, i),
    jsonb_array_elements(c -> 'levels') WITH ORDINALITY l (l, j) WHERE name = 'named' ORDER BY i, j;
SET client_min_messages = warning;
SELECT cdp.find_matches('named') > 60 AS found;
-- A model can be edited.
SELECT cdp.alter_matcher('named', model => (SELECT jsonb_set(model, '{prior}', '1e-9') FROM cdp.matcher WHERE name = 'named'), review => 0.5);
SELECT weight FROM cdp.explain_match('named', '7', '1007') WHERE comparison = 'prior' AND weight BETWEEN -30 AND -29.8;
SELECT model ->> 'prior' AS prior, review, owner = current_user AS mine FROM cdp.matcher WHERE name = 'named';
SELECT cdp.alter_matcher('named', comparisons => '[{"column": "email"}]');
SELECT model IS NULL AS forgotten FROM cdp.matcher WHERE name = 'named';

-- Errors say what is wrong.
\set VERBOSITY default
SELECT cdp.create_matcher('customers');
SELECT cdp.create_matcher('x', '[{"column": "surnam"}]', source => 'shop.customer');
SELECT cdp.create_matcher('x', '[{"column": "surname", "kind": "sounds_like"}]', source => 'shop.customer');
SELECT cdp.create_matcher('x', '[{"column": "surname", "kind": "jaro_winkler", "levels": [2]}]', source => 'shop.customer');
SELECT cdp.create_matcher('x', '[{"column": "surname", "threshold": 2}]', source => 'shop.customer');
SELECT cdp.create_matcher('x', '[{"column": "surname"}, {"column": "surname"}]', source => 'shop.customer');
SELECT cdp.create_matcher('x', '{"column": "surname"}', source => 'shop.customer');
SELECT cdp.create_matcher('x', NULL, '{l.surnam = r.surname}', 'shop.customer');
SELECT cdp.create_matcher('x', NULL, '{l.customer_no + r.customer_no}', 'shop.customer');
SELECT cdp.create_matcher('x', NULL, '{"true) OR (true); DROP TABLE shop.customer; --"}', 'shop.customer');
CREATE TABLE shop.keyless (name text);
SELECT cdp.create_matcher('x', source => 'shop.keyless');
SELECT cdp.create_matcher('', source => 'shop.customer');
SELECT cdp.find_matches('nobody');
SELECT cdp.find_matches('customers', 90);
SELECT cdp.alter_matcher('customers', model => '{"prior": 2}');
SELECT cdp.drop_matcher('nobody');

-- Profiles: what matches becomes one person, as far as the limits of identifiers go.
SELECT cdp.identify('u' || i, jsonb_build_object('first_name', 'name' || substr(md5('g' || i % 40), 1, 5), 'last_name', substr(md5('s' || i), 1, 8),
                    'birthday', DATE '1960-01-01' + (i * 7919) % 12000)) IS NOT NULL AS sent FROM generate_series(1, 150) i \g /dev/null
SELECT cdp.identify(NULL, jsonb_build_object('first_name', 'name' || substr(md5('g' || i % 40), 1, 5), 'last_name', upper(substr(md5('s' || i), 1, 8)),
                    'birthday', DATE '1960-01-01' + (i * 7919) % 12000, 'email', 'p' || i || '@mail.example')) IS NOT NULL AS sent FROM generate_series(10, 40, 10) i \g /dev/null
SELECT cdp.identify('v50', jsonb_build_object('first_name', 'name' || substr(md5('g' || 50 % 40), 1, 5), 'last_name', substr(md5('s50'), 1, 8),
                    'birthday', DATE '1960-01-01' + (50 * 7919) % 12000)) IS NOT NULL AS sent;
SELECT cdp.flush();
SELECT cdp.create_segment('ten', $$traits ->> 'last_name' IS NOT NULL$$);
SELECT cdp.create_matcher('people');
SELECT cdp.find_matches('people');
SELECT c ->> 'column' AS "column", c ->> 'kind' AS kind FROM cdp.matcher, jsonb_array_elements(model -> 'comparisons') c WHERE name = 'people' ORDER BY 1;
SELECT count(*) FROM cdp.profile;
-- One by hand, one refused by hand, one rejected; the rest at once.
SELECT cdp.accept_match(m.match_id) FROM cdp.match m WHERE m.matcher = 'people' AND m.id_a = cdp.resolve('user_id', 'u10')::text;
SELECT cdp.resolve('user_id', 'u10') = cdp.resolve('email', 'p10@mail.example') AS one;
SELECT cdp.accept_match(m.match_id) FROM cdp.match m WHERE m.matcher = 'people' AND m.id_a = cdp.resolve('user_id', 'u50')::text;
SELECT cdp.reject_match(m.match_id) FROM cdp.match m WHERE m.matcher = 'people' AND m.id_a = cdp.resolve('user_id', 'u20')::text;
DO $$ BEGIN
    PERFORM cdp.reject_match(m.match_id) FROM cdp.match m WHERE m.matcher = 'people' AND m.status = 'applied';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    RAISE WARNING '%', regexp_replace(SQLERRM, '[0-9]+', 'N');
END $$;
SELECT cdp.apply_matches('people');
SELECT cdp.apply_matches('people');
SELECT count(*) FROM cdp.profile;
SELECT size FROM cdp.segment;
SELECT i, cdp.resolve('user_id', 'u' || i) = cdp.resolve('email', 'p' || i || '@mail.example') AS one FROM generate_series(10, 40, 10) i;
SELECT l.cause, l.matcher, l.score > 0.9 AS sure, l.actor = current_user AS by_me FROM cdp.identity_link l WHERE l.cause = 'match';
SELECT type, limit_type, refusals FROM cdp.identity_conflict;
SELECT status, count(*) FROM cdp.match WHERE matcher = 'people' AND probability > 0.9 GROUP BY 1 ORDER BY 1;
-- They never come back.
SELECT cdp.find_matches('people');
SELECT cdp.apply_matches('people');
SELECT * FROM cdp.rebuild() WHERE differing > 0;

-- Who was split off is not matched again, however alike; nor who is known by another value since.
SELECT cdp.split_identifier('email', 'p40@mail.example', 'his father') > 0 AS split;
SELECT cdp.identify(NULL, jsonb_build_object('first_name', 'name' || substr(md5('g' || 40 % 40), 1, 5), 'last_name', substr(md5('s40'), 1, 8),
                    'birthday', DATE '1960-01-01' + (40 * 7919) % 12000, 'email', 'p40@mail.example')) IS NOT NULL AS sent;
SELECT cdp.flush();
SELECT cdp.find_matches('people') > 0 AS found;
SELECT m.status, m.probability > 0.9 AS sure FROM cdp.match m WHERE m.matcher = 'people'
   AND cdp.resolve('user_id', 'u40')::text IN (m.id_a, m.id_b) AND cdp.resolve('email', 'p40@mail.example')::text IN (m.id_a, m.id_b);
SELECT cdp.apply_matches('people');
SELECT cdp.resolve('user_id', 'u40') = cdp.resolve('email', 'p40@mail.example') AS one;
SELECT type, limit_type, separation_id IS NOT NULL AS separated FROM cdp.identity_conflict WHERE value = 'p40@mail.example';
SELECT * FROM cdp.preview_identity_rules();
SELECT * FROM cdp.rebuild() WHERE differing > 0;

-- Who may: administrators, and nobody's rights are lent.
CREATE ROLE matching_admin IN ROLE cdp_admin;
CREATE ROLE matching_marketer IN ROLE cdp_marketer;
SET ROLE matching_marketer;
SELECT cdp.find_matches('people');
SELECT count(*) FROM cdp.match;
SET ROLE matching_admin;
SELECT cdp.create_matcher('mine', source => 'shop.customer');
RESET ROLE;
GRANT USAGE ON SCHEMA shop TO matching_admin;
GRANT SELECT ON shop.customer TO matching_admin;
SET ROLE matching_admin;
SELECT cdp.create_matcher('mine', '["surname", "born"]', source => 'shop.customer');
SELECT cdp.find_matches('mine') > 0 AS found;
RESET ROLE;
REVOKE SELECT ON shop.customer FROM matching_admin;
SELECT cdp.find_matches('mine');
SELECT cdp.drop_matcher(name) FROM cdp.matcher ORDER BY name;
SELECT count(*) FROM cdp.match;
DROP OWNED BY matching_admin;
DROP ROLE matching_admin, matching_marketer;
DROP SCHEMA shop CASCADE;
DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_matching;
