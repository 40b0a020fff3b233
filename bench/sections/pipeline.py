"""Messages through the whole of cdp, against the three baselines."""

from time import monotonic

from sections import baseline
from workload import HERE, INBOX_COLUMNS

TURNS = 5  # in which cdp and N are measured


def run(bench):
    messages, people = bench.scaled(1_000_000), bench.scaled(200_000)
    files = bench.workload.traffic(messages, people)

    def fill(name):
        database = bench.cdp_database(name)
        bench.cluster.psql(database, HERE / "check.sql")
        bench.cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", files)

    rate, bench.rates["copy"] = in_turns(bench, messages, fill, "cdp_pipeline")
    baseline.check(bench.cluster, "cdp_pipeline", "cdp")
    expect_no_rejections(bench.cluster, "cdp_pipeline")
    bench.report.note(f"cdp.process() over a full inbox: {rate:,.0f} messages/s; in turns with it N: {bench.rates['copy']:,.0f} rows/s")
    for name, what, budget in [("copy", "pipeline against plain COPY (N)", 0.5),
                               ("set", "pipeline against set-based SQL", 5),
                               ("trigger", "pipeline against per-row triggers", 30)]:
        if (other := bench.rates.get(name)) is None:
            bench.report.note(f"{what}: not measured without the section baseline")
            continue
        bench.report.add(what, f"{rate:,.0f}/s against {other:,.0f}/s", rate / other, budget)

    end_to_end = messages / _end_to_end(bench, files)
    bench.report.note(f"end to end, a client's COPY beside the worker until flush() returns: "
                      f"{end_to_end:,.0f} messages/s, {end_to_end / bench.rates['copy']:.2f} N")


def in_turns(bench, messages, fill, name):
    """Returns the rates of cdp and of N, taken batch by batch in turns: what the machine's speed does meanwhile, it does to both.

    fill(name) makes a database of that name with the messages in its inbox. The one that is measured is left."""
    cluster = bench.cluster
    cluster.preload("")
    fill("cdp_first")
    drain(cluster, "cdp_first", messages)
    with baseline.PlainCopy(bench, "cdp_first", TURNS) as plain:
        cluster.psql("postgres", "DROP DATABASE cdp_first")
        fill(name)
        plain.again()
        cluster.psql(name, "CHECKPOINT")
        copied = []
        seconds = drain(cluster, name, messages, messages // TURNS, lambda: copied.append(plain.step()))
        return messages / seconds, plain.rows / sum(copied)


def _end_to_end(bench, files):
    cluster = bench.cluster
    cluster.preload("cdp")
    database = bench.cdp_database("cdp_end_to_end")
    wait_for_worker(cluster, database)
    cluster.psql(database, "CHECKPOINT")
    seconds = feed(cluster, database, files)
    expect_no_rejections(cluster, database)
    cluster.psql("postgres", f"DROP DATABASE {database} WITH (FORCE)")
    return seconds


def drain(cluster, database, messages, at_a_time=None, between=lambda: None):
    """Processes everything in the inbox in one session, and calls between() after each step. Returns the seconds that the steps took."""
    processed, seconds = 0, 0
    with cluster.session(database) as session:
        while True:
            began = monotonic()
            done = int(session.run(f"SELECT cdp.process({at_a_time or 'NULL'})"))
            seconds += monotonic() - began
            between()
            if done == 0:
                break
            processed += done
    if processed != messages:
        raise RuntimeError(f"{messages} messages went in, process() counted {processed}")
    return seconds


def feed(cluster, database, files):
    """COPYs into the inbox while the worker works, until all is processed. Returns the seconds that took."""
    began = monotonic()
    cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", files)
    if cluster.psql(database, "SELECT cdp.flush('2 hours')") != "t":
        raise RuntimeError("flush() timed out")
    return monotonic() - began


def wait_for_worker(cluster, database, seconds=30):
    """Returns the worker's process id, once there is one."""
    deadline = monotonic() + seconds
    with cluster.session(database) as session:
        while monotonic() < deadline:
            if pid := session.run("SELECT worker_pid FROM cdp.status"):
                return int(pid)
            session.run("SELECT pg_sleep(0.1)")
    raise RuntimeError(f"no worker after {seconds} s")


def expect_no_rejections(cluster, database):
    if rejected := cluster.psql(database, "SELECT reason, count(*) FROM cdp.rejected_message GROUP BY 1"):
        raise RuntimeError(f"{database} rejected messages:\n{rejected}")
