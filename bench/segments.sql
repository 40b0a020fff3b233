-- segments.sql: the 50 segments that every side keeps. A table, so that all of them read the very
-- same conditions; definitions.sql makes them cdp's, baseline_tables.sql the baselines'.
-- Those that use cdp.in_segment come last and refer to earlier ones.

CREATE SCHEMA bench;
CREATE TABLE bench.segment (
    segment_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    definition text NOT NULL
);

INSERT INTO bench.segment (name, definition) VALUES
    ('buyer',                $$orders >= 1 AND revenue > 0$$),
    ('repeat_buyer',         $$orders >= 2 AND revenue > 50$$),
    ('loyal_buyer',          $$orders >= 5 AND average_order >= 40$$),
    ('vip',                  $$revenue >= 1000 AND orders >= 3 AND plan <> 'free'$$),
    ('big_spender',          $$largest_order >= 300 AND revenue >= 500$$),
    ('bargain_hunter',       $$discounted_orders >= 1 AND average_order < 100$$),
    ('coupon_addict',        $$discounted_orders >= 2 AND discounted_orders * 2 >= orders$$),
    ('small_basket',         $$orders >= 1 AND largest_order < 30$$),
    ('steady_basket',        $$orders >= 3 AND largest_order < 5 * smallest_order$$),
    ('bulk_buyer',           $$items_bought >= 20 AND orders >= 2$$),
    ('single_items',         $$orders >= 2 AND items_bought < 2 * orders$$),
    ('euro_buyer',           $$revenue_eur > 0 AND orders >= 1$$),
    ('mostly_euro',          $$revenue_eur * 2 > revenue AND orders >= 2$$),
    ('window_shopper',       $$product_views >= 5 AND orders = 0$$),
    ('heavy_window_shopper', $$product_views >= 20 AND orders = 0 AND searches >= 3$$),
    ('converts_well',        $$orders >= 2 AND product_views <= 10 * orders$$),
    ('seeker',               $$searches >= 3 AND product_views >= 3$$),
    ('lost_seeker',          $$searches >= 3 AND product_views = 0 AND orders = 0$$),
    ('app_user',             $$app_events >= 1 AND event_count >= 2$$),
    ('app_only',             $$app_events >= 3 AND app_events = event_count$$),
    ('app_buyer',            $$app_events >= 5 AND orders >= 1$$),
    ('web_only',             $$app_events = 0 AND event_count >= 3$$),
    ('shoe_lover',           $$favourite_category = 'shoes' AND product_views >= 3$$),
    ('reader',               $$favourite_category = 'books' AND country IN ('US', 'GB')$$),
    ('gamer',                $$favourite_category IN ('games', 'toys') AND age < 30$$),
    ('gardener',             $$favourite_category = 'garden' AND age >= 50$$),
    ('explorer',             $$categories_viewed >= 5 AND product_views >= 8$$),
    ('focused',              $$categories_viewed = 1 AND product_views >= 3$$),
    ('changed_taste',        $$last_category <> favourite_category AND product_views >= 5$$),
    ('stayed_with_first',    $$first_category = favourite_category AND orders >= 2$$),
    ('newsletter_reached',   $$'newsletter' = ANY (campaigns) AND event_count >= 3$$),
    ('sale_reached',         $$campaigns && ARRAY['spring_sale', 'summer_sale'] AND orders >= 1$$),
    ('many_campaigns',       $$cardinality(campaigns) >= 3 AND orders = 0$$),
    ('untouched',            $$coalesce(cardinality(campaigns), 0) = 0 AND event_count >= 5$$),
    ('free_but_active',      $$plan = 'free' AND event_count >= 10$$),
    ('upgraded',             $$signup_plan = 'free' AND plan IN ('basic', 'pro', 'enterprise')$$),
    ('never_upgraded',       $$signup_plan = 'free' AND plan = 'free' AND event_count >= 8$$),
    ('pro_without_orders',   $$plan = 'pro' AND orders = 0 AND product_views >= 1$$),
    ('german_pro',           $$country = 'DE' AND plan IN ('pro', 'enterprise')$$),
    ('us_buyer',             $$country = 'US' AND orders >= 1$$),
    ('young_buyer',          $$age < 25 AND orders >= 1$$),
    ('senior_app_user',      $$age >= 65 AND app_events >= 1$$),
    ('reachable_buyer',      $$cdp.has_identifier('email') AND orders >= 1$$),
    ('phone_reachable',      $$cdp.has_identifier('phone') AND event_count >= 3$$),
    ('anonymous_shopper',    $$NOT cdp.has_identifier('user_id') AND product_views >= 3$$),
    ('vip_by_phone',         $$cdp.in_segment('vip') AND cdp.has_identifier('phone')$$),
    ('vip_in_app',           $$cdp.in_segment('vip') AND app_events >= 3$$),
    ('repeat_without_sale',  $$cdp.in_segment('repeat_buyer') AND NOT cdp.in_segment('bargain_hunter')$$),
    ('win_back',             $$cdp.in_segment('window_shopper') AND cdp.has_identifier('email') AND country <> 'JP'$$),
    ('shoe_audience',        $$cdp.in_segment('shoe_lover') AND orders >= 1 AND plan = 'free'$$);

-- A segment's condition as plain SQL over a profile row: cdp.in_segment('x') becomes the condition of x,
-- cdp.has_identifier('t') becomes `has_identifier` with \1 standing for t.
CREATE FUNCTION bench.plain_condition(definition text, has_identifier text) RETURNS text
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    other text;
BEGIN
    LOOP
        other := substring(definition FROM 'cdp\.in_segment\(''(\w+)''\)');
        EXIT WHEN other IS NULL;
        definition := replace(definition, format('cdp.in_segment(%L)', other),
            (SELECT format('coalesce(%s, false)', s.definition) FROM bench.segment s WHERE s.name = other));
    END LOOP;
    RETURN regexp_replace(definition, 'cdp\.has_identifier\(''(\w+)''\)', has_identifier, 'g');
END
$$;
