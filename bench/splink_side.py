"""What Splink on DuckDB does with the same records, comparisons and blocking. Prints the seconds, from the file to the
clusters, and the pairs it scored. Needs splink from PyPI."""

import sys
import time

import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

RULES = [("email",), ("phone",), ("street",), ("dob", "zip"), ("surname", "dob"), ("first_name", "dob"), ("surname", "zip"),
         ("first_name", "surname", "city")]


def comparisons():
    similar = [cl.JaroWinklerAtThresholds(column, [0.92, 0.85, 0.7]) for column in ("first_name", "surname", "street", "city")]
    edits = [cl.DamerauLevenshteinAtThresholds(column, [1, 2]) for column in ("dob", "zip", "email", "phone")]
    return [c.configure(term_frequency_adjustments=True) for c in similar + edits]


def main(file):
    began = time.monotonic()
    api = DuckDBAPI()
    duckdb = api._con
    duckdb.execute("SET threads = 2")
    duckdb.execute(f"CREATE TABLE people AS SELECT * FROM read_csv('{file}', header = true, all_varchar = true, nullstr = '')")
    settings = SettingsCreator(link_type="dedupe_only", unique_id_column_name="id", comparisons=comparisons(),
                               blocking_rules_to_generate_predictions=[block_on(*rule) for rule in RULES])
    linker = make_linker(settings, api)
    linker.training.estimate_probability_two_random_records_match([block_on("email")], recall=0.5)
    linker.training.estimate_u_using_random_sampling(max_pairs=5e5, seed=1)
    for rule in (("email",), ("surname", "dob")):
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(*rule))
    pairs = linker.inference.predict(threshold_match_probability=0.01)
    linker.clustering.cluster_pairwise_predictions_at_threshold(pairs, threshold_match_probability=0.9)
    print(f"{time.monotonic() - began:.3f}")


def make_linker(settings, api):
    """Of Splink 4 and of 5, which wants the table registered first."""
    if hasattr(api, "register"):
        try:
            return Linker(api.register("people"), settings)
        except TypeError:
            pass
    return Linker("people", settings, api)


if __name__ == "__main__":
    main(sys.argv[1])
