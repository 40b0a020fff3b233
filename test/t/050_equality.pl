# The law of equality: after any history, in any cutting into batches, keeping state incrementally gives what
# computing it afresh gives; and who is who is what a slow, obvious reference says.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use List::Util qw(shuffle);
use Test::More;

my $seed = $ENV{CDP_TEST_SEED} // time;
diag("CDP_TEST_SEED=$seed");
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('equality');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nwal_level = logical");
$node->start;

my @events = ('Order', 'View', 'Login', 'Refund');
my %limit = (user_id => 1, email => 5, device_id => 20, anonymous_id => 100);
my %priority = (user_id => 1, email => 2, device_id => 4, anonymous_id => 5);

my $groups_sql = q{SELECT string_agg(type || ':' || value, ' ' ORDER BY (type || ':' || value) COLLATE "C") FROM cdp.identifier GROUP BY profile_id};

sub pick { return $_[int(rand(@_))] }

# One random message, as a hash of what matters to the reference and the SQL values of an inbox row.
sub message
{
	my ($number, $people) = @_;
	my $person = int(rand($people));
	my %ids;
	$ids{user_id} = "user-$person" if rand() < 0.4;
	$ids{anonymous_id} = 'cookie-' . (rand() < 0.9 ? $person * 3 + int(rand(3)) : int(rand($people * 3))) if rand() < 0.8 || !%ids;
	$ids{email} = 'mail' . (rand() < 0.95 ? $person : int(rand($people))) . '-' . int(rand(7)) . '@example.com' if rand() < 0.25;
	$ids{device_id} = 'kiosk-' . int(rand(4)) if rand() < 0.08;
	my $identify = rand() < 0.3;
	# On the last day of February more than on others, since windows of months pass over it again and again: see any_clock.
	my $at = rand() < 0.1 ? 1_709_164_800 + int(rand(86400)) : 1_700_000_000 + int(rand(90 * 86400));
	my %traits;
	if ($identify)
	{
		$traits{plan} = pick('"free"', '"pro"', '"team"', 'null') if rand() < 0.7;
		$traits{age} = pick('17', '"41"', '"old"', '63') if rand() < 0.5;
		$traits{email} = '"' . uc($ids{email}) . ' "' if $ids{email};
	}
	my $traits = $identify ? "'{" . join(',', map { "\"$_\":$traits{$_}" } sort keys %traits) . "}'" : 'NULL';
	my @properties;
	push @properties, '"total":' . pick('10', '12.0', '19.99', '0.5', '"n/a"', '"7.5"', '"8"', '-3.25', '100000000000000000000.01') if rand() < 0.7;
	push @properties, '"sku":"' . pick('A', 'b', 'C', 'é') . '"' if rand() < 0.6;
	my %context;
	$context{device} = "{\"id\":\"$ids{device_id}\"}" if $ids{device_id};
	$context{traits} = "{\"email\":\"$ids{email}\"}" if $ids{email} && !$identify;
	$context{consent} = '{"categoryPreferences":{' . pick('"letter":true', '"letter":false', '"letter":true,"ads":false', '"ads":false', '"unknown":true', '"letter":"yes"') . '}}'
	  if rand() < 0.15;
	my $context = %context ? "'{" . join(',', map { "\"$_\":$context{$_}" } sort keys %context) . "}'" : 'NULL';
	my $group = !$identify && rand() < 0.1;
	my $row = sprintf("('m-%d', '%s', %s, %s, %s, %s, '{%s}', %s, %s, to_timestamp(%d), '2024-03-01')",
		$number, $identify ? 'identify' : $group ? 'group' : 'track',
		$ids{user_id} ? "'$ids{user_id}'" : 'NULL', $ids{anonymous_id} ? "'$ids{anonymous_id}'" : 'NULL',
		$group ? "'team-" . int(rand(5)) . "'" : 'NULL', $identify || $group ? 'NULL' : "'" . pick(@events) . "'",
		join(',', @properties), $traits, $context, $at);
	return { ids => \%ids, row => $row };
}

sub insert_sql
{
	return 'INSERT INTO cdp.inbox (message_id, type, user_id, anonymous_id, group_id, event, properties, traits, context, occurred_at, received_at) VALUES '
	  . join(', ', map { $_->{row} } @_) . ';';
}

# Something that somebody says of consent, or a suppression, of whatever identifier, known or not.
sub consent_sql
{
	my $people = shift;
	my ($type, $value) = %{ message(0, $people)->{ids} };
	return "SELECT cdp." . pick('suppress', 'unsuppress') . "('$type', '$value');" if rand() < 0.15;
	return sprintf("SELECT cdp.set_consent('%s', '%s', '%s', %s, %s, occurred_at => to_timestamp(%d));", $type, $value, pick('letter', 'ads'), pick('true', 'false'),
		pick('NULL', 'NULL', "'email'", "'sms'"), 1_700_000_000 + int(rand(90)) * 86400);
}

# Something that happens to a table of the company's own.
sub ticket_sql
{
	my $people = shift;
	my $mail = sub { 'mail' . int(rand($people)) . '-' . int(rand(7)) . '@example.com' };
	my $status = sub { pick('open', 'open', 'closed', 'new') };
	my $n = int(rand(60));
	return pick(
		sprintf("INSERT INTO crm.ticket VALUES (%d, '%s', 'kiosk-%d', '%s', %d) ON CONFLICT (ticket_id) DO UPDATE SET email = excluded.email, status = excluded.status;", $n, $mail->(), int(rand(4)), $status->(), int(rand(40))),
		sprintf("INSERT INTO crm.ticket VALUES (%d, '%s', NULL, '%s', NULL) ON CONFLICT (ticket_id) DO NOTHING;", $n, $mail->(), $status->()),
		sprintf("INSERT INTO crm.ticket SELECT i, 'mail' || i %% %d || '-%d\@example.com', 'kiosk-' || i %% 5, '%s', i %% 9 FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING;", $people, int(rand(7)), $status->(), 100 + $n, 110 + $n),
		sprintf("UPDATE crm.ticket SET status = '%s' WHERE ticket_id %% 7 = %d;", $status->(), $n % 7),
		sprintf("UPDATE crm.ticket SET email = '%s', amount = amount + 1 WHERE ticket_id %% 13 = %d;", $mail->(), $n % 13),
		sprintf("DELETE FROM crm.ticket WHERE ticket_id %% 11 = %d;", $n % 11),
		sprintf("DELETE FROM crm.ticket WHERE ticket_id = %d; INSERT INTO crm.ticket VALUES (%d, '%s', 'kiosk-1', 'open', 30);", $n, $n, $mail->()),
		$n < 5 ? 'TRUNCATE crm.ticket;' : 'UPDATE crm.ticket SET status = status;');
}

# Segments over that table, against plain SQL.
sub tables_agree
{
	my ($db, $when) = @_;
	my %expected = (
		open_case => q{EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON (i.type, i.value) = ('email', t.email) WHERE i.profile_id = p.profile_id AND t.status = 'open')},
		no_case => q{NOT EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.value IN (t.email, t.device) WHERE i.profile_id = p.profile_id)},
		costly => q{coalesce((SELECT sum(amount) FROM crm.ticket t JOIN cdp.identifier i ON (i.type, i.value) = ('device_id', t.device) WHERE i.profile_id = p.profile_id), 0) > event_count},
		left_alone => q{NOT EXISTS (SELECT FROM cdp_segment.open_case o WHERE o.profile_id = p.profile_id)
			AND EXISTS (SELECT FROM cdp_segment.active a WHERE a.profile_id = p.profile_id)});
	for my $segment (sort keys %expected)
	{
		is($node->safe_psql($db, qq{SELECT string_agg(p.profile_id::text, ' ') FROM cdp.profile p
			WHERE ($expected{$segment}) <> EXISTS (SELECT FROM cdp_segment."$segment" s WHERE s.profile_id = p.profile_id)}), '', "$when: segment $segment follows the table");
	}
}

# What holds of consent, who is in the segments that ask for it, and in the destinations, against plain SQL over the ledger.
sub consents_agree
{
	my ($db, $when) = @_;
	my $said = q{(SELECT i.profile_id, r.* FROM cdp.consent_record r JOIN cdp.identifier i USING (type, value))};
	is($node->safe_psql($db, qq{
		SELECT count(*) FROM cdp.consent c FULL JOIN (SELECT profile_id, purpose, coalesce(channel, '') AS channel, max(occurred_at) AS occurred_at,
				bool_and(granted) FILTER (WHERE latest) AS granted
			FROM (SELECT *, occurred_at = max(occurred_at) OVER (PARTITION BY profile_id, purpose, channel) AS latest FROM $said s) s GROUP BY 1, 2, 3) p
			ON (p.profile_id, p.purpose, p.channel) = (c.profile_id, c.purpose, coalesce(c.channel, ''))
		WHERE (p.granted, p.occurred_at) IS DISTINCT FROM (c.granted, c.occurred_at)}), 0, "$when: consent is what the ledger says");
	# A channel is covered by the latest said of it or of all; without a channel all three must be, the one never spoken of included.
	my $covers = sub {
		my ($purpose, $mode, @channels) = @_;
		return '(' . join(' AND ', map { qq{coalesce((SELECT r.granted FROM $said r WHERE r.profile_id = p.profile_id AND r.purpose = '$purpose'
			AND coalesce(r.channel, '$_') = '$_' ORDER BY r.occurred_at DESC, r.granted LIMIT 1), $mode)} } @channels) . ')';
	};
	my %expected = (readers => $covers->('letter', 'false', 'email', 'sms', 'fax'), by_mail => $covers->('letter', 'false', 'email'),
		profiled => 'NOT ' . $covers->('ads', 'true', 'email', 'sms', 'fax') . " AND EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = p.profile_id AND i.type = 'user_id')");
	for my $segment (sort keys %expected)
	{
		is($node->safe_psql($db, qq{SELECT count(*) FROM (SELECT p.profile_id FROM cdp.profile p WHERE $expected{$segment}) w
			FULL JOIN (SELECT profile_id FROM cdp_segment.$segment) s USING (profile_id) WHERE w.profile_id IS NULL OR s.profile_id IS NULL}), 0, "$when: who is in $segment");
	}
	my $unsuppressed = q{NOT EXISTS (SELECT FROM cdp.suppression JOIN cdp.identifier i USING (type, value) WHERE i.profile_id = p.profile_id)};
	for my $destination ([ letter => $covers->('letter', 'false', 'email', 'sms', 'fax') ], [ ads => $covers->('ads', 'true', 'sms') ])
	{
		my ($name, $consent) = @$destination;
		is($node->safe_psql($db, qq{SELECT count(*) FROM (SELECT p.profile_id FROM cdp.profile p WHERE $consent AND $unsuppressed) w
			FULL JOIN cdp_out.$name d ON d.profile_id = w.profile_id WHERE d.profile_id IS NULL OR w.profile_id IS NULL}), 0, "$when: who is in destination $name");
		is($node->safe_psql($db, "SELECT cdp.suppressed_count('$name') + (SELECT count(*) FROM cdp_out.$name) - (SELECT count(*) FROM cdp.profile)"), 0, "$when: and who is not");
	}
}

# Something that is done by hand at some point of the history: SQL that finds what to do it to by what people sent.
sub by_hand
{
	my $people = shift;
	my $kind = pick('split', 'split', 'revoke', 'revoke', 'merge');
	return { kind => $kind, link => int(rand(500)) } if $kind eq 'revoke';
	my @two = map { [%{ message(0, $people)->{ids} }] } 1 .. 2;
	return { kind => $kind, of => [ map { [ @{$_}[ 0, 1 ] ] } @two ] };
}

sub by_hand_sql
{
	my $what = shift;
	# Whichever of the links, in the order of what they join.
	return "SELECT cdp.revoke_link(link_id, 'test') FROM (SELECT l.link_id, l.revoked_at FROM cdp.identity_link l JOIN cdp.identifier a ON a.identifier_id = identifier_a"
	  . " JOIN cdp.identifier b ON b.identifier_id = identifier_b ORDER BY (a.type || ':' || a.value || ' ' || b.type || ':' || b.value || ' ' || cause) COLLATE \"C\", link_id"
	  . " LIMIT 1 OFFSET $what->{link} % greatest(1, (SELECT count(*) FROM cdp.identity_link))) l WHERE revoked_at IS NULL;"
	  if $what->{kind} eq 'revoke';
	my ($a, $b) = @{ $what->{of} };
	return "SELECT cdp.split_identifier(type, value, 'test') FROM cdp.identifier WHERE (type, value) = ('$a->[0]', '$a->[1]');"
	  if $what->{kind} eq 'split';
	return "SELECT cdp.merge_profiles(a.profile_id, b.profile_id, 'test') FROM cdp.identifier a, cdp.identifier b"
	  . " WHERE (a.type, a.value) = ('$a->[0]', '$a->[1]') AND (b.type, b.value) = ('$b->[0]', '$b->[1]');";
}

# Who is who with everything that is done by hand: what the links in force hold together, nothing cleverer. Messages and
# what is done by hand in their order; links as [a, b, cause, revoked], separations as lists of sides.
sub reference_by_hand
{
	my (%known, @links, @separations, @carried);
	my $strength = sub { my ($type) = $_[0] =~ /^(\w+):/; return $priority{$type} };
	my $reached = sub {
		my %reached = map { $_ => 1 } @_;
		my @left = keys %reached;
		my %next;
		for my $link (grep { !$_->[3] } @links) { push @{ $next{ $link->[0] } }, $link->[1]; push @{ $next{ $link->[1] } }, $link->[0]; }
		while (defined(my $at = shift @left)) { $reached{$_}++ || push @left, $_ for @{ $next{$at} // [] }; }
		return \%reached;
	};
	my $sides_of = sub { my ($separation, $group) = @_; return grep { my $side = $_; grep { $group->{$_} } keys %$side } @$separation; };
	my $come_apart = sub {
		my ($before, $one) = @_;
		my %part = map { $_ => join(' ', sort keys %{ $reached->($_) }) } keys %$before;
		my %parts = reverse %part;
		return if keys %parts == 1;
		my $side = sub { my %in = map { $_ => 1 } @_; return { map { $in{ $part{$_} } ? ($_ => 1) : () } keys %part } };
		push @separations, [ $side->($part{$one}), $side->(grep { $_ ne $part{$one} } keys %parts) ];
		my %done;
		for my $link (grep { $_->[3] && $part{ $_->[0] } && $part{ $_->[1] } } @links)
		{
			my ($p, $q) = sort map { $part{$_} } @$link[ 0, 1 ];
			next if $p eq $q || $p eq $part{$one} || $q eq $part{$one} || $done{"$p|$q"}++;
			push @separations, [ $side->($p), $side->($q) ];
		}
	};
	for my $step (@_)
	{
		next if $step->{say};
		if ($step->{ids})
		{
			my @ids = map { "$_->[0]:$_->[1]" } sort { $priority{ $a->[0] } <=> $priority{ $b->[0] } || $a->[1] cmp $b->[1] }
			  map { [ $_, $step->{ids}{$_} ] } keys %{ $step->{ids} };
			for (; @ids > 1; pop @ids)
			{
				my @groups = map { $known{$_} ? $reached->($_) : { $_ => 1 } } @ids;
				my %together = map { %$_ } @groups;
				my $breaks = grep { $sides_of->($_, \%together) > 1 } @separations;
				for my $type (keys %limit)
				{
					my $sum = grep { /^$type:/ } keys %together;
					my ($most) = sort { $b <=> $a } map { my $group = $_; my ($first) = keys %$group; $known{$first} ? scalar(grep { /^$type:/ } keys %$group) : 0 } @groups;
					$breaks = 1 if $sum > $limit{$type} && $sum > $most;
				}
				last unless $breaks;
			}
			$known{$_} = 1 for @ids;
			push @carried, [@ids];
			for my $other (@ids[ 1 .. $#ids ])
			{
				push @links, [ $ids[0], $other, 'message', 0 ] unless grep { $_->[0] eq $ids[0] && $_->[1] eq $other && $_->[2] eq 'message' } @links;
			}
			next;
		}
		if ($step->{kind} eq 'revoke')
		{
			my @sorted = map { $links[$_] } sort { "$links[$a][0] $links[$a][1] $links[$a][2]" cmp "$links[$b][0] $links[$b][1] $links[$b][2]" || $a <=> $b } 0 .. $#links;
			next unless @sorted;
			my $link = $sorted[ $step->{link} % @sorted ];
			next if $link->[3];
			my $before = $reached->($link->[0]);
			$link->[3] = 1;
			$come_apart->($before, $link->[1]);
			next;
		}
		my ($one, $other) = map { "$_->[0]:$_->[1]" } @{ $step->{of} };
		next unless $known{$one};
		my $before = $reached->($one);
		if ($step->{kind} eq 'split')
		{
			next if keys %$before == 1;
			# What a message carried beside it hangs together without it.
			for my $ids (grep { grep { $_ eq $one } @$_ } @carried)
			{
				my ($strongest, @others) = grep { my $id = $_; grep { $_->[2] eq 'message' && !$_->[3] && join(' ', sort @$_[ 0, 1 ]) eq join(' ', sort $one, $id) } @links } @$ids;
				for my $other (@others)
				{
					push @links, [ $strongest, $other, 'message', 0 ] unless grep { $_->[0] eq $strongest && $_->[1] eq $other && $_->[2] eq 'message' } @links;
				}
			}
			for my $link (@links) { $link->[3] = 1 if $link->[0] eq $one || $link->[1] eq $one; }
			$come_apart->($before, $one);
			next;
		}
		next if !$known{$other} || $before->{$other};
		my %both = (%$before, %{ $reached->($other) });
		for my $separation (@separations)
		{
			next if $sides_of->($separation, \%both) < 2;
			my %moved = map { my $side = $_; map { $_ => 1 } grep { $both{$_} } keys %$side } @$separation;
			for my $side (@$separation) { delete @$side{ keys %moved } }
			push @$separation, \%moved;
		}
		my ($first, $second) = sort { $strength->($a) <=> $strength->($b) || ($a =~ s/^\w+://r) cmp ($b =~ s/^\w+://r) }
		  map { (sort { $strength->($a) <=> $strength->($b) || ($a =~ s/^\w+://r) cmp ($b =~ s/^\w+://r) } keys %$_)[0] } $before, $reached->($other);
		push @links, [ $first, $second, 'manual', 0 ];
	}
	my %groups = map { join(' ', sort keys %{ $reached->($_) }) => 1 } keys %known;
	return join("\n", sort keys %groups);
}

# Who is who by the rules, one message after the other, with nothing clever: groups of identifiers.
sub reference
{
	my @messages = @_;
	my (%group_of, %members);
	my $next = 1;
	for my $message (@messages)
	{
		my @ids = sort { $priority{ $a->[0] } <=> $priority{ $b->[0] } || $a->[1] cmp $b->[1] }
		  map { [ $_, $message->{ids}{$_} ] } keys %{ $message->{ids} };
		while (@ids > 1)
		{
			my %groups = map { my $g = $group_of{"$_->[0]:$_->[1]"}; $g ? ($g => 1) : () } @ids;
			my %together = map { $_ => 1 } map { @{ $members{$_} } } keys %groups;
			$together{"$_->[0]:$_->[1]"} = 1 for @ids;
			my $breaks = 0;
			for my $type (keys %limit)
			{
				my $sum = grep { /^$type:/ } keys %together;
				my $most = 0;
				for my $g (keys %groups) { my $n = grep { /^$type:/ } @{ $members{$g} }; $most = $n if $n > $most; }
				$breaks = 1 if $sum > $limit{$type} && $sum > $most;
			}
			last unless $breaks;
			pop @ids;
		}
		my @keys = map { "$_->[0]:$_->[1]" } @ids;
		my @groups = sort { $a <=> $b } keys %{ { map { $group_of{$_} ? ($group_of{$_} => 1) : () } @keys } };
		my $survivor = @groups ? $groups[0] : $next++;
		my %together = map { $_ => 1 } (map { @{ $members{$_} // [] } } @groups), @keys;
		delete $members{$_} for @groups;
		$members{$survivor} = [ sort keys %together ];
		$group_of{$_} = $survivor for keys %together;
	}
	return join("\n", sort map { join(' ', @{ $members{$_} }) } keys %members);
}

sub rebuild_is_zero
{
	my ($db, $when) = @_;
	my $differing = $node->safe_psql($db, "SELECT table_name || '=' || coalesce(differing::text, 'null') FROM cdp.rebuild() WHERE differing IS DISTINCT FROM 0");
	is($differing, '', "$when: rebuild finds nothing");
	tables_agree($db, $when);
}

# Every trait against plain SQL over the events.
sub plain_sql_agrees
{
	my ($db, $when) = @_;
	my $number = q{(CASE WHEN jsonb_typeof(e.properties->'total') = 'number' THEN (e.properties->>'total')::numeric END)};
	my $decimal = q{(CASE WHEN e.properties->>'total' <> 'n/a' THEN (e.properties->>'total')::numeric END)};
	my $whole = q{(CASE WHEN e.properties->'total' IN ('10', '12', '"8"') THEN (e.properties->>'total')::numeric::int END)};
	my $differing = $node->safe_psql($db, qq{
		WITH plain AS (
			SELECT i.profile_id, count(e.event_id) AS event_count, min(occurred_at) AS first_seen_at, max(occurred_at) AS last_seen_at,
				count(*) FILTER (WHERE event = 'Order') AS orders,
				sum($number) FILTER (WHERE event = 'Order') AS revenue,
				avg($number) FILTER (WHERE event = 'Order') AS mean,
				min($number) AS least, max($number) FILTER (WHERE event IN ('Order', 'Refund')) AS most,
				(array_agg($decimal ORDER BY occurred_at DESC, event_id DESC) FILTER (WHERE $decimal IS NOT NULL))[1] AS last_total,
				(array_agg($whole ORDER BY occurred_at, event_id) FILTER (WHERE $whole IS NOT NULL))[1] AS first_whole,
				count(DISTINCT properties->>'sku') AS skus,
				array_agg(DISTINCT properties->>'sku' ORDER BY properties->>'sku') FILTER (WHERE event = 'View' AND properties ? 'sku') AS viewed,
				(array_agg(properties->>'sku' ORDER BY occurred_at DESC, event_id DESC) FILTER (WHERE event = 'View' AND properties ? 'sku'))[1] AS last_viewed,
				(array_agg(properties->>'sku' ORDER BY occurred_at, event_id) FILTER (WHERE event = 'View' AND properties ? 'sku'))[1] AS first_viewed
			FROM cdp.identifier i LEFT JOIN cdp.event e USING (identifier_id) GROUP BY 1)
		SELECT count(*) FROM cdp.profile p FULL JOIN plain s USING (profile_id)
		WHERE (p.event_count, p.first_seen_at, p.last_seen_at, p.orders, p.revenue, p.mean, p.least, p.most, p.last_total, p.first_whole, p.skus, p.viewed, p.last_viewed, p.first_viewed)
			IS DISTINCT FROM
			  (s.event_count, s.first_seen_at, s.last_seen_at, s.orders, s.revenue, s.mean, s.least, s.most, s.last_total, s.first_whole, s.skus, s.viewed, s.last_viewed, s.first_viewed)});
	is($differing, 0, "$when: the traits are what plain SQL gives");
	is($node->safe_psql($db, q{
		SELECT count(*) FROM cdp.profile p FULL JOIN (
			SELECT i.profile_id, count(*) FILTER (WHERE event = 'Order') >= 3 AS member
			FROM cdp.identifier i LEFT JOIN cdp.event e USING (identifier_id) GROUP BY 1) s USING (profile_id)
		WHERE member <> EXISTS (SELECT FROM cdp_segment.buyers b WHERE b.profile_id = p.profile_id)}), 0, "$when: so are the segment's members");
	groups_agree($db, $when);
}

# Segments from lists, random splits and priority lists against plain SQL.
sub groups_agree
{
	my ($db, $when) = @_;
	is($node->safe_psql($db, q{
		WITH member AS (SELECT s.name, m.profile_id FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id)),
		plain AS (
			SELECT 'listed' AS name, profile_id FROM cdp.identifier WHERE type = 'email' AND value ~ '^mail\d+-[0-3]@' AND substring(value FROM '\d+')::int % 3 = 0 AND substring(value FROM '\d+')::int <= 120
			UNION SELECT 'cookies', profile_id FROM cdp.identifier WHERE type = 'anonymous_id' AND value ~ '^cookie-' AND substring(value FROM '\d+')::int % 5 = 0 AND substring(value FROM '\d+')::int <= 400
			UNION SELECT 'cookies_a', profile_id FROM member WHERE name = 'cookies' AND cdp.split_share('cookies', profile_id) < 30
			UNION SELECT 'cookies_b', profile_id FROM member WHERE name = 'cookies' AND cdp.split_share('cookies', profile_id) >= 30 AND cdp.split_share('cookies', profile_id) < 80
			UNION SELECT 'first_' || (min(array[place::text, segment]))[2], profile_id FROM cdp.priority_list l JOIN member ON name = segment GROUP BY profile_id)
		SELECT coalesce(m.name, p.name), count(*) FROM (SELECT * FROM member WHERE name IN ('listed', 'cookies') OR name LIKE 'cookies\_%' OR name LIKE 'first\_%') m
		FULL JOIN plain p USING (name, profile_id) WHERE m.profile_id IS NULL OR p.profile_id IS NULL GROUP BY 1}), '', "$when: so are lists, splits and priorities");
}

my @traits = (
	q{SELECT cdp.create_computed_trait('orders', 'count', 'Order')},
	q{SELECT cdp.create_computed_trait('revenue', 'sum', 'Order', 'total')},
	q{SELECT cdp.create_computed_trait('mean', 'avg', 'Order', 'total')},
	q{SELECT cdp.create_computed_trait('least', 'min', NULL, 'total')},
	q{SELECT cdp.create_computed_trait('most', 'max', NULL, 'total', filter => $$event IN ('Order', 'Refund')$$)},
	q{SELECT cdp.create_computed_trait('last_total', 'last', NULL, 'total', type => 'numeric')},
	q{SELECT cdp.create_computed_trait('first_whole', 'first', NULL, 'total', type => 'integer')},
	q{SELECT cdp.create_computed_trait('skus', 'distinct_count', NULL, 'sku')},
	q{SELECT cdp.create_computed_trait('viewed', 'unique_list', 'View', 'sku')},
	q{SELECT cdp.create_computed_trait('last_viewed', 'last', 'View', 'sku')},
	q{SELECT cdp.create_computed_trait('first_viewed', 'first', 'View', 'sku')},
	q{SELECT cdp.create_computed_trait('favourite', 'most_frequent', NULL, 'sku')},
	q{SELECT cdp.create_computed_trait('orders_30d', 'count', 'Order', "window" => '30 days')},
	q{SELECT cdp.create_computed_trait('revenue_7d', 'sum', 'Order', 'total', "window" => '7 days')},
	q{SELECT cdp.create_computed_trait('most_month', 'max', NULL, 'total', "window" => '1 month')},
	q{SELECT cdp.create_computed_trait('least_12d', 'min', NULL, 'total', "window" => '12 days 90 minutes')},
	q{SELECT cdp.create_computed_trait('skus_20d', 'distinct_count', NULL, 'sku', "window" => '20 days')},
	q{SELECT cdp.create_computed_trait('viewed_15d', 'unique_list', 'View', 'sku', "window" => '15 days')},
	q{SELECT cdp.create_computed_trait('first_40d', 'first', 'View', 'sku', "window" => '40 days')},
	q{SELECT cdp.create_computed_trait('last_10d', 'last', 'View', 'sku', "window" => '10 days')},
	q{SELECT cdp.create_computed_trait('favourite_40d', 'most_frequent', NULL, 'sku', "window" => '40 days')},
	q{SELECT cdp.create_trait('plan', 'text')},
	q{SELECT cdp.create_trait('first_plan', 'text', 'plan', 'first')},
	q{SELECT cdp.create_trait('age', 'int', survivorship => 'max')},
	q{SELECT cdp.create_purpose('letter'); SELECT cdp.create_purpose('ads', mode => 'opt_out')},
	q{SELECT cdp.create_segment('readers', $$cdp.consented('letter')$$); SELECT cdp.create_segment('by_mail', $$cdp.consented('letter', 'email')$$)},
	q{SELECT cdp.create_segment('profiled', $$NOT cdp.consented('ads') AND cdp.has_identifier('user_id')$$)},
	q{SELECT cdp.create_segment('active_readers', $$cdp.did('Order', within => '20 days') AND cdp.consented('letter') OR last_seen_at < now() - interval '10 days' AND NOT cdp.consented('ads', 'sms')$$)},
	q{SELECT cdp.create_destination('letter', columns => '{"sms": "cdp.consented(''letter'', ''sms'')", "few": "cardinality(cdp.segment_names()) BETWEEN 1 AND 8"}', purpose => 'letter')},
	q{SELECT cdp.create_destination('ads', columns => '{"orders": "event_count"}', purpose => 'ads', channel => 'sms')},
	q{SELECT cdp.create_segment('buyers', 'orders >= 3')},
	q{SELECT cdp.create_segment('known', $$cdp.has_identifier('user_id')$$)},
	q{SELECT cdp.create_segment('active', $$cdp.did('Order', within => '20 days', at_least => 2)$$)},
	q{SELECT cdp.create_segment('lapsed', $$cdp.did('Order') AND NOT cdp.did('Order', within => '30 days')$$)},
	q{SELECT cdp.create_segment('quiet', $$last_seen_at < now() - interval '10 days'$$)},
	q{SELECT cdp.create_segment('days', $$cdp.days_did('View', within => '40 days') >= 2$$)},
	q{SELECT cdp.create_segment('cart', $$cdp.last_did('View') > coalesce(cdp.last_did('Order'), '-infinity')$$)},
	q{SELECT cdp.create_segment('newcomers', $$cdp.first_did('Order') > now() - interval '25 days'$$)},
	q{SELECT cdp.create_segment('path', $$cdp.did_sequence(ARRAY['View', 'Order', 'Login'], '5 days')$$)},
	q{SELECT cdp.create_segment('same_sku', $$cdp.did_sequence(ARRAY['View', 'Order'], '20 days', same => 'sku')$$)},
	q{SELECT cdp.create_segment('few_a', $s$cdp.did('Order', within => '60 days', at_least => 1, at_most => 1, filter => $f$properties ->> 'sku' = 'A'$f$)$s$)},
	q{SELECT cdp.create_segment('month', $$cdp.did('View', within => '1 month', at_most => 2)$$)},
	q{SELECT cdp.create_segment('never', $$cdp.did('Refund', at_least => 0, at_most => 0)$$)},
	q{SELECT cdp.create_segment('some_views', $$cdp.times_did('View') BETWEEN 1 AND 3$$)},
	q{SELECT cdp.create_segment('either_way', $$cdp.times_did('View') BETWEEN SYMMETRIC event_count - 2 AND cdp.times_did('Order')$$)},
	q{SELECT cdp.create_segment('between', $$cdp.last_did('Order') NOT IN (first_seen_at, last_seen_at) OR cdp.times_did('Login') IN (event_count, 2)$$)},
	q{SELECT cdp.create_segment('recent', $$now() - last_seen_at BETWEEN interval '5 days' AND interval '25 days 3 hours'$$)},
	q{SELECT cdp.create_segment('lifetime', $$now() BETWEEN first_seen_at AND last_seen_at + interval '20 days' OR extract(hour FROM now()) BETWEEN 9 AND 17 AND event_count > 5$$)},
	q{SELECT cdp.create_segment('nested', $$cdp.in_segment('active') AND NOT cdp.in_segment('quiet') OR orders_30d > 3$$)},
	q{SET client_min_messages = warning; SELECT cdp.import_segment('listed', 'email', ARRAY(SELECT 'Mail' || p || '-' || n || '@example.com' FROM generate_series(0, 120, 3) p, generate_series(0, 3) n))},
	q{SELECT cdp.import_segment('cookies', 'anonymous_id', ARRAY(SELECT 'cookie-' || n FROM generate_series(0, 400, 5) n))},
	q{SELECT cdp.split_segment('cookies', '{"a": 30, "b": 50}')},
	q{SELECT cdp.create_priority_list('first', '{listed, buyers, known, cookies}')},
	q{CREATE SCHEMA crm; CREATE TABLE crm.ticket (ticket_id int PRIMARY KEY, email text, device text, status text, amount int)},
	q{SELECT cdp.create_segment('open_case', $$EXISTS (SELECT FROM crm.ticket t JOIN cdp.identifier i ON i.type = 'email' AND i.value = t.email WHERE i.profile_id = profile.profile_id AND t.status = 'open')$$)},
	q{SELECT cdp.create_segment('no_case', $$profile_id NOT IN (SELECT i.profile_id FROM cdp.identifier i JOIN crm.ticket t ON i.value = t.email)
		AND NOT EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = profile.profile_id AND i.value IN (SELECT device FROM crm.ticket))$$)},
	q{SELECT cdp.create_segment('costly', $$coalesce((SELECT sum(amount) FROM crm.ticket t, cdp.identifier i WHERE i.type = 'device_id' AND i.value = t.device AND i.profile_id = profile.profile_id), 0) > event_count$$)},
	q{SELECT cdp.create_segment('left_alone', $$cdp.in_segment('active') AND NOT cdp.in_segment('open_case')$$)},
	q{SELECT cdp.create_segment('good', $$cdp.in_segment('buyers') AND revenue > 20 AND NOT cdp.in_segment('known') OR plan = 'pro'$$)},
	q{SELECT cdp.create_destination('offers', 'buyers', 'email', '{"age": "age", "segments": "cdp.segment_names()"}', purpose => 'letter')},
	q{SELECT cdp.create_destination('mailing', key => 'email', columns => '{"sku": "last_10d", "total": "revenue"}')},
	q{SELECT cdp.create_destination('quiet', 'active_readers', 'user_id', '{}')});

# What the clock changes, against plain SQL at that instant.
my $clock;
my %plain = (
	active => q{(SELECT count(*) FROM e WHERE event = 'Order' AND occurred_at > hour - interval '20 days') >= 2},
	lapsed => q{EXISTS (SELECT FROM e WHERE event = 'Order') AND NOT EXISTS (SELECT FROM e WHERE event = 'Order' AND occurred_at > hour - interval '30 days')},
	quiet => q{(SELECT max(occurred_at) FROM e) < instant - interval '10 days'},
	days => q{(SELECT count(DISTINCT (occurred_at AT TIME ZONE 'UTC')::date) FROM e WHERE event = 'View' AND occurred_at > hour - interval '40 days') >= 2},
	cart => q{(SELECT max(occurred_at) FROM e WHERE event = 'View') > coalesce((SELECT max(occurred_at) FROM e WHERE event = 'Order'), '-infinity')},
	newcomers => q{(SELECT min(occurred_at) FROM e WHERE event = 'Order') > instant - interval '25 days'},
	path => q{EXISTS (SELECT FROM e a, e b, e c WHERE a.event = 'View' AND b.event = 'Order' AND c.event = 'Login'
		AND a.occurred_at < b.occurred_at AND b.occurred_at < c.occurred_at AND c.occurred_at <= a.occurred_at + interval '5 days')},
	same_sku => q{EXISTS (SELECT FROM e a, e b WHERE a.event = 'View' AND b.event = 'Order' AND a.occurred_at < b.occurred_at
		AND b.occurred_at <= a.occurred_at + interval '20 days' AND a.properties ->> 'sku' = b.properties ->> 'sku')},
	few_a => q{(SELECT count(*) FROM e WHERE event = 'Order' AND occurred_at > hour - interval '60 days' AND properties ->> 'sku' = 'A') = 1},
	month => q{(SELECT count(*) FROM e WHERE event = 'View' AND occurred_at > hour - interval '1 month') BETWEEN 1 AND 2},
	never => q{NOT EXISTS (SELECT FROM e WHERE event = 'Refund')},
	some_views => q{(SELECT count(*) FROM e WHERE event = 'View') BETWEEN 1 AND 3},
	either_way => q{(SELECT count(*) FROM e WHERE event = 'View') BETWEEN SYMMETRIC (SELECT count(*) FROM e) - 2 AND (SELECT count(*) FROM e WHERE event = 'Order')},
	between => q{(SELECT max(occurred_at) FROM e WHERE event = 'Order') NOT IN ((SELECT min(occurred_at) FROM e), (SELECT max(occurred_at) FROM e))
		OR (SELECT count(*) FROM e WHERE event = 'Login') IN ((SELECT count(*) FROM e), 2)},
	recent => q{instant - (SELECT max(occurred_at) FROM e) BETWEEN interval '5 days' AND interval '25 days 3 hours'},
	lifetime => q{instant BETWEEN (SELECT min(occurred_at) FROM e) AND (SELECT max(occurred_at) FROM e) + interval '20 days'
		OR extract(hour FROM instant) BETWEEN 9 AND 17 AND (SELECT count(*) FROM e) > 5},
	nested => q{(SELECT count(*) FROM e WHERE event = 'Order' AND occurred_at > hour - interval '20 days') >= 2
		AND NOT coalesce((SELECT max(occurred_at) FROM e) < instant - interval '10 days', false)
		OR (SELECT count(*) FROM e WHERE event = 'Order' AND occurred_at > hour - interval '30 days') > 3});

sub clock_agrees
{
	my ($db, $when) = @_;
	my $time = qq{(SELECT timestamptz '$clock' AS instant, date_trunc('hour', timestamptz '$clock') AS hour) t};
	for my $segment (sort keys %plain)
	{
		is($node->safe_psql($db, qq{
			SET timezone = 'UTC';
			SELECT string_agg(p.profile_id::text, ' ') FROM cdp.profile p, $time
			WHERE coalesce((WITH e AS MATERIALIZED (SELECT * FROM cdp.profile_event x WHERE x.profile_id = p.profile_id) SELECT $plain{$segment}), false)
				<> EXISTS (SELECT FROM cdp_segment."$segment" s WHERE s.profile_id = p.profile_id)}), '', "$when: segment $segment is what plain SQL gives at $clock");
	}
	my $number = q{(CASE WHEN jsonb_typeof(properties->'total') = 'number' THEN (properties->>'total')::numeric END)};
	my $sku = q{properties->>'sku'};
	is($node->safe_psql($db, qq{
		SET timezone = 'UTC';
		SELECT string_agg(p.profile_id::text, ' ') FROM cdp.profile p, $time, LATERAL (SELECT
			count(*) FILTER (WHERE event = 'Order' AND occurred_at > hour - interval '30 days') AS orders_30d,
			sum($number) FILTER (WHERE event = 'Order' AND occurred_at > hour - interval '7 days') AS revenue_7d,
			max($number) FILTER (WHERE occurred_at > hour - interval '1 month') AS most_month,
			min($number) FILTER (WHERE occurred_at > hour - interval '12 days 90 minutes') AS least_12d,
			count(DISTINCT $sku) FILTER (WHERE occurred_at > hour - interval '20 days') AS skus_20d,
			array_agg(DISTINCT $sku ORDER BY $sku) FILTER (WHERE event = 'View' AND properties ? 'sku' AND occurred_at > hour - interval '15 days') AS viewed_15d,
			(array_agg($sku ORDER BY occurred_at, event_id) FILTER (WHERE event = 'View' AND properties ? 'sku' AND occurred_at > hour - interval '40 days'))[1] AS first_40d,
			(array_agg($sku ORDER BY occurred_at DESC, event_id DESC) FILTER (WHERE event = 'View' AND properties ? 'sku' AND occurred_at > hour - interval '10 days'))[1] AS last_10d
			FROM cdp.profile_event e WHERE e.profile_id = p.profile_id) s
		WHERE (p.orders_30d, p.revenue_7d, p.most_month, p.least_12d, p.skus_20d, p.viewed_15d, p.first_40d, p.last_10d)
			IS DISTINCT FROM (s.orders_30d, s.revenue_7d, s.most_month, s.least_12d, s.skus_20d, s.viewed_15d, s.first_40d, s.last_10d)}), '', "$when: windowed traits are what plain SQL gives at $clock");
}

# An instant at which much of what people did is old and some is not; as often in the last days of March, on which a month ago is
# always the last day of February.
sub any_clock
{
	my $month = pick(1, 2, 3);
	my $day = $month == 3 ? 28 + int(rand(4)) : 1 + int(rand(29));
	return sprintf('2024-%02d-%02d %02d:%02d:%02d.%06d+00', $month, $day, map({ int(rand($_)) } 24, 60, 60), int(rand(1_000_000)));
}

# What apply_identity_rules leaves is what rebuild gives, and nothing more to do; the preview said the same.
sub rules_are_applied
{
	my ($db, $when) = @_;
	my $changes = q{SELECT change, array_length(profiles, 1), number FROM cdp.%s() WHERE change <> 'split' ORDER BY 1, 2, 3};
	my $preview = $node->safe_psql($db, sprintf($changes, 'preview_identity_rules'));
	is($node->safe_psql($db, sprintf($changes, 'apply_identity_rules')), $preview, "$when: the preview says what is done");
	rebuild_is_zero($db, $when);
	plain_sql_agrees($db, $when);
	consents_agree($db, $when);
	is($node->safe_psql($db, 'SELECT * FROM cdp.preview_identity_rules()'), '', "$when: once");
}

# Rules that change are as if they had always held: the same people as where they did.
sub changed_rules_are_equal
{
	my $round = shift;
	my $people = pick(5, 30, 80);
	my @messages = map { message($_, $people) } 1 .. pick(150, 400);
	my $rules = pick(
		q{SELECT cdp.alter_identifier_type('user_id', max_per_profile => 2); SELECT cdp.block_identifier('device_id', '.')},
		q{SELECT cdp.alter_identifier_type('email', 1, 2); SELECT cdp.alter_identifier_type('anonymous_id', max_per_profile => 1)},
		q{SELECT cdp.create_identifier_type('sku', 3, 4, 'lower', '{properties.sku}'); SELECT cdp.alter_identifier_type('user_id', 3, 0); SELECT cdp.block_identifier('*', '[35]$')});
	for my $db ("before_$round", "after_$round")
	{
		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql('postgres', "ALTER DATABASE $db SET cdp.mock_time = '$clock'");
		$node->safe_psql($db, "SET client_min_messages = warning; CREATE EXTENSION cdp; " . join(';', @traits));
		$node->safe_psql($db, $rules) if $db =~ /before/;
		$node->safe_psql($db, insert_sql(@messages) . 'SELECT cdp.process()');
		is($node->safe_psql($db, 'SELECT * FROM cdp.preview_identity_rules()'), '', "$db: as long as rules do not change nothing would");
	}
	$node->safe_psql("after_$round", $rules);
	rules_are_applied("after_$round", "after_$round");
	# Who was known before stays known: those that no message would make known now are left out.
	my %expected = map { map { $_ => 1 } split / / } split /\n/, $node->safe_psql("before_$round", $groups_sql);
	my $groups = sub { join "\n", sort grep { $_ } map { join ' ', grep { $expected{$_} } split / / } split /\n/, $node->safe_psql($_[0], $groups_sql) };
	is($groups->("after_$round"), $groups->("before_$round"), "round $round: who is who after changed rules as if they had always held");
	$node->safe_psql($_, insert_sql(map { message($_ + 10000, $people) } 1 .. 50) . 'SELECT cdp.process()') for "after_$round";
	rebuild_is_zero("after_$round", "after_$round: and messages afterwards");
	is($node->safe_psql("after_$round", 'SELECT * FROM cdp.preview_identity_rules()'), '', "after_$round: they go by the same rules");
	$node->safe_psql('postgres', "DROP DATABASE ${_}_$round") for 'before', 'after';
}


# People are taken apart and joined by hand between the messages.
sub taken_apart_is_equal
{
	my $round = shift;
	my $people = pick(5, 30, 80);
	my @steps = map { rand() < 0.07 ? by_hand($people) : rand() < 0.1 ? { say => consent_sql($people) } : rand() < 0.1 ? { say => ticket_sql($people) } : message($_, $people) } 1 .. pick(150, 400);
	for my $db ("hands_one_$round", "hands_many_$round")
	{
		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql('postgres', "ALTER DATABASE $db SET cdp.mock_time = '$clock'");
		$node->safe_psql($db, "SET client_min_messages = warning; CREATE EXTENSION cdp; " . join(';', @traits));
		my $sql = 'SET client_min_messages = warning;';
		for my $step (@steps)
		{
			if ($step->{ids})
			{
				$sql .= insert_sql($step);
				$sql .= 'SELECT cdp.process(' . pick('NULL', 1, 3) . ');' if $db =~ /many/ && rand() < 0.3;
			}
			elsif ($step->{say}) { $sql .= $step->{say}; }
			else { $sql .= 'SELECT cdp.process();' . by_hand_sql($step); }
		}
		$node->safe_psql($db, $sql . 'SELECT cdp.process()');
		rebuild_is_zero($db, $db);
		plain_sql_agrees($db, $db);
		clock_agrees($db, $db);
		consents_agree($db, $db);
		is(join("\n", sort split(/\n/, $node->safe_psql($db, $groups_sql))), reference_by_hand(@steps), "$db: who is who after taking apart and joining, by the reference");
		is($node->safe_psql($db, q{SELECT count(*) FROM cdp.profile_alias a JOIN cdp.identifier i USING (identifier_id) WHERE a.profile_id <> i.profile_id}), 0,
			"$db: ids that were merged away mean whoever has their oldest identifier");
		is($node->safe_psql($db, 'SELECT * FROM cdp.preview_identity_rules()'), '', "$db: as long as rules do not change nothing would");
		$node->safe_psql($db, q{SELECT cdp.alter_identifier_type('email', max_per_profile => 2), cdp.block_identifier('anonymous_id', '7$')}) if $db =~ /many/;
		rules_are_applied($db, "$db, changed rules after taking apart") if $db =~ /many/;
		is($node->safe_psql($db, q{SELECT count(*) FROM cdp.profile_alias a LEFT JOIN cdp.profile p USING (profile_id) WHERE p.profile_id IS NULL}), 0, "$db: somebody");
	}
	my $content = q{SELECT to_jsonb(p) - 'state', (SELECT string_agg(s.name, ',' ORDER BY s.name) FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) WHERE m.profile_id = p.profile_id),
		(SELECT string_agg(group_id || since, ',' ORDER BY group_id) FROM cdp.account_member a WHERE a.profile_id = p.profile_id),
		(SELECT string_agg(alias_id::text, ',' ORDER BY alias_id) FROM cdp.profile_alias a WHERE a.profile_id = p.profile_id) FROM cdp.profile p ORDER BY profile_id};
	$node->safe_psql("hands_one_$round", q{SELECT cdp.alter_identifier_type('email', max_per_profile => 2), cdp.block_identifier('anonymous_id', '7$')});
	rules_are_applied("hands_one_$round", "hands_one_$round, changed rules after taking apart");
	is($node->safe_psql("hands_one_$round", $content), $node->safe_psql("hands_many_$round", $content), "round $round: the cutting into batches changes nothing of it");
	$node->safe_psql('postgres', "DROP DATABASE hands_${_}_$round") for 'one', 'many';
}

# People whom a matcher finds to be one, and whom somebody takes apart again, between the messages.
sub matched_is_equal
{
	my $round = shift;
	my ($db, $people) = ("matched_$round", 150);
	# Everybody says who they are; some do so twice, by nothing that joins the two.
	my $says = sub {
		my ($number, $who) = @_;
		return sprintf("('says-%s-%d', 'identify', %s, jsonb_build_object('first_name', 'name' || substr(md5('%d'), 1, 1), 'last_name', substr(md5('last %d'), 1, 8), 'birthday', DATE '1960-01-01' + %d))",
			$who ? 'user' : 'twin', $number, $who ? "'user-$number', NULL" : "NULL, 'twin-$number'", $number % 7, $number, $number * 7919 % 12000);
	};
	my $said = 'INSERT INTO cdp.inbox (message_id, type, user_id, anonymous_id, traits) VALUES ';
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "SET client_min_messages = warning; CREATE EXTENSION cdp; " . join(';', @traits));
	my @twins = grep { rand() < 0.3 } 0 .. $people - 1;
	my @late = splice(@twins, int(@twins / 2));
	$node->safe_psql($db, $said . join(', ', (map { $says->($_, 1) } 0 .. $people - 1), (map { $says->($_, 0) } @twins)) . '; SELECT cdp.process()');
	$node->safe_psql($db, q{SELECT cdp.create_matcher('people', '["first_name", "last_name", {"column": "birthday", "kind": "date"}]', '{l.birthday = r.birthday, l.last_name = r.last_name}')});
	cmp_ok($node->safe_psql($db, q{SET client_min_messages = warning; SELECT cdp.find_matches('people')}), '>=', @twins / 2, "$db: matches");
	my $number = 0;
	for my $step (1 .. 4)
	{
		my $sql = 'SET client_min_messages = warning;';
		for (1 .. 25)
		{
			my $what = rand() < 0.3 ? by_hand($people) : undef;
			$sql .= $what && $what->{kind} ne 'merge' ? 'SELECT cdp.process();' . by_hand_sql($what) : insert_sql(message(++$number, $people));
			$sql .= 'SELECT cdp.process(' . pick('NULL', 1, 3) . ');' if rand() < 0.2;
		}
		$sql .= 'SELECT cdp.process();';
		if (@late && rand() < 0.7)
		{
			$sql .= $said . join(', ', map { $says->($_, 0) } splice(@late, 0, 5)) . "; SELECT cdp.process(); SELECT cdp.find_matches('people');";
		}
		$sql .= pick("SELECT cdp.accept_match(match_id) FROM (SELECT match_id FROM cdp.match WHERE status = 'pending' ORDER BY match_id LIMIT 2) m;", '');
		$sql .= "SELECT cdp.apply_matches('people', " . pick(0.5, 0.9) . ');' if $step != 2;
		$sql .= "SELECT cdp.revoke_link(link_id, 'test') FROM (SELECT link_id FROM cdp.identity_link WHERE cause = 'match' AND revoked_at IS NULL ORDER BY md5(link_id::text || '$seed') LIMIT " . int(rand(4)) . ') l;';
		$node->safe_psql($db, $sql);
		rebuild_is_zero($db, "$db, step $step");
		plain_sql_agrees($db, "$db, step $step");
		is($node->safe_psql($db, 'SELECT * FROM cdp.preview_identity_rules()'), '', "$db, step $step: as long as rules do not change nothing would");
		is($node->safe_psql($db, q{SELECT count(*) FROM cdp.identity_link l JOIN cdp.identifier a ON a.identifier_id = l.identifier_a JOIN cdp.identifier b ON b.identifier_id = l.identifier_b
			WHERE l.cause = 'match' AND l.revoked_at IS NOT NULL AND a.profile_id = b.profile_id}), 0, "$db, step $step: who was taken apart is not matched again");
	}
	is($node->safe_psql($db, q{SELECT count(*) FROM cdp.match m LEFT JOIN cdp.identity_link l USING (link_id) WHERE m.link_id IS NOT NULL
		AND (l.cause, l.matcher, l.score) IS DISTINCT FROM ('match', m.matcher, m.probability)}), 0, "$db: a match's link is one in the ledger");
	$node->safe_psql($db, q{SELECT cdp.alter_identifier_type('email', max_per_profile => 2), cdp.block_identifier('anonymous_id', '7$')});
	rules_are_applied($db, "$db, changed rules");
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

# A filter and conditions that begin to fail in mid-stream, on some rows or altogether: nothing else suffers, and they
# are mended: by themselves if they could not be read.
sub failing_is_equal
{
	my $round = shift;
	my ($db, $people) = ("failing_$round", pick(5, 30, 80));
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "SET client_min_messages = warning; CREATE EXTENSION cdp; " . join(';', @traits));
	$node->safe_psql($db, q{
		CREATE TABLE public.mood (bad boolean);
		CREATE FUNCTION public.sound(sku text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
		BEGIN
			IF sku = 'C' AND EXISTS (SELECT FROM public.mood) THEN RAISE EXCEPTION 'not today'; END IF;
			RETURN sku IN ('A', 'C');
		END $$;
		SELECT cdp.create_computed_trait('sounds', 'count', NULL, filter => $$public.sound(properties ->> 'sku')$$);
		SELECT cdp.create_segment('sounding', 'sounds >= 2'), cdp.create_segment('fine', 'public.sound(last_viewed)');
		SELECT cdp.create_segment('both', $$cdp.in_segment('sounding') AND NOT cdp.in_segment('fine')$$)});
	my $number = 0;
	my $send = sub { return 'SET client_min_messages = error;' . join('', map { insert_sql(message(++$number, $people)) . 'SELECT cdp.process();' } 1 .. pick(5, 40)) };
	for my $step (1 .. 6)
	{
		my ($break, $mend) = @{ pick(
			['INSERT INTO public.mood VALUES (true)', 'DELETE FROM public.mood; SELECT cdp.rebuild(true)'],
			['ALTER TABLE crm.ticket RENAME TO lost; INSERT INTO crm.lost SELECT max(ticket_id) + 1, $$mail1-1@example.com$$, $$kiosk-1$$, $$open$$ FROM crm.lost HAVING count(*) > 0',
			 'DELETE FROM crm.lost WHERE ticket_id % 3 = 1; ALTER TABLE crm.lost RENAME TO ticket; SELECT cdp.process()'],
			['ALTER FUNCTION public.sound(text) RENAME TO gone', 'ALTER FUNCTION public.gone(text) RENAME TO sound; SELECT cdp.process()'],
			['SELECT', 'SELECT']) };
		$node->safe_psql($db, join('', map { ticket_sql($people) } 1 .. 5) . $send->() . "$break;" . $send->());
		rebuild_is_zero($db, "$db, step $step, failing") if $break eq 'SELECT';
		plain_sql_agrees($db, "$db, step $step, whatever else fails");
		$node->safe_psql($db, $send->() . ($mend =~ /DELETE/ ? by_hand_sql({ kind => 'revoke', link => int(rand(500)) }) : '') . "$mend;" . $send->());
		is($node->safe_psql($db, 'SELECT name, problem FROM cdp.trait WHERE problem IS NOT NULL UNION ALL SELECT name, problem FROM cdp.segment WHERE problem IS NOT NULL'), '', "$db, step $step: mended");
		rebuild_is_zero($db, "$db, step $step, mended");
		is($node->safe_psql($db, q{
			SELECT count(*) FROM cdp.profile p FULL JOIN (
				SELECT i.profile_id, count(*) FILTER (WHERE properties ->> 'sku' IN ('A', 'C')) AS sounds
				FROM cdp.identifier i LEFT JOIN cdp.event e USING (identifier_id) GROUP BY 1) s USING (profile_id)
			WHERE p.sounds IS DISTINCT FROM s.sounds OR (s.sounds >= 2) <> EXISTS (SELECT FROM cdp_segment.sounding m WHERE m.profile_id = p.profile_id)
				OR (coalesce(p.last_viewed IN ('A', 'C'), false)) <> EXISTS (SELECT FROM cdp_segment.fine m WHERE m.profile_id = p.profile_id)
				OR (s.sounds >= 2 AND NOT coalesce(p.last_viewed IN ('A', 'C'), false)) <> EXISTS (SELECT FROM cdp_segment.both m WHERE m.profile_id = p.profile_id)}), 0,
			"$db, step $step: what failed is what plain SQL gives");
	}
	is($node->safe_psql($db, 'SELECT count(*) FROM cdp.event'), $number, "$db: no message was lost");
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

my $rounds = $ENV{CDP_TEST_ROUNDS} // 3;
for my $round (1 .. $rounds)
{
	$clock = any_clock();
	my $people = pick(5, 30, 120);
	my $count = pick(150, 400, 900);
	my @messages = map { message($_, $people) } 1 .. $count;
	my @once = @messages;
	my @said = grep { !/suppress/ } map { consent_sql($people) } 1 .. 40;
	my @tickets = map { ticket_sql($people) } 1 .. 60;
	# Some arrive again, later.
	my @sent = map { rand() < 0.05 ? ($_, $_) : ($_) } @messages;

	for my $db ("one_$round", "many_$round")
	{
		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql('postgres', "ALTER DATABASE $db SET cdp.mock_time = '$clock'");
		$node->safe_psql($db, "SET client_min_messages = warning; CREATE EXTENSION cdp");
		my @definitions = @traits;
		if ($db =~ /^one/)
		{
			$node->safe_psql($db, "$_") for @definitions;
			$node->safe_psql($db, insert_sql(@sent) . 'SELECT cdp.process();' . join('', @said, @tickets) . 'SELECT cdp.process()');
			@definitions = ();
		}
		else
		{
			# Any cutting: transactions and batches of random sizes, traits and segments made in mid-stream.
			my @left = @sent;
			my @saying = shuffle(@said);
			my @changing = @tickets;
			my $sql = '';
			while (@left)
			{
				my $take = 1 + int(rand(rand() < 0.5 ? 5 : 80));
				$sql .= insert_sql(splice(@left, 0, $take));
				$sql .= 'SELECT cdp.process(' . pick('NULL', 1, 7, 50) . ');' if rand() < 0.5;
				$sql .= (shift @definitions) . ';' if @definitions && rand() < 0.4;
				$sql .= "SET cdp.mock_time = '" . pick(grep { $_ le $clock } $clock, map { any_clock() } 1 .. 20) . "';" if rand() < 0.2;
				$sql .= shift @changing while @changing && rand() < 0.6 && !grep { /CREATE TABLE/ } @definitions;
				$sql .= shift @saying while @saying && rand() < 0.5 && !grep { /create_purpose/ } @definitions;
			}
			$sql .= "SET cdp.mock_time = '$clock';";
			$sql .= "$_;" for @definitions, @saying, @changing;
			$node->safe_psql($db, $sql . 'SELECT cdp.process()');
		}
		is($node->safe_psql($db, 'SELECT count(*), count(DISTINCT message_id) FROM cdp.event'), "$count|$count", "$db: each message once");
		rebuild_is_zero($db, $db);
		plain_sql_agrees($db, $db);
		clock_agrees($db, $db);
		consents_agree($db, $db);
		my $groups = $node->safe_psql($db, $groups_sql);
		is(join("\n", sort split(/\n/, $groups)), reference(@once), "$db: who is who, by the reference");
	}
	my $content = q{SELECT profile_id, first_seen_at, last_seen_at, event_count, traits, orders, revenue, mean, least, most, last_total, first_whole, skus, viewed, last_viewed,
		first_viewed, favourite, plan, first_plan, age, orders_30d, revenue_7d, most_month, least_12d, skus_20d, viewed_15d, first_40d, last_10d,
		favourite_40d FROM cdp.profile ORDER BY profile_id};
	is($node->safe_psql("one_$round", $content), $node->safe_psql("many_$round", $content), "round $round: the cutting into batches changes nothing");
	my $members = 'SELECT s.name, m.profile_id FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id) ORDER BY 1, 2';
	is($node->safe_psql("one_$round", $members), $node->safe_psql("many_$round", $members), "round $round: nor who is in which segment");

	# By hand, too.
	my $db = "many_$round";
	$node->safe_psql($db, q{
		SELECT cdp.merge_profiles(a, b, 'test') FROM (SELECT min(profile_id) AS a, max(profile_id) AS b FROM cdp.profile) x;
		SELECT cdp.drop_segment('good'); SELECT cdp.drop_trait('plan');});
	$node->safe_psql($db, insert_sql(map { message($_ + 10000, $people) } 1 .. 100) . 'SELECT cdp.process()');
	rebuild_is_zero($db, "$db after a merge by hand");
	$node->safe_psql($db, q{UPDATE cdp.profile SET orders = orders + 1, state = NULL; DELETE FROM cdp.segment_member; UPDATE cdp.identifier SET last_seen_at = now()});
	$node->safe_psql($db, 'SELECT cdp.rebuild(repair => true)');
	rebuild_is_zero($db, "$db after damage and repair");
	plain_sql_agrees($db, "$db after damage and repair");
	# With nothing but the clock: in the night of the 30th what had left windows of a month by the evening before counts again.
	for my $later (grep { $_ gt $clock } '2024-03-03 07:08:09.5+00', '2024-03-29 20:30:00+00', '2024-03-30 05:00:00+00', '2024-04-12 23:59:59+00')
	{
		$clock = $later;
		$node->safe_psql('postgres', "ALTER DATABASE $db SET cdp.mock_time = '$clock'");
		$node->safe_psql($db, 'SELECT cdp.flush()');
		clock_agrees($db, "$db later");
		rebuild_is_zero($db, "$db later");
	}
	$clock = any_clock();
	taken_apart_is_equal($round);
	changed_rules_are_equal($round);
	matched_is_equal($round);
	failing_is_equal($round);
	$node->safe_psql('postgres', "DROP DATABASE one_$round; ");
	$node->safe_psql('postgres', "DROP DATABASE many_$round; ");
}

$node->stop;
done_testing();
