# Torture.pm: crowds of pgbench clients that survive what is done to them, and
# strangers who sit in transactions of their own. Scripts lie in test/torture.
package Torture;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Utils;

our @EXPORT = qw(start_crowd finish_crowd start_stranger finish_stranger settle_prepared);

my $scripts = ($ENV{TESTDIR} // '.') . '/test/torture';

# A client whose backend is killed, or that meets an error, begins anew until its
# time is over. It waits for no lock much longer than that: a prepared transaction
# whose owner died may hold it.
my $loop = <<'SH';
end=$(($(date +%s) + $1)); shift
while left=$((end - $(date +%s))); [ $left -gt 0 ]; do
	pgbench -n -M simple -c 1 -T $left "$@" >/dev/null 2>&1 || sleep 0.1
done
SH

# So many clients, which each run a script for some seconds; variables are the
# script's. They show as "torture <script>" in pg_stat_activity.
sub start_crowd
{
	my ($node, $script, $clients, $seconds, %variables) = @_;
	my @variables = map { ('-D', "$_=$variables{$_}") } sort keys %variables;
	my $url = $node->connstr('log') . " application_name='torture $script' options='-c lock_timeout=1s'";

	return [
		map {
			IPC::Run::start(
				[ 'sh', '-c', $loop, 'sh', $seconds, @variables, '-f', "$scripts/$script.sql", $url ],
				'<', \undef, '>&', \my $out)
		} 1 .. $clients ];
}

sub finish_crowd { $_->finish for @{ $_[0] }; return }

# A session that runs SQL and then sits, idle in its transaction.
sub start_stranger
{
	my ($node, $db, $sql) = @_;
	my %stranger = (in => "BEGIN ISOLATION LEVEL REPEATABLE READ;\n$sql;\n\\echo ready\n", out => '');

	$stranger{psql} =
	  IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db) ], '<', \$stranger{in}, '>', \$stranger{out});
	$stranger{psql}->pump until $stranger{out} =~ /ready/;
	return \%stranger;
}

sub finish_stranger
{
	my ($stranger) = @_;
	$stranger->{in} .= "COMMIT;\n\\q\n";
	$stranger->{psql}->finish;
	return;
}

# Decides prepared transactions that are older than this: what their owners do not
# do, dead ones above all.
sub settle_prepared
{
	my ($node, $seconds) = @_;
	my $old = $node->safe_psql('log',
		"SELECT gid FROM pg_prepared_xacts WHERE prepared < now() - make_interval(secs => $seconds)");
	for my $gid (split /\n/, $old)
	{
		my $verb = rand() < 0.5 ? 'COMMIT' : 'ROLLBACK';

		# Its owner may have been faster.
		$node->psql('log', "$verb PREPARED '$gid'", stdout => \my $out, stderr => \my $err);
	}
	return;
}

1;
