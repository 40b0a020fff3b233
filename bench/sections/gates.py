"""The pipeline with three destinations behind consent, against none: the same messages, the same definitions."""

from sections.delivery import Receiver, Relay, deliver, wait_until, wait_until_settled
from sections.pipeline import drain, in_turns
from workload import HERE, INBOX_COLUMNS

# Of five people three said yes to the letter, one no, one nothing; a third agreed to advertising; one in twenty wants no
# service, and a hundredth is suppressed. They said it beforehand, of an account that nobody had yet.
CONSENTS = """
SELECT cdp.create_purpose('letter'), cdp.create_purpose('ads'), cdp.create_purpose('service', mode => 'opt_out');
SELECT count(cdp.set_consent('user_id', 'user-' || i, 'letter', i % 5 < 3, occurred_at => '2024-01-01'))
FROM generate_series(0, {people} - 1) i WHERE i % 5 < 4;
SELECT count(cdp.set_consent('user_id', 'user-' || i, 'ads', true, occurred_at => '2024-01-01'))
FROM generate_series(0, {people} - 1) i WHERE i % 3 = 0;
SELECT count(cdp.set_consent('user_id', 'user-' || i, 'service', false, occurred_at => '2024-01-01'))
FROM generate_series(0, {people} - 1) i WHERE i % 20 = 0;
SELECT count(cdp.suppress('user_id', 'user-' || i, 'bounced')) FROM generate_series(0, {people} - 1) i WHERE i % 100 = 7;
"""

# Everything of everybody who has an account; some columns of buyers; who is in an audience and nothing else.
DESTINATIONS = """
SELECT cdp.create_destination('crm', key => 'user_id', purpose => 'service');
SELECT cdp.create_destination('letter', 'buyer', 'email', purpose => 'letter', channel => 'email',
    columns => '{"plan": "plan", "orders": "orders", "segments": "cdp.segment_names()"}');
SELECT cdp.create_destination('ads', 'window_shopper', 'email', '{}', purpose => 'ads');
"""


def run(bench):
    messages = bench.scaled(1_000_000)

    def measure(name, prepare):
        rate, copy = in_turns(bench, messages, lambda database: _fill(bench, database, prepare), name)
        _check(bench, name)
        bench.cluster.psql("postgres", f"DROP DATABASE {name}")
        return rate, copy

    none, none_copy = measure("cdp_ungated", lambda *_: None)
    bench.report.note(f"gates, without destinations: {none:,.0f} messages/s, {none / none_copy:.2f} N")
    rate, copy = measure("cdp_gated", _gates)
    bench.report.note(f"gates, three destinations behind consent that nobody reads: {rate / copy / (none / none_copy):.2f} of none")
    bench.report.add("the pipeline with three destinations behind consent against plain COPY (N)", f"{rate:,.0f}/s against {copy:,.0f}/s", rate / copy, 0.5)

    _fill(bench, "cdp_gated", _gates)
    seconds = _beside_readers(bench, "cdp_gated", messages)
    _check(bench, "cdp_gated")
    bench.report.note(f"gates, three destinations behind consent that a subscriber and the relay read: {messages / seconds:,.0f} messages/s, "
                      f"{messages / seconds / rate:.2f} of where nobody reads")
    bench.cluster.psql("postgres", "DROP DATABASE cdp_gated")


def _fill(bench, name, prepare):
    """A database with everything defined, and the messages in its inbox."""
    bench.cluster.preload("")
    database = bench.cdp_database(name)
    prepare(bench, database)
    files = bench.workload.traffic(bench.scaled(1_000_000), bench.scaled(200_000))
    bench.cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", files)
    bench.cluster.psql(database, "CHECKPOINT")


def _check(bench, database):
    if wrong := bench.cluster.psql(database, "SELECT * FROM cdp.destination_difference() WHERE differing IS DISTINCT FROM 0"):
        raise RuntimeError(f"{database} is wrong:\n{wrong}")


def _gates(bench, database):
    bench.cluster.psql(database, *CONSENTS.format(people=bench.scaled(200_000)).split(";\n")[:-1], *DESTINATIONS.split(";\n")[:-1])
    for table in ("consent_record", "suppression"):
        bench.cluster.psql(database, f"VACUUM ANALYZE cdp.{table}")


def _beside_readers(bench, database, messages):
    """Another database subscribes to the CRM's rows, a webhook gets the others'; afterwards all of them have all of it. Returns
    how long the pipeline took meanwhile."""
    cluster = bench.cluster
    cluster.create_database("crm")
    table = cluster.program(cluster.bin / "pg_dump", "--schema-only", "--table", "cdp_out.crm", "--no-owner",
                            "--no-privileges", "--no-publications", database)
    (bench.folder / "crm.sql").write_text(table, encoding="utf-8")
    cluster.psql("crm", "CREATE SCHEMA cdp_out", bench.folder / "crm.sql")
    # Within one cluster a subscription cannot make its slot itself.
    cluster.psql(database, "SELECT pg_create_logical_replication_slot('crm', 'pgoutput')")
    cluster.psql("crm", f"CREATE SUBSCRIPTION crm CONNECTION 'dbname={database} host={cluster.folder} port={cluster.environment['PGPORT']}'"
                        " PUBLICATION cdp_crm WITH (create_slot = false, slot_name = 'crm', copy_data = false)")
    with Receiver("count") as receiver:
        for name in ("letter", "ads"):
            deliver(cluster, database, name, receiver.url)
        with Relay(cluster, database):
            wait_until(cluster, database, "SELECT count(*) FROM pg_replication_slots WHERE active", "3")
            seconds = drain(cluster, database, messages)
            wait_until(cluster, database, "SELECT confirmed_flush_lsn >= pg_current_wal_lsn() - 10000 FROM pg_replication_slots WHERE slot_name = 'crm'", "t")
            for name in ("letter", "ads"):
                wait_until_settled(cluster, database, name)
    there, here = (cluster.psql(where, "SELECT count(*), sum(event_count) FROM cdp_out.crm") for where in ("crm", database))
    if there != here:
        raise RuntimeError(f"the subscriber has {there}, the destination {here}")
    cluster.psql("crm", "DROP SUBSCRIPTION crm")
    cluster.psql("postgres", "DROP DATABASE crm")
    cluster.psql(database, "SELECT cdp.remove_delivery(name) FROM unnest('{letter,ads}'::text[]) name")
    return seconds
