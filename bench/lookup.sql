-- lookup.sql: people to look up, numbered, so that pgbench can draw one.

CREATE TABLE bench.person AS
SELECT row_number() OVER (ORDER BY identifier_id) AS n, value AS user_id, profile_id
FROM cdp.identifier
WHERE type = 'user_id';
ALTER TABLE bench.person ADD PRIMARY KEY (n);
