-- check.sql: what each side kept, against what plain SQL over its own events gives. Nothing may
-- differ: a fast pipeline that counts wrong is not in the race.

-- How many profiles differ in any trait, and how many memberships are wrong, in schema cdp or base.
CREATE FUNCTION bench.differences(schema_name name) RETURNS TABLE (what text, differing bigint)
    LANGUAGE plpgsql
AS $function$
DECLARE
    s record;
BEGIN
    RETURN QUERY EXECUTE replace($$
        WITH fact AS (
            SELECT e.*, i.profile_id, properties ->> 'category' AS category, properties ->> 'campaign' AS campaign,
                   CASE WHEN jsonb_typeof(properties -> 'revenue') = 'number'
                        THEN (properties ->> 'revenue')::numeric END AS revenue,
                   CASE WHEN jsonb_typeof(properties -> 'quantity') = 'number'
                        THEN (properties ->> 'quantity')::numeric END AS quantity,
                   event = 'Order Completed' AS is_order, event = 'Product Viewed' AS is_view
            FROM SCHEMA.event e
            JOIN SCHEMA.identifier i USING (identifier_id)
        ),
        fresh AS (
            SELECT profile_id, min(occurred_at) AS first_seen_at, max(occurred_at) AS last_seen_at,
                   count(*) AS event_count,
                   (array_agg(traits ->> 'plan' ORDER BY occurred_at DESC, event_id DESC)
                       FILTER (WHERE type = 'identify' AND traits ? 'plan'))[1] AS plan,
                   (array_agg(traits ->> 'country' ORDER BY occurred_at DESC, event_id DESC)
                       FILTER (WHERE type = 'identify' AND traits ? 'country'))[1] AS country,
                   ((array_agg(traits ->> 'age' ORDER BY occurred_at DESC, event_id DESC)
                       FILTER (WHERE type = 'identify' AND traits ? 'age'))[1])::integer AS age,
                   (array_agg(traits ->> 'plan' ORDER BY occurred_at, event_id)
                       FILTER (WHERE type = 'identify' AND traits ? 'plan'))[1] AS signup_plan,
                   count(*) FILTER (WHERE is_order) AS orders,
                   count(*) FILTER (WHERE is_order AND properties ? 'coupon') AS discounted_orders,
                   count(*) FILTER (WHERE is_view) AS product_views,
                   count(*) FILTER (WHERE event = 'Products Searched') AS searches,
                   count(*) FILTER (WHERE source = 'app') AS app_events,
                   sum(revenue) FILTER (WHERE is_order) AS revenue,
                   sum(revenue) FILTER (WHERE is_order AND properties ->> 'currency' = 'EUR') AS revenue_eur,
                   sum(quantity) FILTER (WHERE is_order) AS items_bought,
                   round(avg(revenue) FILTER (WHERE is_order), 9) AS average_order,
                   min(revenue) FILTER (WHERE is_order) AS smallest_order,
                   max(revenue) FILTER (WHERE is_order) AS largest_order,
                   (array_agg(category ORDER BY occurred_at, event_id)
                       FILTER (WHERE is_order AND category IS NOT NULL))[1] AS first_category,
                   (array_agg(category ORDER BY occurred_at DESC, event_id DESC)
                       FILTER (WHERE is_view AND category IS NOT NULL))[1] AS last_category,
                   count(DISTINCT category) FILTER (WHERE is_view) AS categories_viewed,
                   mode() WITHIN GROUP (ORDER BY category) FILTER (WHERE is_view) AS favourite_category,
                   coalesce(array_agg(DISTINCT campaign) FILTER (WHERE campaign IS NOT NULL), '{}') AS campaigns
            FROM fact
            GROUP BY profile_id
        ),
        kept AS (
            SELECT profile_id, first_seen_at, last_seen_at, event_count, plan, country, age, signup_plan, orders,
                   discounted_orders, product_views, searches, app_events, revenue, revenue_eur, items_bought,
                   round(average_order, 9) AS average_order, smallest_order, largest_order, first_category,
                   last_category, categories_viewed, favourite_category, coalesce(campaigns, '{}') AS campaigns
            FROM SCHEMA.profile
        )
        SELECT 'profiles', count(*)
        FROM fresh FULL JOIN kept USING (profile_id)
        WHERE fresh IS DISTINCT FROM kept
    $$, 'SCHEMA', quote_ident(schema_name));

    FOR s IN SELECT name, bench.plain_condition(definition, format(
                        'EXISTS (SELECT FROM %I.identifier i WHERE i.profile_id = p.profile_id AND i.type = ''\1'')',
                        schema_name)) AS condition
             FROM bench.segment
    LOOP
        RETURN QUERY EXECUTE format($$
            SELECT 'segment ' || %2$L, count(*)
            FROM (SELECT profile_id FROM %1$I.profile p WHERE %3$s) AS fresh
            FULL JOIN (SELECT profile_id FROM %1$I.segment_member JOIN %1$I.segment USING (segment_id)
                       WHERE name = %2$L) AS kept ON kept.profile_id = fresh.profile_id
            WHERE fresh.profile_id IS NULL OR kept.profile_id IS NULL
        $$, schema_name, s.name, s.condition);
    END LOOP;
END
$function$;
