# Large batches have helpers that enter rows into indexes: every row gets all of its entries, whatever happens meanwhile.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('helpers');
$node->init;
$node->append_conf('postgresql.conf', "cdp.index_helpers = 2\nautovacuum = off\nmax_worker_processes = 4\nlog_min_messages = warning");
$node->start;
$node->safe_psql('postgres', q{
	SET client_min_messages = warning;
	CREATE EXTENSION cdp;
	CREATE EXTENSION amcheck;
	SELECT cdp.create_trait('card', 'text'), cdp.create_computed_trait('hits', 'count', 'Hit');
	SELECT cdp.create_segment('some', 'hits > 0');});

# In one transaction, and so in one batch: what $count people say, each their number under their cookie, a third with an account.
my $next = 1;
sub send_messages
{
	my ($count, $card) = @_;
	my $first = $next;
	my $last = ($next += $count) - 1;
	$card //= q{'card-' || i};
	$node->safe_psql('postgres', qq{
		INSERT INTO cdp.inbox (type, message_id, anonymous_id, user_id, event, traits, properties)
		SELECT CASE WHEN i % 2 = 0 THEN 'identify' ELSE 'track' END, 'm-' || i, 'a-' || i, CASE WHEN i % 3 = 0 THEN 'u-' || i END, 'Hit',
			CASE WHEN i % 2 = 0 THEN jsonb_build_object('card', $card) END, '{}'::jsonb FROM generate_series($first, $last) i
		UNION ALL SELECT 'track', 'again-' || i, 'a-' || i / 2, NULL, 'Hit', NULL, '{}' FROM generate_series($first, $last, 5) i WHERE i > 24000});
}

sub in_background
{
	my ($sql) = @_;
	my $run = { err => '', out => '' };
	$run->{handle} = IPC::Run::start(['psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', $sql], '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

sub indexes_are_whole
{
	my ($when) = @_;
	is($node->safe_psql('postgres', q{
		SELECT count(bt_index_check(i.indexrelid, true)) > 20, bool_and(i.indisvalid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		JOIN pg_am a ON a.oid = c.relam WHERE c.relnamespace = 'cdp'::regnamespace AND a.amname = 'btree' AND c.relkind = 'i'}), 't|t', "$when: every row has its entries");
}

# And what is kept is what the messages say.
sub all_is_there
{
	my ($when) = @_;
	indexes_are_whole($when);
	is($node->safe_psql('postgres', 'SET client_min_messages = warning; SELECT table_name, differing FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0'), '', 'and rebuild finds nothing');
}

my $helpers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cdp index helper'};

send_messages(24_000);
my $process = in_background('SELECT cdp.process()');
ok($node->poll_query_until('postgres', $helpers, '2'), 'a large batch has helpers');
$process->{handle}->finish;
is($process->{out}, "24000\n", 'and is processed');
ok($node->poll_query_until('postgres', $helpers, '0'), 'which end with it');
indexes_are_whole('two helpers');

# Rows that move, and people who become one.
send_messages(24_000);
is($node->safe_psql('postgres', 'SELECT cdp.process()'), '28800', 'people are seen again');
all_is_there('rows that moved');

# Somebody who waits for one of the tables does not come between the batch and its helpers.
send_messages(24_000);
$process = in_background('SELECT cdp.process()');
$node->poll_query_until('postgres', $helpers, '2');
my $locker = in_background("SET lock_timeout = '60s'; BEGIN; LOCK TABLE cdp.identifier, cdp.event, cdp.profile; COMMIT");
$process->{handle}->finish;
$locker->{handle}->finish;
is($process->{err} . $locker->{err}, '', 'a lock that is waited for stops neither');
indexes_are_whole('beside a lock');

# Helpers that end in the middle: the batch fails or does without, and is processed in the end.
for my $round (1 .. 3)
{
	send_messages(24_000);
	$process = in_background('SELECT cdp.process()');
	$node->poll_query_until('postgres', $helpers, '2');
	$node->safe_psql('postgres', "SELECT pg_sleep(($round - 1) * 0.3), pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cdp index helper'");
	$process->{handle}->finish;
	like($process->{err}, qr/^$|a helper could not enter rows into an index/, 'a helper that is ended');
	$node->safe_psql('postgres', 'SELECT cdp.process()');
	is($node->safe_psql('postgres', 'SELECT backlog FROM cdp.status'), '0', 'loses nothing');
}
indexes_are_whole('helpers ended');

# A batch that is cancelled takes its helpers along, before its rows are taken back.
for my $timeout (300, 600, 900)
{
	send_messages(24_000);
	$node->psql('postgres', "SET statement_timeout = $timeout; SELECT cdp.process()");
	is($node->safe_psql('postgres', $helpers), '0', 'no helper outlives its batch');
}
$node->safe_psql('postgres', 'VACUUM');
$node->safe_psql('postgres', 'SELECT cdp.process(); VACUUM');
all_is_there('cancelled');

# A session that ends in the middle of its batch, too.
send_messages(24_000);
$process = in_background('SELECT cdp.process()');
$node->poll_query_until('postgres', $helpers, '2');
$node->safe_psql('postgres', "SELECT pg_sleep(0.4), pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT cdp.process()' AND pid <> pg_backend_pid()");
eval { $process->{handle}->finish };
ok($node->poll_query_until('postgres', $helpers, '0'), 'nor its session');
$node->safe_psql('postgres', 'VACUUM; SELECT cdp.process()');
indexes_are_whole('terminated');

# A key that somebody else has already is found by a helper, and refused by the batch.
$node->safe_psql('postgres', 'CREATE UNIQUE INDEX one_card ON cdp.profile (card)');
send_messages(25_000, q{CASE i % 5000 WHEN 0 THEN 'card-2' ELSE 'card-' || i END});
$node->safe_psql('postgres', 'SELECT cdp.process()');
is($node->safe_psql('postgres', q{SELECT count(*), min(reason) FROM cdp.rejected_message}),
	'5|duplicate key value violates unique constraint "one_card"', 'whose messages are set aside');
is($node->safe_psql('postgres', "SELECT count(*) FROM cdp.profile WHERE card > ''"), $node->safe_psql('postgres', "SELECT count(DISTINCT card) FROM cdp.profile"), 'alone');
all_is_there('duplicates');

# Keys that are free only for who has freed them, more than helpers can name.
send_messages(25_000, q{'card-' || (i - 150000)});
$node->safe_psql('postgres', q{
	BEGIN;
	UPDATE cdp.profile SET card = 'old-' || card WHERE card IS NOT NULL;
	SELECT cdp.process();
	COMMIT;});
is($node->safe_psql('postgres', "SELECT count(*) > 11000 FROM cdp.profile WHERE card LIKE 'card-%'"), 't', 'keys that the same transaction has freed');
indexes_are_whole('freed keys');
$node->safe_psql('postgres', 'DROP INDEX cdp.one_card; SET client_min_messages = warning; SELECT count(*) FROM cdp.rebuild(true)');

# Where the server has no place for helpers, a batch does without.
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
send_messages(25_000);
$node->safe_psql('postgres', 'SELECT cdp.process()');
all_is_there('without helpers');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_database WHERE deadlocks > 0"), '0', 'and nobody ever waited for each other');

$node->stop;
done_testing();
