# 024_worker_apply.pl: the worker brings async projections on: woken by appends, over
# errors, over its own death and that of the server; each row stays the fold of its
# events.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# So long an interval that what happens soon happened because of the bell.
my $node = new_server('apply', 'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = on',
	'eventsource.worker_interval = 600000', 'restart_after_crash = on', 'synchronous_commit = off',
	'max_worker_processes = 16');

sub sql { return $node->safe_psql('log', $_[0]) }
sub soon { return wait_until($_[0], 20) }
sub worker { return sql("SELECT $_[0] FROM eventsource.workers WHERE database = 'log'") }
sub running { return soon(sub { worker('status') eq 'running' && worker('passes > 0') eq 't' }) }

# Waits for a worker that is not this process.
sub another
{
	my ($old) = @_;
	return soon(sub { my ($ok, $pid) = $node->psql('log', "SELECT pid FROM eventsource.workers WHERE database = 'log'");
			return $ok == 0 && ($pid // '') ne '' && $pid != $old; });
}

sql(<<'SQL');
CREATE TABLE total (account text PRIMARY KEY, n int DEFAULT 0, sum numeric DEFAULT 0);
SELECT eventsource.create_projection('total', '{move}', jsonb_build_object('moved',
	$$ n = row.n + 1, sum = row.sum + (event.data->>'amount')::numeric $$),
	'{"account": "event.data->>''account''"}', settings => '{"interval": "0 s"}');
CREATE TABLE picky (account text PRIMARY KEY, sum numeric DEFAULT 0 CHECK (sum < 1000));
SELECT eventsource.create_projection('picky', '{move}', jsonb_build_object('moved',
	$$ sum = row.sum + (event.data->>'amount')::numeric $$),
	'{"account": "event.data->>''account''"}', settings => '{"interval": "0 s"}');
SQL
sub move
{
	my ($stream, $account, $amount) = @_;
	sql(qq{SELECT eventsource.append('move-$stream', 'moved', '{"account": "$account", "amount": $amount}')});
	return;
}
sub total { return sql("SELECT n || ' ' || sum FROM total WHERE account = '$_[0]'") }
sub parked { return sql("SELECT count(*) FROM eventsource.projection_failure WHERE name = 'projection.public.$_[0]'") }

# ---- woken ----

ok(running(), 'a worker');
for my $i (1 .. 5)
{
	move(1, 'a', 1);
	ok(soon(sub { total('a') eq "$i $i" }), 'woken by an append');
}
my $session = $node->background_psql('log');
$session->query_safe(qq{BEGIN; SELECT eventsource.append('move-2', 'moved', '{"account": "late", "amount": 1}')});
move(3, 'high', 1);
is(total('high'), '', 'what is above an open appender is not final');
$session->query_safe('ROLLBACK');
ok(soon(sub { total('high') eq '1 1' }), 'woken by a rollback');
$session->query_safe(qq{BEGIN; SAVEPOINT s; SELECT eventsource.append('move-2', 'moved', '{"account": "late", "amount": 1}'); RELEASE s});
$session->query_safe('COMMIT');
ok(soon(sub { total('late') eq '1 1' }), 'woken by a commit after a savepoint');
$session->query_safe(qq{BEGIN; SELECT eventsource.append('move-2', 'moved', '{"account": "late", "amount": 1}')});
move(3, 'high', 1);
$session->quit;
ok(soon(sub { total('high') eq '2 2' }), 'woken by a session that went');

sql(qq{BEGIN; SELECT eventsource.append('move-2', 'moved', '{"account": "prepared", "amount": 1}'); PREPARE TRANSACTION 'p'});
move(3, 'high', 1);
is(total('high'), '2 2', 'held back by a prepared transaction');
sql(q{COMMIT PREPARED 'p'});
ok(soon(sub { total('prepared') eq '1 1' && total('high') eq '3 3' }), 'woken by its commit');

# ---- errors ----

move(4, 'rich', 2000);
ok(soon(sub { parked('picky') }), 'a projection that fails is parked');
ok(soon(sub { total('rich') eq '1 2000' }), 'the other goes on');
like(slurp_file($node->logfile), qr/LOG:  projection\.public\.picky is parked: .*picky_sum_check/, 'the log tells');
is(worker('status'), 'running', 'the worker too');
sql('ALTER TABLE picky DROP CONSTRAINT picky_sum_check');
sql(q{SELECT eventsource.resume_projection('picky')});
move(4, 'rich', 1);
ok(soon(sub { sql(q{SELECT sum FROM picky WHERE account = 'rich'}) eq '2001' }), 'resumed');

my $pid = worker('pid');
$session = $node->background_psql('log');
$session->query_safe('BEGIN; LOCK TABLE eventsource.projection_cursor');
move(1, 'a', 1);
ok(soon(sub { worker('last_error IS NOT NULL') eq 't' }), 'a duty that fails');
like(worker('last_error'), qr/^bringing on .*: canceling statement due to lock timeout$/, 'says what it met');
sql(q{CREATE ROLE curious; SELECT eventsource.grant_reader('curious')});
is(sql(q{SET ROLE curious; SELECT count(last_error_at), count(last_error) FROM eventsource.worker_slots()}), '1|0',
	'to admins alone');
is(worker('pid'), $pid, 'does not end the worker');
$session->query_safe('COMMIT');
$session->quit;
ok(soon(sub { total('a') eq '6 6' }), 'it is tried again');

$session = $node->background_psql('log');
$session->query_safe('BEGIN; LOCK TABLE total IN SHARE MODE');
move(1, 'a', 1);
move(4, 'rich', 1);
ok(soon(sub { sql(q{SELECT sum FROM picky WHERE account = 'rich'}) eq '2002' }), 'a table that is locked holds no other up');
is(parked('total'), 0, 'nor is it parked');
$session->query_safe('COMMIT');
$session->quit;
move(1, 'a', 1);
ok(soon(sub { total('a') eq '8 8' }), 'and goes on');

# ---- whose rights: what is not ours runs as its owner ----

sql(<<'SQL');
CREATE ROLE clerk LOGIN;
SELECT eventsource.grant_admin('clerk');
GRANT CREATE ON SCHEMA public TO clerk;
CREATE TABLE seen (what text, who name);
GRANT INSERT ON seen TO clerk;
SET SESSION AUTHORIZATION clerk;
CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.seen VALUES ($1, current_user) $$;
CREATE FUNCTION saw(what text, n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN PERFORM public.note(what); RETURN n; END $$;
CREATE TABLE owned (key text PRIMARY KEY, n int DEFAULT 0 CHECK (public.saw('check', n) >= 0));
CREATE INDEX ON owned (public.saw('index', n));
SELECT eventsource.create_projection('owned', '{clerk}', jsonb_build_object('made', 'n = row.n + 1'), mode => 'async',
	settings => '{"interval": "0 s"}');
CREATE FUNCTION handle(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM public.note('handler ' || e.type), pg_advisory_lock(20261121);
		IF e.type = 'made' THEN
			PERFORM eventsource.append('clerk-1', 'handled');
		END IF;
	END $$;
SELECT eventsource.create_handler('clerk', '{clerk}', 'public.handle(eventsource.events)', settings => '{"interval": "0 s"}');
RESET SESSION AUTHORIZATION;
SELECT eventsource.append('clerk-1', 'made');
SQL
my $seen = q{SELECT string_agg(DISTINCT what || ' ' || who, ', ' ORDER BY what || ' ' || who) FROM seen};
soon(sub { sql($seen) =~ /handler handled/ && sql($seen) =~ /index/ });
is(sql($seen), 'check clerk, handler handled clerk, handler made clerk, index clerk', 'constraints, indexes and handlers');
is(sql(q{SELECT recorded_by || ' ' || actor FROM eventsource.events WHERE type = 'handled'}), 'clerk clerk', 'what a handler appends is its definer\'s');
ok(soon(sub { sql('SELECT pg_try_advisory_xact_lock(20261121)') eq 't' }), 'the worker keeps no lock that a handler took');

# ---- a batch of a handler is a transaction ----

sql(<<'SQL');
CREATE TABLE batch (position bigint);
CREATE FUNCTION batch(e eventsource.events) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.batch VALUES (e.position) $$;
SELECT eventsource.create_handler('batch', '{batch}', 'batch(eventsource.events)', settings => '{"interval": "0 s", "max_batch": 10}');
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg('{"stream": "batch-1", "type": "x"}'::jsonb) FROM generate_series(1, 30)));
SQL
ok(soon(sub { sql('SELECT count(*) FROM batch') eq '30' }), 'a handler is called for all');
is(sql('SELECT count(DISTINCT xmin::text) FROM batch'), '3', 'ten at a time');

# ---- processes that end ----

sql("SELECT pg_terminate_backend($pid)");
ok(soon(sub { worker('status') eq 'waiting' }), 'terminated: it is put off');
ok(another($pid), 'and started anew');
move(1, 'a', 1);
ok(soon(sub { total('a') eq '9 9' }), 'and works');

$pid = worker('pid');
my $launcher = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventsource launcher'});
sql("SELECT pg_terminate_backend($launcher)");
ok(soon(sub { sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventsource launcher' AND pid <> $launcher") eq '1' }),
	'another launcher');
is(worker('pid'), $pid, 'leaves the worker as it is');
sql("SELECT pg_terminate_backend($pid)");
ok(another($pid), 'and looks after it');

# ---- under load ----

my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/load.sql", <<'SQL');
\set stream random(10, 40)
\set account random(1, 20)
\set end random(1, 5)
BEGIN;
SELECT eventsource.append('move-' || :stream, 'moved', jsonb_build_object('account', 'x' || :account, 'amount', 1));
\if :end = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL

sub load
{
	my ($out, $err) = ('', '');
	return IPC::Run::start([ 'pgbench', '-n', '-c', 3, '-j', 1, '-T', 10, '-f', "$dir/load.sql",
			'-h', $node->host, '-p', $node->port, 'log' ], '>', \$out, '2>', \$err);
}

sub same
{
	return sql(q{SELECT count(*) FROM (SELECT data->>'account' AS account, count(*)::int AS n, sum((data->>'amount')::numeric) AS sum
			FROM eventsource.events WHERE type = 'moved' GROUP BY 1) e
		FULL JOIN total t USING (account, n, sum) WHERE e.account IS NULL OR t.account IS NULL}) eq '0';
}

for my $victim ('worker', 'postmaster', 'worker')
{
	my $before = sql('SELECT sum(n) FROM total');
	my $run = load();
	soon(sub { sql('SELECT sum(n) FROM total') > $before + 200 });
	$pid = worker('pid');
	if ($victim eq 'worker')
	{
		kill 'KILL', $pid;
		$run->finish;
	}
	else
	{
		kill_server($node);
		$run->finish;
		$node->start;
	}
	ok(another($pid), "killed: $victim; there is another");
	is(sql(q{SELECT count(*) FROM eventsource.verify_projection('total')}), '0', 'rows are the fold up to the cursor');
	move(1, 'b', 1);
	ok(soon(\&same), 'and come to be that of all events');
}

# ---- the clock was set back: what was done is done in the future ----

sql(q{BEGIN;
	SELECT eventsource.allow_maintenance('test');
	ALTER TABLE eventsource.projection_cursor DISABLE TRIGGER USER;
	UPDATE eventsource.projection_cursor SET applied_at = now() + interval '1 day';
	ALTER TABLE eventsource.projection_cursor ENABLE ALWAYS TRIGGER guard_row;
	ALTER TABLE eventsource.projection_cursor ENABLE ALWAYS TRIGGER guard_statement;
	COMMIT});
move(1, 'b', 1);
ok(soon(\&same), 'nobody waits for that');

# ---- bursts: the last ring of each must be heard ----

my $heard = 0;
for my $round (1 .. 8)
{
	$node->command_ok([ 'pgbench', '-n', '-c', 4, '-j', 2, '-t', 5 + $round, '-f', "$dir/load.sql", 'log' ], "burst $round");
	$heard += soon(\&same);
}
is($heard, 8, 'nobody slept through the end of a burst');

$node->restart;
ok(running(), 'after a restart');
move(1, 'a', 1);
ok(soon(sub { total('a') eq '10 10' }), 'it works');
$node->append_conf('postgresql.conf', 'eventsource.worker_enabled = off');
$node->restart;
is(sql('SELECT count(*) FROM eventsource.workers'), '0', 'none');
move(1, 'a', 1);
is(sql(q{SELECT status FROM eventsource.run_projections('total')}), 'current', 'run_projections does without');
is(total('a'), '11 11', 'the same');
is(problems_of($node, 'log'), '', 'the log is whole');

done_testing();
