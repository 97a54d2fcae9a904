# 046_erased.pl: once a subject is erased and the documented statements have run, no file of
# the database holds what was erased, and no reader finds it; projections in mode async are
# reached in the same transaction; a copy made of a dump refuses the subject as well; and
# whatever dies in the midst of an erasure, all of it or nothing is done.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('erased', 'fsync = off', 'restart_after_crash = on', 'autovacuum = off', 'eventsource.segment_size = 200');

# What only the erased ones have said: in small values, and in some that are toasted.
my @secrets = qw(zebra8492 walrus7731);

# Files of the cluster, WAL apart, that hold one of the words.
sub find_secrets
{
	my @found;

	for my $file (split /\0/, `find @{[ $node->data_dir ]}/base @{[ $node->data_dir ]}/global @{[ $node->data_dir ]}/pg_xact -type f -print0`)
	{
		# One of a session that was killed may go at any time.
		my $content = eval { slurp_file($file) } // '';
		push @found, "$file: $_" for grep { index($content, $_) >= 0 } @secrets;
	}
	return @found;
}

# But for streams whose first events retention has taken away.
sub whole { return join "\n", grep { !/^head of page-/ } split /\n/, problems_of($node, $_[0]) }

$node->safe_psql('log', <<'SQL');
SELECT eventsource.register_event_type('signed_up', category => 'cust', pii => '{"email": "hash", "about": "redact"}');
SELECT eventsource.create_category('mail', subject => $$event.data->>'customer'$$);
CREATE TABLE customer (key text PRIMARY KEY, email text, about text, n int NOT NULL DEFAULT 0);
CREATE INDEX ON customer (email);
CREATE TABLE alone (key text PRIMARY KEY, email text);
CREATE TABLE slow (key text PRIMARY KEY, notes text NOT NULL DEFAULT '', email text);
SELECT eventsource.create_projection('customer', '{cust}', jsonb_build_object('*', 'n = row.n + 1', 'signed_up', $$n = row.n + 1, email = event.data->>'email', about = event.data->>'about'$$)),
	eventsource.create_projection('slow', '{cust}', jsonb_build_object('noted', $$notes = row.notes || (event.data->>'note')$$, 'signed_up', $$email = event.data->>'email'$$), mode => 'async'),
	eventsource.create_projection('alone', '{lonely}', jsonb_build_object('*', $$email = event.data->>'email'$$));
SELECT count(eventsource.append('lonely-' || i, 'came', '{"email": "zebra8492@example.com"}')) FROM generate_series(1, 50) i;
SELECT eventsource.create_subscription('mailer', '{mail}', max_attempts => 1), eventsource.set_snapshot_policy('cust', 2);
-- Random letters do not compress: such a value goes to the TOAST table.
CREATE FUNCTION long(secret text) RETURNS text LANGUAGE sql AS $$
	SELECT secret || string_agg(md5(i::text || secret), '') || secret FROM generate_series(1, 300) i
$$;
SELECT count(eventsource.append('cust-' || i, 'signed_up', jsonb_build_object('email', word || i || '@example.com', 'about', long(word || i), 'plan', 'gold'), idempotency_key => word || i)),
	count(eventsource.append('cust-' || i, 'noted', jsonb_build_object('note', long(word || i || 'note')), metadata => jsonb_build_object('from', word)))
FROM (SELECT i, CASE WHEN i <= 2 THEN (ARRAY['zebra8492', 'walrus7731'])[i] ELSE 'person' END AS word FROM generate_series(1, 150) i) v;
-- A tracked table, whose rows go before their subject; events that retention takes away; events that are archived with summaries.
CREATE TABLE person (id int PRIMARY KEY, customer text, name text);
SELECT eventsource.track_table('person', 'person', pii => '{"name": "redact"}', subject => 'customer');
INSERT INTO person SELECT i, 'cust-' || i, 'person' || i FROM generate_series(3, 20) i;
INSERT INTO person VALUES (1, 'cust-1', 'zebra8492'), (2, 'cust-2', 'walrus7731');
UPDATE person SET name = name || long(name) WHERE id <= 2;
SELECT eventsource.register_event_type('viewed', category => 'page', pii => '{"who": "hash"}');
CREATE TABLE page (key text PRIMARY KEY, q text, who text);
CREATE INDEX ON page (q);
SELECT eventsource.create_projection('page', '{page}', jsonb_build_object('viewed', $$q = event.data->>'q', who = event.data->>'who'$$));
SELECT eventsource.set_retention('page', '0', '0', 'disposable'), eventsource.set_retention('consent', '0', audit_types => '{agreed}'), eventsource.set_snapshot_policy('page', 2);
SELECT eventsource.create_category('consent', subject => $$event.data->>'customer'$$);
SELECT eventsource.append('consent-1', 'agreed', '{"customer": "cust-1", "to": "zebra8492"}');
SELECT count(eventsource.append('page-' || i % 20, 'viewed', jsonb_build_object('q', 'walrus7731' || i, 'who', long('zebra8492' || i)), idempotency_key => 'zebra8492' || i)) FROM generate_series(1, 40) i;
SELECT count(eventsource.append('fill-' || i % 5, 'made', '1')) FROM generate_series(1, 600) i;
SELECT eventsource.append('mail-1', 'sent', '{"customer": "cust-1", "to": "zebra8492@example.com"}');
SELECT eventsource.run_projections();
SELECT position AS p FROM eventsource.poll('mailer', 1) \gset
SELECT eventsource.nack('mailer', :p, 'no such address: zebra8492@example.com');
ANALYZE;
CHECKPOINT;
SQL
is($node->safe_psql('log', q{SELECT count(*) FROM slow WHERE notes ~ 'zebra8492|walrus7731' AND email ~ 'zebra|walrus'}), 2, 'a slow projection has come by');
like($node->safe_psql('log', q{SELECT string_agg(error, ',') FROM eventsource.parked_events}), qr/zebra8492/, 'an error quotes one');
$node->safe_psql('log', 'SELECT eventsource.seal(); SELECT count(*) FROM eventsource.archive_due(); ANALYZE; CHECKPOINT');
is($node->safe_psql('log', q{SELECT count(*) FROM eventsource.events WHERE category = 'page'}), 0, 'retention has taken some away');
like($node->safe_psql('log', q{SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM eventsource.scrubs_due}), qr/eventsource.idempotency eventsource.snapshot eventsource.vault public.page/, 'and says what holds them still');
like($node->safe_psql('log', q{SELECT string_agg(m::text, ',') FROM eventsource.event_summaries m WHERE m::text ~ 'zebra'}), qr/cust-1/, 'a summary quotes one');
cmp_ok(scalar(find_secrets()), '>', 4, 'the words are in the files');

# ---- dying in the midst ----

$node->safe_psql('log', q{CREATE FUNCTION stall(subject text, mode text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint FROM pg_sleep(600)'; SELECT eventsource.register_eraser('stall(text,text)')});
for my $victim (qw(backend server))
{
	my $session = $node->background_psql('log', on_error_stop => 0);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->query_until(qr/started/, "\\echo started\nSELECT count(*) FROM eventsource.erase_subject('cust-1', 'hard', 'r');\n");
	ok(wait_until(sub { $node->safe_psql('log', "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") eq 'PgSleep' }), 'an erasure is under way');
	is($node->psql('log', q{SELECT eventsource.append('cust-1', 'noted')}), 3, 'an append about the subject is refused meanwhile');
	if ($victim eq 'backend') { kill 'KILL', $pid; }
	else { kill_server($node); $node->start; }
	eval { $session->quit };
	ok(wait_until(sub { $node->psql('log', 'SELECT 1') == 0 }), "the $victim was killed");
	is($node->safe_psql('log', q{SELECT (SELECT count(*) FROM eventsource.erased_subjects), (SELECT version FROM eventsource.append('cust-1', 'noted', '{"note": ""}')) > 2, (SELECT count(*) FROM eventsource.events WHERE data = '{}')}),
		'0|t|0', 'nothing was done');
}
$node->safe_psql('log', q{SELECT eventsource.drop_eraser('public.stall(pg_catalog.text,pg_catalog.text)')});

# ---- erased ----

$node->safe_psql('log', 'DELETE FROM person WHERE id <= 2');
$node->safe_psql('log', "SELECT count(*) FROM eventsource.erase_subject('lonely-$_', 'hard', 'gdpr-request')") for 1 .. 50;
my $look = q{SELECT count(*) FROM eventsource.events e WHERE e::text ~ 'zebra8492|walrus7731'};
$node->safe_psql('log', q{SELECT count(*) FROM eventsource.erase_subject('cust-1', 'hard', 'gdpr-request')});
$node->safe_psql('log', q{SELECT count(*) FROM eventsource.erase_subject('cust-2', 'anonymize', 'gdpr-request')});
is($node->safe_psql('log', q{SELECT count(*) FROM slow WHERE email ~ 'zebra|walrus'}), 0, 'the slow projection was reached in the same transaction');
is($node->safe_psql('log', q{SELECT count(*) FROM eventsource.parked_events WHERE error ~ 'zebra'}), 0, 'so was the error');
$node->safe_psql('log', q{SELECT eventsource.run_projections()});
is($node->safe_psql('log', q{SELECT count(*) FROM slow WHERE email ~ 'zebra|walrus'}), 0, 'and it goes on from there');
is($node->safe_psql('log', $look), 1, 'what is not declared personal stays in what is anonymized');
$node->safe_psql('log', q{SELECT count(*) FROM eventsource.erase_subject('cust-2', 'hard', 'gdpr-request')});
is($node->safe_psql('log', $look), 0, 'no event says it');
is(whole('log'), '', 'the log is whole');

# ---- scrubbed ----

cmp_ok(scalar(find_secrets()), '>', 0, 'old versions of rows are in the files');
{
	my $holder = $node->background_psql('log');
	$holder->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$holder->query('SELECT 1');
	$node->safe_psql('log', q{SELECT eventsource.append('other-1', 'x')});
	$node->safe_psql('log', q{SELECT count(*) FROM eventsource.erase_subject('other-1', 'hard', 'r')});
	my ($code, $out, $err) = $node->psql('log', 'SELECT eventsource.scrub_statements()');
	like($err, qr/can still be seen/, 'whoever can still see it is told');
	$holder->quit;
}
# Of what the application's own tables held it knows best itself.
$node->safe_psql('log', 'VACUUM (FULL, ANALYZE) person');
{
	my $holder = $node->background_psql('log');
	$holder->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$holder->query('SELECT 1');
	$node->safe_psql('log', q{SELECT count(*) FROM eventsource.erase_subject('cust-3', 'hard', 'r')});
	$node->safe_psql('log', 'VACUUM FULL eventsource.vault');
	like($node->safe_psql('log', 'SELECT string_agg(table_name, $$ $$) FROM eventsource.scrubs_due'), qr/eventsource.vault/, 'a table written anew while somebody could still see it is due');
	$holder->quit;
}
# Who is in another database holds nothing up.
my $elsewhere = $node->background_psql('postgres');
$elsewhere->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
$elsewhere->query('SELECT 1');
$node->safe_psql('log', q{SELECT count(*) FROM eventsource.erase_subject('cust-4', 'hard', 'r')});
$node->safe_psql('log', 'SELECT eventsource.scrub_statements() \gexec');
$elsewhere->quit;
is($node->safe_psql('log', 'SELECT count(*) FROM eventsource.scrub'), 0, 'what was done is noted no more');
is($node->safe_psql('log', 'SELECT count(*) FROM eventsource.scrubs_due'), 0, 'nothing is due any more');
is_deeply([ map { m,/base/\d+/(\d+), ? "$_ " . $node->safe_psql('log', "SELECT pg_filenode_relation(0, $1)") : $_ } find_secrets() ], [], 'no file has it');
is(whole('log'), '', 'the log is whole');

# ---- dumped and restored ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-f', $dump, 'log' ], 'dumped');
unlike(slurp_file($dump), qr/zebra8492|walrus7731/, 'the dump has none of it');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-o', '/dev/null', '-f', $dump, 'restored' ], 'restored');
my ($code, $out, $err) = $node->psql('restored', q{SELECT eventsource.append('cust-1', 'noted')});
like($err, qr/subject "cust-1" is erased/, 'the subject is refused there, too');
is($node->safe_psql('restored', q{SELECT string_agg(DISTINCT status, ',') FROM eventsource.verify_log()}), 'redacted', 'what was erased is told from what was not');
is(whole('restored'), '', 'the log is whole');
$node->stop;
done_testing();
