"""The pipeline's rate on a large state against a small one, with the very same traffic."""

from sections.pipeline import drain
from workload import HERE, INBOX_COLUMNS

TIMES = 10  # so many people are made of each in the large state


def run(bench):
    small = _rate(bench, people=bench.scaled(100_000), events=bench.scaled(1_000_000), stride=1, times=1)
    large = _rate(bench, people=bench.scaled(10_000_000), events=bench.scaled(50_000_000), stride=10, times=TIMES)
    bench.report.add("pipeline at 10 M people and 50 M events against 100 k and 1 M",
                     f"{large:,.0f}/s against {small:,.0f}/s", large / small, 0.75)


def _rate(bench, people, events, stride, times):
    cluster = bench.cluster
    cluster.preload("")
    database = bench.cdp_database("cdp_growth")
    grow(bench, database, people, events, times)
    # As many people speak as the small state has; in the large one they are every hundredth, evenly among the others.
    messages = max(100_000, bench.scaled(500_000))  # with fewer, a session's first steps would weigh
    for seed in (4, 3):  # the first lets them come back from disk
        files = bench.workload.traffic(messages, people // times // stride, stride=stride, seed=seed)
        cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", files)
        cluster.psql(database, "CHECKPOINT")
        seconds = drain(cluster, database, messages)
        bench.report.note(f"{database}: {messages / seconds:,.0f} messages/s")
    cluster.psql("postgres", f"DROP DATABASE {database}")
    return messages / seconds


def grow(bench, database, people, messages, times=1):
    """Gives the database a past: of one in `times` people through the pipeline itself, so that nothing of the state is made up;
    the others are copies of these (multiply.sql)."""
    cluster = bench.cluster
    with bench.workload.generator(messages // times, people // times, seed=2) as past:
        cluster.stream_in(database, f"cdp.inbox ({INBOX_COLUMNS})", past, 250_000, "SELECT cdp.process()")
    while int(cluster.psql(database, "SELECT cdp.process()")):
        pass
    cluster.psql(database, HERE / "multiply.sql", times=times)
    known, kept = cluster.psql(database, "VACUUM ANALYZE", "SELECT (SELECT count(*) FROM cdp.profile), (SELECT count(*) FROM cdp.event)").split("|")
    bench.report.note(f"{database}: {int(kept):,} events of {int(known):,} profiles")
