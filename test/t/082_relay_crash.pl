# Relay, receiver and database die at random moments while changes pour in: every wanted row is delivered, nobody is told of
# a change and then of one before it, nor of somebody under a key that they had before, what comes twice has the same id, and the
# report balances.
# CDP_RELAY_CRASHES says how many (6); so does the first argument.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Time::HiRes qw(usleep);
use Test::More;

my $crashes = $ARGV[0] || $ENV{CDP_RELAY_CRASHES} || 6;
srand($ENV{CDP_RELAY_SEED} // time());
# What the database has said to be stored, is: fsync is off in tests, but nothing dies here that would need it.
my $node = start_node('crash', "wal_sender_timeout = 10s\nlog_min_messages = warning");
sql(q{
SET client_min_messages = warning;
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_trait('city', 'text');
SELECT cdp.create_segment('customers', $$orders >= 1 AND city IS DISTINCT FROM 'nowhere'$$);
SELECT cdp.create_destination(name, 'customers', 'user_id', '{"orders": "orders", "city": "city"}') FROM unnest('{batched, single, spilled}'::text[]) name;
-- Whose key changes time and again.
SELECT cdp.create_segment('wanderers', $$orders >= 1 AND cdp.has_identifier('anonymous_id')$$);
SELECT cdp.create_destination(name, 'wanderers', 'anonymous_id', '{"orders": "orders"}') FROM unnest('{wandering, wandering_spilled}'::text[]) name;
});
my %receivers = map { $_ => start_receiver() } qw(batched single spilled wandering wandering_spilled);
my %options = (wandering => '{"timeout": 3}', wandering_spilled => '{"batch": 20, "timeout": 3, "max_lag": 0}', batched => '{"batch": 20, "timeout": 3}', single => '{"timeout": 3}', spilled => '{"batch": 20, "timeout": 3, "max_lag": 0}');
for my $name (sort keys %receivers)
{
	behave($receivers{$name}, { fail => 0.05, drop => 0.05 });
	sql("SELECT cdp.set_delivery('$name', 'webhook', 'http://127.0.0.1:$receivers{$name}{port}/', NULL, '$options{$name}')");
}
my $relay = start_relay($node);
# What is wanted from before delivery began waits in cdp.delivery, and may be coalesced there. So where no log is spilled it begins first.
my $begun = "SELECT count(*) FROM cdp.delivery_target WHERE destination !~ 'spilled' AND started_lsn IS NOT NULL";
wait_until('delivery has begun', 30, sub { sql($begun) == 3 }) or die 'delivery does not begin';

# Orders, and now and then somebody who leaves or comes back.
my ($city, $moves) = (0, 0);
sub traffic
{
	my ($people, $city_of) = @_;
	++$moves;
	my ($code, $out, $error) = $node->psql('postgres', qq{
		SELECT count(cdp.track('Order Completed', 'u' || (i * 7 + $people) % 150)) FROM generate_series(1, 20 + $people % 60) i;
		SELECT count(cdp.identify('u' || (i * 11 + $people) % 150, '{"city": "$city_of"}')) FROM generate_series(1, 3) i;
		SELECT count(cdp.track('Order Completed', 'w' || i, anonymous_id => 'w' || i || '-' || ($moves + i) / 8)) FROM generate_series(1, 12) i;
		SELECT cdp.process();}, timeout => 20);
}

for my $crash (1 .. $crashes)
{
	for (1 .. 3) { traffic(int(rand(1000)), ++$city % 3 == 0 ? 'nowhere' : "city $city"); usleep(rand(60_000)) }
	my $kind = int(rand(4));
	usleep(rand(300_000));
	if ($kind == 0)
	{
		stop_relay($relay, 'KILL');
		traffic(int(rand(1000)), 'Ulm') if rand() < 0.5;
		$relay = start_relay($node, log => $relay->{log});
	}
	elsif ($kind == 1)
	{
		is(stop_relay($relay, 'TERM'), 0, "crash $crash: stopped well");
		$relay = start_relay($node, log => $relay->{log});
	}
	elsif ($kind == 2)
	{
		my $receiver = $receivers{ (sort keys %receivers)[ int(rand(keys %receivers)) ] };
		stop_receiver($receiver);
		traffic(int(rand(1000)), 'Bonn');
		usleep(rand(500_000));
		start_receiver($receiver);
	}
	else
	{
		$node->stop('immediate');
		usleep(rand(300_000));
		$node->start;
	}
}

behave($receivers{$_}, {}) for keys %receivers;
$node->poll_query_until('postgres', 'SELECT cdp.flush()') or die 'the pipeline stands';
is(stop_relay($relay, 'TERM'), 0, 'stopped well');
$relay = start_relay($node, log => $relay->{log});
for my $name (sort keys %receivers)
{
	my ($key, @columns) = $name =~ /^wandering/ ? qw(anonymous_id orders) : qw(user_id orders city);
	my $table = 'SELECT ' . join(', ', $key, @columns) . " FROM cdp_out.$name ORDER BY $key COLLATE \"C\"";
	ok(wait_until("$name has everything", 90, sub { latest(received($receivers{$name}), @columns) eq sql($table) }), "$name: every row is there, and nobody else");
	my $records = received($receivers{$name});
	is(disorder($records, 'orders', $name =~ /spilled/), '', "$name: in order, and twice only under the same id");
	is(wandering($records, 'orders'), '', "$name: nor under another key out of order") if $name =~ /^wandering/;
	my %ids;
	$ids{ $_->{id} }++ for @$records;
	note(sprintf('%s: %d changes, %d records', $name, scalar(keys %ids), scalar(@$records)));
	my $balanced = "SELECT delivered = members AND members = delivered + pending + refused FROM cdp.delivery_report WHERE destination = '$name'";
	ok(wait_until("$name balances", 30, sub { sql($balanced) eq 't' }), "$name: the report balances");
}
is(sql('SELECT count(*) FROM cdp.delivery_failure'), '0', 'nothing was refused');
stop_relay($relay, 'TERM');
stop_receiver($_) for values %receivers;
$node->stop;
done_testing();
