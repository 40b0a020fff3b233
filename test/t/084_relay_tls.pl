# cdp-relay to receivers that speak TLS: only to who can prove to be the one that is meant; authorities of one's own by --ca-file.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $node = start_node('tls');
sql(q{
SET client_min_messages = warning;
SELECT cdp.identify('u' || i, '{}') FROM generate_series(1, 5) i;
SELECT cdp.process();
SELECT cdp.create_destination(name, key => 'user_id', columns => '{}') FROM unnest('{good,other_host}'::text[]) name;
});

# An authority of our own, which vouches for 127.0.0.1.
my $folder = PostgreSQL::Test::Utils::tempdir();
my $ca = "$folder/ca.pem";
sub openssl { system_or_bail('openssl', @_); return }
openssl(qw(req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout), "$folder/ca.key", '-out', $ca);
openssl(qw(req -newkey rsa:2048 -nodes -subj /CN=receiver -keyout), "$folder/key.pem", '-out', "$folder/request.pem");
append_to_file("$folder/for", "subjectAltName=IP:127.0.0.1\n");
openssl(qw(x509 -req -days 2 -CAcreateserial -in), "$folder/request.pem", '-CA', $ca, '-CAkey', "$folder/ca.key", '-extfile', "$folder/for", '-out', "$folder/one.pem");
append_to_file("$folder/certificate.pem", slurp_file("$folder/one.pem") . slurp_file("$folder/key.pem"));

my $receiver = start_receiver({ folder => $folder, port => 0 });
sql("SELECT cdp.set_delivery('good', 'webhook', 'https://127.0.0.1:$receiver->{port}/')");
sub pending { return sql("SELECT pending FROM cdp.delivery_report WHERE destination = '$_[0]'") }
sub failure { return sql("SELECT last_error FROM cdp.delivery_target WHERE destination = '$_[0]'") }

my $relay = start_relay($node, log => "$folder/relay.log");
ok(wait_until('an error', 30, sub { failure('good') =~ /certificate/ }), 'who cannot be known is not trusted');
is(pending('good'), 5, 'everything is pending');
is(scalar(@{ received($receiver) }), 0, 'and nothing was sent');
stop_relay($relay, 'TERM');

$relay = start_relay($node, log => "$folder/relay.log", arguments => [ '--ca-file', $ca ]);
ok(wait_until('delivery', 30, sub { pending('good') == 0 }), 'with the authority that vouches for it it is');
is(scalar(@{ received($receiver) }), 5, 'and gets everything');
sql("SELECT cdp.set_delivery('other_host', 'webhook', 'https://localhost:$receiver->{port}/')");
ok(wait_until('an error', 30, sub { failure('other_host') =~ /localhost|subject/ }), 'the same certificate is none for another name');
is(pending('other_host'), 5, 'everything is pending');
stop_relay($relay, 'TERM');
is(scalar(@{ received($receiver) }), 5, 'and nothing was sent');

my $missing = start_relay($node, log => "$folder/missing.log", arguments => [ '--ca-file', "$folder/none.pem" ]);
ok(wait_until('the relay to give up', 10, sub { slurp_file("$folder/missing.log") =~ /none\.pem" cannot be read/ }), 'a file that is not there is said at once');
$missing->{run}->kill_kill(grace => 0);
stop_receiver($receiver);
done_testing();
