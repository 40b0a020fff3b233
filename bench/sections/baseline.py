"""The other sides: plain COPY (N), the set-based pipeline, the triggers. Each is checked before it counts."""

from statistics import median

from workload import HERE, INBOX_COLUMNS

# The largest is the fastest, as each profile is touched less often; it is also the stalest: 15 seconds
# or more of traffic at the rate it reaches. The best of them counts.
SET_BATCHES = [10_000, 50_000, 200_000]

# Larger transactions slow the trigger down: the versions of a hot profile row that a transaction
# leaves behind can only be pruned after it.
TRIGGER_TRANSACTION = 1_000


def run(bench):
    messages, people = bench.scaled(1_000_000), bench.scaled(200_000)
    bench.report.note(f"baselines: {messages:,} messages of {people:,} people")

    by_batch = {batch: _set_based(bench, messages, people, batch) for batch in SET_BATCHES}
    bench.rates["set"] = max(by_batch.values())
    bench.report.note("set-based SQL: " + ", ".join(f"{rate:,.0f} messages/s in batches of {batch:,}"
                                                    for batch, rate in by_batch.items()))
    bench.rates["copy"] = plain_copy(bench, "set_based", "TABLE base.event")
    bench.report.note(f"N, plain COPY of the event rows into a table with the two indexes: "
                      f"{bench.rates['copy']:,.0f} rows/s")
    bench.rates["trigger"] = _triggers(bench, messages // 10, people // 10)
    bench.report.note(f"per-row triggers, {messages // 10:,} messages of {people // 10:,} people: "
                      f"{bench.rates['trigger']:,.0f} messages/s")


def _set_based(bench, messages, people, batch):
    cluster = bench.cluster
    cluster.create_database("set_based")
    cluster.psql("set_based", HERE / "baseline_set.sql", HERE / "check.sql")
    cluster.copy_in("set_based", f"base.inbox ({INBOX_COLUMNS})", bench.workload.traffic(messages, people))
    cluster.psql("set_based", "VACUUM ANALYZE base.inbox", "CHECKPOINT")
    with cluster.session("set_based") as session:
        seconds = session.seconds(f"CALL base.process({batch})")
    check(cluster, "set_based", "base")
    return messages / seconds


def plain_copy(bench, database, events):
    """N: the rate at which COPY writes what the query `events` gives (rows as of plain_event.sql), in the order in which they came."""
    cluster, rows = bench.cluster, bench.folder / "cluster" / "events.copy"
    copied = int(cluster.psql(database, f"COPY ({events} ORDER BY event_id) TO '{rows}'", f"SELECT count(*) FROM ({events}) e"))
    seconds = []
    for _ in range(3):
        cluster.create_database("plain_copy")
        cluster.psql("plain_copy", HERE / "plain_event.sql", "CHECKPOINT")
        with cluster.session("plain_copy") as session:
            seconds.append(session.seconds(f"COPY event FROM '{rows}'"))
    rows.unlink()
    cluster.psql("postgres", "DROP DATABASE plain_copy")
    return copied / median(seconds)


def _triggers(bench, messages, people):
    cluster = bench.cluster
    files = bench.workload.traffic(messages, people, per_file=TRIGGER_TRANSACTION)
    cluster.create_database("triggers")
    cluster.psql("triggers", HERE / "baseline_trigger.sql", HERE / "check.sql", "CHECKPOINT")
    seconds = cluster.copy_in("triggers", f"base.inbox ({INBOX_COLUMNS})", files)
    check(cluster, "triggers", "base")
    return messages / seconds


def check(cluster, database, schema):
    """Fails unless every trait and membership is what plain SQL over the events gives."""
    wrong = cluster.psql(database, f"SELECT * FROM bench.differences('{schema}') WHERE differing <> 0")
    if wrong:
        raise RuntimeError(f"{database} is wrong:\n{wrong}")
