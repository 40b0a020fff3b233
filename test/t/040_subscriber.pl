# A CRM that subscribes to a destination's publication has, at any moment, what the destination says, and is told
# of nobody who has not changed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cdp = PostgreSQL::Test::Cluster->new('cdp');
$cdp->init(allows_streaming => 'logical');
$cdp->start;
my $crm = PostgreSQL::Test::Cluster->new('crm');
$crm->init;
$crm->start;

sub process { $cdp->safe_psql('postgres', 'SELECT cdp.process()') }
sub caught_up { $cdp->wait_for_catchup('crm') }

# What the CRM was told since the last call, as "INSERT ann@x.org"; and what it has.
sub told
{
	caught_up();
	my $told = $crm->safe_psql('postgres',
		q{WITH all_of_it AS (DELETE FROM told RETURNING op, email) SELECT op || ' ' || email FROM all_of_it ORDER BY email, op});
	return $told;
}
my $rows = 'SELECT email, city, orders, segments FROM cdp_out.crm ORDER BY email';
sub has { caught_up(); return $crm->safe_psql('postgres', $rows) }

# The same, from the log by plain SQL: the last e-mail of each customer, their orders, and where they live.
my $from_the_log = q{
SELECT i.value, p.traits ->> 'city', o.orders, ARRAY(SELECT s.name FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id)
    WHERE m.profile_id = p.profile_id ORDER BY s.name COLLATE "C")
FROM cdp.profile p
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE e.event = 'Order Completed') AS orders FROM cdp.profile_event e WHERE e.profile_id = p.profile_id) o
CROSS JOIN LATERAL (SELECT value FROM cdp.identifier i WHERE i.profile_id = p.profile_id AND i.type = 'email'
    ORDER BY last_seen_at DESC, identifier_id DESC LIMIT 1) i
WHERE o.orders >= 1 AND p.traits ->> 'city' <> 'nowhere'
ORDER BY 1};

sub same_everywhere
{
	my $when = shift;
	my $expected = $cdp->safe_psql('postgres', $from_the_log);
	is($cdp->safe_psql('postgres', $rows), $expected, "the destination is what the log says, $when");
	is(has(), $expected, "the CRM has the same, $when");
	is($cdp->safe_psql('postgres', 'SELECT sum(differing) FROM cdp.destination_difference()'), '0', "nothing differs, $when");
}

$cdp->safe_psql('postgres', q{
CREATE EXTENSION cdp;
SELECT cdp.create_trait('city', 'text');
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_segment('customers', $$orders >= 1 AND city <> 'nowhere'$$);
SELECT cdp.create_segment('Berliners', $$city = 'Berlin'$$);
SELECT cdp.identify('u' || i, jsonb_build_object('email', 'u' || i || '@x.org', 'city', 'Ulm')) FROM generate_series(1, 6) i;
SELECT cdp.track('Order Completed', 'u' || i) FROM generate_series(1, 5) i;
});
process();
$cdp->safe_psql('postgres', q{SELECT cdp.create_destination('crm', 'customers', 'email',
	'{"city": "city", "orders": "orders", "segments": "cdp.segment_names()"}')});

# The first copy
$crm->safe_psql('postgres', q{
CREATE SCHEMA cdp_out;
CREATE TABLE cdp_out.crm (email text PRIMARY KEY, city text, orders bigint, segments text[]);
});
my $connection = $cdp->connstr . ' dbname=postgres';
$crm->safe_psql('postgres', "CREATE SUBSCRIPTION crm CONNECTION '$connection' PUBLICATION cdp_crm");
$crm->wait_for_subscription_sync($cdp, 'crm');
is(has(), join("\n", map { "u$_\@x.org|Ulm|1|{customers}" } 1 .. 5), 'the first copy is everybody in the segment');
same_everywhere('after the first copy');

# From here on every change that arrives is counted.
$crm->safe_psql('postgres', q{
CREATE TABLE told (op text, email text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql SET search_path = public
	AS 'BEGIN INSERT INTO told VALUES (TG_OP, coalesce(NEW.email, OLD.email)); RETURN NULL; END';
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON cdp_out.crm FOR EACH ROW EXECUTE FUNCTION tell();
ALTER TABLE cdp_out.crm ENABLE ALWAYS TRIGGER tell;
});

# Somebody enters, changes, leaves; all the others are not mentioned.
$cdp->safe_psql('postgres', q{
SELECT cdp.track('Order Completed', 'u6');
SELECT cdp.identify('u1', '{"city": "Berlin"}');
SELECT cdp.identify('u2', '{"city": "nowhere"}');
SELECT cdp.track('Page Seen', 'u3');
});
process();
is(told(), "UPDATE u1\@x.org\nDELETE u2\@x.org\nINSERT u6\@x.org", 'one change for each who changed');
same_everywhere('after somebody entered, changed and left');

# What is not in the columns changes nothing; nor does what changes and changes back within a batch.
my $before = $cdp->safe_psql('postgres', 'SELECT email, xmin, ctid FROM cdp_out.crm ORDER BY 1');
$cdp->safe_psql('postgres', q{
SELECT cdp.track('Page Seen', 'u' || i) FROM generate_series(1, 6) i, generate_series(1, 5);
SELECT cdp.identify('u3', '{"shoe size": 42}');
SELECT cdp.identify('u4', '{"city": "nowhere"}');
SELECT cdp.identify('u4', '{"city": "Ulm"}');
});
process();
is($cdp->safe_psql('postgres', 'SELECT email, xmin, ctid FROM cdp_out.crm ORDER BY 1'), $before, 'no row is written for those who did not change');
is(told(), '', 'and the CRM is told nothing');

# A new address takes the place of the one before.
$cdp->safe_psql('postgres', q{SELECT cdp.identify('u3', '{"email": "new@x.org"}', occurred_at => now() + interval '1 s')});
process();
is(told(), "INSERT new\@x.org\nDELETE u3\@x.org", 'who has a new address appears with that');
same_everywhere('after a new address');

# Two people who become one
$cdp->safe_psql('postgres', q{
SELECT cdp.identify(NULL, '{"email": "visitor@x.org", "city": "Bonn"}', anonymous_id => 'a7');
SELECT cdp.track('Order Completed', NULL, anonymous_id => 'a7');
});
process();
is(told(), 'INSERT visitor@x.org', 'a visitor without user_id is a customer, too');
$cdp->safe_psql('postgres', q{
SELECT cdp.track('Signed In', 'u4', anonymous_id => 'a7');
});
process();
is($cdp->safe_psql('postgres', q{SELECT cdp.resolve('email', 'visitor@x.org') = cdp.resolve('user_id', 'u4')}), 't', 'they became one');
is(told(), "DELETE u4\@x.org\nUPDATE visitor\@x.org", 'of two people who became one the row of one leaves and that of the other changes');
same_everywhere('after two became one');

# Both in one batch: two become one, and a third takes over an address.
$cdp->safe_psql('postgres', q{
SELECT cdp.identify(NULL, '{"email": "second@x.org", "city": "Bonn"}', anonymous_id => 'a8');
SELECT cdp.track('Order Completed', 'u5', anonymous_id => 'a8');
SELECT cdp.identify('u9', '{"email": "nine@x.org", "city": "Berlin"}');
SELECT cdp.track('Order Completed', 'u9');
});
process();
same_everywhere('after a batch of all of it');
told();

# By hand
$cdp->safe_psql('postgres', q{
SELECT cdp.identify(NULL, '{"email": "hand@x.org", "city": "Bonn"}', anonymous_id => 'a10');
SELECT cdp.track('Order Completed', NULL, anonymous_id => 'a10');
});
process();
is(told(), 'INSERT hand@x.org', 'one more visitor');
$cdp->safe_psql('postgres', q{SELECT cdp.merge_profiles(cdp.resolve('user_id', 'u1'), cdp.resolve('email', 'hand@x.org'), 'the same person')});
is(told(), "UPDATE hand\@x.org\nDELETE u1\@x.org", 'the same in the transaction of the merge');
same_everywhere('after a merge by hand');

# Taken apart again: each has their own row, and the CRM is told of nobody else.
$cdp->safe_psql('postgres', q{SELECT cdp.split_identifier('user_id', 'u1', 'somebody else')});
is($cdp->safe_psql('postgres', q{SELECT count(DISTINCT cdp.resolve(type, value)) FROM (VALUES ('user_id', 'u1'), ('email', 'u1@x.org'), ('email', 'hand@x.org')) v(type, value)}),
	'3', 'the split one, its e-mail and the visitor are three');
is(told(), "UPDATE hand\@x.org", 'the row of one who is split is what is left of them; whose e-mail brought no order is in no segment');
same_everywhere('after a split');
$cdp->safe_psql('postgres', q{SELECT cdp.identify('u1', '{"email": "u1@x.org"}'); SELECT cdp.track('Order Completed', 'u1', anonymous_id => 'a10')});
process();
is(told(), '', 'what was split stays so');
same_everywhere('after messages that carry both');
$cdp->safe_psql('postgres', q{SELECT cdp.merge_profiles(cdp.resolve('user_id', 'u1'), cdp.resolve('email', 'u1@x.org'), 'his'),
	cdp.merge_profiles(cdp.resolve('user_id', 'u1'), cdp.resolve('email', 'hand@x.org'), 'his')});
told();
same_everywhere('after two merges by hand');

# What changes segments by itself
$cdp->safe_psql('postgres', q{SELECT cdp.create_segment('two orders', 'orders >= 2')});
is(told(), "UPDATE hand\@x.org\nUPDATE second\@x.org\nUPDATE visitor\@x.org", 'a new segment is told to its members');
same_everywhere('after a new segment');
$cdp->safe_psql('postgres', q{SELECT cdp.alter_segment('customers', $$orders >= 2 AND city <> 'nowhere'$$)});
is(told(), join("\n", map { "DELETE $_\@x.org" } qw(new nine u6)), 'a segment that is altered sends away who is no member any more');
$cdp->safe_psql('postgres', q{SELECT cdp.alter_segment('customers', $$orders >= 1 AND city <> 'nowhere'$$)});
is(told(), join("\n", map { "INSERT $_\@x.org" } qw(new nine u6)), 'and takes them back');
$cdp->safe_psql('postgres', q{SELECT cdp.drop_segment('two orders')});
told();
same_everywhere('after a segment was dropped');
for my $statement (q{cdp.drop_segment('customers')}, q{cdp.drop_trait('orders')})
{
	my ($code, $out, $error) = $cdp->psql('postgres', "SELECT $statement");
	like($error, qr/is in use/, "$statement is refused while a destination uses it");
}
is($cdp->safe_psql('postgres', q{SELECT sum(differing) FROM cdp.rebuild()}), '0', 'rebuild() finds nothing to change');

# What happens while the CRM is away arrives when it is back; and the publisher may restart in between.
$crm->stop;
$cdp->safe_psql('postgres', q{SELECT cdp.identify('u1', '{"city": "Essen"}'); SELECT cdp.track('Order Completed', 'u6')});
process();
$cdp->restart;
$cdp->safe_psql('postgres', q{SELECT cdp.identify('u6', '{"city": "nowhere"}')});
process();
$crm->start;
same_everywhere('after restarts');
is(told(), "UPDATE hand\@x.org\nDELETE u6\@x.org\nUPDATE u6\@x.org", 'each change once');

$cdp->safe_psql('postgres', q{SELECT cdp.identify('u1', '{"city": "Trier"}')});
$cdp->safe_psql('postgres', 'BEGIN; SELECT cdp.process(); ROLLBACK');
is(told(), '', 'a batch that is rolled back is never seen');
process();
is(told(), 'UPDATE hand@x.org', 'until it is processed again');

# Dropping it ends it.
$crm->safe_psql('postgres', 'DROP SUBSCRIPTION crm');
$cdp->safe_psql('postgres', q{SELECT cdp.drop_destination('crm')});
is($cdp->safe_psql('postgres', q{SELECT count(*) FROM pg_publication}), '0', 'the publication is gone');
$cdp->safe_psql('postgres', q{SELECT cdp.track('Order Completed', 'u1')});
process();

$cdp->stop;
$crm->stop;
done_testing();
