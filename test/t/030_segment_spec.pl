# 030_segment_spec.pl: every example of the Segment spec comes in as the spec means it.
#
# What an example is, and what must become of it:
#
#   message    an object with type (the oldest pages still say action): sent as it stands. With a userId, an
#              anonymousId or an identifier in its context it is accepted. Some pages trim these away; then it is
#              refused for exactly that, and accepted once an SDK has added its anonymousId.
#   calls      of a library, {"_calls": […]}: made as analytics.js makes them, in a browser of anonymousId
#              "browser-1": one message each. user().anonymousId() sends nothing.
#   fragment   a part of a message (the integrations object), or an answer of the Profiles API: no message.
#              Refused, for it has no type.
#
# Accepted means: each field is in its column as it was; integrations, channel, version and what else the spec has
# beside the columns are in the context; occurred_at is received_at − (sentAt − originalTimestamp).
use strict;
use warnings;
use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = $ENV{CDP_TEST_DATA} // "$FindBin::RealBin/../../../shared/data";
my $file = "$data/segment_spec/spec_examples.json";
if (!-e $file)
{
	BAIL_OUT("$file is missing; set CDP_TEST_DATA") if $ENV{CI};
	plan skip_all => "$file is missing; set CDP_TEST_DATA";
}

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $examples = $json->decode(slurp_file($file));
is(scalar @$examples, 141, 'all examples are there');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'America/New_York'\n");
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE spec ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('spec', 'CREATE EXTENSION cdp');

my %known = map { $_ => 1 } qw(identify track page screen group alias);

# What analytics.js sends for a call.
sub called
{
	my ($call) = @_;
	my $method = $call->{method};
	return if !$known{$method};
	my @args = @{ $call->{args} };
	my %message = (type => $method, anonymousId => 'browser-1');
	if (ref $args[0] eq 'HASH' && $method eq 'track')
	{
		return { %message, %{ $args[0] } };    # a server library: the message itself
	}
	if ($method eq 'track') { $message{event} = shift @args }
	elsif ($method eq 'alias')
	{
		@message{qw(userId previousId)} = (shift @args, delete $message{anonymousId});
	}
	elsif ($method eq 'page' || $method eq 'screen')
	{
		my @names = grep { !ref } @args;
		@args = grep { ref } @args;
		@message{qw(category name)} = @names if @names == 2;
		$message{name} = $names[0] if @names == 1;
	}
	elsif (!ref $args[0])
	{
		$message{ $method eq 'group' ? 'groupId' : 'userId' } = shift @args;
	}
	my ($body, $options) = @args;
	$message{ $method =~ /identify|group/ ? 'traits' : 'properties' } = $body if defined $body;
	if ($options)    # context: what is named so, and all other options
	{
		my %options = %$options;
		my $context = delete $options{context};
		$message{context} = { %options, %{ $context // {} } };
	}
	return \%message;
}

# The columns that the message must be in.
sub expected
{
	my ($message) = @_;
	my %m = %$message;
	my %row;
	$row{type} = delete $m{type};
	$row{type} //= delete $m{action};
	for ([ 'user_id', 'userId' ], [ 'anonymous_id', 'anonymousId' ], [ 'previous_id', 'previousId' ], [ 'group_id', 'groupId' ])
	{
		$row{ $_->[0] } = delete $m{ $_->[1] };
		$row{ $_->[0] } //= delete $m{ $_->[0] };
	}
	my $is_page = $row{type} =~ /page|screen/;
	$row{event} = delete $m{ $is_page ? 'name' : 'event' };
	$row{properties} = delete $m{properties};
	if ($is_page && defined $m{category})
	{
		$row{properties} = { category => delete $m{category}, %{ $row{properties} // {} } };
	}
	$row{traits} = delete $m{traits};
	my $context = delete $m{context};
	delete @m{qw(messageId timestamp originalTimestamp sentAt receivedAt)};
	$row{context} = { %m, %$context } if $context;
	$row{context} = {%m} if !$context && %m;
	return \%row;
}

my %count;

sub ingest
{
	my ($message) = @_;
	my $text = $json->encode($message);
	my $answer = $node->safe_psql('spec', "SELECT to_json(r) FROM cdp.ingest(\$message\$$text\$message\$) r");
	return $json->decode($answer);
}

sub accepted_whole
{
	my ($message, $name) = @_;
	my $answer = ingest($message);
	is($answer->{status}, 'accepted', "$name: accepted") or return diag($json->encode($answer));
	++$count{accepted};
	my $text = $json->encode($message);
	my $found = $json->decode(
		$node->safe_psql(
			'spec', qq{
		SELECT jsonb_build_object(
			'row', to_jsonb(i),
			'on_time', i.received_at - i.occurred_at = coalesce((m ->> 'sentAt')::timestamptz
				- coalesce(m ->> 'originalTimestamp', m ->> 'timestamp')::timestamptz, interval '0'),
			'sent_at', i.sent_at IS NOT DISTINCT FROM (m ->> 'sentAt')::timestamptz,
			'received_at', i.received_at > now() - interval '1 minute')
		FROM cdp.inbox i, LATERAL (SELECT \$message\$$text\$message\$::jsonb) _ (m)
		ORDER BY i.inbox_id DESC LIMIT 1}));
	my $expected = expected($message);
	my %row = map { $_ => $found->{row}{$_} } keys %$expected;
	is($json->encode(\%row), $json->encode($expected), "$name: in its columns");
	is($found->{row}{message_id}, $message->{messageId}, "$name: under its id") if defined $message->{messageId};
	ok($found->{$_}, "$name: $_") for qw(on_time sent_at received_at);
	return;
}

sub refused
{
	my ($message, $reason, $name) = @_;
	my $answer = ingest($message);
	is("$answer->{status}: $answer->{reason}", "rejected: $reason", "$name: refused, $reason");
	++$count{refused};
	is( $json->encode(
			$json->decode(
				$node->safe_psql('spec', 'SELECT message FROM cdp.rejected_message ORDER BY rejection_id DESC LIMIT 1'))),
		$json->encode($message),
		"$name: kept whole");
	return;
}

my $number = 0;
for my $entry (@$examples)
{
	my $example = $entry->{example};
	my $name = $number++ . " ($entry->{section})";
	if ($example->{_calls})
	{
		my @messages = grep { defined } map { called($_) } @{ $example->{_calls} };
		accepted_whole($_, $name) for @messages;
		++$count{ @messages ? 'calls' : 'calls of nothing' };
	}
	elsif ($known{ $example->{type} // $example->{action} // '' })
	{
		++$count{messages};
		my $context = $example->{context} // {};
		my $somebody = $example->{userId} // $example->{user_id} // $example->{anonymousId} // $context->{traits}{email};
		if (!defined $somebody)
		{
			refused($example, 'no identifier', $name);
			$example = { %$example, anonymousId => 'browser-1' };
			++$count{trimmed};
		}
		accepted_whole($example, $name);
	}
	else
	{
		++$count{fragments};
		refused($example, 'unknown type', $name);
	}
}
is( $json->encode(\%count),
	'{"accepted":137,"calls":53,"calls of nothing":1,"fragments":3,"messages":84,"refused":7,"trimmed":4}',
	'of all kinds as many as the spec has');

# And all at once, in one batch: the same again, in order.
my @all = map { $_->{example} } grep { $known{ $_->{example}{type} // '' } } @$examples;
my $text = $json->encode({ batch => \@all, sentAt => '2024-05-01T10:00:00.000Z', writeKey => 'key' });
is( $node->safe_psql(
		'spec', "SELECT string_agg(left(status, 1), '' ORDER BY n) FROM cdp.ingest(\$message\$$text\$message\$) WITH ORDINALITY _ (id, status, reason, n)"),
	join('', map { defined($_->{userId} // $_->{anonymousId}) ? 'a' : 'r' } @all),
	'a batch of all messages');

# What ingest accepts the pipeline accepts too; the spec gives several examples the same messageId.
my $different = $node->safe_psql('spec', 'SELECT count(DISTINCT message_id) FROM cdp.inbox');
$node->safe_psql('spec', 'SELECT cdp.process()');
is($node->safe_psql('spec', 'SELECT count(*) FROM cdp.event'), $different, 'each becomes one event');
is($node->safe_psql('spec', 'SELECT count(*) FROM cdp.rejected_message WHERE from_inbox'), 0, 'and none is refused later');

$node->stop;
done_testing();
