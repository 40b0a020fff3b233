# The worker: it wakes at once, comes back when it should, stays away when it should, and is in nobody's way.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\n");
$node->start;

my $up = "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdp worker' AND datname = ";
my $pid = 'SELECT worker_pid FROM cdp.status';
my $state = 'SELECT worker_state FROM cdp.status';
my $done = 'SELECT backlog = 0 FROM cdp.status';

sub database {
    my ($name) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $name");
    $node->safe_psql($name, 'CREATE EXTENSION cdp');
}

# Sends some messages of one person in one transaction.
sub send_messages {
    my ($database, $count) = @_;
    $node->safe_psql($database, "INSERT INTO cdp.inbox (user_id, event) SELECT 'ann', 'Seen' FROM generate_series(1, $count)");
}

sub seconds {
    my ($work) = @_;
    my $begin = time();
    $work->();
    return time() - $begin;
}

# The time from when a message was received to when its batch was done, in milliseconds.
sub latency {
    my ($database) = @_;
    my $received = $node->safe_psql($database, "INSERT INTO cdp.inbox (user_id, event) VALUES ('ann', 'Seen') RETURNING received_at");
    my $processed = "FROM cdp.pipeline WHERE last_batch_at > '$received'";
    $node->poll_query_until($database, "SELECT count(*) = 1 $processed") or die 'the message was not processed';
    return $node->safe_psql($database, "SELECT extract(epoch FROM last_batch_at - '$received') * 1000 $processed");
}

# Without shared_preload_libraries ----------------------------------------------------------------------------------

database('shop');
is($node->safe_psql('shop', $state), 'stopped', 'without preload no worker starts by itself');
send_messages('shop', 3);
is($node->safe_psql('shop', 'SELECT backlog FROM cdp.status'), '3', 'messages wait for a worker');
is($node->safe_psql('shop', 'SELECT cdp.start_worker()'), 't', 'a worker starts without a restart of the server');
ok($node->poll_query_until('shop', $done), 'it processes what has waited');
is($node->safe_psql('shop', 'SELECT cdp.start_worker()'), 't', 'starting it twice does no harm');
ok($node->poll_query_until('postgres', "$up 'shop'"), 'and makes no second one');

my @latencies = sort { $a <=> $b } map { sleep(rand(0.3)); latency('shop') } 1 .. 9;
cmp_ok($latencies[4], '<', 200, "a commit wakes the idle worker: median $latencies[4] ms");

send_messages('shop', 1000);
is($node->safe_psql('shop', 'SELECT cdp.flush()'), 't', 'flush waits for the worker');
is($node->safe_psql('shop', $done), 't', 'and all is processed then');

# flush in a transaction whose snapshot is older than the messages.
my $old = $node->background_psql('shop');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cdp.pipeline');
send_messages('shop', 10);
is($old->query_safe('SELECT cdp.flush()'), 't', 'in REPEATABLE READ too');
is($node->safe_psql('shop', $done), 't', 'also what was committed after the snapshot');
$old->quit;

is($node->safe_psql('shop', 'SELECT cdp.stop_worker()'), 't', 'the worker stops');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cdp worker'"), '0', 'and is gone then');
is($node->safe_psql('shop', 'SELECT cdp.stop_worker()'), 'f', 'once');
send_messages('shop', 10);
is($node->safe_psql('shop', 'SELECT backlog, worker_state FROM cdp.status'), '10|stopped', 'a commit does not start a stopped one');
is($node->safe_psql('shop', 'SELECT cdp.flush()'), 't', 'flush processes by itself then');
is($node->safe_psql('shop', $done), 't', 'all of it');

# Stops in the middle of a wait for the pipeline's lock, which this transaction holds.
is($node->safe_psql('shop', 'BEGIN; SELECT cdp.start_worker(); SELECT FROM cdp.lock_pipeline(); SELECT cdp.stop_worker(); COMMIT'),
    "t\nt", 'a worker that waits for a lock stops too');

# Terminated by hand, it comes back. What takes it 5 seconds; meanwhile:
$node->safe_psql('shop', 'SELECT cdp.start_worker()');
my $first_pid = $node->safe_psql('shop', $pid);
$node->safe_psql('shop', "SELECT pg_terminate_backend($first_pid, 5000)");

database('source');
$node->safe_psql('source', 'SELECT cdp.start_worker()');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE source');
pass('CREATE DATABASE TEMPLATE works with the worker running');
is($node->safe_psql('copy', $state), 'stopped', 'the copy has no worker of its own');
ok($node->poll_query_until('source', "SELECT worker_state = 'idle' FROM cdp.status"), 'that of the original comes back');
ok($node->poll_query_until('shop', "SELECT worker_pid <> $first_pid FROM cdp.status"), 'a terminated worker comes back');

for my $how ('', ' WITH (FORCE)') {
    database('gone');
    $node->safe_psql('gone', 'SELECT cdp.start_worker()');
    my $took = seconds(sub { $node->safe_psql('postgres', "DROP DATABASE gone$how") });
    cmp_ok($took, '<', 4, "DROP DATABASE$how works with the worker running");
}

$node->safe_psql('source', 'DROP EXTENSION cdp CASCADE');
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'cdp worker' AND datname = 'source')"),
    'DROP EXTENSION ends the worker');
$node->safe_psql('source', 'CREATE EXTENSION cdp');
send_messages('source', 1);
ok($node->poll_query_until('source', $done), 'and CREATE EXTENSION brings back the one that ran');

# Killed, with messages waiting: the server goes through crash recovery, and the worker goes on.
send_messages('shop', 500);
my $before = $node->safe_psql('shop', $pid);
kill 'KILL', $before;
ok($node->poll_query_until('shop', "SELECT worker_pid <> $before FROM cdp.status"), 'a killed worker comes back');
send_messages('shop', 1);
ok($node->poll_query_until('shop', $done), 'and goes on');

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|database \d+ does not exist/, 'nothing broke');

# With shared_preload_libraries -------------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'\n");
$node->restart;
ok($node->poll_query_until('shop', "SELECT worker_state = 'idle' FROM cdp.status"), 'with preload the worker starts with the server');
ok($node->poll_query_until('postgres', "$up 'copy'"), 'in every database that has the extension');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cdp%' AND coalesce(datname, '') NOT IN ('shop', 'source', 'copy')"),
    '0', 'and in no other');

database('late');
ok($node->poll_query_until('late', "SELECT worker_state = 'idle' FROM cdp.status"), 'CREATE EXTENSION starts a worker');
$node->safe_psql('late', 'DROP EXTENSION cdp CASCADE');
$node->safe_psql('late', 'CREATE EXTENSION cdp');
ok($node->poll_query_until('late', "SELECT worker_state = 'idle' FROM cdp.status"), 'again after DROP EXTENSION');

$node->safe_psql('postgres', 'CREATE DATABASE late_copy TEMPLATE late');
send_messages('late_copy', 1);
ok($node->poll_query_until('late_copy', $done), 'the first message starts the worker of a copied database');

is($node->safe_psql('late', 'SELECT cdp.stop_worker()'), 't', 'a worker that started by itself can be stopped');
send_messages('late', 1);
is($node->safe_psql('late', $state), 'stopped', 'and stays so');

# A restored database has its worker, which waits until everything is there.
$node->safe_psql('copy', 'SELECT cdp.stop_worker()');
send_messages('copy', 5);
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok(['pg_dump', '-Fc', '-f', $dump, $node->connstr('copy')], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(['pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump], 'pg_restore');
ok($node->poll_query_until('restored', $done), 'the worker of a restored database processes what was pending in the dump');
my $facts = 'SELECT (SELECT count(*) FROM cdp.event), (SELECT event_count FROM cdp.profile), (SELECT count(*) FROM cdp.identifier)';
$node->safe_psql('copy', 'SELECT cdp.process()');
is($node->safe_psql('restored', $facts), $node->safe_psql('copy', $facts), 'with the result it has in the original');

for my $how ('', ' WITH (FORCE)') {
    $node->safe_psql('late_copy', 'SELECT cdp.start_worker()') if $how eq '';
    database('late_copy') if $how ne '';
    $node->poll_query_until('postgres', "$up 'late_copy'");
    my $took = seconds(sub { $node->safe_psql('postgres', "DROP DATABASE late_copy$how") });
    cmp_ok($took, '<', 2, "DROP DATABASE$how works with preload");
}

$node->stop('fast');
$log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|database \d+ does not exist/, 'nothing broke');

done_testing();
