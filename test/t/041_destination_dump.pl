# Destinations come back from pg_dump with their tables and publications, and are kept current afterwards.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init(allows_streaming => 'logical');
$node->start;
sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql) }

sql('postgres', q{
CREATE EXTENSION cdp;
SELECT cdp.create_trait('city', 'text');
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_segment('customers', 'orders >= 1');
SELECT cdp.identify('u' || i, jsonb_build_object('email', 'u' || i || '@x.org', 'city', 'Ulm')) FROM generate_series(1, 4) i;
SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 3) i;
});
sql('postgres', 'SELECT cdp.process()');
sql('postgres', q{
SELECT cdp.create_destination('crm', 'customers', 'email', '{"city": "city", "orders": "orders", "segments": "cdp.segment_names()"}');
SELECT cdp.create_destination('everybody', table_name => 'public."All of them"');
CREATE INDEX mine ON cdp_out.crm (city);
GRANT SELECT ON cdp_out.crm TO cdp_analyst;
});

my $file = $node->basedir . '/cdp.dump';
$node->command_ok(['pg_dump', '-Fc', '-f', $file, 'postgres'], 'it can be dumped');
sql('postgres', 'CREATE DATABASE restored');
$node->command_ok(['pg_restore', '--exit-on-error', '-d', 'restored', $file], 'and restored');

for my $query (
	'SELECT * FROM cdp_out.crm ORDER BY email',
	'SELECT * FROM public."All of them" ORDER BY profile_id',
	'SELECT name, segment, key, columns, table_name, owner, reads, problem, asks_segments, asks_purposes FROM cdp.destination ORDER BY name',
	'SELECT m.key, d.name FROM cdp.destination_member m JOIN cdp.destination d USING (destination_id) ORDER BY 1, 2',
	'SELECT pubname, schemaname, tablename FROM pg_publication_tables ORDER BY 1',
	q{SELECT indexname FROM pg_indexes WHERE schemaname = 'cdp_out' ORDER BY 1},
	q{SELECT has_table_privilege('cdp_analyst', 'cdp_out.crm', 'SELECT')})
{
	is(sql('restored', $query), sql('postgres', $query), "the same: $query");
}
is(sql('restored', 'SELECT sum(differing) FROM cdp.destination_difference()'), '0', 'nothing differs');

sql('restored', q{
SELECT cdp.track('Order Completed', 'u4');
SELECT cdp.identify('u1', '{"city": "Berlin"}');
SELECT cdp.track('Order Completed', NULL, anonymous_id => 'a1');
SELECT cdp.track('Order Completed', 'u2', anonymous_id => 'a1');
});
sql('restored', 'SELECT cdp.process()');
is(sql('restored', 'SELECT email, city, orders, segments FROM cdp_out.crm ORDER BY email'),
	"u1\@x.org|Berlin|1|{customers}\nu2\@x.org|Ulm|3|{customers}\nu3\@x.org|Ulm|1|{customers}\nu4\@x.org|Ulm|1|{customers}",
	'and they are kept current');
is(sql('restored', 'SELECT sum(differing) FROM cdp.destination_difference()'), '0', 'still nothing differs');
is(sql('restored', q{SELECT cdp.create_destination('more')}), 'cdp_out.more', 'new ones can be made');

sql('restored', 'DROP EXTENSION cdp CASCADE');
is(sql('restored', q{SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_tables WHERE tablename IN ('crm', 'All of them', 'more'))}),
	'0', 'DROP EXTENSION CASCADE leaves nothing of them behind, there too');
$node->stop;
done_testing();
