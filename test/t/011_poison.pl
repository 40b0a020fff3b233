# A message that cannot be applied is set aside, alone; a failure that is no message's fault is waited out.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('poison');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cdp');

my $done = 'SELECT backlog = 0 FROM cdp.status';

# In one transaction: messages m<first> to m<last>, of which those whose number `poisonous` holds for fail: they are of the
# last month that there is, and no partition can end behind it.
sub send_messages {
    my ($first, $last, $poisonous) = @_;
    $node->safe_psql('postgres', qq{
        INSERT INTO cdp.inbox (message_id, user_id, event, properties, occurred_at, received_at)
        SELECT 'm' || n, 'ann', 'Seen', '{"a": 0}', t, t
        FROM generate_series($first, $last) n, LATERAL (SELECT CASE WHEN $poisonous THEN '294276-12-31 12:00+00' ELSE now() END) _ (t)});
}

sub rejected {
    return $node->safe_psql('postgres', q{SELECT string_agg(message->>'message_id', ' ' ORDER BY rejection_id) FROM cdp.rejected_message});
}

send_messages(1, 1000, 'n IN (1, 500, 501, 1000)');
ok($node->poll_query_until('postgres', $done), 'the worker gets past messages that fail');
is(rejected(), 'm1 m500 m501 m1000', 'and sets aside just those');
like($node->safe_psql('postgres', 'SELECT DISTINCT reason FROM cdp.rejected_message'), qr/^timestamp out of range/, 'with the reason');
is($node->safe_psql('postgres', "SELECT count(*) FROM cdp.rejected_message WHERE message @> '{\"properties\": {\"a\": 0}}'"),
    '4', 'whole');
is($node->safe_psql('postgres', 'SELECT last_error IS NULL FROM cdp.status'), 't', 'that is no failure of the pipeline');

$node->safe_psql('postgres', 'SELECT cdp.stop_worker(); DELETE FROM cdp.rejected_message');
send_messages(2001, 2100, 'n = 2050');
is($node->safe_psql('postgres', 'SELECT cdp.process()'), '100', 'process() gets past them too');
is(rejected(), 'm2050', 'the same way');
send_messages(2101, 2400, 'true');
is($node->safe_psql('postgres', q{BEGIN; SELECT cdp.process(); SELECT n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'pipeline'; COMMIT}),
    "300\n1", 'writing down once how far it is, however many are bad');

$node->safe_psql('postgres', 'DELETE FROM cdp.rejected_message; SELECT cdp.start_worker()');
send_messages(3001, 3200, 'true');
ok($node->poll_query_until('postgres', $done), 'if all fail');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cdp.rejected_message'), '200', 'all are set aside');

# Something is wrong that no message is to blame for.
$node->safe_psql('postgres', 'DELETE FROM cdp.rejected_message');
my $log_position = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER TABLE cdp.event RENAME TO event_away');
send_messages(4001, 4010, 'false');
ok($node->poll_query_until('postgres', "SELECT worker_state = 'backing off' FROM cdp.status"), 'the worker backs off');
like($node->safe_psql('postgres', 'SELECT last_error FROM cdp.status'), qr/./, 'and says why');
send_messages(4011, 4020, 'false');
is($node->safe_psql('postgres', "SELECT cdp.flush('1500 ms')"), 'f', 'flush gives up after its timeout');
is($node->safe_psql('postgres', 'SELECT backlog FROM cdp.status'), '20', 'nothing is lost meanwhile');
$node->safe_psql('postgres', 'ALTER TABLE cdp.event_away RENAME TO event; SELECT cdp.start_worker()');
ok($node->poll_query_until('postgres', $done), 'start_worker makes it try again');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cdp.rejected_message'), '0', 'no message was blamed');
my @lines = slurp_file($node->logfile, $log_position) =~ /processing messages failed/g;
is(scalar @lines, 1, 'the log has one line about it');

$node->stop('fast');
done_testing();
