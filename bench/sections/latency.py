"""From the commit of a message to the membership it causes, under a steady load."""

from sections.pipeline import drain, wait_for_worker
from workload import HERE, INBOX_COLUMNS, build

RATE = 5_000  # messages a second
WARM_UP, SECONDS = 5, 25


def run(bench):
    cluster = bench.cluster
    cluster.preload("")
    database = bench.cdp_database("cdp_latency")
    cluster.psql(database, HERE / "latency.sql")
    # People are known already, as in a platform that is in use.
    messages, people = bench.scaled(1_000_000), bench.scaled(200_000)
    cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", bench.workload.traffic(messages, people))
    drain(cluster, database, messages)
    cluster.psql(database, "CHECKPOINT")

    cluster.preload("cdp")
    wait_for_worker(cluster, database)
    load = RATE * (WARM_UP + SECONDS)
    [file] = bench.workload.traffic(load, people, per_file=load, seed=2)
    client = build("latency.cpp", bench.folder, "-lpqxx", "-lpq")
    answer = cluster.program(client, file, RATE, WARM_UP, SECONDS, f"dbname={database}")
    measured = {name: float(value) for name, value in map(str.split, answer.splitlines())}
    if measured["rate"] < 0.98 * RATE:
        raise RuntimeError(f"the client reached only {measured['rate']:.0f} messages/s of {RATE}")

    side = f"{measured['probes']:.0f} probes at {measured['rate']:,.0f} messages/s, worst {measured['max']:.1f} ms"
    bench.report.add("commit → membership visible, p50", side, measured["p50"], 10, unit="ms", at_least=False)
    bench.report.add("commit → membership visible, p99", side, measured["p99"], 50, unit="ms", at_least=False)
    cluster.psql("postgres", f"DROP DATABASE {database} WITH (FORCE)")
