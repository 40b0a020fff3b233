# Conditions: calls take constants of any type, the clock is foreseen to the microsecond, and what cannot be is refused.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CDP_TEST_SEED} // time;
diag("CDP_TEST_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('condition');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'Europe/Berlin'");
$node->start;
$node->safe_psql('postgres', q{
    CREATE EXTENSION cdp_guard_test;
    CREATE SCHEMA cdp;
    CREATE FUNCTION cdp.did(event text, within interval DEFAULT NULL, at_least int DEFAULT 1, at_most int DEFAULT NULL, filter text DEFAULT NULL)
        RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION cdp.did(events text[], within interval) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION cdp.did_times(event text) RETURNS bigint LANGUAGE plpgsql STABLE STRICT AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION cdp.last_time(event text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION cdp.in_segment(name text) RETURNS boolean LANGUAGE plpgsql STABLE STRICT AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION since(x timestamptz) RETURNS interval LANGUAGE sql STABLE AS 'SELECT now() - x';
    CREATE TABLE t (id int, plan text, at timestamptz, local_at timestamp, birthday date, span interval, n int, zone text);
    CREATE TABLE orders (person int, total numeric, placed_at timestamptz);
    INSERT INTO t VALUES (1, 'pro', '2024-01-10 12:34:56.789+00', '2024-01-10 12:34:56', '1990-03-31', '1 mon 3 hours', 7, 'America/New_York')});

sub ask { return $node->safe_psql('postgres', shift) }
sub found {
    my ($condition, $more) = @_;
    return ask("SELECT guard_condition(\$c\$$condition\$c\$, 't'" . ($more // '') . ')');
}
sub flip {
    my ($condition, $clock, $more) = @_;
    return ask("SELECT guard_next_flip(\$c\$$condition\$c\$, t, '$clock'" . ($more // '') . ') FROM t');
}
# An error: its SQLSTATE, its text, what stands at its place, and the rest.
sub refused {
    my ($condition, $pattern, $at, $name, $more) = @_;
    my ($out, $err);
    $node->psql('postgres', "SELECT guard_condition(\$c\$$condition\$c\$, 't'" . ($more // '') . ')',
        stdout => \$out, stderr => \$err, extra_params => ['-v', 'VERBOSITY=verbose']);
    like($err, $pattern, $name);
    return if !defined $at;
    utf8::decode($err);
    my ($line, $mark) = $err =~ /^LINE 1: (.*)\n( +)\^/m;
    my $place = defined $mark ? substr("LINE 1: $line", length $mark) : '';
    is(substr($place, 0, length $at), $at, "$name: its place");
}

# Calls --------------------------------------------------------------------------------------------------------------

is(found(q{cdp.did('Order')}), '<did [Order] NULL [1] NULL NULL> columns', 'arguments that are not given have their defaults');
is(found(q{cdp.did(at_most => 3, event => 'Order', within => '7 days') and n > 1}), '<did [Order] [7 days] [1] [3] NULL> and n > 1 columns 7', 'arguments by name, in any order');
is(found(q{cdp.did('Order', NULL, filter => 'total > ' || 5)}), '<did [Order] NULL [1] NULL [total > 5]> columns', 'some by place and some by name; NULL; what folds to a constant');
is(found(q{cdp.did(ARRAY['a', 'b "c"'], interval '36 hours')}), '<did [{a,"b \"c\""}] [36:00:00]> columns', 'another signature; an array');
is(ask(q{SET intervalstyle = 'sql_standard'; SELECT guard_condition($$cdp.did('x', '1 year -2 days')$$, 't')}) =~ s/^SET\n//r,
    '<did [x] [1 year -2 days] [1] NULL NULL> columns', 'texts of arguments do not depend on settings');
is(found(q{cdp.in_segment('ü') or ('(' = plan and cdp.did( 'a)' ))}), q{<in_segment [ü]> or ('(' = plan and <did [a)] NULL [1] NULL NULL>) columns 2}, 'calls are found in their text');
is(found(q{cdp.did_times('y') between 1 and 3 and cdp.did_times('y') between symmetric n and 1 and cdp.did_times('z')::int in (n, 3)}),
    q{<did_times [y]> between 1 and 3 and <did_times [y]> between symmetric n and 1 and <did_times [z]>::int in (n, 3) columns 7}, 'a call left of BETWEEN and IN is one');
refused(q{'äöü' <> plan and cdp.did('x', at_least => n)}, qr/22023: the condition: the argument "at_least" of cdp.did must be a literal/, 'n)', 'an argument that is a column');
refused(q{cdp.did(now()::text)}, qr/22023: the condition: the argument "event" of cdp.did must be a literal/, 'now()', 'an argument that is not constant');
refused(q{'ß' = plan or cdp.in_segment(NULL)}, qr/22023: the condition: the argument of cdp.in_segment must be a literal/, 'NULL', 'NULL for a STRICT function');
refused(q{cdp.did('x', 'soon')}, qr/22007: the condition: invalid input syntax for type interval: "soon"/, q{'soon'}, 'an argument that is no interval');
refused(q{cdp.did('x', 1)}, qr/42883: the condition: function cdp.did\(unknown, integer\) does not exist/, 'cdp.did', 'no such signature');
my $typed = q{cdp.last_time('x') > now() - interval '1 day' and cdp.did_times('y') > 2};
is(ask("SELECT string_agg(guard_holds(\$\$$typed\$\$, t, '2024-01-12', i)::text, ' ') FROM t, (VALUES ('{2024-01-11 12:00,3}'::text[]), ('{2024-01-11 12:00,2}'), ('{NULL,3}')) v(i)"),
    'true false false', 'values of calls have their types, and may be NULL');
is(flip($typed, '2024-01-12', ", '{2024-01-11 12:00,3}'"), '2024-01-12 12:00:00+01', 'and are compared with the clock');
is(ask(q{SELECT string_agg(guard_holds('cdp.did_times($$y$$)::numeric between n and 9 and cdp.did_times($$z$$) not in (n, id)', t, '2024-01-12', i)::text, ' ') FROM t, (VALUES ('{9,2}'::text[]), ('{7,7}'), ('{10,2}')) v(i)}),
    'true false false', 'a call left of BETWEEN and IN has one value');

# The clock in SQL ---------------------------------------------------------------------------------------------------

is(found(q{at < now() and birthday = CURRENT_DATE and local_at < localtimestamp and at < pg_catalog.now ( )}, q{, as_of => '2024-05-01 10:00:00.5+02'}),
    q{at < ('2024-05-01 08:00:00.500000+00'::pg_catalog.timestamptz) and birthday = ('2024-05-01 08:00:00.500000+00'::pg_catalog.timestamptz::pg_catalog.date)}
    . q{ and local_at < ('2024-05-01 08:00:00.500000+00'::pg_catalog.timestamptz::pg_catalog.timestamp) and at < ('2024-05-01 08:00:00.500000+00'::pg_catalog.timestamptz) columns 3 4 5, clock},
    'in SQL the clock is a literal');
is(found(q{now() between at and at + span and CURRENT_DATE in (birthday, at::date)}, q{, as_of => '2024-05-01 10:00+02'}),
    q{('2024-05-01 08:00:00.000000+00'::pg_catalog.timestamptz) between at and at + span and ('2024-05-01 08:00:00.000000+00'::pg_catalog.timestamptz::pg_catalog.date) in (birthday, at::date) columns 3 5 6, clock},
    'also left of BETWEEN and IN');
is(found(q{at < now()}), 'at < now() columns 3, clock', 'or stays');
is(found(q{at < '2024-01-01'}), q{at < '2024-01-01' columns 3}, 'a condition without it');

# Subqueries ---------------------------------------------------------------------------------------------------------

is(found(q{n in (select person from orders o where o.placed_at > now() - interval '1 day' and t.id = o.person and exists (select from t t2 where t2.birthday < t.birthday))},
        q{, 'any', true, '2024-05-01 00:00+00'}),
    q{n in (select person from orders o where o.placed_at > ('2024-05-01 00:00:00.000000+00'::pg_catalog.timestamptz) - interval '1 day' and t.id = o.person}
    . q{ and exists (select from t t2 where t2.birthday < t.birthday)) columns 1 5 7, clock, subquery of t orders} , 'a subquery: the columns of the row that it refers to, its tables, the clock in it');
refused(q{n in (select person from orders)}, qr/0A000: the condition: it has a subquery/, 'n in', 'a subquery where none is allowed');
refused(q{exists (select from orders where random() < 0.5)}, qr/0A000: the condition: it calls a volatile function/, 'random', 'a volatile function in a subquery', q{, subqueries => true});
refused(q{exists (with w as (select random() r) select from w)}, qr/0A000: the condition: it calls a volatile function/, 'random', 'the same in WITH', q{, subqueries => true});
refused(q{exists (select from orders where cdp.did('x'))}, qr/0A000: the condition: it calls cdp.did in a subquery/, 'cdp.did', 'a call in a subquery', q{, subqueries => true});
refused(q{exists (select from orders for update)}, qr/0A000: the condition: it locks rows/, undef, 'a subquery that locks', q{, subqueries => true});
refused(q{exists (select from orders where placed_at > now())}, qr/0A000: the condition: it depends on the clock/, 'now()', 'the clock in a subquery', q{, 'refused', true});

# What is refused ----------------------------------------------------------------------------------------------------

refused(q{'äöü' <> plan and}, qr/42601: the condition: syntax error at end of input\nLINE/, '', 'half a condition');
refused(q{'äöü' <> plan and n > 1 more}, qr/42601: the condition: syntax error at or near "more"/, 'more', 'a name for it');
refused(q{'äöü' <> plan, n}, qr/42601: the condition: it is more than one SQL expression/, 'n', 'two of them');
my $unforeseen = qr/0A000: the condition: it uses the clock in a way whose changes cannot be foreseen\n.*HINT:  Compare now\(\) by <, <=, > or >= .*refresh interval/s;
refused(q{'äöü' <> plan and at = now()}, $unforeseen, 'now()', 'equality with an instant');
refused(q{n > 1 and extract(second from now()) < 30}, $unforeseen, 'now()', 'seconds');
refused(q{n > 1 and extract(milliseconds from current_timestamp) < 30}, $unforeseen, 'current_timestamp', 'milliseconds');
refused(q{to_char(now(), 'HH24:MI:SS') > plan}, $unforeseen, 'now()', 'a format with seconds');
refused(q{to_char(now(), plan) > plan}, $unforeseen, 'now()', 'a format that is no constant');
refused(q{now()::text > plan}, $unforeseen, 'now()', 'the clock as text');
refused(q{case when n > 1 then at < now() end}, $unforeseen, 'now()', 'a comparison that is no part of its own');
refused(q{extract(epoch from now())::int > n}, $unforeseen, 'now()', 'seconds that will not fit in an integer');
refused(q{(now() - at) * n > span}, $unforeseen, 'now()', 'times a column');
is(found(q{at = now() or now()::text > plan}, q{, 'any'}), 'at = now() or now()::text > plan columns 2 3, clock', 'where any use is allowed none of it is refused');
for my $case ([q{at < 'now'}, 'now()', q{'now'}], [q{birthday = 'today'}, 'CURRENT_DATE', q{'today'}], [q{birthday < ' Tomorrow'}, 'CURRENT_DATE + 1', q{' Tomorrow'}],
              [q{age(at) < span}, 'age(now(), x)', 'age'], [q{CURRENT_TIME > '10:00'}, 'extract(hour FROM now())', 'CURRENT_TIME'], [q{localtime > '10:00'}, 'extract(hour FROM now())', 'localtime'],
              [q{current_timestamp(3) > at}, 'without a precision', 'current_timestamp']) {
    my ($condition, $instead, $at) = @$case;
    refused("'é' = plan or $condition", qr/0A000: the condition: it depends on the clock\n.*HINT:  Write [^\n]*\Q$instead\E/s, $at, "$condition, and what to write instead");
}
refused(q{clock_timestamp() > at}, qr/0A000: the condition: it calls a volatile function\n.*HINT:  Write now\(\) instead/s, 'clock_timestamp', 'the volatile clock');
refused(q{at < now()}, qr/0A000: the condition: it depends on the clock\nLINE/, 'now()', 'the clock where it is not allowed', q{, 'refused'});
refused(q{since(at) > span}, qr/0A000: the condition: it calls a function that depends on the clock/, undef, 'a function that hides the clock');
refused(q{current_user = plan}, qr/0A000: the condition: it depends on the clock or the session/, 'current_user', 'the session');

# Instants -----------------------------------------------------------------------------------------------------------

is(flip(q{at < now()}, '2024-01-01'), '2024-01-10 13:34:56.789001+01', 'the instant after');
is(flip(q{at <= now()}, '2024-01-01'), '2024-01-10 13:34:56.789+01', 'the instant itself');
is(flip(q{at <= now()}, '2024-01-10 13:34:56.789+01'), 'infinity', 'and never again');
is(flip(q{at < now() - interval '30 days'}, '2024-01-15'), '2024-02-09 13:34:56.789001+01', 'days');
is(flip(q{at > now() - interval '2 months'}, '2024-01-15'), '2024-03-10 13:34:56.789+01', 'months');
is(flip(q{at + interval '3 months' <= now()}, '2024-01-15'), '2024-04-10 13:34:56.789+02', 'local time stays over a change of the zone');
is(flip(q{local_at + interval '90 days' <= LOCALTIMESTAMP}, '2024-01-15'), '2024-04-09 12:34:56+02', 'local times');
is(flip(q{birthday + interval '35 years' <= now()}, '2024-01-15'), '2025-03-31 00:00:00+02', 'a date, years ago');
is(flip(q{extract(year from age(now(), birthday)) >= 35}, '2024-01-15'), '2025-03-31 00:00:00+02', 'an age in years');
is(flip(q{date_part('year', age(CURRENT_DATE, birthday)) between 18 and 34}, '2024-01-15'), '2025-03-31 00:00:00+02', 'an age between');
is(flip(q{(CURRENT_DATE - birthday) / 365.25 >= 35}, '2024-01-15'), '2025-03-31 00:00:00+02', 'an age in days');
is(flip(q{extract(epoch from now() - at) / 3600 > 1}, '2024-01-10'), '2024-01-10 14:34:56.789001+01', 'an age in hours');
is(flip(q{extract(day from now() - at) >= 30}, '2024-01-15'), '2024-02-09 13:34:56.789+01', 'whole days since');
is(flip(q{at >= date_trunc('month', now())}, '2024-01-15'), '2024-02-01 00:00:00+01', 'this month');
is(flip(q{now() between at and at + span}, '2024-01-01'), '2024-01-10 13:34:56.789+01', 'the begin of a span');
is(flip(q{now() between at and at + span}, '2024-01-15'), '2024-02-10 16:34:56.789001+01', 'and its end');
is(flip(q{not (at < now()) is true}, '2024-01-01'), '2024-01-10 13:34:56.789001+01', 'NOT and IS TRUE');
# In the night when clocks go back, 2:30 comes twice; and on the last days of January a month later is the same day.
is(flip(q{LOCALTIMESTAMP < '2024-10-27 02:30'}, '2024-10-26'), '2024-10-27 02:30:00+02', 'a local time that comes twice: the first');
is(flip(q{LOCALTIMESTAMP < '2024-10-27 02:30'}, '2024-10-27 02:30:00+02'), '2024-10-27 02:00:00+01', 'back');
is(flip(q{LOCALTIMESTAMP < '2024-10-27 02:30'}, '2024-10-27 02:00:00+01'), '2024-10-27 02:30:00+01', 'and the second');
is(flip(q{LOCALTIMESTAMP < '2024-10-27 02:30'}, '2024-10-27 02:30:00+01'), 'infinity', 'and no third');
my ($clock, @instants) = ('2023-01-20');
while ($clock ne 'infinity') { $clock = flip(q{now() + interval '1 month' >= '2023-02-28 12:00'}, $clock); push @instants, $clock =~ s/^2023-//r; }
is("@instants", '01-28 12:00:00+01 01-29 00:00:00+01 01-29 12:00:00+01 01-30 00:00:00+01 01-30 12:00:00+01 01-31 00:00:00+01 01-31 12:00:00+01 infinity', 'a month after the end of January');

is(flip(q{date_part('year', now()) > extract(year from at)}, '2024-01-15'), '2025-01-01 00:00:00+01', 'the next year');

# Parts that decide
is(flip(q{plan = 'free' and at < now()}, '2024-01-01'), 'infinity', 'what is false whatever the time');
is(flip(q{plan = 'pro' or at < now()}, '2024-01-01'), 'infinity', 'what is true whatever the time');
is(flip(q{at + interval '1 year' < now() and at < now()}, '2024-01-01'), '2025-01-10 13:34:56.789001+01', 'of two that are false, the later');
is(flip(q{at + interval '1 year' > now() and at + interval '2 years' > now()}, '2024-01-15'), '2025-01-10 13:34:56.789+01', 'of two that are true, the sooner');
is(flip(q{n / nullif(id - 1, 0) > 1 and at < now()}, '2024-01-01'), '2024-01-10 13:34:56.789001+01', 'what is unknown decides nothing');

# Steps
is(flip(q{to_char(birthday, 'MM-DD') = to_char(now(), 'MM-DD')}, '2024-03-15'), '2024-03-31 00:00:00+01', 'a birthday begins');
is(flip(q{to_char(birthday, 'MM-DD') = to_char(now(), 'MM-DD')}, '2024-03-31 12:00'), '2024-04-01 00:00:00+02', 'and ends, after 23 hours');
is(flip(q{to_char(birthday, 'MM-DD') = to_char(now(), 'MM-DD')}, '2024-06-01 12:00'), '2024-07-04 00:00:00+02', 'far from it one asks again a month later');
is(flip(q{birthday = CURRENT_DATE - 12345}, '2024-01-10 12:00'), '2024-01-17 00:00:00+01', 'a date');
is(flip(q{extract(dow from now()) in (1, 2)}, '2024-03-30 18:15'), '2024-04-01 00:00:00+02', 'days of the week');
is(flip(q{extract(hour from now()) between 9 and 17}, '2024-03-30 18:15'), '2024-03-31 09:00:00+02', 'hours of the day');
is(flip(q{extract(hour from now() at time zone zone) >= 9}, '2024-03-30 08:15'), '2024-03-30 14:00:00+01', 'hours of the day elsewhere');
is(flip(q{to_char(now(), 'HH24:MI') >= '09:30'}, '2024-03-30 08:15'), '2024-03-30 09:30:00+01', 'minutes');
is(flip(q{extract(month from age(now(), at)) = 1}, '2024-02-01'), '2024-02-10 13:34:56.789+01', 'months of an age');
is(flip(q{CURRENT_DATE = date_trunc('month', now()) + interval '1 month - 1 day'}, '2024-02-05'), '2024-02-29 00:00:00+01', 'the last day of the month');

# The law: between now and the next flip nothing changes -------------------------------------------------------------

my @forms = (
    q{at < now()}, q{at < now() - interval '1 month'}, q{at + span <= now()}, q{at <= now() - span}, q{at > now() - interval '1 month 3 hours'},
    q{local_at < now()}, q{local_at <= LOCALTIMESTAMP}, q{local_at < now()::timestamp - interval '1 month'}, q{local_at < LOCALTIMESTAMP - span},
    q{birthday <= CURRENT_DATE}, q{birthday < CURRENT_DATE - 7}, q{at::date < CURRENT_DATE}, q{birthday < now() - span}, q{age(now(), at) > span},
    q{age(now(), at) >= interval '1 month'}, q{age(CURRENT_DATE, birthday) >= interval '1 month'}, q{age(at, now()) > interval '-1 month'},
    q{extract(year from age(now(), at - interval '1 year')) >= 1}, q{extract(epoch from now() - at) / 86400 > 30}, q{extract(epoch from age(now(), at)) > 86400 * 29.5},
    q{extract(day from now() - at) >= 30}, q{floor(extract(epoch from now() - at) / 3600)::int >= 17},
    q{at >= date_trunc('month', now())}, q{at >= date_trunc('week', now()) - interval '1 month'}, q{date_trunc('hour', now()) > at + span}, q{date_trunc('hour', now()) + interval '30 min' + interval '1 month' > at},
    q{(CURRENT_DATE - birthday) / 365.25 > 0.05}, q{now() between at and at + interval '1 month'}, q{not (now() < at or now() > at + interval '2 days')},
    q{now() at time zone zone > local_at}, q{(now() + interval '1 day') - interval '1 month' >= at}, q{now() - span - span >= at}, q{(now() + span)::timestamp > local_at},
    q{CURRENT_DATE in (birthday, at::date + 3)}, q{now() - at between symmetric span and interval '2 days'},
    q{to_char(birthday, 'MM-DD') = to_char(now(), 'MM-DD')}, q{birthday = CURRENT_DATE}, q{extract(dow from now()) in (1, 2)}, q{extract(hour from now()) between 9 and 17},
    q{extract(hour from now() at time zone zone) = n + 2}, q{extract(hour from now() + interval '1 month') = 2}, q{extract(day from now() - interval '1 month') = 28},
    q{to_char(now(), 'HH24:MI') > '12:30'}, q{extract(minute from now() - interval '90 seconds') % 7 = n % 7}, q{date_trunc('month', now()) + interval '1 month -1 day' = CURRENT_DATE},
    q{extract(month from age(now(), at)) = 1}, q{extract(day from now() - at) = 7}, q{date_part('day', age(now(), at)) = 14}, q{CURRENT_DATE - at::date = 7},
    q{extract(day from local_at - LOCALTIMESTAMP) = 3}, q{(at < now()) is not true and (now() < at + span) is true}, q{date_trunc('day', now()) + interval '9 hours' > at},
    q{(plan = 'pro' or at < now()) and (n > 5 or now() < at + interval '3 days')}, q{extract(hour from now() + span) = 3 and at > now() - interval '10 days'});
$node->safe_psql('postgres', q{
    CREATE FUNCTION one_of(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT choices[1 + floor(random() * cardinality(choices))]';
    CREATE FUNCTION try_law(condition text, rounds int, seed int) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        r t; base timestamptz; changes int[] := '{0,0}'; m text[];
    BEGIN
        PERFORM setseed(seed / 1e9);
        FOR i IN 1..rounds LOOP
            PERFORM set_config('timezone', one_of('UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'America/Sao_Paulo', 'Asia/Kolkata', 'Asia/Beirut',
                                                  'America/St_Johns', 'Africa/Cairo'), true);
            -- About the ends of months, and where zones change their offsets.
            base := one_of('2024-03-29', '2024-10-25', '2018-02-15', '2017-10-13', '2024-01-29', '2024-02-27', '2010-03-12', '2010-11-05', '2024-04-04', '2024-10-29', '2024-04-24',
                           '2024-11-01', '2023-01-26')::timestamptz + random() * interval '80 hours';
            r := t FROM t;
            r.plan := one_of('pro', 'free');
            r.span := one_of('1 mon', '1 day', '36 hours', '1 mon 2 hours', '1 mon -1 day 30 min', '31 days')::interval;
            r.at := base + random() * interval '4 days' + one_of('0', '-1 mon', '1 mon', '10 days')::interval;
            IF random() < 0.5 THEN r.at := date_trunc('hour', r.at) + one_of('0', '1 us', '-1 us', '30 min')::interval; END IF;
            r.local_at := r.at;
            r.birthday := r.at;
            r.n := random() * 20;
            r.zone := one_of('Europe/Berlin', 'Asia/Kathmandu', 'America/St_Johns', 'EST');
            m := regexp_match(guard_flips(condition, r, base, base + CASE WHEN condition ~ 'minute|MI' THEN interval '9 hours' ELSE interval '40 days' END, 60, i + seed), '(\d+) flips, (\d+)');
            changes := ARRAY[changes[1] + m[1]::int, changes[2] + m[2]::int];
        END LOOP;
        RETURN changes[2] || ' changes of ' || changes[1] || ' flips';
    END $$});
for my $form (@forms) {
    my ($out, $err);
    $node->psql('postgres', "SELECT try_law(\$c\$$form\$c\$, 25, $seed % 1000000)", stdout => \$out, stderr => \$err);
    is($err, '', "foreseen: $form");
    like($out, qr/^[1-9]\d* changes/, "and there was something to foresee: $out");
}

$node->stop;
done_testing();
