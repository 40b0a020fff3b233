# 031_attached_table_dump.pl: an attached table comes back from a dump attached, and is not sent a second time.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE old');
$node->safe_psql(
	'old', q{
	CREATE EXTENSION cdp;
	CREATE SCHEMA shop;
	CREATE TABLE shop."Orders" ("Order Id" int PRIMARY KEY, customer text, placed_at date);
	INSERT INTO shop."Orders" VALUES (1, 'c1', '2024-05-01'), (2, 'c2', '2024-05-02');
	SELECT cdp.attach_table('shop."Orders"', 'It''s "an" \ Order', '{"user_id": "customer"}', 'placed_at', '{"Order Id"}', false);
	CREATE TABLE shop.gone (who text);
	SELECT cdp.attach_table('shop.gone', 'e', '{"user_id": "who"}');
	DROP TABLE shop.gone;
});
my $attached = $node->safe_psql('old', 'SELECT * FROM cdp.attached_table');

my $dump = $node->basedir . '/old.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('old') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE new');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('new'), $dump ], 'restored');

is($node->safe_psql('new', 'SELECT * FROM cdp.attached_table'), $attached, 'attached as it was');
is($node->safe_psql('new', 'SELECT count(*) FROM cdp.inbox'), 0, 'nothing sent a second time');
$node->safe_psql('new', q{INSERT INTO shop."Orders" VALUES (3, 'c3', '2024-05-03')});
is( $node->safe_psql('new', 'SELECT source, event, user_id, properties, occurred_at::date FROM cdp.inbox'),
	q{shop."Orders"|It's "an" \ Order|c3|{"Order Id": 3}|2024-05-03},
	'and sends what is new');

# Without the extension the table stays, unattached.
my ($code, $out, $err) = $node->psql('new', 'DROP EXTENSION cdp');
isnt($code, 0, 'the extension does not go while tables are attached');
$node->safe_psql('new', 'DROP EXTENSION cdp CASCADE');
$node->safe_psql('new', q{INSERT INTO shop."Orders" VALUES (4, 'c4', '2024-05-04')});
is($node->safe_psql('new', 'SELECT count(*) FROM shop."Orders"'), 4, 'the table outlives the extension');

$node->stop;
done_testing();
