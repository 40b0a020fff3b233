-- matching_doors.sql: finding records that are one person.

CREATE FUNCTION cdp.create_matcher(name text, comparisons jsonb DEFAULT NULL, blocking text[] DEFAULT NULL, source regclass DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_create_matcher';
COMMENT ON FUNCTION cdp.create_matcher(text, jsonb, text[], regclass) IS
    'Makes a matcher, which finds records that are one person. comparisons: [{"column": …, "kind": …, "levels": […], "term_frequency": …, "swapped_with": …}, …], all but column optional; kinds: exact, jaro_winkler, levenshtein, damerau, date, numeric, email, phone, postcode, array, phonetic. blocking: SQL conditions over l and r, the two records; pairs that meet one are looked at. What is NULL is chosen from the data when it is trained. source: a table with a primary key; NULL: the profiles, where a column is one of cdp.profile, an identifier type, or a key of traits.';
REVOKE ALL ON FUNCTION cdp.create_matcher(text, jsonb, text[], regclass) FROM PUBLIC;

CREATE FUNCTION cdp.alter_matcher(name text, comparisons jsonb DEFAULT NULL, blocking text[] DEFAULT NULL, model jsonb DEFAULT NULL, review double precision DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_alter_matcher';
COMMENT ON FUNCTION cdp.alter_matcher(text, jsonb, text[], jsonb, double precision) IS
    'Changes a matcher; what is NULL stays as it is. Empty comparisons or blocking are chosen from the data. New comparisons or blocking make it forget its model; a model of the form that cdp.matcher.model has can be put in its place. review: pairs of a lower probability are not kept. The matcher belongs to the caller from then on.';
REVOKE ALL ON FUNCTION cdp.alter_matcher(text, jsonb, text[], jsonb, double precision) FROM PUBLIC;

CREATE FUNCTION cdp.drop_matcher(name text) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_drop_matcher';
COMMENT ON FUNCTION cdp.drop_matcher(text) IS
    'Drops a matcher with the matches it found. Links that these became stay.';
REVOKE ALL ON FUNCTION cdp.drop_matcher(text) FROM PUBLIC;

CREATE FUNCTION cdp.train_matcher(name text) RETURNS jsonb
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_train_matcher';
COMMENT ON FUNCTION cdp.train_matcher(text) IS
    'Learns from the records themselves, without labels, how much each level of agreement says; returns the model and keeps it in cdp.matcher. The next cdp.find_matches looks at all records again.';
REVOKE ALL ON FUNCTION cdp.train_matcher(text) FROM PUBLIC;

CREATE FUNCTION cdp.find_matches(name text, threshold double precision DEFAULT 0.9) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_find_matches';
COMMENT ON FUNCTION cdp.find_matches(text, double precision) IS
    'Looks at the pairs that blocking finds, at first all of them, then those of records that are new or have changed; keeps in cdp.match those that are probable enough for a review (cdp.matcher.review); trains the matcher if it is not. Returns how many that nobody rejected reach the threshold.';
REVOKE ALL ON FUNCTION cdp.find_matches(text, double precision) FROM PUBLIC;

CREATE FUNCTION cdp.cluster_matches(name text, threshold double precision DEFAULT 0.9) RETURNS TABLE (id text, cluster_id text)
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_cluster_matches';
COMMENT ON FUNCTION cdp.cluster_matches(text, double precision) IS
    'Every record with the person it belongs to, who is named by the first record of his. Pairs from the threshold on join, where the evidence between the two groups speaks for it on the whole; what somebody rejected stays apart.';
REVOKE ALL ON FUNCTION cdp.cluster_matches(text, double precision) FROM PUBLIC;

CREATE FUNCTION cdp.explain_match(name text, id_a text, id_b text) RETURNS TABLE (comparison text, level text, weight double precision)
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_explain_match';
COMMENT ON FUNCTION cdp.explain_match(text, text, text) IS
    'Why two records weigh what they do: the prior, what each comparison comes to, what its term frequency adds, and the sum; in bits, log2 of the odds.';
REVOKE ALL ON FUNCTION cdp.explain_match(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.accept_match(match_id bigint) RETURNS text
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_accept_match';
COMMENT ON FUNCTION cdp.accept_match(bigint) IS
    'Says that a match is right, and makes the two profiles one. Returns the status: applied; refused, where that would break a limit or undo a separation; accepted, where the records are no profiles.';
REVOKE ALL ON FUNCTION cdp.accept_match(bigint) FROM PUBLIC;

CREATE FUNCTION cdp.reject_match(match_id bigint) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_reject_match';
COMMENT ON FUNCTION cdp.reject_match(bigint) IS
    'Says that a match is wrong: the two records are never made one by matching. One that was applied has to be taken back first, with cdp.revoke_link.';
REVOKE ALL ON FUNCTION cdp.reject_match(bigint) FROM PUBLIC;

CREATE FUNCTION cdp.apply_matches(name text, threshold double precision DEFAULT 0.9) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_apply_matches';
COMMENT ON FUNCTION cdp.apply_matches(text, double precision) IS
    'Makes profiles one that cdp.cluster_matches finds to be one person, within the limits of identifiers; what is refused is in cdp.identity_conflict. Returns how many profiles went into others. Where the source is a table, accepts the matches within each person.';
REVOKE ALL ON FUNCTION cdp.apply_matches(text, double precision) FROM PUBLIC;
