# People can be looked up, and views read, on a standby, whose sessions hear of every change of the configuration.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->start;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', q{
CREATE EXTENSION cdp;
SELECT cdp.create_trait('email', 'text');
SELECT cdp.create_trait('plan', 'text');
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'ann', '{"email": "ann@x.org", "plan": "pro", "city": "Ulm"}');
SELECT cdp.flush();
SELECT cdp.create_segment('pros', $$plan = 'pro'$$);
});
sub both {
	my ($query, $name) = @_;
	$primary->wait_for_catchup($standby);
	my $expected = $primary->safe_psql('postgres', $query);
	isnt($expected, '', "$name: there is something");
	is($standby->safe_psql('postgres', $query), $expected, $name);
	return;
}
for my $role ('cdp_pii', 'cdp_marketer', 'cdp_analyst') {
	both("SET ROLE $role; SELECT * FROM cdp.profile_masked; SELECT * FROM cdp_segment.pros; SELECT * FROM cdp.identifier_masked", "$role: views");
	both("SET ROLE $role; SELECT cdp.get_profile('email', 'ANN\@x.org'), cdp.resolve('email', 'ann\@x.org')", "$role: looking up");
}
both('SET ROLE cdp_analyst; SELECT * FROM cdp.event_masked', 'masked events');
both(q{SELECT check_name, ok, detail FROM cdp.check() WHERE check_name NOT IN ('worker', 'worker_processes')}, 'check()');

# One session sees, call by call, what becomes of the configuration.
my ($in, $out, $error) = ('', '', '');
my $session = IPC::Run::start(['psql', '-XqAt', '-d', $standby->connstr('postgres')], '<', \$in, '>', \$out, '2>', \$error, IPC::Run::timeout(180));
sub ask {
	my ($query) = @_;
	$primary->wait_for_catchup($standby);
	$out = '';
	$in .= "$query;\n\\echo done\n";
	$session->pump until $out =~ /done\n/;
	$out =~ s/\n?done\n//;
	return $out;
}
my $traits = q{SELECT cdp.get_profile('user_id', 'ann') -> 'traits' ->> 'city'};
is(ask($traits), 'Ulm', 'a session looks somebody up');
$primary->safe_psql('postgres', q{SELECT cdp.create_trait('city', 'text', 'plan')});
is(ask($traits), 'pro', 'it sees a new trait');
$primary->safe_psql('postgres', q{SELECT cdp.create_identifier_type('badge', 3, NULL, 'lower')});
is(ask(q{SELECT cdp.get_profile('badge', 'X') IS NULL, cdp.resolve('badge', 'X') IS NULL}), 't|t', 'a new type of identifiers');
$primary->safe_psql('postgres', q{INSERT INTO cdp.inbox (event, user_id, context) VALUES ('Seen', 'ann', '{"externalIds": [{"type": "badge", "id": "x"}]}'); SELECT cdp.flush()});
is(ask(q{SELECT cdp.get_profile('badge', 'X') -> 'event_count'}), '2', 'with its normaliser');
$primary->safe_psql('postgres', q{SELECT cdp.alter_identifier_type('badge', normalizer => 'none')});
is(ask(q{SELECT cdp.get_profile('badge', 'X') IS NULL, cdp.resolve('badge', 'X') IS NULL}), 't|t', 'which changes');
$primary->safe_psql('postgres', q{SELECT cdp.create_segment('all', 'true')});
is(ask(q{SELECT cdp.get_profile('user_id', 'ann') -> 'segments'}), '["all", "pros"]', 'a new segment');
$primary->safe_psql('postgres', q{SELECT cdp.drop_trait('city')});
is(ask($traits), 'Ulm', 'and that a trait is gone');
is(ask(q{SET ROLE cdp_marketer; SELECT cdp.get_profile('user_id', 'ann') -> 'traits' ->> 'plan'; RESET ROLE}), 'pro', 'what is not personal');
$primary->safe_psql('postgres', q{SELECT cdp.set_personal('plan', true)});
is(ask(q{SET ROLE cdp_marketer; SELECT cdp.get_profile('user_id', 'ann') -> 'traits' ->> 'plan'; RESET ROLE}), '***', 'becomes personal');
is($error, '', 'without an error');
$session->finish;

$standby->stop;
$primary->stop;
done_testing();
