"""Windows and the clock: the pipeline with both, timers that fall due under load, filling a windowed trait."""

from time import monotonic

from sections.growth import grow
from sections.latency import RATE, SECONDS, WARM_UP
from sections.pipeline import drain, in_turns, wait_for_worker
from workload import HERE, INBOX_COLUMNS, build


def run(bench):
    _pipeline(bench)
    _timers(bench)
    _filling(bench)


def _database(bench, name):
    cluster = bench.cluster
    cluster.create_database(name)
    cluster.psql(name, "CREATE EXTENSION cdp CASCADE", HERE / "traits.sql", HERE / "segments.sql", HERE / "windowed.sql",
                 "SELECT cdp.create_segment(name, definition) FROM bench.segment ORDER BY segment_id")
    return name


def _pipeline(bench):
    cluster = bench.cluster
    messages, people = bench.scaled(1_000_000), bench.scaled(200_000)
    files = bench.workload.traffic(messages, people)

    def fill(name):
        cluster.copy_in(_database(bench, name), f"cdp.inbox ({INBOX_COLUMNS})", files)

    rate, copy = in_turns(bench, messages, fill, "cdp_clock")
    if wrong := cluster.psql("cdp_clock", "SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0"):
        raise RuntimeError(f"rebuild differs:\n{wrong}")
    bench.report.add("pipeline with 5 windowed traits and 10 segments by the clock, against plain COPY (N), in turns",
                     f"{rate:,.0f}/s against {copy:,.0f}/s", rate / copy, 0.5)
    cluster.psql("postgres", "DROP DATABASE cdp_clock")


def _timers(bench):
    cluster = bench.cluster
    cluster.preload("")
    database = bench.cdp_database("cdp_timers")
    cluster.psql(database, HERE / "latency.sql", "SELECT cdp.create_segment('crowd', $$last_seen_at < now() - interval '1 hour' AND traits ? 'crowd'$$)")
    messages, people, timers = bench.scaled(1_000_000), bench.scaled(200_000), bench.scaled(100_000)
    cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", bench.workload.traffic(messages, people))
    drain(cluster, database, messages)
    load = RATE * (WARM_UP + SECONDS)
    [file] = bench.workload.traffic(load, people, per_file=load, seed=2)
    client = build("latency.cpp", bench.folder, "-lpqxx", "-lpq")
    cluster.psql(database, "CHECKPOINT")
    cluster.preload("cdp")
    wait_for_worker(cluster, database)
    # All of them fall due together, while the load is on.
    cluster.psql(database, f"INSERT INTO cdp.inbox (type, user_id, traits, occurred_at) SELECT 'identify', 'crowd-' || i, '{{\"crowd\": 1}}',"
                           f" now() - interval '1 hour' + interval '{WARM_UP + 20} seconds' FROM generate_series(1, {timers}) i",
                 "SELECT cdp.flush('10 minutes')")
    answer = cluster.program(client, file, RATE, WARM_UP, SECONDS, f"dbname={database}")
    measured = {name: float(value) for name, value in map(str.split, answer.splitlines())}
    cluster.psql(database, "SELECT cdp.flush()")
    late, count = cluster.psql(database, "SELECT extract(epoch FROM max(at - due_at)), count(*) FROM cdp.segment_transition WHERE cause = 'clock'").split("|")
    if int(count) != timers:
        raise RuntimeError(f"{count} people of {timers} entered by the clock")
    side = f"{measured['probes']:.0f} probes at {measured['rate']:,.0f} messages/s, worst {measured['max']:.1f} ms"
    bench.report.add(f"commit → membership visible while {timers:,} timers fall due, p99", side, measured["p99"], 50, unit="ms", at_least=False)
    bench.report.note(f"the last of the {timers:,} memberships that began by the clock did so {float(late):.2f} s after its moment")
    cluster.psql("postgres", f"DROP DATABASE {database} WITH (FORCE)")


def _filling(bench):
    cluster = bench.cluster
    cluster.preload("")
    people = bench.scaled(1_000_000)
    database = bench.cdp_database("cdp_filling")
    grow(bench, database, people, messages=2 * people)
    with cluster.session(database) as session:
        session.run("CHECKPOINT")
        began = monotonic()
        session.run("CREATE TABLE bench.filled AS SELECT profile_id, count(*) AS n, sum((properties ->> 'price')::numeric) AS total"
                    " FROM cdp.profile_event WHERE event = 'Product Viewed' AND occurred_at > now() - interval '90 days' GROUP BY 1")
        plain = monotonic() - began
        began = monotonic()
        session.run("SELECT cdp.create_computed_trait('filled', 'count', 'Product Viewed', \"window\" => '90 days')")
        ours = monotonic() - began
        events = session.run("SELECT count(*) FROM cdp.event")
    bench.report.add("filling a windowed trait, against the same GROUP BY into a table",
                     f"{ours:.2f} s against {plain:.2f} s over {int(events):,} events", ours / plain, 3, at_least=False)
    cluster.psql("postgres", f"DROP DATABASE {database}")
