-- consent_doors.sql: making purposes, recording what people say of them, and suppressing.

CREATE FUNCTION cdp.create_purpose(name text, description text DEFAULT NULL, mode text DEFAULT 'opt_in') RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.check_purpose(name, mode);
    IF EXISTS (SELECT FROM cdp.purpose p WHERE p.name = create_purpose.name) THEN
        RAISE EXCEPTION 'purpose "%" already exists', name
            USING ERRCODE = 'duplicate_object', HINT = 'Change it with cdp.alter_purpose.';
    END IF;
    INSERT INTO cdp.purpose (name, description, mode) VALUES (name, description, mode);
    -- What messages said of it before.
    INSERT INTO cdp.consent_record (record_id, type, value, purpose, granted, occurred_at, source, proof, event_id)
    SELECT nextval('cdp.consent_record_id_seq'), i.type, i.value, create_purpose.name, e.granted, e.occurred_at, e.source,
           jsonb_build_object('message_id', e.message_id), e.event_id
    FROM (SELECT o.event_id, o.message_id, o.identifier_id, o.occurred_at, o.source,
                 (o.context -> 'consent' -> 'categoryPreferences' -> create_purpose.name)::boolean AS granted
          FROM cdp.event o
          WHERE o.context -> 'consent' -> 'categoryPreferences' -> create_purpose.name IN ('true', 'false')
          ORDER BY o.event_id) e
         JOIN cdp.identifier i ON i.identifier_id = e.identifier_id
    WHERE NOT EXISTS (SELECT FROM cdp.consent_record r WHERE r.event_id = e.event_id AND r.purpose = create_purpose.name)
    ORDER BY e.event_id;
    INSERT INTO cdp.consent (profile_id, purpose, channel, granted, occurred_at, record_id)
    SELECT DISTINCT ON (i.profile_id, r.channel) i.profile_id, r.purpose, r.channel, r.granted, r.occurred_at, r.record_id
    FROM cdp.consent_record r JOIN cdp.identifier i ON i.value = r.value AND i.type = r.type
    WHERE r.purpose = create_purpose.name
    ORDER BY i.profile_id, r.channel, r.occurred_at DESC, r.granted, r.record_id;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.create_purpose(text, text, text) IS
    'Makes a purpose that people may consent to. mode: opt_in: only an explicit yes covers it; opt_out: all but an explicit no does. What messages said of it before counts.';
REVOKE ALL ON FUNCTION cdp.create_purpose(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.check_purpose(name text, mode text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF name IS NULL OR btrim(name) = '' OR length(name) > 200 THEN
        RAISE EXCEPTION 'invalid name of a purpose: "%"', name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It has 1 to 200 characters.';
    END IF;
    IF mode IS NULL OR mode NOT IN ('opt_in', 'opt_out') THEN
        RAISE EXCEPTION 'mode "%" does not exist', mode
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is opt_in (only an explicit yes covers) or opt_out (all but an explicit no).';
    END IF;
END $$;
COMMENT ON FUNCTION cdp.check_purpose(text, text) IS 'Internal: raises an error unless a purpose can be so.';
REVOKE ALL ON FUNCTION cdp.check_purpose(text, text) FROM PUBLIC;

CREATE FUNCTION cdp.alter_purpose(name text, description text DEFAULT NULL, mode text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old_mode text;
BEGIN
    PERFORM cdp.lock_pipeline();
    SELECT p.mode INTO old_mode FROM cdp.purpose p WHERE p.name = alter_purpose.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'purpose "%" does not exist', name USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM cdp.check_purpose(name, coalesce(mode, old_mode));
    UPDATE cdp.purpose p
       SET description = coalesce(alter_purpose.description, p.description), mode = coalesce(alter_purpose.mode, p.mode)
     WHERE p.name = alter_purpose.name;
    PERFORM cdp.touch_configuration();
    IF mode <> old_mode THEN
        PERFORM cdp.refresh_consented(name);
    END IF;
END $$;
COMMENT ON FUNCTION cdp.alter_purpose(text, text, text) IS
    'Changes what is given of a purpose. Another mode at once changes who is in the segments and destinations that use it.';
REVOKE ALL ON FUNCTION cdp.alter_purpose(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.drop_purpose(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    user_of text;
BEGIN
    PERFORM cdp.lock_pipeline();
    SELECT d.name INTO user_of FROM cdp.destination d
    WHERE d.purpose = drop_purpose.name OR drop_purpose.name = ANY (d.asks_purposes)
    ORDER BY d.name LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'purpose "%" is in use', name
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = format('Destination "%s" asks for it.', user_of), HINT = 'Drop that first.';
    END IF;
    DELETE FROM cdp.purpose p WHERE p.name = drop_purpose.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'purpose "%" does not exist', name USING ERRCODE = 'undefined_object';
    END IF;
    DELETE FROM cdp.consent c WHERE c.purpose = drop_purpose.name;
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();  -- a segment that asks for it
END $$;
COMMENT ON FUNCTION cdp.drop_purpose(text) IS
    'Drops a purpose. Refused while a destination or a segment uses it. What people said of it stays in the ledger, and counts again if it is made again.';
REVOKE ALL ON FUNCTION cdp.drop_purpose(text) FROM PUBLIC;

CREATE FUNCTION cdp.refresh_consented(purpose text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_refresh_consented';
COMMENT ON FUNCTION cdp.refresh_consented(text) IS
    'Internal: brings the segments and destinations that ask for consent to a purpose in line with it.';
REVOKE ALL ON FUNCTION cdp.refresh_consented(text) FROM PUBLIC;

CREATE FUNCTION cdp.set_consent(type text, value text, purpose text, granted boolean, channel text DEFAULT NULL,
                                source text DEFAULT NULL, proof jsonb DEFAULT NULL, occurred_at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_set_consent';
COMMENT ON FUNCTION cdp.set_consent(text, text, text, boolean, text, text, jsonb, timestamptz) IS
    'Records that whoever has the identifier, now or later, said yes or no to the purpose, on a channel (NULL: on all); returns the statement''s record_id. The latest by occurred_at holds, at the same instant the refusal. Segments and destinations follow in the same transaction.';
REVOKE ALL ON FUNCTION cdp.set_consent(text, text, text, boolean, text, text, jsonb, timestamptz) FROM PUBLIC;

CREATE FUNCTION cdp.suppress(type text, value text, reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_suppress';
COMMENT ON FUNCTION cdp.suppress(text, text, text) IS
    'Takes whoever has the identifier, now or later, out of every destination, whatever they consent to, in the same transaction; false if it was suppressed already.';
REVOKE ALL ON FUNCTION cdp.suppress(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.unsuppress(type text, value text) RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unsuppress';
COMMENT ON FUNCTION cdp.unsuppress(text, text) IS 'Takes a suppression back; false if there was none.';
REVOKE ALL ON FUNCTION cdp.unsuppress(text, text) FROM PUBLIC;
