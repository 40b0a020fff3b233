# cdp-relay deliver with every connector that ships, each to a server that behaves as the network's documentation says:
# who is in the destination is who the network holds, through throttling, failures, partial refusals and removals.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::Bin/../relay";
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

# options: what a user must say. reason: what is kept of somebody whom the network does not take. refusals: statuses that its
# server may answer in this test, beside 2xx.
my %networks = (
	hubspot => { options => {}, reason => qr/^VALIDATION_ERROR: Property values were not valid$/, refusals => qr/^(429|503)$/ },
	salesforce => {
		options => { external_id => 'Email__c', fields => { FirstName => 'first_name', Orders__c => 'orders' } },
		reason => qr/^REQUIRED_FIELD_MISSING: /, refusals => qr/^(401|403|503)$/
	},
	mailchimp => {
		options => { list_id => 'l1', fields => { FNAME => 'first_name', ORDERS => 'orders' } },
		reason => qr/^ERROR_GENERIC: looks fake or invalid$/, refusals => qr/^(429|503)$/
	},
	klaviyo => { options => { list_id => 'L1', rate_limit => 50 }, reason => qr/^invalid: Invalid email address$/, refusals => qr/^(400|429|503)$/ },
	braze => { options => {}, reason => qr/^The value provided/, refusals => qr/^(429|503)$/ },
	google_customer_match => {
		options => { customer_id => '123', user_list_id => '9' }, hashed => 1,
		reason => qr/^\{"offlineUserDataJobError":"INVALID_SHA256_FORMAT"\}: /, refusals => qr/^(429|503)$/
	},
	google_data_manager => {
		options => { customer_id => '123', user_list_id => '9' }, hashed => 1,
		reason => qr/^INVALID_HEX_ENCODING: /, refusals => qr/^(400|429|503)$/
	},
	meta_custom_audiences => { options => { audience_id => 'A1' }, hashed => 1, reason => qr/^Meta takes 1 of 1 rows as invalid/, refusals => qr/^(400|503)$/ },
);
my @names = sort keys %networks;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $servers = IPC::Run::start([ 'python3', "$FindBin::Bin/../relay/servers.py", $folder ], '<', \undef, '>>', "$folder/log", '2>&1');
wait_until('the servers listen', 30, sub { -e "$folder/port" }) or die 'no servers';
my ($port) = slurp_file("$folder/port") =~ /(\d+)/;

sub with_faults
{
	my ($faults) = @_;
	open(my $file, '>', "$folder/faults.new") or die $!;
	print $file encode_json({ map { $_ => $faults } @names });
	close $file;
	rename("$folder/faults.new", "$folder/faults") or die $!;
	return;
}

my $node = start_node('connectors');

sql(q{
SET client_min_messages = warning;
SELECT cdp.create_trait('first_name', 'text'), cdp.create_trait('phone', 'text'), cdp.create_trait('city', 'text');
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_segment('customers', $$orders >= 1 AND city IS DISTINCT FROM 'nowhere'$$);
});
process(q{SELECT cdp.identify('u' || i, jsonb_build_object('email', 'u' || i || '@example.com', 'first_name', E'Zo\\u00eb', 'phone', '+49 30 123' || 1000 + i)),
	cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 120) i});
is(sql('SELECT string_agg(name, \' \' ORDER BY name) FROM cdp.connector'), join(' ', sort @names, 'webhook'), 'these ship');
for my $name (@names)
{
	$networks{$name}{options}{token_url} = "http://127.0.0.1:$port/$name/token" if $name =~ /^google/;
	my $options = encode_json($networks{$name}{options});
	sql(qq{SELECT cdp.create_destination('$name', 'customers', 'email', '{"first_name": "first_name", "orders": "orders", "phone": "phone"}');
		SELECT cdp.set_delivery('$name', '$name', 'http://127.0.0.1:$port/$name', options => '$options')});
}

# Who is in the destination, as the network knows them, and who the network holds.
sub wanted
{
	my ($name) = @_;
	my @emails = split /\n/, sql("SELECT email FROM cdp_out.$name");
	return join("\n", sort map { $networks{$name}{hashed} ? sha256_hex($_) : $_ } @emails);
}
sub held { my ($name) = @_; return -e "$folder/$name" ? decode_json(slurp_file("$folder/$name")) : {} }
sub holds { my ($name) = @_; return join("\n", sort keys %{ held($name) }) eq wanted($name) }
sub requests { my ($name) = @_; return -e "$folder/$name.log" ? slurp_file("$folder/$name.log") : '' }
sub report { my ($name) = @_; return sql("SELECT members, delivered, pending, refused FROM cdp.delivery_report WHERE destination = '$name'") }

with_faults({ throttle => 1, fail => 1, expired => 1 });
my %secrets = (
	(map { $_ => 's3cret' } qw(CDP_HUBSPOT_TOKEN CDP_MAILCHIMP_KEY CDP_KLAVIYO_KEY CDP_BRAZE_KEY CDP_META_TOKEN)),
	CDP_SALESFORCE_SECRET => '{"client_id": "id", "client_secret": "s3cret"}',
	CDP_GOOGLE_SECRET => '{"client_id": "id", "client_secret": "s3cret", "refresh_token": "r3fresh", "developer_token": "dev"}');
my $relay = start_relay($node, env => \%secrets);

for my $name (@names)
{
	ok(wait_until("$name holds all", 60, sub { report($name) eq '120|120|0|0' }), "$name: all arrive, through throttling and failures") or diag(report($name), "\n", requests($name), sql("SELECT last_error FROM cdp.delivery_target WHERE destination = '$name'"));
	ok(holds($name), "$name: the network holds who is in the destination");
}
is(held('hubspot')->{'u9@example.com'}{first_name}, "Zo\x{eb}", 'hubspot: properties are there');
is(held('hubspot')->{'u9@example.com'}{orders}, '1', 'hubspot: as texts');
is_deeply(held('salesforce')->{'u9@example.com'}, { FirstName => "Zo\x{eb}", Orders__c => 1 }, 'salesforce: the fields that were asked for');
is_deeply(held('mailchimp')->{'u9@example.com'}, { FNAME => "Zo\x{eb}", ORDERS => '1' }, 'mailchimp: merge fields');
is_deeply(held('klaviyo')->{'u9@example.com'}, { email => 'u9@example.com', first_name => "Zo\x{eb}", properties => { orders => 1, phone => '+49 30 1231009' } }, 'klaviyo: its own fields, and others as properties');
is_deeply(held('braze')->{'u9@example.com'}, { external_id => 'u9@example.com', first_name => "Zo\x{eb}", orders => 1, phone => '+49 30 1231009' }, 'braze: attributes');

with_faults({ refuse => ['u7@example.com'] });
process(q{SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(5, 30) i});
for my $name (@names)
{
	ok(wait_until("$name refuses one", 60, sub { report($name) eq '120|119|0|1' }), "$name: one is refused, the others arrive") or diag(report($name), "\n", requests($name), sql("SELECT last_error FROM cdp.delivery_target WHERE destination = '$name'"));
	is(sql("SELECT string_agg(key, ' ') FROM cdp.delivery_failure WHERE destination = '$name'"), 'u7@example.com', "$name: it is the right one");
	like(sql("SELECT reason FROM cdp.delivery_failure WHERE destination = '$name'"), $networks{$name}{reason}, "$name: the network's reason is kept");
}
is(held('hubspot')->{'u8@example.com'}{orders}, '2', 'hubspot: who was in a batch with it is up to date');

with_faults({});
sql("SELECT cdp.retry_deliveries('$_')") for @names;
for my $name (@names)
{
	ok(wait_until("$name takes it", 60, sub { report($name) eq '120|120|0|0' }), "$name: taken when it is tried again");
}

with_faults({ fail => 1 });
process(q{SELECT cdp.identify('u' || i, '{"city": "nowhere"}') FROM generate_series(3, 4) i});
for my $name (@names)
{
	ok(wait_until("$name takes them out", 60, sub { holds($name) && report($name) eq '118|118|0|0' }), "$name: who leaves is taken out") or diag(report($name), "\n", requests($name), sql("SELECT last_error FROM cdp.delivery_target WHERE destination = '$name'"));
	my %refusals = map { /(\d+)$/ ? ($1 => 1) : () } split /\n/, requests($name);
	is(join(' ', grep { !/^2/ && $_ !~ $networks{$name}{refusals} } sort keys %refusals), '', "$name: nothing was sent that its documentation does not allow");
}

is(stop_relay($relay, 'TERM'), 0, 'the relay stops');
$servers->kill_kill(grace => 0);
$node->stop;
done_testing();
