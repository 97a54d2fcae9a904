# 057_erased_killed.pl: kill -9 of the whole server at random moments of an erasure: it is
# done wholly or not at all, and the log says which; afterwards it can be done.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('erased_killed', 'eventsource.segment_size = 500', 'autovacuum = off');
my $seed = $ENV{ES_SEED} // time;
srand $seed;
note "seed $seed";

sub value { return $node->safe_psql('log', $_[0]) }

value(<<'SQL');
SELECT eventsource.register_event_type('signed_up', category => 'cust', pii => '{"email": "hash"}');
CREATE TABLE customer (key text PRIMARY KEY, email text, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('customer', '{cust}', jsonb_build_object('*', $$n = row.n + 1, email = coalesce(event.data->>'email', row.email)$$));
SELECT count(eventsource.append('cust-' || i % 40, 'signed_up', jsonb_build_object('email', 'zebra8492-' || i % 40 || '@example.com', 'n', i), idempotency_key => 'k' || i)) FROM generate_series(1, 1600) i;
SQL

# What is there of a subject, in words that tell wholly from partly.
sub state_of
{
	my ($subject) = @_;
	return value(<<"SQL");
SELECT concat_ws(' ', CASE WHEN EXISTS (SELECT FROM eventsource.erased_subjects WHERE subject = '$subject') THEN 'marked' ELSE 'not' END,
	(SELECT count(*) FROM eventsource.events WHERE subject = '$subject' AND type = 'erasure_completed'),
	(SELECT count(*) FROM eventsource.events WHERE stream = '$subject' AND data ->> 'email' LIKE 'zebra%'),
	(SELECT count(*) FROM eventsource.vault v WHERE v.subject = '$subject' AND v.fields::text LIKE '%zebra%'),
	(SELECT count(*) FROM customer WHERE email LIKE 'zebra%' AND key = '@{[ $subject =~ s/cust-//r ]}'),
	(SELECT count(*) FROM eventsource.erasure_report('$subject') WHERE what = 'erasure_completed' AND target = 'events'))
SQL
}

my ($done, $undone, $limit) = (0, 0, time + 8);
for (my $round = 0; $round < 20 && time < $limit; $round++)
{
	my $subject = 'cust-' . $round;
	my $mode = $round % 2 ? 'hard' : 'anonymize';
	my ($out, $err) = ('', '');
	my $session = IPC::Run::start(
		[ 'psql', '-X', '-d', $node->connstr('log'), '-c', "SELECT count(*) FROM eventsource.erase_subject('$subject', '$mode', 'r')" ],
		'<', \undef, '>', \$out, '2>', \$err);
	sleep(0.02 + rand 0.08);
	kill_server($node);
	$session->finish;
	$node->start;
	my $state = state_of($subject);
	like($state, qr/^(marked 1 0 0 0 1|not 0 40 40 1 0)$/, "round $round, $mode: wholly or not at all");
	is(value(q{SELECT count(*) FROM eventsource.verify_log() WHERE status = 'tampered'}), 0, 'the log verifies');
	if ($state =~ /^marked/) { $done++; }
	else
	{
		unlike($out, qr/1 row/, 'nobody was told that it was done');
		$undone++;
		value("SELECT count(*) FROM eventsource.erase_subject('$subject', '$mode', 'r')");
	}
}
note "$done were done, $undone were not";
is(value(q{SELECT count(*) FROM eventsource.erased_subjects}), $done + $undone, 'all could be erased in the end');
is(problems_of($node, 'log'), '', 'the log is whole');

# Those that are left, too: no file says it once scrubbed.
value("SELECT count(*) FROM eventsource.erase_subject('cust-$_', 'hard', 'r')") for $done + $undone .. 39;
value('SELECT eventsource.scrub_statements() \gexec');
my @found;
for my $file (split /\0/, `find @{[ $node->data_dir ]}/base -type f -print0`)
{
	push @found, $file if index(eval { slurp_file($file) } // '', 'zebra8492') >= 0;
}
is_deeply(\@found, [], 'no file has what was erased');
$node->stop;
done_testing();
