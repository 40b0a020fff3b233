-- windowed.sql: five of the 20 traits in a window instead, and ten of the 50 segments by the clock.

SELECT cdp.drop_trait(name) FROM unnest(ARRAY['orders', 'product_views', 'searches', 'revenue', 'categories_viewed']) AS name;
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed', "window" => '30 days');
SELECT cdp.create_computed_trait('product_views', 'count', event => 'Product Viewed', "window" => '7 days');
SELECT cdp.create_computed_trait('searches', 'count', event => 'Products Searched', "window" => '14 days');
SELECT cdp.create_computed_trait('revenue', 'sum', event => 'Order Completed', property => 'revenue', "window" => '90 days');
SELECT cdp.create_computed_trait('categories_viewed', 'distinct_count', event => 'Product Viewed', property => 'category', "window" => '30 days');

UPDATE bench.segment s SET definition = n.definition FROM (VALUES
    ('coupon_addict',        $$cdp.did('Order Completed', '60 days', 2, filter => 'properties ? ''coupon''')$$),
    ('small_basket',         $$cdp.did('Order Completed', '30 days') AND largest_order < 30$$),
    ('window_shopper',       $$cdp.did('Product Viewed', '30 days', 5) AND NOT cdp.did('Order Completed', '30 days')$$),
    ('seeker',               $$cdp.days_did('Products Searched', '14 days') >= 3$$),
    ('lost_seeker',          $$cdp.last_did('Products Searched') < now() - interval '20 days' AND orders = 0$$),
    ('app_user',             $$first_seen_at > now() - interval '10 days' AND app_events >= 1$$),
    ('explorer',             $$last_seen_at < now() - interval '10 days' AND event_count >= 5$$),
    ('focused',              $$cdp.did_sequence(ARRAY['Product Viewed', 'Product Added', 'Order Completed'], '1 day')$$),
    ('untouched',            $$last_seen_at < now() - interval '30 days'$$),
    ('upgraded',             $$cdp.first_did('Order Completed') > now() - interval '14 days'$$)) n (name, definition)
WHERE s.name = n.name;
