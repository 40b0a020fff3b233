-- many_segments.sql: as many segments as :segments says, of three conditions each, no two alike, each
-- holding one person in some tens.

SELECT cdp.create_segment(
    'segment_' || n,
    format('orders >= %s AND event_count >= %s AND (age BETWEEN %s AND %s OR %s >= %s)',
           n % 3, 1 + n % 7, 18 + n % 50, 22 + n % 50,
           (ARRAY['revenue', 'items_bought', 'largest_order', 'product_views', 'searches'])[1 + n % 5],
           50 + n))
FROM generate_series(1, :segments) AS n;
