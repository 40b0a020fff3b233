# cdp-relay: a person's changes arrive in order also where the key of their row becomes another, or two people become one: what
# is told of them under a new key waits until they are gone under the old one, and nobody else waits.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $node = start_node('order');

sql(q{
SET client_min_messages = warning;
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order');
SELECT cdp.create_destination('cookies', key => 'anonymous_id', columns => '{"orders": "orders"}');
SELECT cdp.create_destination('spilled', key => 'anonymous_id', columns => '{"orders": "orders"}');
SELECT cdp.create_destination('people', columns => '{"orders": "orders"}');
});
my %receivers = map { $_ => start_receiver() } qw(cookies spilled people);
sub order { my ($user, $cookie) = @_; return "SELECT cdp.track('Order', '$user', anonymous_id => '$cookie')" }
sub deliver { my ($name, $options) = @_; return sql("SELECT cdp.set_delivery('$name', 'webhook', 'http://127.0.0.1:$receivers{$name}{port}/', NULL, '$options')") }

# "type key orders" of all that has arrived of these keys.
sub arrived
{
	my ($name, $keys) = @_;
	return join(', ', map { join(' ', grep { defined } $_->{type}, $_->{key}, $_->{row}{orders}) } grep { $_->{key} =~ /^(?:$keys)$/ } @{ received($receivers{$name}) });
}
sub arrives
{
	my ($name, $keys, $expected, $what) = @_;
	wait_until($what, 30, sub { arrived($name, $keys) eq $expected });
	return is(arrived($name, $keys), $expected, $what);
}
process(join('; ', order('ann', 'a-1'), order('bob', 'b-1'), order('col', 'c-1')));
deliver('cookies', '{}');
deliver('spilled', '{"max_lag": 0, "batch": 10}');
deliver('people', '{}');
my $port = free_port();
my %how = (arguments => [ '--listen', "127.0.0.1:$port" ]);
my $relay = start_relay($node, %how);
for my $name ('cookies', 'spilled') { arrives($name, "$_-1", "insert $_-1 1", "$name: the first copy") for qw(a b) }

# The old key's removal fails time and again.
behave($receivers{$_}, { poison => [ 'a-1', 'a-2' ] }) for 'cookies', 'spilled';
process(order('ann', 'a-2'));
process(order('ann', 'a-3'));
process(order('ann', 'a-3') . '; ' . order('bob', 'b-1'));
arrives($_, 'b-1', 'insert b-1 1, update b-1 2', "$_: nobody else waits") for 'cookies', 'spilled';
is(arrived($_, 'a-[23]'), '', "$_: the new key waits for the old one") for 'cookies', 'spilled';
# Notes of others are none of ours.
sql(q{SELECT pg_logical_emit_message(true, 'cdp_delivery', n) FROM unnest('{junk,"{}","{\"destination\": \"cookies\", \"key\": 7}"}'::text[]) n});
behave($receivers{$_}, { poison => ['a-2'] }) for 'cookies', 'spilled';
arrives('cookies', 'a-1', 'insert a-1 1, delete a-1', 'cookies: it is gone');
stop_relay($relay, 'KILL');
$relay = start_relay($node, %how);
process(order('bob', 'b-1'));
arrives($_, 'b-1', 'insert b-1 1, update b-1 2, update b-1 3', "$_: others go on after a crash") for 'cookies', 'spilled';
is(arrived($_, 'a-3'), '', "$_: the newest key waits still") for 'cookies', 'spilled';
behave($receivers{$_}, {}) for 'cookies', 'spilled';
arrives('cookies', 'a-.', 'insert a-1 1, delete a-1, insert a-2 2, delete a-2, insert a-3 3, update a-3 4', 'cookies: each change, in order');
ok(wait_until('a-3 arrives', 30, sub { arrived('spilled', 'a-3') ne '' }), 'spilled: it comes through in the end');
like(arrived('spilled', 'a-.'), qr/^insert a-1 1, (delete a-1, delete a-2|delete a-2, delete a-1), insert a-3 4$/, 'spilled: in order, and what was over meanwhile is not told');

# Two people become one: the one who is no more leaves first, or under which key they are no more.
behave($receivers{people}, { poison => [ sql(q{SELECT cdp.resolve('user_id', 'bob')}) ] });
my ($ann, $bob) = split /\|/, sql(q{SELECT cdp.resolve('user_id', 'ann'), cdp.resolve('user_id', 'bob')});
my $before = arrived('people', $ann);
process(qq{SELECT cdp.merge_profiles($ann, $bob, 'the same')});
process(order('col', 'c-1'));
my $col = sql(q{SELECT cdp.resolve('user_id', 'col')});
arrives('people', $col, "insert $col 1, update $col 2", 'people: others go on');
is(arrived('people', $ann), $before, 'people: who goes on waits for who is no more');
behave($receivers{people}, {});
arrives('people', "$ann|$bob", join(', ', grep { $_ } arrived('people', "$ann|$bob"), "delete $bob, update $ann 7"), 'people: then they go on');
ok(wait_until('the key that was seen last is left', 30, sub { arrived('cookies', 'a-3|b-1') =~ /, delete a-3, update b-1 7$/ }), 'cookies: of two keys one is left');

# While something waits in cdp.delivery the order is kept there.
behave($receivers{cookies}, { poison => [ 'c-1', 'd-1' ] });
process(order('dan', 'd-1') . '; ' . order('eve', 'e-1'));
sql(q{SELECT cdp.resync_destination('cookies', true)});
process(order('col', 'c-2'));
process(order('eve', 'e-2'));
arrives('cookies', 'e-2', 'insert e-2 2', 'a changed key is taken from cdp.delivery');
is(arrived('cookies', 'c-2'), '', 'and waits there, too');
behave($receivers{cookies}, {});
ok(wait_until('c-2 arrives', 30, sub { arrived('cookies', 'c-2') eq 'insert c-2 3' }), 'until its turn has come');
is(arrived('cookies', 'c-.') =~ s/^.*(delete c-1)/$1/r, 'delete c-1, insert c-2 3', 'in order');

# However much waits in memory when it is moved there.
process(join('; ', map { order("w$_", "w$_-1") } 1 .. 20));
ok(wait_until('all wanderers are there', 30, sub { sql(q{SELECT count(*) FROM cdp.delivery WHERE destination = 'cookies' AND key LIKE 'w%' AND status = 'delivered'}) eq '20' }), 'more people');
behave($receivers{cookies}, { status => 503 });
process(q{SELECT cdp.track('Order', 'm' || i, anonymous_id => 'm' || i || '-1') FROM generate_series(1, 2500) i});
process(join('; ', map { order("w$_", "w$_-2") } 1 .. 20));
ok(wait_until('the relay has read it', 30, sub { http_get($port, '/metrics') =~ /^cdp_relay_waiting\{destination="cookies"\} 2540$/m }), 'much waits in memory');
sql(q{UPDATE cdp.delivery SET status = 'pending' WHERE destination = 'cookies' AND key = 'e-2'});
process(order('eve', 'e-3'));
ok(wait_until('it waits in cdp.delivery', 30, sub { sql(q{SELECT count(*) FROM cdp.delivery WHERE destination = 'cookies' AND key LIKE 'm%' AND status = 'pending'}) eq '2500' }), 'then in cdp.delivery');
is(sql(q{SELECT count(*) FROM cdp.delivery WHERE destination = 'cookies' AND key LIKE 'w%-2' AND after = ARRAY[replace(key, '-2', '-1')]}), '20', 'with its order');
behave($receivers{cookies}, {});
ok(wait_until('all of it arrives', 60, sub { sql(q{SELECT pending FROM cdp.delivery_report WHERE destination = 'cookies'}) eq '0' }), 'and comes through');
is(wandering([ grep { $_->{key} =~ /^w/ } @{ received($receivers{cookies}) } ], 'orders'), '', 'in order');

# A row that was refused at first, and is taken as it is later, is new to the destination.
behave($receivers{cookies}, { refuse => [ 'f-1', 'g-1' ] });
process(order('fay', 'f-1') . '; ' . order('gus', 'g-1'));
ok(wait_until('two are refused', 30, sub { sql(q{SELECT count(*) FROM cdp.delivery_failure WHERE type = 'insert'}) eq '2' }), 'two are refused');
process(order('fay', 'f-1'));
ok(wait_until('again', 30, sub { sql(q{SELECT "row" ->> 'orders' FROM cdp.delivery_failure WHERE key = 'f-1'}) eq '2' }), 'one of them again');
is(sql(q{SELECT type FROM cdp.delivery_failure WHERE key = 'f-1'}), 'insert', 'as an insert');
behave($receivers{cookies}, {});
process(order('fay', 'f-1'));
arrives('cookies', 'f-1', 'insert f-1 3', 'it arrives as one');
sql(q{SELECT cdp.retry_deliveries('cookies')});
arrives('cookies', 'g-1', 'insert g-1 1', 'as does what is sent again');
process(order('fay', 'f-1') . '; ' . order('gus', 'g-1'));
arrives('cookies', 'f-1', 'insert f-1 3, update f-1 4', 'then it is known');
arrives('cookies', 'g-1', 'insert g-1 1, update g-1 2', 'so is the other');
is(stop_relay($relay, 'TERM'), 0, 'stopped well');
is(sql('SELECT string_agg(destination, \', \') FROM cdp.delivery_report WHERE delivered <> members'), '', 'everything is delivered');
stop_receiver($_) for values %receivers;
$node->stop;
done_testing();
