"""The whole person by identifier, against one row by primary key."""

import re

from sections.pipeline import drain
from workload import HERE, INBOX_COLUMNS

SECONDS = 15


def run(bench):
    cluster = bench.cluster
    cluster.preload("")
    database = bench.cdp_database("cdp_lookup")
    messages, people = bench.scaled(1_000_000), bench.scaled(200_000)
    cluster.copy_in(database, f"cdp.inbox ({INBOX_COLUMNS})", bench.workload.traffic(messages, people))
    drain(cluster, database, messages)
    known = int(cluster.psql(database, HERE / "lookup.sql", "VACUUM ANALYZE", "CHECKPOINT",
                             "SELECT count(*) FROM bench.person"))

    row = _milliseconds(cluster, database, "lookup_row.pgbench", known)
    person = _milliseconds(cluster, database, "lookup_person.pgbench", known)
    bench.report.add("get_profile against a primary-key SELECT", f"{person:.3f} ms against {row:.3f} ms",
                     person / row, 3, at_least=False)
    cluster.psql("postgres", f"DROP DATABASE {database}")


def _milliseconds(cluster, database, script, people):
    """The mean latency of the script's last statement, from the client's side."""
    answer = cluster.program(cluster.bin / "pgbench", "--no-vacuum", "--protocol", "prepared", "--client", 1,
                             "--time", SECONDS, "--report-per-command", "--define", f"people={people}",
                             "--file", HERE / script, database)
    *_, last = re.findall(r"^\s+([\d.]+)\s+\d+\s+SELECT ", answer, re.MULTILINE)
    return float(last)
