# RelayTest: a relay and a receiver for the tests of cdp-relay, and what a receiver must never see.
package RelayTest;
use strict;
use warnings;
use Exporter 'import';
use File::Basename qw(dirname);
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
our @EXPORT = qw(start_node sql process start_receiver stop_receiver behave start_relay stop_relay wait_until received disorder wandering latest http_get free_port);

my $here = dirname(__FILE__);
my $node;

# A cluster whose changes can be followed, with cdp in its database postgres; sql and process are for that. `more`: settings.
sub start_node
{
	my ($name, $more) = @_;
	$node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', $more) if $more;
	$node->start;
	sql('SET client_min_messages = warning; CREATE EXTENSION cdp');
	return $node;
}

sub sql { my ($statements) = @_; return $node->safe_psql('postgres', $statements) }
sub process { my ($statements) = @_; return sql("SET client_min_messages = warning; $statements; SELECT cdp.process()") }

sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no port: $!";
	return $socket->sockport;
}

sub wait_until
{
	my ($what, $seconds, $condition) = @_;
	my $deadline = time() + $seconds;
	while (time() < $deadline)
	{
		return 1 if $condition->();
		usleep(50_000);
	}
	diag("waited $seconds s in vain until $what");
	return 0;
}

# A receiver: {folder, port, run}. Started again it has the same port and folder.
sub start_receiver
{
	my ($receiver) = @_;
	$receiver //= { folder => PostgreSQL::Test::Utils::tempdir(), port => 0 };
	unlink "$receiver->{folder}/port";
	$receiver->{run} = IPC::Run::start([ 'python3', "$here/receiver.py", $receiver->{port}, $receiver->{folder} ],
		'<', \undef, '>>', "$receiver->{folder}/log", '2>&1');
	wait_until('the receiver listens', 30, sub { -e "$receiver->{folder}/port" }) or die 'no receiver';
	($receiver->{port}) = slurp_file("$receiver->{folder}/port") =~ /(\d+)/;
	return $receiver;
}

sub stop_receiver { my ($receiver) = @_; $receiver->{run}->kill_kill(grace => 0); return }

sub behave
{
	my ($receiver, $how) = @_;
	open(my $file, '>', "$receiver->{folder}/behaviour.new") or die $!;
	print $file encode_json($how);
	close $file;
	rename("$receiver->{folder}/behaviour.new", "$receiver->{folder}/behaviour") or die $!;
	return;
}

sub start_relay
{
	my ($node, %how) = @_;
	my $log = $how{log} // PostgreSQL::Test::Utils::tempdir() . '/relay.log';
	my $program = $ENV{CDP_RELAY} || $node->config_data('--bindir') . '/cdp-relay';  # one built with the sanitizers
	local %ENV = (LSAN_OPTIONS => "suppressions=$here/leaks.supp:print_suppressions=0", %ENV, CDP_LONGEST_PAUSE => 1, %{ $how{env} // {} });
	my $run = IPC::Run::start([ $program, 'deliver', '--dsn', $node->connstr($how{database} // 'postgres'), @{ $how{arguments} // [] } ],
		'<', \undef, '>>', $log, '2>&1');
	return { run => $run, log => $log };
}

# How: TERM, or KILL.
sub stop_relay
{
	my ($relay, $how) = @_;
	if ($how eq 'KILL') { $relay->{run}->kill_kill(grace => 0); return }
	$relay->{run}->signal($how);
	$relay->{run}->finish;
	return $relay->{run}->result(0);
}

sub received
{
	my ($receiver) = @_;
	my $file = "$receiver->{folder}/received";
	return [] unless -e $file;
	return [ map { decode_json($_) } grep { /\}$/ } split /\n/, slurp_file($file) ];
}

# What nobody may ever be sent, in words: changes out of order, or twice under different ids. `number`: a column that only
# grows. `coalesced`: who came and left again meanwhile is only said to have left, once more.
sub disorder
{
	my ($records, $number, $coalesced) = @_;
	my (@wrong, %seen, %last);
	for my $record (@$records)
	{
		my $key = $record->{key};
		my $last = $last{$key};
		push @wrong, "$key: $record->{type} $record->{id} again after $last->{type} $last->{id}" if $seen{$key}{ $record->{id} }++ && $last->{id} ne $record->{id};
		if ($last && $last->{id} ne $record->{id})
		{
			push @wrong, "$key: twice $record->{type}, as $last->{id} and $record->{id}"
				if JSON::PP->new->canonical->encode($last->{row}) eq JSON::PP->new->canonical->encode($record->{row}) && $last->{type} eq $record->{type} && !($coalesced && $record->{type} eq 'delete');
			push @wrong, "$key: $number $record->{row}{$number} after $last->{row}{$number}"
				if $record->{type} ne 'delete' && $last->{type} ne 'delete' && $record->{row}{$number} < $last->{row}{$number};
		}
		$last{$key} = $record;
	}
	return join("\n", @wrong);
}

# Whose rows come under one key after the other, each "<person>-<number>" with a number that only grows: where somebody is spoken
# of under a key that they had before a row that has been sent. Removals wait for nobody: among them there is no order between keys.
sub wandering
{
	my ($records, $number) = @_;
	my (@wrong, %last);
	for my $record (@$records)
	{
		my ($person, $key) = $record->{key} =~ /^(.+)-(\d+)$/ or next;
		my $last = $last{$person} //= { key => 0, number => 0 };
		push @wrong, "$person: $record->{type} of $key after $last->{key}" if $key < $last->{key};
		push @wrong, "$person: $number $record->{row}{$number} after $last->{number}" if $record->{type} ne 'delete' && $record->{row}{$number} < $last->{number};
		@$last{qw(key number)} = ($key, $record->{row}{$number}) if $record->{type} ne 'delete';
	}
	for my $person (map { (split /:/)[0] } @wrong)
	{
		my @theirs = grep { $_->{key} =~ /^\Q$person\E-/ } @$records;
		diag("$person was sent:", map { sprintf("\n  %.3f %s %s %s %s", $_->{at}, @$_{qw(type key id)}, $_->{row}{$number} // '') } @theirs);
	}
	return join("\n", @wrong);
}

# What a receiver has that applied everything: "key|column|…" by key.
sub latest
{
	my ($records, @columns) = @_;
	my %rows;
	for my $record (@$records)
	{
		if ($record->{type} eq 'delete') { delete $rows{ $record->{key} } }
		else { $rows{ $record->{key} } = join('|', $record->{key}, map { $record->{row}{$_} // '' } @columns) }
	}
	return join("\n", map { $rows{$_} } sort keys %rows);
}

sub http_get
{
	my ($port, $path) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) or return '';
	print $socket "GET $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	local $/;
	return scalar <$socket>;
}

1;
