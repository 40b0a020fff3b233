# 033_live_tables.pl: a row of a followed table changes memberships within milliseconds, whoever writes it and however, and all
# of it comes back from a dump.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nmax_prepared_transactions = 2\nautovacuum_naptime = 1s");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE old');
sub sql { return $node->safe_psql('old', "SET client_min_messages = warning; " . shift) }
my $tie = 'JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id';
sql(qq{
	CREATE EXTENSION cdp;
	CREATE SCHEMA crm;
	CREATE TABLE crm.ticket (ticket_id int PRIMARY KEY, email text, "Status" text, note text);
	CREATE INDEX ON crm.ticket (email);
	INSERT INTO cdp.inbox (type, user_id, traits) SELECT 'identify', 'u' || i, jsonb_build_object('email', 'u' || i || '\@x.org') FROM generate_series(1, 20000) i;
	SELECT cdp.process();
	SELECT cdp.create_segment('open_case', \$\$EXISTS (SELECT FROM crm.ticket t $tie AND t."Status" = 'open')\$\$);
	SELECT cdp.create_segment('calm', \$\$NOT cdp.in_segment('open_case')\$\$);
});
my $wrong = q{SELECT count(*) FROM cdp.profile p WHERE EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = p.profile_id AND t."Status" = 'open')
	<> EXISTS (SELECT FROM cdp_segment.open_case s WHERE s.profile_id = p.profile_id) OR EXISTS (SELECT FROM cdp_segment.open_case s WHERE s.profile_id = p.profile_id)
	= EXISTS (SELECT FROM cdp_segment.calm s WHERE s.profile_id = p.profile_id)};
sub agrees { is(sql("SELECT cdp.flush(); $wrong"), "t\n0", shift) }

# With the worker: from a row's commit until its person is a member.
sql('SELECT cdp.start_worker()');
$node->poll_query_until('old', q{SELECT worker_state IN ('idle', 'running') FROM cdp.status});
my $p50 = sql(q{
	CREATE TEMP TABLE took (ms float);
	CREATE PROCEDURE pg_temp.measure() LANGUAGE plpgsql AS $$
	DECLARE began timestamptz;
	BEGIN
		FOR i IN 1 .. 40 LOOP
			INSERT INTO crm.ticket VALUES (i, 'u' || i || '@x.org', 'open');
			began := clock_timestamp();
			COMMIT;
			LOOP
				EXIT WHEN EXISTS (SELECT FROM cdp_segment.open_case s JOIN cdp.identifier i2 USING (profile_id) WHERE i2.value = 'u' || i || '@x.org');
				IF clock_timestamp() > began + interval '20 s' THEN RAISE 'not within 20 s'; END IF;
				COMMIT;
			END LOOP;
			INSERT INTO took VALUES (extract(epoch FROM clock_timestamp() - began) * 1000);
		END LOOP;
	END $$;
	CALL pg_temp.measure();
	SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 1) FROM took;
});
diag("a row's commit until its person is a member: $p50 ms (median of 40)");
cmp_ok($p50, '<', 500, 'a changed row is followed at once');
agrees('as plain SQL says');

# Many rows at once, by COPY and by statements; each person is named once a statement.
$node->safe_psql('old', q{COPY crm.ticket FROM PROGRAM $$seq 1000 100999 | awk '{print $1 "\tu" $1 % 25000 "@x.org\t" ($1 % 3 ? "open" : "closed") "\t\\N"}'$$});
agrees('100,000 rows by COPY');
sql(q{UPDATE crm.ticket SET "Status" = CASE "Status" WHEN 'open' THEN 'closed' ELSE 'open' END WHERE ticket_id % 7 = 0});
agrees('an UPDATE of many');
sql(q{DELETE FROM crm.ticket WHERE ticket_id % 5 = 0});
agrees('a DELETE of many');
is(sql('SELECT count(*) FROM cdp.event'), 20000, 'none of it is a message');
is(sql('SELECT messages FROM cdp.status') <= 20000, 1, 'nor counted as one');
# However it is written.
sql(q{SET session_replication_role = replica; DELETE FROM crm.ticket WHERE ticket_id % 11 = 0});
agrees('by a session that fires no ordinary triggers');
sql(q{BEGIN; UPDATE crm.ticket SET "Status" = 'open' WHERE ticket_id % 13 = 0; PREPARE TRANSACTION 'p'; SELECT cdp.flush(); COMMIT PREPARED 'p'});
agrees('by a prepared transaction');
sql(q{BEGIN; UPDATE crm.ticket SET "Status" = 'open'; SAVEPOINT s; TRUNCATE crm.ticket; ROLLBACK TO s; DELETE FROM crm.ticket WHERE ticket_id < 50000; COMMIT});
agrees('with a savepoint');
sql(q{MERGE INTO crm.ticket t USING generate_series(40000, 60000) i ON t.ticket_id = i WHEN MATCHED THEN UPDATE SET email = 'u1@x.org' WHEN NOT MATCHED THEN INSERT VALUES (i, 'u' || i % 30 || '@x.org', 'open')});
agrees('by MERGE');
is(sql('SELECT sum(differing) FROM cdp.rebuild()'), 0, 'rebuild() finds nothing');

# What no trigger sees while they are disabled is made up for, within a round of the worker; no message has to come.
my $standing = q{SELECT count(*) FROM cdp.segment WHERE problem ~ 'triggers'};
sql(q{ALTER TABLE crm.ticket DISABLE TRIGGER ALL; UPDATE crm.ticket SET "Status" = 'new' WHERE ticket_id % 3 = 0});
ok($node->poll_query_until('old', "$standing", '1'), 'a segment whose triggers are disabled says so');
sql('ALTER TABLE crm.ticket ENABLE TRIGGER ALL');
ok($node->poll_query_until('old', "$standing", '0'), 'and goes on when they are enabled');
is(sql($wrong), 0, 'as if they had been all along');
sql(q{UPDATE crm.ticket SET "Status" = 'open' WHERE ticket_id % 3 = 0});
agrees('and follows them');
sql(q{ALTER TABLE crm.ticket DISABLE TRIGGER ALL; UPDATE crm.ticket SET "Status" = 'new' WHERE ticket_id % 3 = 1; ALTER TABLE crm.ticket ENABLE TRIGGER ALL});
ok($node->poll_query_until('old', $wrong, '0'), 'also between two rounds');

# What is pending is no difference.
sql('SELECT cdp.stop_worker()');
sql(q{UPDATE crm.ticket SET "Status" = 'closed' WHERE email = 'u1@x.org'});
is(sql('SELECT sum(differing) FROM cdp.rebuild()'), 0, 'nor in what is not followed yet');
isnt(sql($wrong), 0, 'which is something');

# A dump, with a row on its way.
my $followed = sql('SELECT * FROM cdp.followed_table');
my $dump = $node->basedir . '/old.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('old') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE new');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('new'), $dump ], 'restored');
is($node->safe_psql('new', 'SELECT * FROM cdp.followed_table'), $followed, 'followed as it was');
is($node->safe_psql('new', "SELECT cdp.process(); $wrong"), "0\n0", 'what was on its way arrives');
$node->safe_psql('new', q{UPDATE crm.ticket SET "Status" = 'open' WHERE email = 'u1@x.org'});
is($node->safe_psql('new', "SELECT cdp.process(); $wrong"), "0\n0", 'and what comes later');
is($node->safe_psql('new', 'SELECT count(*) FROM cdp.segment WHERE problem IS NOT NULL'), 0, 'no segment stands still');
is($node->safe_psql('new', 'SELECT sum(differing) FROM cdp.rebuild()'), 0, 'rebuild() finds nothing');
is($node->safe_psql('new', q{SELECT cdp.drop_segment('calm'), cdp.drop_segment('open_case'); SELECT count(*) FROM pg_trigger WHERE tgrelid = 'crm.ticket'::regclass}), "|\n0", 'nothing is left on the table');
$node->safe_psql('new', 'SET client_min_messages = error; DROP EXTENSION cdp CASCADE');

$node->stop;
done_testing();
