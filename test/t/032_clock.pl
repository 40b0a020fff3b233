# The worker follows the clock: memberships begin and end on time, whatever else goes on and whatever crashes.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $people = $ENV{CDP_TEST_TIMERS} // 20_000;

my $node = PostgreSQL::Test::Cluster->new('clock');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'\nwal_level = logical\ncdp.batch_size = 20000\nrestart_after_crash = on");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', shift) };
$sql->(q{CREATE EXTENSION cdp CASCADE;
	SELECT cdp.create_segment('quiet', $$last_seen_at < now() - interval '3 seconds'$$);
	SELECT cdp.create_segment('lively', $$NOT cdp.in_segment('quiet') AND cdp.did('Seen')$$)});
ok($node->poll_query_until('postgres', q{SELECT worker_state <> 'none' FROM cdp.status}), 'the worker is up');

# On time: nothing but the clock makes them enter and leave.
$sql->(qq{SELECT cdp.track('Seen', 'user-' || i) FROM generate_series(1, 10) i}) for 1 .. 3;
ok($node->poll_query_until('postgres', q{SELECT size = 10 FROM cdp.segment WHERE name = 'quiet'}), 'who does nothing for three seconds is quiet');
my $late = q{SELECT coalesce(max(extract(epoch FROM at - due_at)), 0)::numeric(10, 3) FROM cdp.segment_transition WHERE cause = 'clock'};
my $worst = $sql->($late);
cmp_ok($worst, '<', 2, "within two seconds of the moment ($worst s)");
is($sql->(q{SELECT size FROM cdp.segment WHERE name = 'lively'}), 0, 'and no longer lively, in the same batch');
is($sql->(q{SELECT count(*) FROM cdp.segment_transition a JOIN cdp.segment_transition b USING (profile_id, due_at) WHERE a.segment_id = 1 AND b.segment_id = 2
	AND a.entered AND NOT b.entered AND a.at = b.at}), 10, 'as the transitions say');
$sql->(q{SELECT cdp.track('Seen', 'user-3')});
ok($node->poll_query_until('postgres', q{SELECT size = 9 FROM cdp.segment WHERE name = 'quiet'}), 'who comes back leaves at once');

# Many timers at once leave messages their latency.
$sql->(qq{SELECT cdp.stop_worker();
	INSERT INTO cdp.inbox (event, user_id, occurred_at) SELECT 'Seen', 'crowd-' || i, now() + interval '6 seconds' FROM generate_series(1, $people) i;
	SELECT cdp.process()});
$sql->('SELECT cdp.start_worker()');
sleep(0.2) until $sql->(q{SELECT now() > min(due_at) FROM (SELECT due_at FROM cdp.timer GROUP BY 1 HAVING count(*) > 1000) t}) eq 't'
	|| $sql->(q{SELECT NOT EXISTS (SELECT FROM cdp.timer)}) eq 't';
my ($begin, @took) = (time);
until ($sql->(q{SELECT size FROM cdp.segment WHERE name = 'quiet'}) >= $people || time > $begin + 120)
{
	my $probe = 'probe-' . @took;
	my $sent = time;
	$sql->("SELECT cdp.track('Seen', '$probe')");
	sleep(0.01) until $sql->("SELECT EXISTS (SELECT FROM cdp_segment.lively WHERE profile_id = cdp.resolve('user_id', '$probe'))") eq 't' || time > $sent + 30;
	push @took, time - $sent;
}
my $all = time - $begin;
@took = sort { $a <=> $b } @took;
diag(sprintf("%d timers at once in %.1f s; a message took %.3f s at the median, %.3f s at most, psql's start included", $people, $all, @took ? ($took[ @took / 2 ], $took[-1]) : (0, 0)));
cmp_ok($all, '<', 120, 'everybody whose time has come is quiet');
cmp_ok($took[-1] // 0, '<', 5, 'messages went in between');

# A worker that is killed while timers are due, and a server that crashes, lose none.
$sql->(qq{INSERT INTO cdp.inbox (event, user_id, occurred_at) SELECT 'Seen', 'crash-' || i, now() + interval '2 seconds' FROM generate_series(1, 5000) i; SELECT cdp.flush()});
for my $round (1 .. 4)
{
	sleep(1.3);
	my $pid = $sql->('SELECT worker_pid FROM cdp.status');
	if ($round % 2 && $pid)
	{
		kill('KILL', $pid);
		sleep(0.5);
		$node->poll_query_until('postgres', "SELECT worker_pid <> $pid FROM cdp.status");
	}
	else { $node->stop('immediate'); $node->start; }
}
ok($node->poll_query_until('postgres', qq{SELECT size >= $people + 5000 FROM cdp.segment WHERE name = 'quiet'}), 'all become quiet nevertheless');
is($sql->('SELECT cdp.flush()'), 't', 'flush');
is($sql->(q{SELECT string_agg(table_name || '=' || differing, ' ') FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0}), '', 'rebuild finds nothing');

# Down while time goes by, it catches up in order: everybody enters before they leave.
$sql->(q{SELECT cdp.create_segment('a_moment', $$last_seen_at < now() - interval '2 seconds' AND last_seen_at > now() - interval '4 seconds'$$)});
$sql->(q{SELECT cdp.track('Seen', 'brief-' || i) FROM generate_series(1, 20) i; SELECT cdp.flush(); SELECT cdp.stop_worker()});
sleep(5);
$sql->('SELECT cdp.start_worker(); SELECT cdp.flush()');
is($sql->(q{SELECT count(*) FROM cdp.segment_transition a JOIN cdp.segment_transition b USING (profile_id, segment_id) JOIN cdp.segment USING (segment_id)
	WHERE name = 'a_moment' AND a.entered AND NOT b.entered AND a.due_at + interval '2 seconds' BETWEEN b.due_at - interval '1 ms' AND b.due_at + interval '1 ms' AND a.at <= b.at}), 20,
	'what the clock did while the worker was down is made up for in order');
is($sql->(q{SELECT size FROM cdp.segment WHERE name = 'a_moment'}), 0, 'and is over');

# A window ends by itself too.
$sql->(q{SELECT cdp.create_computed_trait('seen_minute', 'count', 'Seen', "window" => '1 minute'); SELECT cdp.track('Seen', 'window', occurred_at => now() - interval '58 seconds'); SELECT cdp.flush()});
ok($node->poll_query_until('postgres', q{SELECT seen_minute = 0 FROM cdp.profile WHERE profile_id = cdp.resolve('user_id', 'window')}), 'a windowed trait falls with no message');
is($sql->('SELECT cdp.flush()'), 't', 'flush');
$node->stop;
done_testing();
