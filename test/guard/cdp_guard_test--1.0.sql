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
