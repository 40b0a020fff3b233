"""The other sides: the set-based pipeline, the triggers; plain COPY (N). Each is checked before it counts."""

from statistics import median

from workload import HERE, INBOX_COLUMNS

# The largest is the fastest, as each profile is touched less often; it is also the stalest: 15 seconds
# or more of traffic at the rate it reaches. The best of them counts.
SET_BATCHES = [10_000, 50_000, 200_000]

EVENT_COLUMNS = ("event_id, message_id, type, event, source, identifier_id, occurred_at, received_at, sent_at, user_id, anonymous_id, previous_id, "
                 "group_id, linked_ids, properties, traits, context")

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


def plain_copy(bench, database):
    """N: the rows of cdp.event of a database of cdp's, as they came, into a table with the two indexes. Returns rows a second."""
    with PlainCopy(bench, database, 1) as plain:
        rate = plain.rows / median([plain.again().step() for _ in range(3)])
    bench.report.note(f"N, plain COPY of the event rows into a table with the two indexes: {rate:,.0f} rows/s")
    return rate


class PlainCopy:
    """N, in `parts` steps of as many rows, so that it can be taken in turns with what it is compared with: the machine's speed changes."""

    def __init__(self, bench, database, parts):
        self._cluster, self._files = bench.cluster, []
        least, most, self.rows = map(int, bench.cluster.psql(database, "SELECT min(event_id), max(event_id), count(*) FROM cdp.event").split("|"))
        for part in range(parts):
            self._files.append(bench.folder / "cluster" / f"events{part}.copy")
            first, end = (least + (most + 1 - least) * i // parts for i in (part, part + 1))
            bench.cluster.psql(database, f"COPY (SELECT {EVENT_COLUMNS} FROM cdp.event WHERE event_id >= {first} AND event_id < {end}"
                                         f" ORDER BY event_id) TO '{self._files[-1]}'")
        self._session = None

    def again(self):
        """Begins with an empty table."""
        self._close()
        self._cluster.create_database("plain_copy")
        self._cluster.psql("plain_copy", HERE / "plain_event.sql", "CHECKPOINT")
        self._session = self._cluster.session("plain_copy")
        self._next = 0
        return self

    def step(self):
        """Copies the next part. Returns the seconds that took; 0: there is no more."""
        if self._next == len(self._files):
            return 0
        self._next += 1
        return self._session.seconds(f"COPY event FROM '{self._files[self._next - 1]}'")

    def _close(self):
        if self._session is not None:
            self._session.__exit__()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._close()
        for file in self._files:
            file.unlink()
        self._cluster.psql("postgres", "DROP DATABASE plain_copy")


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
