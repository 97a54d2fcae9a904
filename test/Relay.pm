# Relay.pm: the relay, built where it is tested, and those it delivers to.
package Relay;

use strict;
use warnings;

use EventLog;
use Exporter 'import';
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(build_relay start_relay stop_relay kill_relay run_relay start_receiver start_mail_sink
  kill_receiver ledger_of python_with);

my $root = $ENV{TESTDIR} // '.';
my $program = "$root/relay/eventsource-relay";
my $dir = PostgreSQL::Test::Utils::tempdir;
my @receivers;

# '' when it is there, else why it cannot be.
sub build_relay
{
	my ($out, $err) = ('', '');
	my $pg_config = "$ENV{ES_BINDIR}/pg_config";
	my ($header) = grep { -f "$_/curl/curl.h" } '/usr/include', glob '/usr/include/*-linux-gnu';

	return 'no headers of libcurl here' if !$header;
	return 'no headers of libpq here' if !-f `$pg_config --includedir` =~ s/\s+$//r . '/libpq-fe.h';
	IPC::Run::run([ 'make', '-s', '-C', $root, "PG_CONFIG=$pg_config", 'relay' ], '>', \$out, '2>', \$err)
	  or die "relay is not built: $out$err";
	return '';
}

# A Python that has this module, or undef.
sub python_with
{
	my ($module) = @_;
	my ($python) = grep { system("$_ -c 'import $module' 2>/dev/null") == 0 } '/usr/bin/python3', 'python3';
	return $python;
}

# ---- the relay ----

sub command_of
{
	my ($node, @options) = @_;
	my $user = $ENV{PGUSER_FOR_RELAY} ? " user=$ENV{PGUSER_FOR_RELAY}" : '';

	return ($program, '--dbname=' . $node->connstr('log') . $user, '--poll=0.05', @options);
}

sub start_relay
{
	my ($node, @options) = @_;
	my %relay = (err => '');

	$relay{run} = IPC::Run::start([ command_of($node, @options) ], '<', \undef, '>', \$relay{out}, '2>', \$relay{err});
	return \%relay;
}

# The exit code.
sub end_of
{
	my ($relay) = @_;
	$relay->{run}->finish;
	my $status = $relay->{run}->full_result(0);
	return $status & 127 ? 'signal ' . ($status & 127) : $status >> 8;
}

sub stop_relay
{
	my ($relay) = @_;
	$relay->{run}->signal('TERM');
	return end_of($relay);
}

# With SIGKILL, at once.
sub kill_relay
{
	my ($relay) = @_;
	$relay->{run}->signal('KILL');
	eval { $relay->{run}->finish };
	return;
}

# Until it ends by itself: its exit code, and what it said.
sub run_relay
{
	my ($node, @options) = @_;
	my $relay = start_relay($node, @options);
	return (end_of($relay), $relay->{err});
}

# ---- receivers ----

sub start_server
{
	my ($python, $script, $port, @arguments) = @_;
	my %server = (port => $port, command => [ $python, "$root/test/app/$script", $port, @arguments ]);

	$server{run} = IPC::Run::start($server{command}, '<', \undef, '>', \$server{out}, '2>', \$server{err});
	wait_until(sub { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) })
	  or die "$script does not listen: $server{err}";
	push @receivers, \%server;
	return \%server;
}

# Listens on a port of its own, or one that it had before.
sub start_receiver
{
	my ($ledger, $port, @certificate) = @_;
	return start_server(python_with('json'), 'receiver.py', $port // PostgreSQL::Test::Cluster::get_free_port(),
		$ledger, @certificate);
}

sub start_mail_sink
{
	my ($ledger, $port) = @_;
	return start_server(python_with('aiosmtpd'), 'mail_sink.py', $port // PostgreSQL::Test::Cluster::get_free_port(),
		$ledger);
}

sub kill_receiver
{
	my ($server) = @_;
	kill_relay($server);
	@receivers = grep { $_ != $server } @receivers;
	return;
}

# What one of them took down, in order; a line that was cut off by its death was never answered.
sub ledger_of
{
	my ($ledger) = @_;
	return () if !-f $ledger;
	return map { JSON::PP::decode_json($_) } grep { /\}$/ } split /\n/, slurp_file($ledger);
}

END
{
	my $code = $?;
	my @left = @receivers;
	kill_receiver($_) for @left;
	$? = $code;
}

1;
