-- matching.sql: precision, recall and F1 of what matcher :table found in people.:table.
CREATE TEMP TABLE truth AS SELECT (:key)::text AS id, (:person)::text AS who FROM people.:table;
CREATE TEMP TABLE clustered AS SELECT * FROM cdp.cluster_matches(:'table') c JOIN truth USING (id);
ANALYZE truth;
WITH total AS (SELECT sum(n * (n - 1) / 2) AS pairs FROM (SELECT count(*) AS n FROM truth GROUP BY who) t),
found AS (SELECT m.weight, m.probability, a.who = b.who AS hit FROM cdp.match m JOIN truth a ON a.id = m.id_a JOIN truth b ON b.id = m.id_b WHERE m.matcher = :'table'),
so_far AS (SELECT sum(hit::int) OVER w AS hits, count(*) OVER w AS found FROM found WINDOW w AS (ORDER BY weight DESC)),
counted AS (
    (SELECT 'best' AS what, hits, so_far.found FROM so_far, total ORDER BY 2 * hits / (so_far.found + total.pairs) DESC LIMIT 1)
    UNION ALL SELECT 'default', sum(hit::int), count(*) FROM found WHERE probability >= 0.9
    UNION ALL SELECT 'clusters', (SELECT sum(n * (n - 1) / 2) FROM (SELECT count(*) AS n FROM clustered GROUP BY cluster_id, who) c),
                                 (SELECT sum(n * (n - 1) / 2) FROM (SELECT count(*) AS n FROM clustered GROUP BY cluster_id) c))
SELECT what, hits / found::float, hits / total.pairs::float, 2 * hits / (found + total.pairs)::float FROM counted, total;
