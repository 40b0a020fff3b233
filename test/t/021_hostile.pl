# Whatever else is in the database: nobody's operators, functions and tables are taken for ours, and no role's
# definitions run with the rights of another.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'\n");
$node->start;
sub sql { return $node->safe_psql(@_) }
sub fails {
	my ($database, $query, $message, $name) = @_;
	my ($code, $out, $error) = $node->psql($database, $query);
	like($error, $message, $name);
	return;
}
sql('postgres', 'CREATE ROLE mallory LOGIN');

# Somebody was there first -----------------------------------------------------------------------------------------

for my $schema ('cdp', 'cdp_segment', 'cdp_out') {
	sql('postgres', 'CREATE DATABASE squatted');
	sql('squatted', "CREATE SCHEMA $schema AUTHORIZATION mallory");
	sql('squatted', q{SET ROLE mallory; CREATE FUNCTION cdp.inbox_mark() RETURNS xid8 LANGUAGE sql AS 'SELECT NULL::xid8'}) if $schema eq 'cdp';
	fails('squatted', 'CREATE EXTENSION cdp', qr/ERROR:  schema "$schema" already exists/, "a schema $schema of another's keeps the extension out");
	is(sql('squatted', q{SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'cdp'), (SELECT count(*) FROM pg_namespace WHERE nspname ~ '^cdp'),
		(SELECT count(*) FROM pg_event_trigger)}), '0|1|0', 'and nothing of it is left');
	sql('squatted', "DROP SCHEMA $schema CASCADE; CREATE EXTENSION cdp");
	sql('postgres', 'DROP DATABASE squatted');
}

# Traps in every schema that is searched before ours ----------------------------------------------------------------

sql('postgres', 'CREATE DATABASE trapped');
sql('postgres', 'ALTER DATABASE trapped SET search_path = traps, public, pg_catalog');
sql('trapped', q{
CREATE SCHEMA traps;
SET search_path = pg_catalog;
CREATE FUNCTION traps.spring() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trap'; END $$;
-- An operator, a function, a cast's function and a table of every name that our code might mean.
DO $$
DECLARE
	o record;
	n int := 0;
BEGIN
	FOR o IN SELECT DISTINCT oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS t FROM pg_operator
	         WHERE oprleft <> 0 AND oprresult NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p') AND oprleft NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')
	           AND oprright NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')
	           AND oprleft IN (SELECT unnest('{int2,int4,int8,text,name,bool,jsonb,timestamptz,interval,oid,"char",numeric,bytea,xid,xid8}'::regtype[])) LOOP
		n := n + 1;
		EXECUTE format('CREATE FUNCTION traps.op_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''trap: operator''; END $f$', n, o.l, o.r, o.t);
		EXECUTE format('CREATE OPERATOR traps.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = traps.op_%s)', o.oprname, o.l, o.r, n);
	END LOOP;
	FOR o IN SELECT p.proname, pg_get_function_arguments(p.oid) AS a, pg_get_function_result(p.oid) AS t, p.oid FROM pg_proc p
	         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
	           AND p.prorettype NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')
	           AND NOT EXISTS (SELECT FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) t WHERE t IN (SELECT oid FROM pg_type WHERE typtype = 'p'))
	           AND p.proname ~ '^(now|lower|upper|length|substr|substring|format|quote_|coalesce|to_|array_|jsonb_|nextval|setval|current|clock|statement|transaction|txid|pg_current|pg_visible|pg_snapshot|hash|md5|gen_random|date_|string|regexp|replace|left|right|trim|btrim|greatest|obj_desc|col_desc|pg_get|pg_table|pg_relation|pg_is|has_|aclexplode|unnest|random|timestamptz|text|name|int|numeric|float|bool|age|version)' LOOP
		BEGIN
			EXECUTE format('CREATE FUNCTION traps.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''trap: function''; END $f$', o.proname, o.a, o.t);
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	FOR o IN SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') LOOP
		EXECUTE format('CREATE VIEW traps.%I AS SELECT traps.spring()', o.relname);
	END LOOP;
	CREATE FUNCTION traps.count(bigint) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trap''; END';
END $$;
GRANT USAGE ON SCHEMA traps TO PUBLIC});
cmp_ok(sql('trapped', q{SET search_path = pg_catalog; SELECT count(*) FROM pg_proc WHERE pronamespace = 'traps'::regnamespace}), '>', 500, 'the traps are set');
fails('trapped', 'SELECT 1 + 1', qr/trap: operator/, 'and work');

# Everything, with the search_path that springs them.
my @everything = (
	'CREATE EXTENSION cdp', 'SELECT cdp.stop_worker()',
	q{SELECT cdp.create_trait('email', 'text')}, q{SELECT cdp.create_trait('plan', 'text', 'plan', 'source_priority', '{crm}')},
	q{SELECT cdp.create_computed_trait('orders', 'count', 'Order')}, q{SELECT cdp.create_computed_trait('spent', 'sum', 'Order', 'total', $$properties ->> 'x' = '1'$$)},
	q{SELECT cdp.create_identifier_type('loyalty', 3)}, q{SELECT cdp.alter_identifier_type('loyalty', max_per_profile => 2)}, q{SELECT cdp.block_identifier('*', '^x$')},
	q{INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ann', '{"email": "ann@x.org", "plan": "p"}')},
	q{INSERT INTO cdp.inbox (event, user_id, anonymous_id, properties) VALUES ('Order', 'ann', 'a1', '{"total": 5, "x": "1"}'), (NULL, 'bob', NULL, NULL)},
	'SELECT cdp.process()', q{SELECT cdp.create_segment('buyers', $$orders > 0 AND plan IS NULL OR cdp.has_identifier('email')$$)},
	q{SELECT * FROM cdp.alter_segment('buyers', 'orders >= 1')}, q{SELECT * FROM cdp.preview_segment('spent > 1')}, q{SELECT * FROM cdp.explain_segment('buyers', 1)},
	q{SELECT cdp.get_profile('email', 'ann@x.org')}, q{SELECT cdp.resolve('email', 'ann@x.org')}, 'SELECT * FROM cdp.profile_masked', 'SELECT * FROM cdp_segment.buyers',
	'SELECT * FROM cdp.event_masked', 'SELECT * FROM cdp.identifier_masked', 'SELECT * FROM cdp.timeline(1)', 'SELECT * FROM cdp.profile_event', 'SELECT * FROM cdp.status',
	q{SELECT cdp.set_personal('plan', true)}, q{SELECT cdp.create_destination('crm', 'buyers', 'email', '{"spent": "spent * 2"}')},
	q{SELECT cdp.track('Order', 'bob')}, q{SELECT cdp.identify('bob', '{"email": "bob@x.org"}')},
	q{SELECT * FROM cdp.ingest('{"batch": [{"type": "track", "event": "Order", "userId": "cid"}, {"type": "track"}]}')},
	'SELECT cdp.flush()', 'SELECT cdp.merge_profiles(1, 2, NULL)', 'SELECT * FROM cdp.rebuild()', 'SELECT * FROM cdp.rebuild(true)', 'SELECT cdp.retry_rejected()',
	'CREATE TABLE public.shop (id bigint PRIMARY KEY, who text)', q{INSERT INTO public.shop VALUES (1, 'ann')},
	q{SELECT cdp.attach_table('public.shop', 'Bought', '{"user_id": "who"}')}, q{INSERT INTO public.shop VALUES (2, 'bob')}, 'SELECT * FROM cdp.attached_table',
	'SELECT cdp.start_worker()', 'SELECT cdp.flush()', q{SELECT cdp.detach_table('public.shop')},
	q{SELECT cdp.drop_destination('crm')}, q{SELECT cdp.drop_segment('buyers')}, q{SELECT cdp.drop_trait('spent')}, q{SELECT cdp.drop_identifier_type('loyalty')},
	'DROP EXTENSION cdp CASCADE', 'CREATE EXTENSION cdp', q{INSERT INTO cdp.inbox (event, user_id) VALUES ('Order', 'ann')}, 'SELECT cdp.flush()');
for my $statement (@everything) {
	my ($code, $out, $error) = $node->psql('trapped', $statement);
	is($error =~ /ERROR/ ? $error : '', '', $statement);
}
is(sql('trapped', q{SET search_path = pg_catalog; SELECT string_agg(check_name || ': ' || detail, '; ') FROM cdp.check() WHERE NOT ok}), '', 'check() finds nothing either');
is(scalar(() = slurp_file($node->logfile) =~ /ERROR:  trap/g), 1, 'no trap was sprung, but the one we stepped on');

# Tables of a session's own -----------------------------------------------------------------------------------------

sql('postgres', 'CREATE EXTENSION cdp');
my ($code, $out, $error) = $node->psql('postgres', q{
CREATE TEMP TABLE pg_class (oid oid); CREATE TEMP TABLE pg_attribute (attname name); CREATE TEMP TABLE profile (profile_id bigint);
CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
SELECT cdp.create_trait('city', 'text');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ann', '{"email": "ann@x.org", "city": "Ulm"}');
SELECT cdp.flush();
SELECT cdp.create_segment('ulm', $$city = 'Ulm'$$);
SELECT cdp.get_profile('email', 'ANN@x.org') -> 'segments';
});
is($error, '', 'temporary tables are in nobody\'s way');
like($out, qr/\["ulm"\]/, 'and take nobody\'s place');

# Definitions run with their owner's rights ---------------------------------------------------------------------------

sql('postgres', q{
GRANT cdp_marketer TO mallory;
GRANT CREATE ON SCHEMA public TO mallory;
CREATE TABLE public.secret (s text);
SET ROLE mallory;
CREATE TABLE public.caught (who name, how name);
CREATE FUNCTION public.spy(profile_id bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF current_user <> 'mallory' THEN RAISE EXCEPTION 'spy runs as %', current_user; END IF;
	BEGIN
		PERFORM FROM public.secret;
		RAISE EXCEPTION 'spy sees secrets';
	EXCEPTION WHEN insufficient_privilege THEN RETURN true;
	END;
END $$;
CREATE FUNCTION public.escape(profile_id bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	PERFORM set_config('role', 'none', true);
	RETURN true;
END $$;
SELECT cdp.create_segment('spied', 'public.spy(profile_id)');
});
sql('postgres', q{INSERT INTO cdp.inbox (event, user_id) VALUES ('Seen', 'bob')});
is(sql('postgres', 'SELECT cdp.flush()'), 't', 'the worker evaluates it, as its owner');
is(sql('postgres', q{SELECT size FROM cdp.segment WHERE name = 'spied'}), '2', 'who sees no more than that role does');
is(sql('postgres', 'SELECT sum(differing) FROM cdp.rebuild()'), '0', 'in rebuild() too');
fails('postgres', q{SET ROLE mallory; SELECT cdp.create_segment('escaped', 'public.escape(profile_id)')},
	qr/ERROR:.*cannot set parameter "role" within security-/, 'there is no way out');
for my $statement (
	q{CREATE FUNCTION cdp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'}, 'CREATE VIEW cdp_segment.mine AS SELECT 1', 'CREATE TABLE cdp_out.mine ()',
	'CREATE TABLE cdp.profile ()', q{CREATE TRIGGER t AFTER INSERT ON cdp.profile EXECUTE FUNCTION public.spy()}, 'DROP EXTENSION cdp', 'DROP VIEW cdp.profile_masked',
	'ALTER TABLE cdp.profile ENABLE ROW LEVEL SECURITY', 'CREATE RULE r AS ON INSERT TO cdp.inbox DO ALSO SELECT 1', 'SELECT cdp.drop_blank_profile()')
{
	fails('postgres', "SET ROLE mallory; $statement", qr/ERROR:  (permission denied|must be owner)/, "refused: $statement");
}
is(sql('postgres', q{SELECT count(*) FROM cdp.profile}), '2', 'and everybody is still there');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:/, 'nothing broke');
done_testing();
