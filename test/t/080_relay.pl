# cdp-relay deliver: what is in a destination reaches a webhook, all of it, each person's changes in order, and what
# became of every row can be asked.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
my $node = start_node('relay');
sub report { return sql(q{SELECT destination, members, delivered, pending, refused, members = delivered + pending + refused FROM cdp.delivery_report}) }
sub why { return sql("SELECT reason, detail FROM cdp.why_not_sent('hook', $_[0])") }

sql(q{
SET client_min_messages = warning;
SELECT cdp.create_trait('city', 'text');
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_segment('customers', 'orders >= 1');
});
process(q{SELECT cdp.identify('u' || i, '{"city": "Ulm"}'), cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 250) i});
sql(q{SELECT cdp.create_destination('hook', 'customers', 'user_id', '{"city": "city", "orders": "orders", "segments": "cdp.segment_names()"}')});

my $receiver = start_receiver();
behave($receiver, { secret => $secret });
my $url = "http://127.0.0.1:$receiver->{port}/hook";
my $table = q{SELECT user_id, city, orders FROM cdp_out.hook ORDER BY user_id COLLATE "C"};
sub arrived { my ($what, $seconds) = @_; return wait_until($what, $seconds // 30, sub { latest(received($receiver), 'city', 'orders') eq sql($table) }) }
sub settled { return wait_until('nothing is pending', 30, sub { report() =~ /^hook\|(\d+)\|\1\|0\|0\|t$/m }) }

# What is refused from the beginning
for my $wrong ([ q{'nobody', 'webhook'}, qr/destination "nobody" does not exist/ ], [ q{'hook', 'pigeon'}, qr/connector "pigeon" does not exist/ ],
	[ q{'hook', 'webhook', 'ftp://x'}, qr/is no URL/ ], [ q{'hook', 'webhook', 'http://x', 'whsec_no name'}, qr/no name of an environment variable/ ],
	[ q{'hook', 'webhook', 'http://x', NULL, '[]'}, qr/must be a JSON object/ ])
{
	my ($code, $out, $error) = $node->psql('postgres', "SELECT cdp.set_delivery($wrong->[0])");
	like($error, $wrong->[1], "set_delivery refuses $wrong->[0]");
}

# The first copy
sql("SELECT cdp.set_delivery('hook', 'webhook', '$url', 'HOOK_SECRET', '{\"batch\": 100}')");
is(report(), 'hook|250|0|250|0|t', 'before the relay has run everything is pending');
my $port = free_port();
my %how = (env => { HOOK_SECRET => $secret }, arguments => [ '--listen', "127.0.0.1:$port" ]);
my $relay = start_relay($node, %how);
ok(arrived('the first copy'), 'what is in the table from before arrives');
ok(settled(), 'and is confirmed');
is(report(), 'hook|250|250|0|0|t', 'the report balances');
my $records = received($receiver);
is(scalar(@$records), 250, 'each row once');
is(join(',', sort keys %{ $records->[0] }), 'at,destination,id,key,row,type,webhook_id', 'a record has what was promised');
is_deeply($records->[0]{row}, { user_id => $records->[0]{key}, city => 'Ulm', orders => 1, segments => ['customers'] }, 'its row has types');
is_deeply([ map { $_->{type} } grep { $_->{type} ne 'insert' } @$records ], [], 'all of them inserts');

# Changes
process(q{SELECT cdp.track('Order Completed', 'u1'); SELECT cdp.identify('u2', '{"city": "Bonn"}'); SELECT cdp.track('Order Completed', 'new')});
process(q{SELECT cdp.track('Order Completed', 'u1')});
ok(arrived('changes'), 'changes arrive');
is_deeply([ map { "$_->{type} $_->{row}{orders}" } grep { $_->{key} eq 'u1' } @{ received($receiver) } ], [ 'insert 1', 'update 2', 'update 3' ], 'each of them, in order');
process(q{SELECT cdp.identify('u3', '{"city": "nowhere"}')});
sql(q{SELECT cdp.alter_segment('customers', $$orders >= 1 AND city IS DISTINCT FROM 'nowhere'$$)});
ok(arrived('a removal'), 'who leaves is removed');
is((grep { $_->{key} eq 'u3' } @{ received($receiver) })[-1]{type}, 'delete', 'by a delete');
ok(settled(), 'all confirmed');
like(why(q{'user_id', 'u1'}), qr/^delivered\|answered with 200$/, 'why_not_sent: delivered');
is(why(q{'user_id', 'u3'}), 'not a member|profile 3 is not in segment "customers"', 'not a member');
is(why(q{'user_id', 'nobody'}), 'unknown person|no profile has the user_id "nobody"', 'unknown');
process(q{SELECT cdp.track('Order Completed', NULL, anonymous_id => 'cookie')});
is(why(q{'anonymous_id', 'cookie'}) =~ s/\d+/N/r, 'no identifier|profile N has no user_id, which is the key of the destination', 'no identifier');

# Refused ones in a batch
behave($receiver, { secret => $secret, refuse => [ 'u10', 'u77' ] });
my $before = @{ received($receiver) };
process(q{SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(4, 120) i});
ok(wait_until('two are refused', 30, sub { report() eq 'hook|250|248|0|2|t' }), 'the guilty are found, the others arrive') or diag(report());
is(sql(q{SELECT string_agg(key || ' ' || type || ' ' || http_status || ' ' || (row ->> 'orders'), ', ' ORDER BY key) FROM cdp.delivery_failure}),
	'u10 update 422 2, u77 update 422 2', 'they are kept whole');
is(why(q{'user_id', 'u10'}), 'refused|422 HTTP 422: do not want one of these', 'why_not_sent: refused, with the answer');
cmp_ok(scalar(@{ received($receiver) }) - $before, '==', 115, 'nobody else was sent twice');
is(sql(q{SELECT cdp.resync_destination('hook')}), '0', 'a resync does not try refused ones again');
behave($receiver, { secret => $secret });
is(sql(q{SELECT cdp.retry_deliveries('hook')}), '2', 'they can be tried again');
ok(arrived('the refused'), 'then they arrive');
ok(settled(), 'and the report says so');
is(sql('SELECT count(*) FROM cdp.delivery_failure'), '0', 'nothing is left of the failure');

# Failures of the destination
behave($receiver, { status => 429, retry_after => 2 });
process(q{SELECT cdp.track('Order Completed', 'u5')});
ok(wait_until('it is noted', 20, sub { sql(q{SELECT last_error FROM cdp.delivery_target}) =~ /429/ }), 'cdp.delivery_target says what is the matter');
like(why(q{'user_id', 'u5'}), qr/^pending\|HTTP 429/, 'why_not_sent: pending, and why');
behave($receiver, { secret => $secret });
ok(arrived('after 429'), 'after 429');
behave($receiver, { secret => $secret, fail => 0.5, drop => 0.3 });
process(qq{SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 200) i}) for 1 .. 5;
ok(arrived('through 500s and dropped connections', 60), 'through 500s and dropped connections');
behave($receiver, { secret => $secret });
ok(settled(), 'all confirmed');
is(disorder(received($receiver), 'orders'), '', 'in order, and twice only under the same id');
is(sql(q{SELECT last_error IS NULL FROM cdp.delivery_target}) , 't', 'and all is well again') if wait_until('all is well', 20, sub { sql(q{SELECT last_error IS NULL FROM cdp.delivery_target}) eq 't' });
behave($receiver, { secret => 'another' });
process(q{SELECT cdp.track('Order Completed', 'u6')});
ok(wait_until('the signature is wrong', 20, sub { sql(q{SELECT last_error FROM cdp.delivery_target}) =~ /401/ }), 'a wrong secret is nobody\'s refusal');
behave($receiver, { secret => $secret });
ok(arrived('after 401'), 'but waits');

# One that fails every time holds up nobody else
behave($receiver, { secret => $secret, poison => ['u20'] });
process(q{SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 100) i});
ok(wait_until('all but one', 60, sub { report() eq 'hook|250|249|1|0|t' }), 'what fails every time is found by halving, and waits alone') or diag(report());
behave($receiver, { secret => $secret });
ok(arrived('the poisonous', 90), 'until it is taken');

# Restarts
ok(stop_relay($relay, 'TERM') == 0, 'SIGTERM ends it well');
process(q{SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 50) i});
is(report(), 'hook|250|201|49|0|t', 'what happens meanwhile is pending');
$relay = start_relay($node, %how);
ok(arrived('after a restart'), 'and delivered afterwards');
ok(settled(), 'all confirmed');
is(disorder(received($receiver), 'orders'), '', 'still in order');

# Metrics
like(http_get($port, '/health'), qr/^HTTP\/1.1 200 .*"status":"ok"/s, '/health');
like(http_get($port, '/metrics'), qr/^cdp_relay_delivered_total\{destination="hook"\} 49$/m, '/metrics');
like(http_get($port, '/secrets'), qr/^HTTP\/1.1 404/, 'nothing else');
unlike(slurp_file($relay->{log}), qr/MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw|u77/, 'the log has no secrets and no people');

# A dead destination: others go on; its changes leave the log for the table when they hold back too much.
my $other = start_receiver();
sql("SELECT cdp.create_destination('other', 'customers', 'user_id', '{\"orders\": \"orders\"}')");
sql("SELECT cdp.set_delivery('other', 'webhook', 'http://127.0.0.1:$other->{port}/', NULL, '{\"batch\": 50}')");
ok(wait_until('the other has its first copy', 30, sub { @{ received($other) } == 250 }), 'a delivery that is set while the relay runs begins at once');
stop_receiver($receiver);
sql("SELECT cdp.set_delivery('hook', 'webhook', '$url', 'HOOK_SECRET', '{\"batch\": 100, \"max_lag\": 0.1}')");
my $sent = @{ received($receiver) };
for my $round (1 .. 3)
{
	process(qq{SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 250) i});
	ok(wait_until('the other has it', 20, sub { latest(received($other), 'orders') eq sql(q{SELECT user_id, orders FROM cdp_out.hook ORDER BY user_id COLLATE "C"}) }), 'the other is not held up');
}
ok(wait_until('the slot goes on', 60, sub {
	process(q{SELECT cdp.track('Page Seen', 'x' || i) FROM generate_series(1, 2000) i});
	sql(q{SELECT pg_current_wal_lsn() - confirmed_flush_lsn < 1000000 FROM pg_replication_slots WHERE slot_name = cdp.delivery_slot('hook')}) eq 't'
		&& sql(q{SELECT count(*) FROM cdp.delivery WHERE destination = 'hook' AND status = 'pending'}) >= 249 }), 'no slot fills the disk');
process(q{SELECT cdp.identify('u8', '{"city": "nowhere"}'); SELECT cdp.track('Order Completed', 'u9')});
stop_relay($relay, 'KILL');
$relay = start_relay($node, %how);
start_receiver($receiver);
ok(arrived('after death', 60), 'when it is back it gets what it missed');
ok(wait_until('balanced', 20, sub { report() =~ /^hook\|249\|249\|0\|0\|t$/m }), 'all confirmed') or diag(report());
is(disorder(received($receiver), 'orders'), '', 'in order');
cmp_ok(scalar(@{ received($receiver) }) - $sent, '<', 600, 'the last state of each, not every one');
process(q{SELECT cdp.track('Order Completed', 'u1')});
ok(arrived('as before'), 'and it goes on as before');
ok(wait_until('idle slots go on', 20, sub { sql(q{SELECT bool_and(pg_current_wal_lsn() - confirmed_flush_lsn < 100000) FROM pg_replication_slots}) eq 't' }), 'slots that nothing happens to go on');

# Somebody lost it all
unlink "$receiver->{folder}/received";
is(sql(q{SELECT cdp.resync_destination('hook')}), '0', 'by what is known nothing differs');
is(sql(q{SELECT cdp.resync_destination('hook', everything => true)}), '249', 'everything can be sent again');
ok(arrived('everything'), 'and arrives');
# What is known is wrong about some: only those are sent.
sql(q{UPDATE cdp.delivery SET held = md5('x')::uuid WHERE destination = 'hook' AND key IN ('u11', 'u12'); DELETE FROM cdp.delivery WHERE destination = 'hook' AND key = 'u13';
	INSERT INTO cdp.delivery (destination, key, status, wanted_lsn, held) VALUES ('hook', 'ghost', 'delivered', '0/1', md5('y')::uuid)});
$before = @{ received($receiver) };
is(sql(q{SELECT cdp.resync_destination('hook')}), '4', 'a resync finds what differs');
ok(wait_until('the difference', 20, sub { @{ received($receiver) } == $before + 4 }), 'and repairs it');
is(join(' ', sort map { "$_->{key}:$_->{type}" } @{ received($receiver) }[ $before .. $before + 3 ]), 'ghost:delete u11:update u12:update u13:insert', 'each as it needs');

# Its slot dies
unlink "$receiver->{folder}/received";
sql(q{SELECT cdp.resync_destination('hook', everything => true)});
arrived('everything, once more');
settled();
sql(q{SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = cdp.delivery_slot('hook')});
stop_relay($relay, 'KILL');
wait_until('the slot is free', 20, sub { sql(q{SELECT count(*) FROM pg_replication_slots WHERE active}) eq '0' });
sql(q{SELECT pg_drop_replication_slot(cdp.delivery_slot('hook'))});
process(q{SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(100, 110) i});
$relay = start_relay($node, %how);
$before = @{ received($receiver) };
ok(arrived('without its slot'), 'a slot that is gone is made again, and what it missed is found');
is(scalar(@{ received($receiver) }), $before + 11, 'and nothing else is sent');
is(disorder(received($receiver), 'orders'), '', 'in order');

# What could not be taken, since somebody was writing to it, then comes in the log: a crash does not give it another id.
settled();
my $writer = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	q{BEGIN; UPDATE cdp_out.hook SET orders = orders + 1 WHERE user_id = 'u20'; SELECT pg_sleep(3); COMMIT}], '>', \my $written);
wait_until('the row is locked', 20, sub { sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) eq '1' });
sql(q{UPDATE cdp.delivery SET status = 'pending', wanted = md5('before')::uuid WHERE destination = 'hook' AND key = 'u20'});
behave($receiver, { secret => $secret, drop => 1 });
$writer->finish;
ok(arrived('what was written'), 'it is sent');
stop_relay($relay, 'KILL');
behave($receiver, { secret => $secret });
$relay = start_relay($node, %how);
ok(settled(), 'and again after a crash');
is(disorder(received($receiver), 'orders'), '', 'under the same id');

# Taking it away again
sql(q{SELECT cdp.remove_delivery('hook')});
ok(wait_until('the slot is gone', 20, sub { sql(q{SELECT count(*) FROM pg_replication_slots}) eq '1' }), 'remove_delivery takes the slot along');
is(sql(q{SELECT count(*) FROM cdp.delivery WHERE destination = 'hook'}), '0', 'and what was known');
is(why(q{'user_id', 'u1'}) =~ s/;.*//r, 'no delivery|the row is in cdp_out.hook, for subscribers of publication cdp_hook', 'why_not_sent: no delivery');
sql(q{SELECT cdp.drop_destination('other')});
ok(wait_until('no slot is left', 20, sub { sql(q{SELECT count(*) FROM pg_replication_slots}) eq '0' }), 'so does drop_destination');
stop_relay($relay, 'TERM');
# One that is named and has none.
$relay = start_relay($node, arguments => [ '--listen', "127.0.0.1:$port", '--destination', 'hook' ]);
ok(wait_until('it is said', 20, sub { http_get($port, '/health') =~ /"hook":\{"last_error":null,"state":"no delivery","well":false\}/ }), '/health says what has no delivery');
like(slurp_file($relay->{log}), qr/there is no delivery of this destination/, 'so does the log');
stop_relay($relay, 'TERM');
stop_receiver($_) for $receiver, $other;
$node->stop;
done_testing();
