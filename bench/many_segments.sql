-- many_segments.sql: 200 traits, and as many segments as :segments says, of two to four of them each, no two alike.

SELECT cdp.create_computed_trait(format('%s_%s_%s', aggregate, substr(md5(event), 1, 3), category), aggregate, event,
    CASE aggregate WHEN 'count' THEN NULL WHEN 'last' THEN 'campaign' ELSE 'price' END, format('properties ->> ''category'' = %L', category))
FROM unnest(ARRAY['count', 'sum', 'max', 'min', 'last']) AS aggregate,
    unnest(ARRAY['Product Viewed', 'Product Added', 'Order Completed']) AS event,
    unnest(ARRAY['shoes', 'shirts', 'books', 'toys', 'garden', 'kitchen', 'music', 'games', 'sport', 'beauty', 'travel', 'office']) AS category;

CREATE TABLE bench_trait AS
    SELECT row_number() OVER (ORDER BY trait_id) - 1 AS n, name, type::text AS type FROM cdp.trait WHERE kind = 'computed' ORDER BY trait_id LIMIT 200;

SELECT cdp.create_segment('segment_' || s, (
    SELECT string_agg(format(CASE WHEN type IN ('bigint', 'numeric') THEN '%I >= %s' ELSE '%I IS NOT NULL AND %2$s > 0' END, name, 1 + s % 7), ' AND ' ORDER BY k)
    FROM generate_series(1, 2 + s % 3) AS k JOIN bench_trait t ON t.n = (s * 37 + k * k * 53 + k * s) % (SELECT count(*) FROM bench_trait)))
FROM generate_series(1, :segments) AS s;
