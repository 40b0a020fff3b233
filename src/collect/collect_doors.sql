-- collect_doors.sql: how messages get in, and how those that were refused get another chance.

-- Messages as JSON ----------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.ingest(messages jsonb, source text DEFAULT 'default')
    RETURNS TABLE (message_id text, status text, reason text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_ingest';
COMMENT ON FUNCTION cdp.ingest(jsonb, text) IS
    'Takes a Segment message, an array of them, or a {"batch": […]} body. Each is accepted into cdp.inbox or rejected into cdp.rejected_message, in the order given, whatever becomes of the others. Of a batch, sentAt, context and integrations hold for its messages. A field that the spec does not know is kept in the context under its name.';
REVOKE ALL ON FUNCTION cdp.ingest(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.ingest(jsonb, text) TO cdp_ingest;

CREATE FUNCTION cdp.retry_rejected() RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_retry_rejected';
COMMENT ON FUNCTION cdp.retry_rejected() IS
    'Sends every rejected message through again, as received when it was, and returns how many. Those that are still bad are rejected anew.';
REVOKE ALL ON FUNCTION cdp.retry_rejected() FROM PUBLIC;

-- One message ---------------------------------------------------------------------------------------------------
--
-- They write with the rights of the extension's owner, so that EXECUTE is all that a sender needs.

CREATE FUNCTION cdp.track(event text, user_id text DEFAULT NULL, anonymous_id text DEFAULT NULL,
                          properties jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
                          occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                          source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, event, user_id, anonymous_id, properties, context, occurred_at, message_id, source)
    VALUES ('track', event, user_id, anonymous_id, properties, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.track(text, text, text, jsonb, jsonb, timestamptz, text, text) IS
    'Sends a track message: somebody did something. Returns its message_id.';

CREATE FUNCTION cdp.identify(user_id text, traits jsonb DEFAULT NULL, anonymous_id text DEFAULT NULL,
                             context jsonb DEFAULT NULL, occurred_at timestamptz DEFAULT NULL,
                             message_id text DEFAULT NULL, source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, user_id, traits, anonymous_id, context, occurred_at, message_id, source)
    VALUES ('identify', user_id, traits, anonymous_id, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.identify(text, jsonb, text, jsonb, timestamptz, text, text) IS
    'Sends an identify message: who somebody is, and what is known of them. Returns its message_id.';

CREATE FUNCTION cdp.page(name text, user_id text DEFAULT NULL, anonymous_id text DEFAULT NULL,
                         properties jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
                         occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                         source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, event, user_id, anonymous_id, properties, context, occurred_at, message_id, source)
    VALUES ('page', name, user_id, anonymous_id, properties, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.page(text, text, text, jsonb, jsonb, timestamptz, text, text) IS
    'Sends a page message: somebody saw a page of a website. Returns its message_id.';

CREATE FUNCTION cdp.screen(name text, user_id text DEFAULT NULL, anonymous_id text DEFAULT NULL,
                           properties jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
                           occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                           source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, event, user_id, anonymous_id, properties, context, occurred_at, message_id, source)
    VALUES ('screen', name, user_id, anonymous_id, properties, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.screen(text, text, text, jsonb, jsonb, timestamptz, text, text) IS
    'Sends a screen message: somebody saw a screen of an app. Returns its message_id.';

CREATE FUNCTION cdp.join_group(group_id text, user_id text DEFAULT NULL, traits jsonb DEFAULT NULL,
                               anonymous_id text DEFAULT NULL, context jsonb DEFAULT NULL,
                               occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                               source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, group_id, user_id, traits, anonymous_id, context, occurred_at, message_id, source)
    VALUES ('group', group_id, user_id, traits, anonymous_id, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.join_group(text, text, jsonb, text, jsonb, timestamptz, text, text) IS
    'Sends a group message: somebody belongs to an account, and what is known of that account. Returns its message_id.';

CREATE FUNCTION cdp.alias(previous_id text, user_id text DEFAULT NULL, context jsonb DEFAULT NULL,
                          occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                          source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, previous_id, user_id, context, occurred_at, message_id, source)
    VALUES ('alias', previous_id, user_id, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.alias(text, text, jsonb, timestamptz, text, text) IS
    'Sends an alias message: previous_id, an anonymous_id, is the person user_id. Returns its message_id.';

REVOKE ALL ON FUNCTION cdp.track(text, text, text, jsonb, jsonb, timestamptz, text, text),
                       cdp.identify(text, jsonb, text, jsonb, timestamptz, text, text),
                       cdp.page(text, text, text, jsonb, jsonb, timestamptz, text, text),
                       cdp.screen(text, text, text, jsonb, jsonb, timestamptz, text, text),
                       cdp.join_group(text, text, jsonb, text, jsonb, timestamptz, text, text),
                       cdp.alias(text, text, jsonb, timestamptz, text, text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.track(text, text, text, jsonb, jsonb, timestamptz, text, text),
                          cdp.identify(text, jsonb, text, jsonb, timestamptz, text, text),
                          cdp.page(text, text, text, jsonb, jsonb, timestamptz, text, text),
                          cdp.screen(text, text, text, jsonb, jsonb, timestamptz, text, text),
                          cdp.join_group(text, text, jsonb, text, jsonb, timestamptz, text, text),
                          cdp.alias(text, text, jsonb, timestamptz, text, text)
    TO cdp_ingest;
