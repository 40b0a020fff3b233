"""The pipeline's rate with a thousand segments, against ten."""

from sections.pipeline import drain
from workload import HERE, INBOX_COLUMNS


def run(bench):
    messages, people = bench.scaled(1_000_000), bench.scaled(200_000)
    few, many = (_rate(bench, segments, messages, people) for segments in (10, 1_000))
    bench.report.add("pipeline with 1,000 segments against 10", f"{many:,.0f}/s against {few:,.0f}/s", many / few, 0.5)


def _rate(bench, segments, messages, people):
    cluster = bench.cluster
    cluster.preload("")
    database = "cdp_many_segments"
    cluster.create_database(database)
    cluster.psql(database, "CREATE EXTENSION cdp CASCADE", HERE / "traits.sql", HERE / "many_segments.sql",
                 segments=segments)
    cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", bench.workload.traffic(messages, people))
    cluster.psql(database, "CHECKPOINT")
    seconds = drain(cluster, database, messages)
    cluster.psql("postgres", f"DROP DATABASE {database}")
    return messages / seconds
