-- cdp_guard_test: see guard_test.cpp.
CREATE FUNCTION guard_throw(sqlstate text, message text, detail text DEFAULT '', hint text DEFAULT '',
                            source text DEFAULT '', place integer DEFAULT 0) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_throw_other(kind text) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_query(statement text) RETURNS text LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_fetch(statement text) RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_nested(depth integer) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_allocate(bytes bigint, huge boolean DEFAULT false) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_try(statement text, bytes bigint) RETURNS text LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_context_kept(statement text) RETURNS text LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_loop(seconds double precision) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_swallow(times integer, statement text) RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_subtransaction(statement text, goes_on boolean DEFAULT true) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_act_as(role regrole, statement text) RETURNS text LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_who() RETURNS text LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_fail_at_end(event text) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_start_worker(kind text) RETURNS integer LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_live() RETURNS integer LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_holdoff() RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_call_nanoseconds(calls integer) RETURNS double precision LANGUAGE c AS 'MODULE_PATHNAME';
-- See condition_test.cpp.
CREATE FUNCTION guard_condition(condition text, relation regclass, clock text DEFAULT 'allowed', subqueries boolean DEFAULT false,
                                as_of timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_holds(condition text, given record, clock timestamptz, inputs text[] DEFAULT '{}', use text DEFAULT 'allowed') RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_next_flip(condition text, given record, clock timestamptz, inputs text[] DEFAULT '{}', use text DEFAULT 'allowed') RETURNS timestamptz
    LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_flips(condition text, given record, since timestamptz, until timestamptz, samples integer, seed integer) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME';
CREATE FUNCTION guard_condition_nanoseconds(condition text, given record, clock timestamptz, times integer) RETURNS double precision[]
    LANGUAGE c AS 'MODULE_PATHNAME';
