# The border between C++ and PostgreSQL: every error arrives whole, every C++ object dies, and the session lives on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('guard');
$node->init;
$node->append_conf('postgresql.conf', "max_stack_depth = 2MB\nlog_error_verbosity = verbose\nlog_statement = none\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cdp_guard_test');

# What psql says of a script that may fail. C++ objects left alive and interrupts held off are looked for at its end.
sub report {
    my ($sql, %options) = @_;
    my ($out, $err);
    $node->psql('postgres', "$sql;\nSELECT 'left alive: ' || guard_live() || ', held off: ' || guard_holdoff()",
        stdout => \$out, stderr => \$err, on_error_stop => 0, extra_params => ['-v', 'VERBOSITY=verbose'], %options);
    like($out, qr/left alive: 0, held off: 0$/, 'nothing is left of: ' . substr($sql, 0, 60) =~ s/\s+/ /gr);
    return $err;
}

# What is thrown arrives whole ---------------------------------------------------------------------------------------

my $err = report(q{SELECT guard_throw('CD007', 'it "broke"', 'The facts: 100 %s.', 'Mend it.', 'a + b', 3)});
like($err, qr/ERROR:  CD007: it "broke"$/m, 'SQLSTATE and message of an Error');
like($err, qr/^DETAIL:  The facts: 100 %s\.$/m, 'its DETAIL');
like($err, qr/^HINT:  Mend it\.$/m, 'its HINT');
like($err, qr/^LINE 1: a \+ b\n +\^$/m, 'its place in the text');
$err = report(q{SELECT guard_throw('CD007', 'bare')});
unlike($err, qr/DETAIL|HINT|LINE|QUERY/, 'an Error without more has no more');

like(report(q{SELECT guard_throw_other('bad_alloc')}), qr/ERROR:  53200: out of memory/, 'std::bad_alloc');
like(report(q{SELECT guard_throw_other('new')}), qr/ERROR:  53200: out of memory/, 'operator new that fails');
like(report(q{SELECT guard_throw_other('runtime')}), qr/ERROR:  XX000: unexpected failure: the sky fell/, 'std::runtime_error');
like(report(q{SELECT guard_throw_other('length')}), qr/ERROR:  XX000: unexpected failure: .*(basic_string|vector)/, 'std::length_error');
like(report(q{SELECT guard_throw_other('number')}), qr/ERROR:  XX000: unexpected failure of unknown kind/, 'what is no exception');
like(report(q{SELECT guard_throw_other('long')}), qr/ERROR:  XX001: m{60000}\nDETAIL:  d{60000}\n/, 'a very long Error');
like(report(q{SELECT guard_throw_other('empty')}), qr/ERROR:  XX000: /, 'an Error that says nothing');

# What the server raises goes through whole --------------------------------------------------------------------------

$err = report(q{SELECT guard_query($$DO $do$ BEGIN RAISE EXCEPTION 'from below' USING ERRCODE = 'CD008', DETAIL = 'deep',
    HINT = 'dig', SCHEMA = 's', TABLE = 't', COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 'd'; END $do$ $$)});
like($err, qr/ERROR:  CD008: from below\nDETAIL:  deep\nHINT:  dig\nCONTEXT:  PL\/pgSQL function inline_code_block/, 'SQLSTATE, message, DETAIL, HINT and CONTEXT of a server error');
like($err, qr/SCHEMA NAME:  s\nTABLE NAME:  t\nCOLUMN NAME:  c\nDATATYPE NAME:  d\nCONSTRAINT NAME:  k/, 'the objects that it names');
like($err, qr/LOCATION:  exec_stmt_raise/, 'where it was raised');
like(report(q{SELECT guard_query('SELECT 1/0')}), qr/ERROR:  22012: division by zero/, 'an error of execution');
like(report(q{SELECT guard_query('SELEC 1')}), qr/ERROR:  42601: syntax error at or near "SELEC"\nLINE 1: SELEC 1\n +\^/, 'a syntax error and its place');
like(report(q{SELECT guard_query('COMMIT')}), qr/ERROR:  XX000: SPI: /, 'a statement that SPI refuses');
like(report(q{SELECT guard_fetch('SELECT 100 / (50 - n) FROM generate_series(1, 100) n')}), qr/22012: division by zero/, 'an error amidst a cursor');
like(report(q{SELECT guard_query('SELECT sum(1 / (100000 - a.n)) FROM generate_series(1, 100000) a(n) JOIN generate_series(1, 100000) b(n) USING (n)')}),
    qr/22012: division by zero/, 'an error amidst a join');
is($node->safe_psql('postgres', q{SELECT guard_query('SELECT 42'), guard_fetch('SELECT n FROM generate_series(1, 100) n')}), '42|100', 'and without an error there is none');

like(report(q{SELECT guard_allocate(2000000000)}), qr/ERROR:  XX000: invalid memory alloc request size 2000000000/, 'an allocation that PostgreSQL refuses');
like(report(q{SELECT guard_allocate(1::bigint << 46, true)}), qr/ERROR:  53200: out of memory\nDETAIL:  Failed on request of size 70368744177664/, 'an allocation that the system refuses');

# Entries within entries ---------------------------------------------------------------------------------------------

$err = report(q{SELECT guard_nested(20)});
like($err, qr/ERROR:  CD001: the bottom\nDETAIL:  where it is dark\nHINT:  Climb\./, 'an error climbs through twenty entries');
is(() = $err =~ /SQL statement "SELECT guard_nested/g, 20, 'and its CONTEXT names each of them');
like(report(q{SELECT guard_nested(-1)}), qr/ERROR:  54001: stack depth limit exceeded/, 'entries without end');
like(report(q{DO $$ BEGIN PERFORM guard_nested(5); EXCEPTION WHEN SQLSTATE 'CD001' THEN RAISE EXCEPTION 'again'; END $$}), qr/ERROR:  P0001: again/, 'PL/pgSQL catches by our SQLSTATE');

# PL/pgSQL between two entries goes on in its own connection, whatever the inner one did.
$node->safe_psql('postgres', q{CREATE FUNCTION in_between(statement text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE first text; second text;
    BEGIN
        BEGIN EXECUTE statement INTO first; EXCEPTION WHEN OTHERS THEN first := SQLSTATE; END;
        EXECUTE 'SELECT 6 * 7' INTO second;
        RETURN first || ', then ' || second;
    END $$});
for my $case (["SELECT guard_allocate(2000000000)", 'XX000'], ["SELECT guard_query('SELECT 1/0')", '22012'], ["SELECT guard_nested(3)", 'CD001'],
              ["SELECT guard_try('SELECT in_between(''SELECT 1/0'')', 2000000000)", 'ok']) {
    my ($sql, $expected) = @$case;
    is($node->safe_psql('postgres', "SELECT guard_query(\$sql\$SELECT in_between(\$\$$sql\$\$)\$sql\$)"), "$expected, then 42", "PL/pgSQL between two entries: $sql");
}

# The connection of a function that failed is abandoned, and its memory context with it.
$node->safe_psql('postgres', q{CREATE FUNCTION fails(depth int) RETURNS int LANGUAGE plpgsql AS
    $$ DECLARE n int; BEGIN IF depth = 0 THEN RETURN 1 / 0; END IF; EXECUTE 'SELECT fails($1 - 1)' INTO n USING depth; RETURN n; END $$});
for my $sql ('SELECT fails(0)', 'SELECT fails(3)', 'SELECT guard_query($$SELECT fails(2)$$)', 'SELECT 1/0', 'SELECT guard_throw(\'CD007\', \'m\')') {
    is($node->safe_psql('postgres', "SELECT guard_context_kept(\$sql\$$sql\$sql\$)"), 'kept, ours: 0', "memory context and connection outlast: $sql");
}

# Long loops stop ----------------------------------------------------------------------------------------------------

my $begin = time();
like(report(q{SET statement_timeout = '200ms'; SELECT guard_loop(60); RESET statement_timeout}), qr/57014: canceling statement due to statement timeout/, 'statement_timeout stops a loop');
cmp_ok(time() - $begin, '<', 20, 'soon');
{
    my ($in, $out, $errors) = ('', '', '');
    my $loop = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$errors);
    $in .= "SELECT guard_loop(60);\nSELECT 'alive ' || guard_live();\n";
    $loop->pump_nb;
    ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT guard_loop' AND state = 'active'}), 'a loop runs');
    $node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT guard_loop'});
    $in .= "\\q\n";
    $loop->finish;
    like($errors, qr/canceling statement due to user request/, 'pg_cancel_backend stops a loop');
    like($out, qr/alive 0/, 'and its objects died');
}
like(report(q{SET statement_timeout = '200ms'; SELECT guard_query('SELECT pg_sleep(60)'); RESET statement_timeout}), qr/57014/, 'statement_timeout stops SQL below an entry');

# Subtransactions and roles ------------------------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE TABLE kept (n int PRIMARY KEY); CREATE ROLE somebody; GRANT INSERT ON kept TO somebody');
is($node->safe_psql('postgres', q{SELECT guard_subtransaction('INSERT INTO kept VALUES (1) RETURNING n')}), '1', 'a subtransaction commits');
is($node->safe_psql('postgres', q{SELECT guard_subtransaction('INSERT INTO kept VALUES (2) RETURNING n', false)}), '2 (rolled back)', 'one that is not committed');
like($node->safe_psql('postgres', q{SELECT guard_subtransaction('INSERT INTO kept VALUES (1)')}), qr/^23505: duplicate key.*\[Key \(n\)=\(1\) already exists\.\]$/, 'one that fails, in words');
is($node->safe_psql('postgres', q{BEGIN; INSERT INTO kept VALUES (3); SELECT guard_subtransaction('INSERT INTO kept SELECT 1 / (n - n) FROM kept') LIKE '22012%'; INSERT INTO kept VALUES (4); COMMIT}), 't', 'the transaction around goes on');
is($node->safe_psql('postgres', 'SELECT array_agg(n ORDER BY n) FROM kept'), '{1,3,4}', 'and what was rolled back is gone');
like(report(q{SELECT guard_subtransaction('SELECT guard_nested(3)')}), qr/^$/, 'nothing is reported that was dealt with');

is($node->safe_psql('postgres', q{SELECT guard_act_as('somebody', 'SELECT guard_who()')}), 'somebody 3', 'acting as another');
is($node->safe_psql('postgres', q{SELECT guard_act_as('somebody', 'SELECT 1'); SELECT guard_who()}) =~ s/.*\n//r, $node->safe_psql('postgres', 'SELECT guard_who()'), 'ends with it');
like(report(q{SELECT guard_act_as('somebody', 'TABLE kept'); SELECT guard_act_as('somebody', 'SELECT ''unchanged: '' || 1')}), qr/42501: permission denied for table kept/, 'with those rights');
is($node->safe_psql('postgres', q{DO $$ BEGIN PERFORM guard_act_as('somebody', 'TABLE kept'); EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'as expected'; END $$; SELECT guard_who() = current_user || ' 0'}), 't', 'also after an error');
is($node->safe_psql('postgres', q{SELECT guard_subtransaction($$SELECT guard_act_as('somebody', 'SELECT 1/0')$$) || ' ' || guard_who()}) =~ s/.* (\w+ \d+)$/$1/r,
    $node->safe_psql('postgres', 'SELECT guard_who()'), 'also where the error was dealt with in C++');

# Where no entry is around -------------------------------------------------------------------------------------------

for my $event ('commit', 'abort') {
    my $end = $event eq 'commit' ? 'COMMIT' : 'ROLLBACK';
    unlike(report("BEGIN; SELECT guard_fail_at_end('$event'); $end"), qr/ERROR|server closed/, "errors in a callback of $event that it deals with");
    like(report("BEGIN; SELECT guard_fail_at_end('$event'); $end; SET statement_timeout = '200ms'; SELECT pg_sleep(20); RESET statement_timeout"),
        qr/57014/, "and the session can still be cancelled");
}
for my $case (['error', qr/ERROR:  CD002: the worker's own error.*DETAIL:  with a detail.*HINT:  and a hint/s],
              ['server', qr/ERROR:  22012: the server's error.*DETAIL:  with its detail/s],
              ['number', qr/ERROR:  XX000: unexpected failure of unknown kind/], ['bad_alloc', qr/ERROR:  53200: out of memory/]) {
    my ($kind, $expected) = @$case;
    my $from = -s $node->logfile;
    $node->safe_psql('postgres', "SELECT guard_start_worker('$kind')");
    $node->wait_for_log(qr/background worker "guard worker" \(PID \d+\) exited with exit code 1/, $from);
    like(slurp_file($node->logfile, $from), $expected, "a background worker that throws ends in good order, with it in the log: $kind");
}

# Memory stays -------------------------------------------------------------------------------------------------------

my $measure = q{SELECT (SELECT sum(total_bytes) FROM pg_backend_memory_contexts), }
            . q{1024 * substring(pg_read_file('/proc/self/status') FROM 'VmRSS:\s*(\d+)')::bigint};

# Runs it twice in one session, and says how much more the second time left in PostgreSQL's memory and in the process.
sub growth {
    my ($work) = @_;
    my ($out, $errors) = ('', '');
    my $script = PostgreSQL::Test::Utils::tempdir() . '/growth.sql';
    append_to_file($script, '');
    open(my $file, '>', $script) or die $!;
    print $file "\\set VERBOSITY terse\n$work\n$measure;\n$work\n$measure;\nSELECT guard_live();\n";
    close $file;
    IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $script ], '>', \$out, '2>', '/dev/null');
    my @lines = grep { /^\d+(\|\d+)?$/ } split /\n/, $out;
    is(pop @lines, 0, 'nothing is left alive');
    my ($before, $after) = map { [ split /\|/ ] } @lines[-2, -1];
    return ($after->[0] - $before->[0], $after->[1] - $before->[1]);
}

# Memory that the allocator keeps for reuse comes and goes; what each error left would be a megabyte for ten bytes.
sub stays_flat {
    my ($what, $work) = @_;
    my ($contexts, $process) = growth($work);
    cmp_ok($contexts, '<', 200_000, "$what: PostgreSQL's memory ($contexts bytes more)");
    cmp_ok($process, '<', 3_000_000, "$what: the process ($process bytes more)");
}

my $kinds = q{CASE i % 5 WHEN 0 THEN PERFORM guard_throw('CD007', 'm', 'd', 'h'); WHEN 1 THEN PERFORM guard_throw_other('runtime');
    WHEN 2 THEN PERFORM guard_query('SELECT 1/0'); WHEN 3 THEN PERFORM guard_nested(2); ELSE PERFORM guard_allocate(2000000000); END CASE};
stays_flat('100,000 errors caught in PL/pgSQL',
    "DO \$\$ BEGIN FOR i IN 1 .. 50000 LOOP BEGIN $kinds; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END \$\$;");
stays_flat('100,000 errors at top level', join("\n", map {
    ("SELECT guard_throw('CD007', 'm', 'd', 'h');", "SELECT guard_throw_other('runtime');", "SELECT guard_query('SELECT 1/0');",
     "SELECT guard_nested(2);", "SELECT guard_allocate(2000000000);")[$_ % 5] } 1 .. 50_000));

# One entry that goes on after each of many errors, as a processor of messages does.
cmp_ok($node->safe_psql('postgres', q{SELECT guard_swallow(100000, '')}), '<', 200_000, '100,000 errors in one entry, dealt with in C++');
cmp_ok($node->safe_psql('postgres', q{SELECT guard_swallow(20000, 'SELECT 1/0')}), '<', 200_000, '20,000 of them in subtransactions');
cmp_ok($node->safe_psql('postgres', q{SELECT guard_swallow(5000, $$DO $do$ BEGIN PERFORM guard_nested(3); EXCEPTION WHEN OTHERS THEN PERFORM 1/0; END $do$ $$)}), '<', 200_000, '5,000 of them with entries below');

# A guarded call costs next to nothing.
my $cost = $node->safe_psql('postgres', 'SELECT min(guard_call_nanoseconds(1000000)) FROM generate_series(1, 5)');
cmp_ok($cost, '<', 300, sprintf('a guarded call: %.0f ns', $cost));

my @complaints = grep { /terminated by signal|because of crash|PANIC|WARNING/ } split /\n/, slurp_file($node->logfile);
is(join("\n", @complaints), '', 'the server never fell, and had nothing to warn of');

$node->stop;
done_testing();
