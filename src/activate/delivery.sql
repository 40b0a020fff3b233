-- delivery.sql: what cdp-relay delivers to, and what became of every row. The relay writes most of it (src/relay/README.md).

CREATE TABLE cdp.connector (
    name        text COLLATE "C" PRIMARY KEY,
    description text,
    endpoint    text,
    method      text,
    url         text,
    headers     jsonb,
    auth        jsonb,
    options     jsonb,
    batch_size  int CHECK (batch_size > 0),
    rate_limit  double precision CHECK (rate_limit > 0),
    repeats     boolean,
    require     jsonb,
    before      jsonb,
    body        jsonb,
    after       jsonb,
    deletes     jsonb,
    success     jsonb,
    retry       jsonb,
    refuse      jsonb,
    shipped     boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE cdp.connector IS
    'How each network is spoken to over HTTP, as data: put in rows of your own. The format: docs/connectors.md.';
COMMENT ON COLUMN cdp.connector.endpoint IS 'The network''s address, where cdp.set_delivery names no other.';
COMMENT ON COLUMN cdp.connector.method IS 'Of the request: POST unless it says otherwise.';
COMMENT ON COLUMN cdp.connector.url IS 'Where to, as a template.';
COMMENT ON COLUMN cdp.connector.headers IS 'An object: header → template.';
COMMENT ON COLUMN cdp.connector.auth IS
    'How the request proves whom it is from. Secrets stand in the relay''s environment, here only the names of their variables.';
COMMENT ON COLUMN cdp.connector.options IS 'Options that cdp.set_delivery may give, with their defaults.';
COMMENT ON COLUMN cdp.connector.batch_size IS 'The most rows in a request.';
COMMENT ON COLUMN cdp.connector.rate_limit IS 'The most requests a second. NULL: no limit.';
COMMENT ON COLUMN cdp.connector.repeats IS 'Whether a key may stand twice in a request.';
COMMENT ON COLUMN cdp.connector.require IS 'What a row must have to be sent at all; without it, it is refused without a request.';
COMMENT ON COLUMN cdp.connector.before IS 'Requests that go before that of the batch.';
COMMENT ON COLUMN cdp.connector.body IS 'The body, as a template over the rows.';
COMMENT ON COLUMN cdp.connector.after IS 'Requests that follow that of the batch.';
COMMENT ON COLUMN cdp.connector.deletes IS 'What is different for rows that left.';
COMMENT ON COLUMN cdp.connector.success IS 'Which answers mean that a row was taken.';
COMMENT ON COLUMN cdp.connector.retry IS 'Which answers mean: later, unchanged.';
COMMENT ON COLUMN cdp.connector.refuse IS 'Which answers mean that a row will never be taken as it is.';
COMMENT ON COLUMN cdp.connector.shipped IS 'Comes with the extension; not dumped.';

CREATE TABLE cdp.delivery_target (
    destination   text COLLATE "C" PRIMARY KEY,
    connector     text NOT NULL,
    endpoint      text,
    secret_env    text,
    options       jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    generation    bigint NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0),
    started_lsn   pg_lsn,
    last_error    text,
    last_error_at timestamptz
);
COMMENT ON TABLE cdp.delivery_target IS
    'The destinations that cdp-relay delivers, as cdp.set_delivery says. Rows change by that function and cdp.remove_delivery.';
COMMENT ON COLUMN cdp.delivery_target.secret_env IS 'The environment variable of the relay that holds the secret; never the secret.';
COMMENT ON COLUMN cdp.delivery_target.generation IS
    'Another number after every change: a relay that has not seen it yet writes nothing more.';
COMMENT ON COLUMN cdp.delivery_target.started_lsn IS
    'Where the log stood when, the relay''s replication slot being there, everything from before was in cdp.delivery as wanted; NULL: not yet.';
COMMENT ON COLUMN cdp.delivery_target.last_error IS 'Why nothing could be delivered when that was last tried; NULL: it is well.';

CREATE TABLE cdp.delivery (
    destination  text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    status       text NOT NULL CHECK (status IN ('pending', 'delivered', 'refused', 'removed')),
    wanted_lsn   pg_lsn NOT NULL,
    wanted_at    timestamptz NOT NULL DEFAULT now(),
    wanted       uuid,
    held         uuid,
    refused      uuid,
    sent_at      timestamptz,
    answered_at  timestamptz,
    answered_lsn pg_lsn,
    http_status  int,
    reason       text,
    after        text[] COLLATE "C",
    PRIMARY KEY (destination, key)
) WITH (fillfactor = 80);
-- What is to be sent, and what is of no use any more once the slot has passed it.
CREATE INDEX delivery_open ON cdp.delivery (destination, key) WHERE status IN ('pending', 'removed');
CREATE INDEX delivery_refused ON cdp.delivery (destination) WHERE status = 'refused';
COMMENT ON TABLE cdp.delivery IS
    'Per destination and key the last change that was wanted, and what the destination answered. The relay writes a row when it has an answer; or sooner, as pending, what waits in the table instead of the write-ahead log: the rows from before delivery began, of a resync, of a destination that fell too far behind. cdp.delivery_report counts by the rows of the destination''s table.';
COMMENT ON COLUMN cdp.delivery.status IS
    'Of the change at wanted_lsn. removed: the destination has confirmed that the row is gone; such a row goes by itself.';
COMMENT ON COLUMN cdp.delivery.wanted_lsn IS 'Where in the write-ahead log the change stands, or where the log was when it was found wanting.';
COMMENT ON COLUMN cdp.delivery.wanted IS
    'Of what is pending, which row it was when it was found wanting, as in held. NULL: a removal, or not known.';
COMMENT ON COLUMN cdp.delivery.held IS 'Which row the destination holds: the hash that cdp.delivery_rows gives it. NULL: none.';
COMMENT ON COLUMN cdp.delivery.refused IS 'Which row it refused, likewise; NULL: a removal.';
COMMENT ON COLUMN cdp.delivery.answered_lsn IS 'Which change the last answer is to.';
COMMENT ON COLUMN cdp.delivery.after IS
    'Keys that this person''s row had before: while it waits, it is not sent before those of them that are gone have been removed.';

CREATE TABLE cdp.delivery_failure (
    destination text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    lsn         pg_lsn NOT NULL,
    id          text NOT NULL,
    type        text NOT NULL,
    "row"       jsonb,
    http_status int,
    reason      text,
    failed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (destination, key)
);
COMMENT ON TABLE cdp.delivery_failure IS
    'What destinations refused, whole, with their answer: until cdp.retry_deliveries sends it again, or a later change of the same row takes its place.';
COMMENT ON COLUMN cdp.delivery_failure.id IS 'The idempotency key that it was sent with.';
COMMENT ON COLUMN cdp.delivery_failure.type IS 'insert, update or delete.';

SELECT pg_extension_config_dump('cdp.connector', 'WHERE NOT shipped');
SELECT pg_extension_config_dump('cdp.delivery_target', '');
SELECT pg_extension_config_dump('cdp.delivery', '');
SELECT pg_extension_config_dump('cdp.delivery_failure', '');

-- Shipped ones come with the extension, in a dump too: a change would be lost there.
CREATE FUNCTION cdp.keep_shipped_connectors() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'connector "%" is shipped with the extension and cannot be changed', OLD.name USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'Insert a copy of it under another name, with shipped = false, and change that.';
END $$;
COMMENT ON FUNCTION cdp.keep_shipped_connectors() IS 'Internal: the trigger of cdp.connector.';
CREATE TRIGGER keep_shipped BEFORE UPDATE OR DELETE ON cdp.connector FOR EACH ROW WHEN (OLD.shipped) EXECUTE FUNCTION cdp.keep_shipped_connectors();
