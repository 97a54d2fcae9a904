# 044_honest.pl: no false alarm. Writers append, correct, erase and take back at the
# same time as somebody seals, archives, prunes and merges; the log is dumped, restored and goes
# on; at the end both verifiers find nothing, against every checkpoint that was taken on
# the way. ES_HONEST_EVENTS says how many events (about); where it is given, the log goes
# through pg_upgrade as well. By hand, with a million:
#
#   ES_HONEST_EVENTS=1000000 ES_TAP_SECONDS=10800 tools/test.sh test/t/044_honest.pl

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $events = $ENV{ES_HONEST_EVENTS} || 12000;
my $rounds = 3;
my @settings = ('eventsource.segment_size = ' . int($events / 12 + 300), 'synchronous_commit = off');
my $node = new_server('honest', @settings);
my $dir = PostgreSQL::Test::Utils::tempdir;
my $verifier = "$ENV{TESTDIR}/tools/verify_log.py";
my $db = 'log';

$node->safe_psql($db, <<'SQL');
SELECT eventsource.register_event_type('signed_up', pii => '{"email": "hash", "address.street": "redact", "ip": "mask_ip"}');
SELECT eventsource.set_retention('page', '0', '0', 'disposable'), eventsource.set_retention('batch', '0', class => 'kept');
SQL

# One of so many things a writer does; each makes some events. Who is erased signed up in
# the round before: nobody runs into ZE009.
PostgreSQL::Test::Utils::append_to_file("$dir/write.sql", <<'SQL');
\set what random(1, 14)
\set who random(1, 60)
\set n random(1, 40)
\if :what <= 4
SELECT eventsource.append('account-' || :who, 'moved', jsonb_build_object('n', :n, 'x', 1.50, 'deep', '[[{"ü": null}]]'::jsonb), metadata => '{"m": true}');
\elif :what <= 6
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'batch-' || i % 7, 'type', 'made', 'data', i)) FROM generate_series(1, :n) i));
\elif :what <= 8
SELECT eventsource.append('customer-' || :round || '.' || :who, 'signed_up', jsonb_build_object('email', 'a' || :n || '@example.com', 'ip', '10.1.2.3', 'address', '{"street": "S 1", "city": "C"}'::jsonb));
\elif :what = 9
BEGIN;
SELECT count(eventsource.append('gone-' || :who, 'made')) FROM generate_series(1, :n);
ROLLBACK;
\elif :what = 10
BEGIN;
SELECT eventsource.append('kept-' || :who, 'made');
SAVEPOINT s;
SELECT eventsource.append('kept-' || :who, 'undone');
ROLLBACK TO s;
SELECT eventsource.append('kept-' || :who, 'made');
COMMIT;
\elif :what = 11
SELECT eventsource.correct_event(position, '{"n": -1}', 'wrong', 'agent:1') FROM eventsource.read_stream('account-' || :who, max_count => 1) WHERE category = 'account';
\elif :what >= 13
SELECT count(eventsource.append('page-' || i % 60, 'viewed')) FROM generate_series(1, :n) i;
\else
INSERT INTO eventsource.events (stream, type, data) SELECT 'rows-' || i % 5, 'made', to_jsonb(i) FROM generate_series(1, :n) i;
\endif
SQL
PostgreSQL::Test::Utils::append_to_file("$dir/erase.sql", <<'SQL');
\set who random(1, 60)
\set what random(1, 3)
SELECT (EXISTS (SELECT FROM eventsource.streams s WHERE s.stream = c.name)
	AND NOT EXISTS (SELECT FROM eventsource.erased_subjects s WHERE s.subject = c.name))::integer AS due
  FROM (SELECT 'customer-' || (:round - 1) || '.' || :who) c (name) \gset
\if :due
SELECT count(*) FROM eventsource.erase_subject('customer-' || (:round - 1) || '.' || :who, (ARRAY['soft', 'anonymize', 'hard'])[:what], 'asked', 'dpo');
\endif
SQL
PostgreSQL::Test::Utils::append_to_file("$dir/seal.sql", "\\set n random(1, 900)\nSELECT eventsource.seal(:n);\n\\sleep 20 ms\n");
PostgreSQL::Test::Utils::append_to_file("$dir/archive.sql", "SELECT eventsource.seal();\nSELECT count(*) FROM eventsource.archive_due(1);\nCALL eventsource.archive_due_in_batches(1);\n\\sleep 100 ms\n");

sub start_pgbench
{
	my ($script, $clients, $transactions, @more) = @_;
	my $out = '';
	return IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-j', 1, '-t', $transactions, @more, '-f', "$dir/$script",
			'-h', $node->host, '-p', $node->port, $db ], '>', \$out, '2>', "$dir/errors");
}

my @checkpoints;

sub take_checkpoint
{
	my $path = "$dir/checkpoint" . @checkpoints;
	PostgreSQL::Test::Utils::append_to_file($path, $node->safe_psql($db, 'SELECT eventsource.checkpoint()') . "\n");
	push @checkpoints, $path;
	return;
}

# Both verifiers, the one outside with all checkpoints.
sub check
{
	my ($what) = @_;
	my $newest = slurp_file($checkpoints[-1]);
	my $said = '';

	is($node->safe_psql($db, "SELECT * FROM eventsource.verify_log(\$c\$$newest\$c\$) WHERE status <> 'redacted'"), '', "$what: verify_log");
	$node->safe_psql($db, "\\o $dir/export\nSELECT * FROM eventsource.export_log()");
	IPC::Run::run([ 'python3', $verifier, 'log', "$dir/export", @checkpoints ], '>', \$said, '2>&1');
	is($?, 0, "$what: the verifier outside") or diag substr($said, -2000);
	like($said, qr/ 0 tampered/, "$what: nothing is tampered with");
	note +(split /\n/, $said)[-2];
	return;
}

# On in a cluster that pg_upgrade made of this one.
sub upgrade
{
	my ($what) = @_;
	my $new = PostgreSQL::Test::Cluster->new('upgraded');
	my $bin = $node->config_data('--bindir');

	$new->init(extra => [ '-E', 'UTF8', '--locale=C' ]);
	$new->append_conf('postgresql.conf', join "\n", 'log_statement = none', 'eventsource.worker_enabled = off', @settings);
	$node->stop;
	chdir $PostgreSQL::Test::Utils::tmp_check or die;
	command_ok([ 'pg_upgrade', '--no-sync', '--link', '-d', $node->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
			'-s', $new->host, '-p', $node->port, '-P', $new->port ], "$what: pg_upgrade");
	$node = $new;
	$node->start;
	check("$what, upgraded");
	return;
}

# A transaction of the load makes some 9 events.
for my $round (1 .. $rounds)
{
	my @options = ('-D', "round=$round", '--max-tries=20');
	my $load = start_pgbench('write.sql', 4, int($events / 36 / $rounds) + 1, @options);
	my @beside = (start_pgbench('seal.sql', 1, 10), start_pgbench('erase.sql', 1, 12, @options), start_pgbench('archive.sql', 1, 4));
	ok($load->finish, "round $round: the load ended well");
	ok($_->finish, "round $round: so did what went on beside it") or diag slurp_file("$dir/errors") for @beside;
	$node->safe_psql($db, 'SELECT eventsource.seal()');
	take_checkpoint();
	check("round $round");
	$node->safe_psql($db, 'SELECT count(*) FROM eventsource.archive_due()');
	check("round $round, archived");
	$node->safe_psql($db, 'CALL eventsource.archive_due_in_batches()');
	check("round $round, merged");
	upgrade("round $round") if $round == 2 && $ENV{ES_HONEST_EVENTS};

	# The next round goes on in a copy.
	next if $round == $rounds;
	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump$round", $db ], "round $round: dumped");
	$db = "copy$round";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->command_ok([ 'pg_restore', '-e', '-d', $db, "$dir/dump$round" ], "round $round: restored");
	check("round $round, restored");
}
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM eventsource.verify_log() WHERE status = 'redacted'"), '>', 0, 'something was erased');
cmp_ok($node->safe_psql($db, 'SELECT sum(pruned_events) FROM eventsource.segments'), '>', 0, 'and something pruned');
note 'events: ', $node->safe_psql($db, 'SELECT max(size) FROM eventsource.seals');
is(problems_of($node, $db), '', 'the log is whole');

$node->stop;
done_testing();
