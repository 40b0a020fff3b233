# Real shops: every total per customer is what plain SQL over the shop's own table gives.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = $ENV{CDP_TEST_DATA} // '../shared/data';
my $retail = "$data/online_retail/online_retail.csv.gz";
my $cdnow = "$data/cdnow/CDNOW_master.txt";
if (!-e $retail || !-e $cdnow)
{
	die "the data are missing in $data" if $ENV{CI};
	plan skip_all => "no data in $data (set CDP_TEST_DATA)";
}

my $node = PostgreSQL::Test::Cluster->new('real');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nshared_buffers = 512MB\nmax_wal_size = 4GB\nwal_level = logical\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION cdp; CREATE SCHEMA shop');

# A year of a British shop, as a table that was there before: eleven months of history, then day by day.
$node->safe_psql('postgres', qq{
	CREATE TABLE shop.incoming (invoice text, stock_code text, description text, quantity int, at timestamp, price numeric, customer text, country text);
	\\copy shop.incoming FROM PROGRAM 'zcat $retail' WITH (FORMAT csv, HEADER)
	CREATE TABLE shop.line (LIKE shop.incoming, amount numeric GENERATED ALWAYS AS (quantity * price) STORED);
	INSERT INTO shop.line SELECT * FROM shop.incoming WHERE at < '2011-12-01';});
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT invoice), count(DISTINCT customer), count(*) FILTER (WHERE customer IS NULL), round(sum(quantity * price), 2) FROM shop.incoming}),
	'541909|25900|4372|135080|9747747.93', 'the shop is the one that was published');
$node->safe_psql('postgres', q{
	SELECT cdp.create_computed_trait('lines', 'count', 'Line Bought');
	SELECT cdp.create_computed_trait('pieces', 'sum', 'Line Bought', 'quantity');
	SELECT cdp.create_computed_trait('revenue', 'sum', 'Line Bought', 'amount');
	SELECT cdp.create_computed_trait('cancelled', 'count', 'Line Bought', filter => $$event.properties->>'invoice' LIKE 'C%'$$);
	SELECT cdp.create_computed_trait('invoices', 'distinct_count', 'Line Bought', 'invoice');
	SELECT cdp.create_segment('spenders', 'revenue > 1000 AND invoices >= 3');});
is($node->safe_psql('postgres', q{SELECT cdp.attach_table('shop.line', 'Line Bought', '{"user_id": "customer"}', occurred_at => 'at')}),
	$node->safe_psql('postgres', 'SELECT count(*) FROM shop.line'), 'the history is sent');
is($node->safe_psql('postgres', q{SELECT cdp.flush('10 min')}), 't', 'and processed');

sub totals_agree
{
	my ($when) = @_;
	is($node->safe_psql('postgres', q{
		SELECT count(*), count(*) FILTER (WHERE (p.lines, p.pieces, p.revenue, p.cancelled, p.invoices)
			IS DISTINCT FROM (s.lines, s.pieces, s.revenue, s.cancelled, s.invoices))
		FROM (SELECT customer, count(*) AS lines, sum(quantity) AS pieces, sum(amount) AS revenue,
				count(*) FILTER (WHERE invoice LIKE 'C%') AS cancelled, count(DISTINCT invoice) AS invoices
			FROM shop.line WHERE customer IS NOT NULL GROUP BY 1) s
		LEFT JOIN cdp.identifier i ON i.type = 'user_id' AND i.value = s.customer LEFT JOIN cdp.profile p USING (profile_id)}),
		$node->safe_psql('postgres', 'SELECT count(DISTINCT customer) FROM shop.line') . '|0', "$when: every customer's totals");
	is($node->safe_psql('postgres', q{
		SELECT (SELECT count(*) FROM cdp_segment.spenders) - count(*) FROM (SELECT FROM shop.line WHERE customer IS NOT NULL GROUP BY customer
			HAVING sum(amount) > 1000 AND count(DISTINCT invoice) >= 3) s}), 0, "$when: the segment");
}
totals_agree('after the history');

for my $day (1 .. 9)
{
	$node->safe_psql('postgres', "INSERT INTO shop.line SELECT * FROM shop.incoming WHERE at::date = '2011-12-0$day'; SELECT cdp.flush('10 min')");
}
totals_agree('after the last days');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT reason) FROM cdp.rejected_message'), '135080|1', 'lines of nobody are kept, with the reason');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cdp.event'), 541909 - 135080, 'all others are events');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cdp.rebuild() WHERE differing <> 0'), 0, 'rebuild finds nothing');

# CDNOW: 69,659 purchases.
$node->safe_psql('postgres', 'CREATE DATABASE cdnow');
$node->safe_psql('cdnow', qq{
	SET client_min_messages = warning; CREATE EXTENSION cdp; CREATE SCHEMA shop;
	CREATE TABLE shop.purchase (customer text, day date, items int, dollars numeric);
	\\copy shop.purchase FROM PROGRAM 'awk ''{print \$1 "," \$2 "," \$3 "," \$4}'' $cdnow' WITH (FORMAT csv, HEADER)
	SELECT cdp.create_computed_trait('purchases', 'count', 'Bought');
	SELECT cdp.create_computed_trait('dollars', 'sum', 'Bought', 'dollars');
	SELECT cdp.create_computed_trait('largest', 'max', 'Bought', 'items');
	SELECT cdp.attach_table('shop.purchase', 'Bought', '{"user_id": "customer"}', occurred_at => 'day');
	SELECT cdp.flush('10 min');});
is($node->safe_psql('cdnow', q{
	SELECT count(*), sum(s.n), count(*) FILTER (WHERE (p.purchases, p.dollars, p.largest) IS DISTINCT FROM (s.n, s.dollars, s.largest))
	FROM (SELECT customer, count(*) AS n, sum(dollars) AS dollars, max(items) AS largest FROM shop.purchase GROUP BY 1) s
	LEFT JOIN cdp.identifier i ON i.type = 'user_id' AND i.value = s.customer LEFT JOIN cdp.profile p USING (profile_id)}),
	'23570|69659|0', "CDNOW: every customer's totals");
is($node->safe_psql('cdnow', 'SELECT count(*) FROM cdp.rebuild() WHERE differing <> 0'), 0, 'CDNOW: rebuild finds nothing');

$node->stop;
done_testing();
