# On a standby everything can be read, and the worker does nothing; once promoted, it goes on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'\n");
$primary->start;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', 'CREATE EXTENSION cdp');
$primary->safe_psql('postgres', q{INSERT INTO cdp.inbox (user_id, event) VALUES ('ann', 'Seen'), ('bob', 'Seen')});
is($primary->safe_psql('postgres', 'SELECT cdp.flush()'), 't', 'the primary processes');
$primary->safe_psql('postgres', 'SELECT cdp.stop_worker()');
$primary->safe_psql('postgres', q{INSERT INTO cdp.inbox (user_id, event) VALUES ('cid', 'Seen')});
$primary->wait_for_catchup($standby);

# Every table and view of the extension.
my $relations = q{SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace::regnamespace::text IN ('cdp', 'cdp_segment', 'cdp_out')
    AND c.relkind IN ('r', 'p', 'v') ORDER BY 1};
my @unreadable;
for my $relation (split /\n/, $standby->safe_psql('postgres', $relations)) {
    my ($code, $out, $error) = $standby->psql('postgres', "SELECT count(*) FROM $relation");
    push @unreadable, "$relation: $error" if $code != 0;
}
is("@unreadable", '', 'everything can be read');
my $counts = 'SELECT backlog, events, profiles, rejected, last_batch_size FROM cdp.status';
is($standby->safe_psql('postgres', $counts), $primary->safe_psql('postgres', $counts), 'and is what the primary has');
is($standby->safe_psql('postgres', 'SELECT worker_state, worker_pid IS NULL, lag > interval \'0\' FROM cdp.status'), 'standby|t|t',
    'status says that no worker runs here');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cdp%'"), '0', 'and none does');

for my $call ('flush()', 'start_worker()', 'process()', 'rebuild()', 'rebuild(true)', 'preview_identity_rules()', 'apply_identity_rules()',
    q{create_trait('plan', 'text')}, q{create_segment('all', 'true')}, q{split_identifier('user_id', 'ann', 'test')}, q{set_consent('user_id', 'ann', 'letter', true)},
    q{alter_identifier_type('email', 2)}, q{create_purpose('letter')}, q{remove_delivery('crm')}) {
    my ($code, $out, $error) = $standby->psql('postgres', "SELECT cdp.$call");
    like($error, qr/ERROR:  cannot [a-z ]+ during recovery\nHINT:  This server is a standby/, "$call refuses with a clear error");
}
is($standby->safe_psql('postgres', 'SELECT cdp.stop_worker()'), 'f', 'there is nothing to stop');

$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT backlog = 0 FROM cdp.status'), 'a promoted standby starts its worker and goes on');

$standby->stop('fast');
$primary->stop('fast');
unlike(slurp_file($standby->logfile), qr/PANIC|TRAP/, 'nothing broke');
done_testing();
