# EventLog.pm: what the TAP files share: a server with the extension in it, and
# the one check of a log that all of them end with.
package EventLog;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(new_server create_log has_function problems_of wait_until error_of processes_of
  kill_server);

# A running server with a database "log" that holds the extension. Settings are
# lines of postgresql.conf; there is no worker unless they say so.
sub new_server
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '-E', 'UTF8', '--locale=C' ]);
	$node->append_conf(
		'postgresql.conf', join "\n",
		'log_statement = none',
		'shared_buffers = 128MB',
		'max_wal_size = 2GB',
		'max_prepared_transactions = 20',
		'eventsource.worker_enabled = off', @settings);
	$node->start;
	create_log($node, 'log');
	return $node;
}

sub create_log
{
	my ($node, $db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION eventsource');
	return;
}

# Is there a function of this name in schema eventsource?
sub has_function
{
	my ($node, $db, $name) = @_;
	return $node->safe_psql($db,
		"SELECT count(*) > 0 FROM pg_proc WHERE pronamespace = 'eventsource'::regnamespace AND proname = '$name'"
	) eq 't';
}

# Calls a piece of code until it returns true; its result, or false after a limit.
sub wait_until
{
	my ($code, $seconds) = @_;
	my $limit = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);

	while (1)
	{
		my $result = $code->();
		return $result if $result || time > $limit;
		sleep 0.02;
	}
}

# Process ids of a server, all or those whose title is like this. The postmaster's
# own is not among them.
sub processes_of
{
	my ($node, $title) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @pids;

	for my $process (glob '/proc/[0-9]*')
	{
		open my $stat, '<', "$process/stat" or next;
		my $line = <$stat> // '';
		next unless $line =~ /^(\d+) \(.*\) \S (\d+) / && $2 == $postmaster;
		my $pid = $1;
		open my $command, '<', "$process/cmdline" or next;
		push @pids, $pid if !defined $title || (<$command> // '') =~ $title;
	}
	return @pids;
}

# SIGKILL for all processes of a server; returns when they are gone. Each works in the
# data directory, those too that were just being started.
sub kill_server
{
	my ($node) = @_;
	my $dir = $node->data_dir;
	my $postmaster = (split /\n/, slurp_file("$dir/postmaster.pid"))[0];

	$node->kill9;
	wait_until(sub {
		my @left = grep { (readlink("/proc/$_/cwd") // '') eq $dir } map { m{(\d+)$} } glob '/proc/[0-9]*';
		kill 'KILL', @left;
		return !@left && !-d "/proc/$postmaster";
	}) or die 'server processes stay';
	return;
}

# Runs SQL that must fail; what psql says about it, with the SQLSTATE.
sub error_of
{
	my ($node, $db, $sql) = @_;
	my ($out, $err) = ('', '');
	my $code = $node->psql(
		$db, $sql,
		stdout => \$out,
		stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $code == 0 ? "no error: $out" : $err;
}

# Every promise about a log that can be checked from outside; one line for each
# that does not hold, '' when all is well. To be called while nobody appends.
sub problems_of
{
	my ($node, $db) = @_;
	my $sql = <<'SQL';
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE problem (what text);
CREATE TEMP TABLE ev AS SELECT position, stream, category, version, type, hash FROM eventsource.events;
CREATE TEMP TABLE feed (n serial PRIMARY KEY, position bigint, stream text, version bigint, hash bytea);
ANALYZE ev;

-- Versions are 1..n (m..n where the first ones were pruned), without gap or fork, in order of
-- position; a position is an event's own.
CREATE TEMP TABLE pruned AS SELECT coalesce(sum(pruned_events), 0) > 0 AS is_any FROM eventsource.segments;
INSERT INTO problem
SELECT format('stream %s: %s events, versions %s..%s', stream, count(*), min(version), max(version)) FROM ev
 GROUP BY stream HAVING (min(version) <> 1 AND NOT (SELECT is_any FROM pruned))
	OR max(version) - min(version) + 1 <> count(*) OR count(DISTINCT version) <> count(*);
INSERT INTO problem
SELECT format('stream %s: version %s lies before %s', stream, version, before)
  FROM (SELECT stream, version, lag(version) OVER (PARTITION BY stream ORDER BY position) AS before FROM ev) o
 WHERE version <= before;
INSERT INTO problem SELECT format('position %s: %s events', position, count(*)) FROM ev
 GROUP BY position HAVING count(*) > 1;
INSERT INTO problem SELECT format('event %s lacks a word', e) FROM ev e
 WHERE stream IS NULL OR category IS NULL OR type IS NULL;

-- The chain holds, and the machines accept what they accepted.
INSERT INTO problem SELECT format('chain: %s', c) FROM eventsource.verify_chain() c;
INSERT INTO problem SELECT format('log: %s', v) FROM eventsource.verify_log() v WHERE v.status <> 'redacted';
DO $$
DECLARE
	target text;
BEGIN
	IF to_regproc('eventsource.verify_transitions') IS NOT NULL THEN
		INSERT INTO problem SELECT format('transition: %s', t) FROM eventsource.verify_transitions() t;
	END IF;
	IF to_regclass('eventsource.projections') IS NOT NULL THEN
		FOR target IN SELECT p.target::text FROM eventsource.projections p LOOP
			EXECUTE format('INSERT INTO problem SELECT format(''projection %%s: %%s'', %L, v)'
				' FROM eventsource.verify_projection(%1$L::regclass) v', target);
		END LOOP;
	END IF;
END
$$;

-- The feed's pages are the log, once, in order.
DO $$
DECLARE
	last bigint := 0;
	got bigint;
BEGIN
	LOOP
		INSERT INTO feed (position, stream, version, hash)
		SELECT r.position, r.stream, r.version, r.hash FROM eventsource.read_all(last, 777) r;
		GET DIAGNOSTICS got = ROW_COUNT;
		EXIT WHEN got = 0;
		SELECT f.position INTO last FROM feed f ORDER BY f.n DESC LIMIT 1;
	END LOOP;
END
$$;
INSERT INTO problem
SELECT format('feed and view differ at %s (%s, %s) (%s, %s)', position, f.stream, f.version, e.stream, e.version)
  FROM feed f FULL JOIN ev e USING (position)
 WHERE (f.stream, f.version, f.hash) IS DISTINCT FROM (e.stream, e.version, e.hash);
INSERT INTO problem SELECT format('feed out of order at %s', position)
  FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM feed) o WHERE position <= before;

-- Heads agree with the log, and so does the list of segments.
INSERT INTO problem SELECT format('head of %s: %s', stream, h.version)
  FROM (SELECT stream, max(version) AS version, max(position) AS position FROM ev GROUP BY stream) e
  FULL JOIN eventsource.streams h USING (stream)
 WHERE (h.version, h.last_position) IS DISTINCT FROM (e.version, e.position)
   AND NOT (e.version IS NULL AND (SELECT is_any FROM pruned));
INSERT INTO problem SELECT format('segment %s is not attached', table_name) FROM eventsource.segments
 WHERE NOT is_attached;
INSERT INTO problem SELECT format('segment %s is not listed', inhrelid::regclass) FROM pg_inherits
 WHERE inhparent = 'eventsource.event'::regclass
   AND NOT EXISTS (SELECT FROM eventsource.segments g WHERE inhrelid = format('eventsource.%I', table_name)::regclass);

-- Guards stand, and nobody is left holding a lock of ours; the worker is at work.
INSERT INTO problem SELECT format('trigger %s on %s is %s', tgname, tgrelid::regclass, tgenabled)
  FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid
 WHERE p.pronamespace = 'eventsource'::regnamespace AND tgenabled <> 'A'
   AND tgrelid <> 'eventsource.events'::regclass;
INSERT INTO problem SELECT format('table %s has no guard', c.oid::regclass) FROM pg_class c
 WHERE relnamespace = 'eventsource'::regnamespace AND relkind IN ('r', 'p')
   AND 2 > (SELECT count(*) FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid
			 WHERE tgrelid = c.oid AND p.proname = 'guard');
INSERT INTO problem SELECT format('lock %s %s %s of %s', classid, objid, objsubid, pid) FROM pg_locks
 WHERE locktype = 'advisory' AND pid IS DISTINCT FROM pg_backend_pid()
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = pg_locks.pid AND a.backend_type LIKE 'eventsource %');
SELECT what FROM problem LIMIT 20;
SQL
	my ($out, $err) = ('', '');
	my $code = $node->psql($db, $sql, stdout => \$out, stderr => \$err, timeout => 300);
	return $code == 0 && $err eq '' ? $out : "$out\npsql: $code $err";
}

1;
