# A database with the extension comes back whole from pg_dump, into the same cluster and into another, and goes on.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The first has a worker. In the second, younger one transaction ids mean something else, and nobody processes unasked.
my $old = PostgreSQL::Test::Cluster->new('old');
$old->init(allows_streaming => 'logical');
$old->append_conf('postgresql.conf', "shared_preload_libraries = 'cdp'\n");
$old->start;
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(allows_streaming => 'logical');
$new->start;
$_->safe_psql('postgres', 'CREATE ROLE cdp_marketer; CREATE ROLE bob LOGIN IN ROLE cdp_marketer; CREATE ROLE reader LOGIN') for $old, $new;
$old->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');

sub process { my ($node, $database) = @_; return $node->safe_psql($database, 'SELECT cdp.process()') }

# A database with a bit of everything -----------------------------------------------------------------------------

$old->safe_psql('postgres', 'CREATE DATABASE source');
$old->safe_psql('source', q{
CREATE EXTENSION cdp;
SELECT cdp.stop_worker();
SELECT cdp.alter_identifier_type('device_id', max_per_profile => 3);
SELECT cdp.drop_identifier_type('phone');
SELECT cdp.create_identifier_type('loyalty', 3, 1, 'trim', '{traits.loyalty}');
SELECT cdp.block_identifier('email', '@test[.]');
SELECT cdp.create_trait('email', 'text');
SELECT cdp.create_trait('plan', 'text', survivorship => 'source_priority', sources => '{crm, default}');
SELECT cdp.create_trait('born', 'date', 'birthday');
SELECT cdp.create_trait('forgotten', 'int');
SELECT cdp.create_computed_trait('orders', 'count', 'Order Completed');
SELECT cdp.create_computed_trait('spent', 'sum', 'Order Completed', 'total', $$properties ->> 'currency' = 'EUR'$$);
SELECT cdp.create_computed_trait('skus', 'unique_list', 'Order Completed', 'sku');
ALTER TABLE cdp.profile ADD COLUMN "CRM note" text;
SELECT cdp.set_personal('plan', true);
SELECT cdp.create_purpose('letter', 'The weekly letter'), cdp.create_purpose('ads', mode => 'opt_out');
SELECT cdp.set_consent('email', 'u' || i || '@x.org', 'letter', i % 2 = 0, CASE WHEN i % 5 = 0 THEN 'email' END, 'form', jsonb_build_object('form', i), '2024-01-01') FROM generate_series(1, 70) i;
SELECT cdp.suppress('email', 'u4@x.org', 'bounced'), cdp.suppress('email', 'new@x.org', 'not yet here');

INSERT INTO cdp.inbox (message_id, type, source, user_id, anonymous_id, traits, context, occurred_at)
SELECT 'identify ' || i, 'identify', CASE WHEN i % 3 = 0 THEN 'crm' ELSE 'default' END, 'u' || i, 'a' || i,
       jsonb_build_object('email', 'u' || i || '@x.org', 'plan', 'p' || i % 4, 'birthday', '1980-01-01', 'loyalty', 'l' || i),
       jsonb_build_object('device', jsonb_build_object('id', 'd' || i / 2)), now() - i * interval '5 days'
FROM generate_series(1, 60) i;
INSERT INTO cdp.inbox (message_id, event, anonymous_id, properties, occurred_at)
SELECT 'track ' || i, 'Order Completed', 'a' || i % 90,
       jsonb_build_object('total', i, 'sku', 's' || i % 5, 'currency', CASE WHEN i % 2 = 0 THEN 'EUR' ELSE 'GBP' END), now() - i * interval '20 hours'
FROM generate_series(1, 400) i;
INSERT INTO cdp.inbox (message_id, event, user_id, occurred_at) VALUES ('ancient', 'Born', 'u1', '1951-03-04');
INSERT INTO cdp.inbox (type, user_id, group_id, traits) VALUES ('group', 'u1', 'acme', '{"size": 7}'), ('group', 'u2', 'acme', NULL);
INSERT INTO cdp.inbox (message_id, type, user_id, previous_id) VALUES ('alias', 'alias', 'u5', 'a70');
INSERT INTO cdp.inbox (message_id, event, user_id) VALUES ('no event', NULL, 'u1'), ('nobody', 'Seen', ' ');
});
is(process($old, 'source'), '466', 'the source is filled');
$old->safe_psql('source', q{
SELECT cdp.drop_trait('forgotten');
SELECT cdp.merge_profiles((SELECT cdp.resolve('user_id', 'u10')), (SELECT cdp.resolve('user_id', 'u11')), 'they are one');
SELECT cdp.split_identifier('anonymous_id', 'a12', 'a shared computer');
SELECT cdp.revoke_link(link_id, 'a mistake') FROM cdp.explain_merge('user_id', 'u20', 'email', 'u20@x.org');
UPDATE cdp.profile SET "CRM note" = 'called ' || profile_id WHERE profile_id % 2 = 0;
CREATE INDEX profile_plan ON cdp.profile (plan);
CREATE INDEX profile_note ON cdp.profile ("CRM note") WHERE orders > 3;
CREATE PUBLICATION people FOR TABLE cdp.profile;
GRANT SELECT (profile_id, plan) ON cdp.profile TO reader;
SELECT cdp.create_segment('Big "spenders"', 'spent > 400', 'who spend much');
SELECT cdp.create_segment('reachable', $$cdp.has_identifier('email') AND cdp.in_segment('Big "spenders"')$$);
SET ROLE bob;
SELECT cdp.create_segment('bobs', 'orders > 2');
RESET ROLE;
GRANT SELECT ON cdp_segment.reachable TO reader;
CREATE VIEW public.report AS SELECT profile_id, orders FROM cdp_segment.bobs;
SELECT cdp.create_segment('readers', $$cdp.consented('letter', 'email')$$);
SELECT cdp.import_segment('listed', 'anonymous_id', '{a1, a12, a85, a86, nobody yet}');
SELECT cdp.create_priority_list('first', '{listed, reachable}');
SELECT cdp.create_destination('crm', 'reachable', 'email', '{"spent": "spent"}', purpose => 'letter', channel => 'email') FROM pg_proc
WHERE proname = 'create_destination' AND pronamespace = 'cdp'::regnamespace;
-- Not processed: a duplicate, a new event that joins two people, a new person, one that will be rejected.
INSERT INTO cdp.inbox (message_id, event, anonymous_id, properties) VALUES ('track 7', 'Order Completed', 'a7', '{"total": 1000000}');
INSERT INTO cdp.inbox (message_id, event, user_id, anonymous_id, properties) VALUES ('new 1', 'Order Completed', 'u7', 'a80', '{"total": 5, "currency": "EUR"}');
INSERT INTO cdp.inbox (message_id, type, user_id, traits) VALUES ('new 2', 'identify', 'u200', '{"email": "new@x.org"}');
INSERT INTO cdp.inbox (message_id, type, user_id) VALUES ('new 3', 'nonsense', 'u7');
-- One that would bring together what was split.
INSERT INTO cdp.inbox (message_id, event, user_id, anonymous_id) VALUES ('new 4', 'Seen', 'u12', 'a12');
});

# The dumps -------------------------------------------------------------------------------------------------------

sub silently {
	my ($name, @command) = @_;
	my ($out, $error) = ('', '');
	my $ok = IPC::Run::run(\@command, '>', \$out, '2>', \$error);
	ok($ok, $name);
	is($error, '', "$name: without a warning");
	return;
}

my $dir = $old->basedir;
silently('pg_dump', 'pg_dump', '-d', $old->connstr('source'), '-f', "$dir/plain.sql");
silently('pg_dump -Fc', 'pg_dump', '-d', $old->connstr('source'), '-Fc', '-f', "$dir/custom.dump");
$_->[0]->safe_psql('postgres', "CREATE DATABASE $_->[1]") for [$new, 'plain'], [$new, 'custom'], [$new, 'steps'], [$old, 'custom'], [$old, 'steps'];
silently('psql restores', 'psql', '-X', '-q', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $new->connstr('plain'), '-f', "$dir/plain.sql");
silently('pg_restore --jobs restores', 'pg_restore', '--exit-on-error', '-j2', '-d', $new->connstr('custom'), "$dir/custom.dump");

# All is as it was ------------------------------------------------------------------------------------------------

my $tables = q{SELECT c::regclass FROM pg_extension, unnest(extconfig) c WHERE extname = 'cdp'
    AND c::regclass::text NOT LIKE '%inbox%' AND (SELECT relkind FROM pg_class WHERE oid = c) <> 'S'};
my @state = map { "SELECT t FROM $_ t" }
  (split(/\n/, $old->safe_psql('source', $tables)), 'cdp.profile', 'cdp.event', 'cdp_segment.reachable', 'cdp_segment.bobs', 'public.report');
push @state, 'SELECT t FROM cdp_out.crm t' if $old->safe_psql('source', q{SELECT to_regclass('cdp_out.crm') IS NOT NULL}) eq 't';
my @shape = (
	q{SELECT c::regclass, (SELECT xpath('//x/text()', query_to_xml('SELECT last_value AS x FROM ' || c::regclass, false, true, ''))) FROM pg_extension, unnest(extconfig) c
	  WHERE extname = 'cdp' AND (SELECT relkind FROM pg_class WHERE oid = c) = 'S' AND c::regclass::text <> 'cdp.inbox_id_seq'},
	q{SELECT message_id, type, event, source, user_id, anonymous_id, previous_id, group_id, properties, traits, context, occurred_at, sent_at, received_at
	  FROM cdp.inbox WHERE cdp.is_pending(inbox_xid, inbox_id)},
	q{SELECT c.oid::regclass, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c WHERE c.relispartition},
	q{SELECT indexdef FROM pg_indexes WHERE schemaname ~ '^cdp'},
	q{SELECT pg_get_constraintdef(oid), conrelid::regclass FROM pg_constraint WHERE connamespace = 'cdp'::regnamespace},
	q{SELECT a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)
	  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
	  WHERE c.relnamespace::regnamespace::text ~ '^cdp' AND a.attnum > 0 AND NOT a.attisdropped},
	q{SELECT c.oid::regclass, c.relkind, c.reloptions, c.relowner::regrole, obj_description(c.oid, 'pg_class'), CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END
	  FROM pg_class c WHERE c.relnamespace::regnamespace::text ~ '^cdp|public' AND c.relkind IN ('r', 'p', 'v', 'S')},
	q{SELECT c.oid::regclass, g.grantee::regrole, g.privilege_type, g.is_grantable FROM pg_class c, aclexplode(c.relacl) g
	  WHERE c.relnamespace::regnamespace::text ~ '^cdp'},
	q{SELECT a.attrelid::regclass, a.attname, g.grantee::regrole, g.privilege_type FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) g
	  WHERE c.relnamespace::regnamespace::text ~ '^cdp' AND NOT a.attisdropped},
	q{SELECT p.oid::regprocedure, g.grantee::regrole FROM pg_proc p, aclexplode(p.proacl) g WHERE p.pronamespace = 'cdp'::regnamespace},
	q{SELECT pubname, schemaname, tablename FROM pg_publication_tables},
	q{SELECT evtname, evtenabled FROM pg_event_trigger},
	q{SELECT classid::regclass, count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND objid <> 0 GROUP BY 1});

sub same {
	my ($name, $a, $b, @queries) = @_;
	for my $query (@queries) {
		my ($got, $expected) = map { join "\n", sort split /\n/, $_->[0]->safe_psql($_->[1], $query) } $b, $a;
		is($got, $expected, "$name: the same: $query") if $got ne $expected || $expected eq '';
	}
	pass("$name: " . scalar(@queries) . ' things are compared');
	return;
}

for my $copy ('plain', 'custom') {
	same("into another cluster, $copy", [$old, 'source'], [$new, $copy], @state, @shape);
	is($new->safe_psql($copy, q{SELECT string_agg(check_name, ', ') FROM cdp.check() WHERE NOT ok}), 'preload, worker, rejected_messages', "$copy: nothing is wrong");
}

# While it is being restored nothing is processed -----------------------------------------------------------------

# Sessions of pg_restore wake no worker, but others do.
silently('into the same cluster', 'pg_restore', '--exit-on-error', '-j2', '-d', $old->connstr('custom'), "$dir/custom.dump");
for my $node ($old, $new) {
	silently("step by step: $_", 'pg_restore', '--exit-on-error', "--section=$_", '-d', $node->connstr('steps'), "$dir/custom.dump") for 'pre-data', 'data';
	my ($code, $out, $error) = $node->psql('steps', 'SELECT cdp.process()', on_error_stop => 0);
	like($error, qr/ERROR: .*cdp\.profile has no primary key/, 'without the primary key nothing is processed');
}
is($old->safe_psql($_, 'SELECT cdp.start_worker()'), 't', 'a worker is started') for 'custom', 'steps';
ok($old->poll_query_until('steps', q{SELECT worker_state = 'backing off' AND last_error ~ 'cdp.profile has no primary key' FROM cdp.status}), 'nor by the worker');
is($old->safe_psql('steps', 'SELECT count(*) FROM cdp.event'), $old->safe_psql('source', 'SELECT count(*) FROM cdp.event'), 'indeed nothing');
silently('step by step: post-data', 'pg_restore', '--exit-on-error', '--section=post-data', '-d', $_->connstr('steps'), "$dir/custom.dump") for $old, $new;

{
	local $ENV{PGAPPNAME} = 'pg_restore';
	my ($in, $out) = ("SELECT 'there';\n", '');
	my $other = IPC::Run::start(['psql', '-XqAt', '-d', $new->connstr('steps')], '<', \$in, '>', \$out);
	$other->pump until $out =~ /there/;
	local $ENV{PGAPPNAME} = 'psql';
	my ($code, undef, $error) = $new->psql('steps', 'SELECT cdp.process()');
	like($error, qr/ERROR: .*the database is being restored/, 'nor while one of parallel jobs may still be at work');
	$other->finish;
}

# They go on ------------------------------------------------------------------------------------------------------

is(process($old, 'source'), '5', 'the source processes what was pending');
ok($old->poll_query_until($_, 'SELECT backlog = 0 FROM cdp.status'), "$_: so does the worker, once all is there") for 'custom', 'steps';
is(process($new, $_), '5', "$_: so does the copy") for 'plain', 'custom', 'steps';
is(process($new, $_), '0', "$_: once") for 'plain', 'custom', 'steps';

my @derived = (
	q{SELECT to_jsonb(p) - 'state' FROM cdp.profile p}, 'SELECT i FROM cdp.identifier i',
	'SELECT event_id, message_id, type, event, source, identifier_id, occurred_at, linked_ids, properties, traits, context FROM cdp.event', 'SELECT alias_id, profile_id, reason FROM cdp.profile_alias',
	'SELECT l FROM cdp.identity_link l', 'SELECT c FROM cdp.identity_conflict c', 'SELECT s FROM cdp.identity_separation s',
	'SELECT c FROM cdp.consent c', 'SELECT s FROM cdp.suppressed_profile s', 'SELECT record_id, type, value, purpose, channel, granted, occurred_at, proof, event_id FROM cdp.consent_record',
	'SELECT c FROM cdp_out.crm c', 'SELECT profile_id, segment_id FROM cdp.segment_member', 'SELECT name, size FROM cdp.segment',
	'SELECT l FROM cdp.segment_list l', 'SELECT l FROM cdp.priority_list l', 'SELECT segment, day, entered, left_, size FROM cdp.segment_day',
	'SELECT message, reason FROM cdp.rejected_message', 'SELECT a FROM cdp.account a');
my @copies = ([$new, 'plain'], [$new, 'custom'], [$new, 'steps'], [$old, 'custom'], [$old, 'steps']);
my $resend = q{
INSERT INTO cdp.inbox (message_id, event, user_id, received_at) SELECT message_id, 'Again', 'u1', received_at FROM cdp.event;
INSERT INTO cdp.inbox (message_id, event, user_id, anonymous_id, occurred_at) VALUES ('later 1', 'Order Completed', 'u12', 'a85', '2026-01-01'), ('later 2', 'Order Completed', 'u300', 'a86', '2026-01-02');
INSERT INTO cdp.inbox (message_id, type, user_id, traits, context, occurred_at, source) VALUES
    ('later 3', 'identify', 'u13', '{"plan": "from crm", "email": "blocked@test.org"}', '{"device": {"id": "d1"}}', '2026-01-01', 'crm');
SELECT cdp.set_consent('user_id', 'u2', 'letter', false, occurred_at => '2024-02-01');
};
for my $place ([$old, 'source'], @copies) {
	my ($node, $database) = @$place;
	my $events = $node->safe_psql($database, 'SELECT count(*) FROM cdp.event');
	$node->safe_psql($database, $resend);
	if ($node == $old && $database ne 'source') { is($node->safe_psql($database, 'SELECT cdp.flush()'), 't', 'the worker goes on') }
	else { process($node, $database) }
	is($node->safe_psql($database, 'SELECT count(*) FROM cdp.event'), $events + 3, "$database: what was sent before is recognised, the rest is new");
}
for my $copy (@copies) {
	my ($node, $database) = @$copy;
	is($node->safe_psql($database, q{SELECT cdp.resolve('user_id', 'u12') <> cdp.resolve('anonymous_id', 'a12') AND EXISTS (SELECT FROM cdp.identity_conflict WHERE separation_id IS NOT NULL)}), 't',
		"$database: what was split stays split");
	my $name = $database . ' in ' . $node->name;
	same($name, [$old, 'source'], $copy, @derived);
	is($node->safe_psql($database, q{SELECT string_agg(table_name || ' ' || differing, ', ') FROM cdp.rebuild() WHERE differing <> 0}), '', "$name: rebuild() finds no difference");
	is($node->safe_psql($database, 'SELECT count(*) FROM cdp.restored'), '0', "$name: that it was restored is forgotten");
	$node->safe_psql($database, q{
SELECT cdp.create_trait('city', 'text');
SELECT cdp.create_segment('fresh', $$city = 'Ulm'$$);
INSERT INTO cdp.inbox (type, user_id, traits) VALUES ('identify', 'u9', '{"city": "Ulm"}')});
	is($node->safe_psql($database, 'SELECT cdp.flush()'), 't', "$name: it goes on with new definitions");
	is($node->safe_psql($database, 'SELECT count(*) FROM cdp_segment.fresh'), '1', "$name: and views of new segments");
}

# A dump of the restored one is as good.
silently('pg_dump of a restored one', 'pg_dump', '-d', $new->connstr('plain'), '-f', "$dir/again.sql");
$new->safe_psql('postgres', 'CREATE DATABASE again');
silently('psql restores that', 'psql', '-X', '-q', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $new->connstr('again'), '-f', "$dir/again.sql");
same('again', [$new, 'plain'], [$new, 'again'], @state, @shape);

# And it goes away ------------------------------------------------------------------------------------------------

my ($code, $out, $error) = $new->psql('plain', 'DROP EXTENSION cdp');
like($error, qr/cannot drop extension cdp because other objects depend on it/, 'DROP EXTENSION does not take the data along');
my $rest = q{
SELECT 'class', oid::regclass::text FROM pg_class WHERE relname ~ 'cdp' OR relnamespace::regnamespace::text ~ '^cdp'
UNION ALL SELECT 'namespace', nspname::text FROM pg_namespace WHERE nspname ~ '^cdp'
UNION ALL SELECT 'function', proname FROM pg_proc WHERE proname ~ '^cdp' OR probin ~ 'cdp'
UNION ALL SELECT 'event trigger', evtname FROM pg_event_trigger
UNION ALL SELECT 'publication', pubname FROM pg_publication WHERE pubname ~ '^cdp'
UNION ALL SELECT 'published', prrelid::text FROM pg_publication_rel
UNION ALL SELECT 'initial privileges', objoid::text FROM pg_init_privs WHERE privtype = 'e'
UNION ALL SELECT 'default privileges', oid::text FROM pg_default_acl
UNION ALL SELECT 'dependency', objid::text FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND refobjid::regrole::text ~ '^cdp'};
for my $place ([$new, 'plain'], [$old, 'steps']) {
	my ($node, $database) = @$place;
	$node->safe_psql($database, 'DROP EXTENSION cdp CASCADE');
	is($node->safe_psql($database, $rest), '', "$database: with CASCADE nothing is left");
	is($node->safe_psql($database, q{SELECT count(*) FROM pg_roles WHERE rolname ~ '^cdp_'}), '5', 'but the roles');
	$node->safe_psql($database, q{CREATE EXTENSION cdp; INSERT INTO cdp.inbox (event, user_id) VALUES ('Seen', 'u1')});
	is($node->safe_psql($database, 'SELECT cdp.flush()'), 't', 'it can be made again');
	is($node->safe_psql($database, 'SELECT count(*) FROM cdp.profile_masked'), '1', 'and starts afresh');
}

$_->stop for $new, $old;
unlike(slurp_file($_->logfile), qr/PANIC|TRAP|FATAL:  (?!terminating)/, 'nothing broke') for $new, $old;
done_testing();
