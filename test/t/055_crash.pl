# Under fire: the worker killed, a client killed in COPY, immediate restarts while messages pour in:
# nothing committed is lost, nothing is doubled, and rebuild finds nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Time::HiRes qw(usleep);
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'\nrestart_after_crash = on\nwal_level = logical\nlog_min_messages = warning");
$node->start;
$node->safe_psql('postgres', q{
	SET client_min_messages = warning;
	CREATE EXTENSION cdp;
	CREATE TABLE sent (message_id text);
	SELECT cdp.create_computed_trait('n', 'count', 'Hit');
	SELECT cdp.create_computed_trait('total', 'sum', 'Hit', 'x');
	SELECT cdp.create_segment('frequent', 'n >= 5');});

# Each transaction notes what it sent: what is committed here must arrive, once, and nothing else.
my $number = 0;
sub burst
{
	my ($count) = @_;
	my $from = $number + 1;
	$number += $count;
	return $node->psql('postgres', qq{
		BEGIN;
		INSERT INTO cdp.inbox (message_id, anonymous_id, user_id, event, properties)
			SELECT 'm-' || i, 'a-' || i % 97, CASE WHEN i % 3 = 0 THEN 'u-' || i % 31 END, 'Hit', jsonb_build_object('x', i % 10) FROM generate_series($from, $number) i;
		INSERT INTO sent SELECT 'm-' || i FROM generate_series($from, $number) i;
		COMMIT;}, timeout => 60);
}

sub wait_until_up { $node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back' }

for my $round (1 .. 6)
{
	burst(300) for 1 .. 3;
	my $kind = $round % 3;
	if ($kind == 0)
	{
		my $pid = $node->safe_psql('postgres', 'SELECT worker_pid FROM cdp.status');
		kill 'KILL', $pid if $pid;
		usleep(200_000);
		wait_until_up();
	}
	elsif ($kind == 1)
	{
		# A client that dies in the midst of COPY: none of its messages exist.
		my $in = "COPY cdp.inbox (message_id, anonymous_id, event) FROM STDIN;\n" . join('', map { "ghost-$round-$_\tghost\tHit\n" } 1 .. 5000);
		my $client = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ], '<', \$in, '>', '/dev/null', '2>', '/dev/null');
		usleep(100_000);
		$client->kill_kill;
		burst(200);
	}
	else
	{
		burst(200);
		$node->stop('immediate');
		$node->start;
	}
	burst(100);
}
wait_until_up();
ok($node->poll_query_until('postgres', "SELECT cdp.flush('60 s')"), 'everything is processed in the end');
is($node->safe_psql('postgres', 'SELECT count(*) FROM sent'), $node->safe_psql('postgres', q{SELECT count(*) FROM cdp.event WHERE message_id LIKE 'm-%'}), 'as many events as messages were committed');
is($node->safe_psql('postgres', q{SELECT count(*) FROM sent FULL JOIN (SELECT * FROM cdp.event WHERE message_id LIKE 'm-%') e USING (message_id) WHERE sent.message_id IS NULL OR e.event_id IS NULL}), 0, 'the very same ones');
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT message_id) FROM cdp.event'), 0, 'none twice');
is($node->safe_psql('postgres', 'SELECT sum(n) - (SELECT count(*) FROM cdp.event) FROM cdp.profile'), 0, 'and each counted once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cdp.rebuild() WHERE differing <> 0'), 0, 'rebuild finds nothing');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cdp.rejected_message'), 0, 'no message was blamed for a crash');

$node->stop;
done_testing();
