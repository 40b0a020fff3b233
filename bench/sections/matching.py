"""Matching: how well people are found in data whose truth is known, and how fast beside Splink on DuckDB.

The published data sets come from CDP_TEST_DATA (default ../shared/data); where they are missing, that part is left out.
Splink comes from PyPI (pip install splink); where it is missing, only our side is timed.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from sections.memory import PeakMemory
from splink_side import RULES
from workload import HERE

FEBRL = "rec_id text PRIMARY KEY, " + ", ".join(f"{name} text" for name in (
    "given_name surname street_number address_1 address_2 suburb postcode state date_of_birth soc_sec_id").split())
FAKE = "unique_id int PRIMARY KEY, first_name text, surname text, dob text, city text, email text, cluster int"
PEOPLE = ("id int PRIMARY KEY, first_name text, surname text, dob text, street text, city text, zip text, email text, "
          "phone text, person int")

# Table, its columns, files, key, person, what is compared (None: all columns), budgets of F1: pairs, clusters.
PUBLISHED = [
    ("febrl1", FEBRL, ["febrl/dataset1.csv"], "rec_id", "split_part(rec_id, '-', 2)", None, 0.999, 0.999),
    ("febrl2", FEBRL, ["febrl/dataset2.csv"], "rec_id", "split_part(rec_id, '-', 2)", None, 0.997, 0.998),
    ("febrl3", FEBRL, ["febrl/dataset3.csv"], "rec_id", "split_part(rec_id, '-', 2)", None, 0.998, 0.9996),
    ("febrl4", FEBRL, ["febrl/dataset4a.csv", "febrl/dataset4b.csv"], "rec_id", "split_part(rec_id, '-', 2)", None, 0.9998, 0.9998),
    ("fake_1000", FAKE, ["fake_1000/fake_1000.csv"], "unique_id", "cluster", "first_name surname dob city email".split(), 0.87, 0.92),
]
COMPARED = "first_name surname dob street city zip email phone".split()


def run(bench):
    cluster = bench.cluster
    cluster.preload("")
    cluster.create_database("cdp_matching")
    cluster.psql("cdp_matching", "CREATE EXTENSION cdp", "CREATE SCHEMA people")
    data = Path(os.environ.get("CDP_TEST_DATA", HERE.parent / "../shared/data")).resolve()
    for case in PUBLISHED:
        if all((data / file).exists() for file in case[2]):
            _published(bench, data, *case)
        else:
            bench.report.note(f"{case[0]}: not in {data}")
    _made_up(bench, 20_000)
    _beside_splink(bench, bench.scaled(200_000))
    _large(bench, bench.scaled(1_000_000))
    cluster.psql("postgres", "DROP DATABASE cdp_matching")


def _load(bench, table, columns, files):
    bench.cluster.psql("cdp_matching", f"DROP TABLE IF EXISTS people.{table}", f"CREATE TABLE people.{table} ({columns})")
    for file in files:
        bench.cluster.psql("cdp_matching", f"\\copy people.{table} FROM '{file}' WITH (FORMAT csv, HEADER)")


def _match(bench, table, compared, blocking="NULL"):
    """Makes a matcher and runs it; returns the seconds, and the most memory of its own that the server's process had, in MB."""
    comparisons = "NULL" if compared is None else "'" + json.dumps(compared) + "'"
    with bench.cluster.session("cdp_matching") as session, PeakMemory(session.run("SELECT pg_backend_pid()")) as memory:
        began = time.monotonic()
        session.run("SET client_min_messages = warning")
        session.run(f"SELECT cdp.create_matcher('{table}', {comparisons}, {blocking}, 'people.{table}')")
        session.run(f"SELECT cdp.find_matches('{table}')")
        seconds = time.monotonic() - began
    return seconds, memory.megabytes


def _published(bench, data, table, columns, files, key, person, compared, pairs_budget, clusters_budget):
    _load(bench, table, columns, [data / file for file in files])
    _match(bench, table, compared)
    quality = _quality(bench, table, key, person)
    best, default, clusters = quality["best"], quality["default"], quality["clusters"]
    bench.report.add(f"{table}: F1 of pairs, best threshold", _written(best), best[2], pairs_budget, unit="")
    bench.report.add(f"{table}: precision of pairs at 0.9", _written(default), default[0], 0.99, unit="")
    bench.report.add(f"{table}: precision of clusters at 0.9", _written(clusters), clusters[0], 0.99, unit="")
    bench.report.add(f"{table}: F1 of clusters at 0.9", _written(clusters), clusters[2], clusters_budget, unit="")


def _made_up(bench, count):
    """Households: data as customers are, which no published set has."""
    _load(bench, "households", PEOPLE, [_people(bench, count)])
    _match(bench, "households", COMPARED)
    quality = _quality(bench, "households", "id", "person")
    for what in ("default", "clusters"):
        bench.report.add(f"{count:,} people in households: precision of {'pairs' if what == 'default' else what} at 0.9", _written(quality[what]),
                         quality[what][0], 0.98, unit="")


def _beside_splink(bench, count):
    file = _people(bench, count)
    rules = [" AND ".join(f"l.{column} = r.{column}" for column in rule) for rule in RULES]
    jaro = [{"column": c, "kind": "jaro_winkler", "levels": [0.92, 0.85, 0.7]} for c in ("first_name", "surname", "street", "city")]
    edits = [{"column": c, "kind": "damerau", "levels": [1, 2]} for c in ("dob", "zip", "email", "phone")]
    began = time.monotonic()
    _load(bench, "beside", PEOPLE, [file])
    _match(bench, "beside", jaro + edits, "ARRAY[" + ", ".join(f"'{rule}'" for rule in rules) + "]")
    bench.cluster.psql("cdp_matching", "CREATE TABLE people.clustered AS SELECT * FROM cdp.cluster_matches('beside')")
    ours = time.monotonic() - began
    clusters = _quality(bench, "beside", "id", "person")["clusters"]
    if importlib.util.find_spec("splink") is None:
        bench.report.note(f"matching {count:,} people: {ours:.1f} s; splink is not installed (pip install splink)")
        return
    answer = subprocess.run([sys.executable, HERE / "splink_side.py", file], check=True, capture_output=True, text=True)
    theirs = float(answer.stdout.split()[-1])
    bench.report.add(f"matching {count:,} people, from the file to the clusters, against Splink on DuckDB",
                     f"{ours:.1f} s ({_written(clusters)}) against {theirs:.1f} s", theirs / ours, 3)


def _large(bench, count):
    _load(bench, "many", PEOPLE, [_people(bench, count)])
    seconds, megabytes = _match(bench, "many", COMPARED)
    pairs = bench.cluster.psql("cdp_matching", "SELECT count(*) FROM cdp.match WHERE matcher = 'many'")
    bench.report.note(f"matching {count:,} people, rules chosen: {seconds:.0f} s, {int(pairs):,} pairs kept, at most {megabytes:,.0f} MB")


def _people(bench, count):
    file = bench.folder / f"people-{count}.csv"
    if not file.exists():
        with open(file, "w", encoding="utf-8") as lines:
            subprocess.run([sys.executable, HERE / "people.py", str(count)], stdout=lines, check=True)
        file.chmod(0o644)
    return file


def _quality(bench, table, key, person):
    """(precision, recall, F1) of pairs at the best threshold and at the default one, and of clusters at that."""
    answer = bench.cluster.psql("cdp_matching", HERE / "matching.sql", table=table, key=key, person=person)
    return {what: tuple(map(float, numbers)) for what, *numbers in (line.split("|") for line in answer.splitlines())}


def _written(quality):
    return "precision {:.4f}, recall {:.4f}, F1 {:.4f}".format(*quality)
