# What is pending in a dump is processed in the order that it was sent in, wherever in the inbox it was and however it is restored.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('pending');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', 'CREATE EXTENSION cdp');

my $event = q{E'tab\t, "quotes", \\\\backslash, newline\n'};
my $properties = q{'{"a": ["\\\\", "\\"", "\\t"]}'};
# The inbox goes round: from its last partition on to the first. Twelve transactions, of three messages each.
sub send_messages {
	my ($first, $last) = @_;
	$node->safe_psql('source', "INSERT INTO cdp.inbox (message_id, user_id, event, properties) SELECT $_ || '.' || n, 'ann', $event, $properties FROM generate_series(1, 3) n")
		for $first .. $last;
}
send_messages(1, 2);
is($node->safe_psql('source', 'SELECT cdp.process()'), '6', 'some are processed before');
$node->safe_psql('source', "SELECT setval('cdp.inbox_id_seq', (4::bigint << 18) - 8)");
send_messages(3, 12);
is($node->safe_psql('source', 'SELECT string_agg(DISTINCT tableoid::regclass::text, $$ $$) FROM cdp.inbox WHERE cdp.is_pending(inbox_xid, inbox_id)'),
	'cdp.inbox_0 cdp.inbox_3', 'the others are in the last partition and in the first');
my $sent = join ' ', map { my $i = $_; map { "$i.$_" } 1 .. 3 } 1 .. 12;

my $dump = $node->backup_dir;
mkdir $dump;
my @source = ('-d', $node->connstr('source'));
command_ok([ 'pg_dump', @source, '-Fp', '-f', "$dump/plain" ], 'dumped as a script');
command_ok([ 'pg_dump', @source, '-Fp', '--inserts', '-f', "$dump/inserts" ], 'as INSERTs');
command_ok([ 'pg_dump', @source, '-Fd', '-j2', '-f', "$dump/directory" ], 'as a directory');

sub restored {
	my ($name, @commands) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	command_ok([ @$_, '-d', $node->connstr($name) ], "$name: $_->[0]") for @commands;
	is($node->safe_psql($name, 'SELECT cdp.process()'), '30', "$name: what was pending is processed");
	is($node->safe_psql($name, "SELECT string_agg(message_id, ' ' ORDER BY event_id) FROM cdp.event"), $sent, "$name: in order");
	is($node->safe_psql($name, "SELECT count(*) FROM cdp.event WHERE event = $event AND properties = $properties"), '36', "$name: whole");
	is($node->safe_psql($name, 'SELECT count(*) FROM cdp.inbox_dump'), '0', "$name: and leaves nothing behind");
	$node->safe_psql($name, "SELECT cdp.track('more', 'ann')");
	is($node->safe_psql($name, 'SELECT cdp.process()'), '1', "$name: it goes on");
}

restored('plain', [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump/plain" ]);
restored('inserts', [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump/inserts" ]);
restored('one', [ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$dump/plain" ]);
restored('jobs', [ 'pg_restore', '-e', '-j4', "$dump/directory" ]);
restored('steps', map { [ 'pg_restore', '-e', "--section=$_", "$dump/directory" ] } qw(pre-data data post-data));
restored('halves', [ 'pg_restore', '-e', '--schema-only', "$dump/directory" ], [ 'pg_restore', '-e', '--data-only', "$dump/directory" ]);

$node->stop('fast');
done_testing();
