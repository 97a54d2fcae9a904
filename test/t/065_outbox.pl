# 065_outbox.pl: events published as logical messages, as wal2json decodes them: each
# committed event once, in order of position, whatever of it is rolled back; with whose
# rights, what is told where it cannot be, and what retention, erasure, dumps and standby
# servers have to do with it. 068_outbox_killed.pl does the same under murder.

use strict;
use warnings;

use EventLog;
use Outbox;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'wal2json is not installed for this server' unless has_wal2json();

my $node = new_decoding_server('outbox', 'eventsource.segment_size = 100', 'shared_preload_libraries = eventsource',
	'eventsource.worker_interval = 100ms', 'max_replication_slots = 10', 'wal_receiver_status_interval = 1');

sub ask { return $node->safe_psql('log', $_[0]) }
sub append { return ask("SELECT position FROM eventsource.append('$_[0]', '$_[1]'" . ($_[2] ? ", $_[2]" : '') . ')') }
sub publish { return ask("SELECT events, status, error FROM eventsource.publish(" . ($_[0] // '') . ')') }

# What the messages of a prefix say, in the stream's order.
sub told
{
	my ($prefix, $what) = @_;
	my $messages = messages_of('all');
	return ask("SELECT string_agg($what, ' ' ORDER BY n) FROM ($messages) m WHERE prefix = '$prefix'");
}

# ---- it is off until it is started ----

ask(q{SELECT eventsource.register_event_type('signed_up', pii => '{"email": "redact"}', schema => '{"type": "object"}')});
create_slot($node, 'all');
append('order-1', 'made');
is(told('eventsource', "ce ->> 'type'"), '', 'nobody asked for it');
my $off = error_of($node, 'log', 'SELECT * FROM eventsource.publish()');
like($off, qr/ERROR:  42704: there is no publication "eventsource"/, 'nothing to publish');

# ---- each event once, in order, as the log has it ----

is(ask('SELECT eventsource.start_publishing()'), '1', 'started');
is(publish(), '1|current|', 'one event');
is(publish(), '0|current|', 'nothing is left');
append('order-1', $_) for qw(paid sent);
append('person-1', 'signed_up', q('{"email": "ann@example.com", "plan": "gold"}'));
ask(q{SELECT count(eventsource.append('order-' || n % 7, 'noted', jsonb_build_object('n', n, 'text', repeat('x', n * 10)))) FROM generate_series(1, 300) n});
ask(q{SELECT eventsource.append('odd-' || chr(228), E'tab\there', '["\u2028", null]', actor => E'a\x01b', occurred_at => '20000-01-01')});
is(publish(100), '100|behind|', 'a part');
is(publish('NULL'), '204|current|', 'and the rest');
is(problems_of_stream($node, 'all', 'eventsource'), '', 'the stream is the log');

my ($judged, $err) = ('', '');
my $messages = messages_of('all');
my $all = "$PostgreSQL::Test::Utils::tmp_check/cloudevents.json";
append_to_file($all, ask("SELECT ce::text FROM ($messages) m") . "\n");
append_to_file($all, ask('SELECT eventsource.to_cloudevent(e)::text FROM eventsource.events e') . "\n");
my $test = $ENV{TESTDIR} // '.';
SKIP:
{
	skip 'python3-jsonschema is not installed', 2 if system('/usr/bin/python3 -c "import jsonschema" 2>/dev/null') != 0;
	IPC::Run::run([ '/usr/bin/python3', "$test/test/cloudevents.py", "$test/test/cloudevents.schema.json" ],
		'<', $all, '>', \$judged, '2>', \$err);
	is($err, '', 'python3-jsonschema judges them');
	is($judged, ask("SELECT count(*) FROM ($messages) m") + ask('SELECT count(*) FROM eventsource.events') . " judged\n",
		'and each is a CloudEvent');
}

# ---- transactions ----

append('order-2', 'a');
ask('BEGIN; SELECT eventsource.publish(); ROLLBACK');
ask('BEGIN; SAVEPOINT s; SELECT eventsource.publish(); ROLLBACK TO s; SELECT eventsource.publish(); COMMIT');
append('order-2', 'b');
my $prepared = $node->background_psql('log');
$prepared->query_safe("BEGIN; SELECT eventsource.publish(); PREPARE TRANSACTION 'p'");
append('order-2', 'c');
is(publish(), '0|busy|', 'a prepared transaction keeps others waiting');
ask("COMMIT PREPARED 'p'");
is(publish(), '1|current|', 'and then no more');
$prepared->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM eventsource.events");
append('order-2', 'd');
is(publish(), '1|current|', 'somebody else publishes');
like($prepared->query_safe('SELECT status, error FROM eventsource.publish()'), qr/^retry\|could not serialize access/, 'after the snapshot of this one');
$prepared->query_safe('COMMIT');
is($prepared->query_safe("BEGIN; SELECT version > 0 FROM eventsource.append('order-2', 'e'); SELECT events FROM eventsource.publish(); COMMIT"),
	"t\n0", 'what is not committed is not published');
$prepared->quit;
is(publish(), '1|current|', 'but then');
my $low = $node->background_psql('log');
$low->query_safe("BEGIN; SELECT eventsource.append('low-1', 'low')");
append('high-1', 'high');
is(publish(), '0|current|', 'nothing above the watermark');
$low->query_safe('COMMIT');
is(publish(), '2|current|', 'a low position that commits late');
$low->quit;
is(problems_of_stream($node, 'all', 'eventsource'), '', 'all of that once and in order');

# ---- more than one, of some events ----

is(ask(q{SELECT eventsource.start_publishing('{order,person}', $$ event.type <> 'noted' $$, prefix => 'some, here')}), '1', 'a second one');
is(ask(q{SELECT status FROM eventsource.publish(NULL, 'some, here')}), 'current', 'runs by itself');
is(problems_of_stream($node, 'all', 'some, here', "e.category IN ('order', 'person') AND e.type <> 'noted'"), '', 'from the first event');
is(ask(q{SELECT eventsource.start_publishing('{order}', from_position => NULL, prefix => 'new')}), '1', 'a third one');
append('order-3', 'new');
is(ask(q{SELECT events FROM eventsource.publish(prefix => 'new')}), '1', 'from now on');
is(told('new', "ce ->> 'type'"), 'new', 'the next event');
is(ask(q{SELECT eventsource.start_publishing('{order}', $$ event.type <> 'quiet' $$, prefix => 'new')}), '2', 'started anew');
append('order-3', $_) for qw(quiet loud);
is(ask(q{SELECT events FROM eventsource.publish(prefix => 'new')}), '2', 'goes on where it was');
is(told('new', "ce ->> 'type'"), 'new loud', 'with another filter');
is(ask(q{SELECT prefix, category, filter IS NOT NULL, version, status, lag, position = eventsource.watermark() FROM eventsource.publications WHERE prefix = 'new'}),
	'new|{order}|t|2|current|0|t', 'the view');
ask(q{SELECT eventsource.stop_publishing('new')});
is(ask(q{SELECT string_agg(prefix, ';') FROM eventsource.publications}), 'eventsource;some, here', 'stopped');
is(ask(q{SELECT eventsource.start_publishing('{order}', from_position => (SELECT max(position) - 1 FROM eventsource.events WHERE type = 'loud'), prefix => 'new')}), '4', 'and started again');
ask(q{SELECT eventsource.publish(prefix => 'new')});
is(told('new', "ce ->> 'type'"), 'new loud loud', 'from where it is told to');
ask(q{SELECT eventsource.stop_publishing('new')});
like(ask("SELECT eventsource.event_catalog('order')"), qr/- publication `some, here` of events where/, 'the catalogue tells');
is(ask(q{SELECT status FROM eventsource.health() WHERE "check" = 'publication eventsource'}), 'healthy', 'so does health()');

# ---- it fails ----

append('fail-1', 'fine', q('{"n": 1}'));
append('fail-1', 'bad', q('{"n": 0}'));
append('fail-1', 'fine', q('{"n": 2}'));
ask(q{SELECT eventsource.start_publishing('{fail}', $$ 1 / (event.data ->> 'n')::int >= 0 $$, prefix => 'fail')});
is(ask(q{SELECT status, error FROM eventsource.publish(prefix => 'fail')}), 'parked|division by zero', 'parked at an event that the filter fails on');
is(told('fail', "ce -> 'data' ->> 'n'"), '1', 'what comes before is published');
is(ask(q{SELECT status, sqlstate, failed_position = (SELECT position FROM eventsource.events WHERE type = 'bad') FROM eventsource.publications WHERE prefix = 'fail'}),
	'parked|22012|t', 'the view tells');
is(ask(q{SELECT status FROM eventsource.publish(prefix => 'fail')}), 'parked', 'and stays there');
ask(q{SELECT eventsource.start_publishing('{fail}', prefix => 'fail')});
is(ask(q{SELECT status FROM eventsource.publish(prefix => 'fail')}), 'current', 'mended by another filter');
is(told('fail', "ce -> 'data' ->> 'n'"), '1 0 2', 'without loss or repetition');
ask(q{SELECT eventsource.stop_publishing('fail')});

# ---- rights ----

ask(q{CREATE ROLE chief; CREATE ROLE other; CREATE ROLE reader;
	SELECT eventsource.grant_admin('chief'), eventsource.grant_admin('other'), eventsource.grant_reader('reader')});
ask(q{SET ROLE chief; SELECT eventsource.start_publishing('{person}', prefix => 'masked')});
ask(q{SELECT eventsource.publish(prefix => 'masked')});
like(told('masked', "ce -> 'data' ->> 'email'"), qr/^(?!.*ann\@example)./, 'personal fields are masked for who started it, whoever runs it');
is(told('masked', "ce -> 'data' ->> 'plan'"), 'gold', 'others are not');
like(told('eventsource', "ce -> 'data' ->> 'email'"), qr/ann\@example\.com/, 'a superuser sees them, and so publishes them');
ask(q{SELECT eventsource.grant_personal_data('chief')});
ask(q{SET ROLE chief; SELECT eventsource.start_publishing('{person}', prefix => 'shown'); SELECT eventsource.publish(prefix => 'shown')});
is(told('shown', "ce -> 'data' ->> 'email'"), 'ann@example.com', 'so does who was given the right');
like(error_of($node, 'log', "SET ROLE other; SELECT eventsource.$_"), qr/ERROR:  42501: must be owner of publication "shown"/, "not for others: $_")
  for "stop_publishing('shown')", "start_publishing('{person}', prefix => 'shown')";
like(error_of($node, 'log', "SET ROLE reader; SELECT eventsource.$_"), qr/ERROR:  42501: permission denied for function/, "nor for readers: $_")
  for 'start_publishing()', 'stop_publishing()', 'publish()';
ask(q{SELECT eventsource.revoke_personal_data('chief')});
append('person-2', 'signed_up', q('{"email": "bob@example.com", "plan": "iron"}'));
ask(q{SELECT eventsource.publish(prefix => 'shown')});
unlike(told('shown', "ce -> 'data' ->> 'email'"), qr/bob/, 'rights count when it is published');
append('person-3', 'signed_up', q('{"email": "eve@example.com"}'));
ask(q{SELECT eventsource.revoke_admin('chief'), eventsource.revoke_writer('chief'), eventsource.revoke_reader('chief')});
like(ask(q{SELECT status, error FROM eventsource.publish(prefix => 'shown')}), qr/^parked\|permission denied for publication "shown"/, 'so do those to read');
ask(q{SELECT eventsource.grant_admin('chief'); SET ROLE chief; SELECT eventsource.start_publishing('{person}', prefix => 'shown')});
is(ask(q{SELECT events, status FROM eventsource.publish(prefix => 'shown')}), '1|current', 'given back, it goes on');
ask(q{SELECT eventsource.revoke_admin('chief'), eventsource.revoke_writer('chief'), eventsource.revoke_reader('chief'); DROP ROLE chief});
append('person-4', 'signed_up', q('{}'));
like(ask(q{SELECT status, error FROM eventsource.publish(prefix => 'shown')}), qr/^parked\|the role that started publication "shown" is gone/, 'a role that is gone has none');
ask(q{SELECT eventsource.stop_publishing('shown'), eventsource.stop_publishing('masked'), eventsource.stop_publishing('some, here')});

# ---- retention, erasure ----

publish('NULL');
ask(q{SELECT eventsource.set_retention('page', '0', '0', 'disposable')});
ask(q{SELECT count(eventsource.append('page-' || n % 10, 'viewed', jsonb_build_object('n', n))) FROM generate_series(1, 250) n});
my $pages = q{SELECT count(*) FROM eventsource.events WHERE category = 'page'};
ask('SELECT * FROM eventsource.archive_due()');
is(ask($pages), '250', 'what is not published is not taken away');
like(ask(q{SET eventsource.max_retention_lag = 0; SELECT message FROM eventsource.health() WHERE "check" = 'retention'}),
	qr/^publication eventsource has \d+ event\(s\) wait/, 'and health() says for whom it waits');
publish('NULL');
ask('SELECT * FROM eventsource.archive_due()');
cmp_ok(ask($pages), '<', 100, 'what is published is');
is(told('eventsource', "CASE ce ->> 'type' WHEN 'viewed' THEN ce -> 'data' ->> 'n' END"), join(' ', 1 .. 250), 'all of it');
append('member-1', 'signed_up', q('{"email": "zoe@example.com"}'));
publish();
append('member-1', 'signed_up', q('{"email": "zoe2@example.com"}'));
ask(q{SELECT count(*) FROM eventsource.erase_subject('member-1', 'anonymize', 'asked', 'dpo')});
publish('NULL');
my $emails = told('eventsource', "ce -> 'data' ->> 'email'");
like($emails, qr/zoe\@/, 'what was published before an erasure is in the WAL');
unlike($emails, qr/zoe2\@/, 'what is published after it lacks what was erased');
is(ask(q{SELECT count(*) FROM eventsource.outbox WHERE payload::text LIKE '%zoe%'}), '0', 'and so does the outbox');

# ---- an outbox of some size: categories and positions by index, without being told so ----

ask('ALTER SYSTEM SET eventsource.segment_size = 1000000');
$node->restart;
ask(q{SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'big-' || i % 500, 'type', 't' || i % 20)) FROM generate_series(1, 30000) i))});
ask(q{SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'small-' || i % 5, 'type', 'rare')) FROM generate_series(1, 50) i))});
ask('ANALYZE');
my $plan = ask(q{EXPLAIN (COSTS OFF) SELECT * FROM eventsource.outbox WHERE aggregatetype = 'small'});
my $segment = ask(q{SELECT table_name FROM eventsource.segments ORDER BY bytes DESC LIMIT 1});
like($plan, qr/Index Scan (?:using|on) ${segment}_stream_idx/, 'a category');
unlike($plan, qr/Seq Scan on $segment /, 'not all of the log');
$plan = ask(q{EXPLAIN (COSTS OFF) SELECT * FROM eventsource.outbox WHERE position > 5000 ORDER BY position LIMIT 100});
like($plan, qr/Index Scan using ${segment}_pkey/, 'a position');

# ---- a worker does it; not below wal_level = logical ----

ask(q{ALTER SYSTEM SET eventsource.worker_enabled = on});
$node->restart;
append('order-9', 'late');
ok(wait_until(sub { ask('SELECT lag FROM eventsource.publications') eq '0' }), 'the worker publishes');
like(substr(told('eventsource', "ce ->> 'type'"), -200), qr/ late\b/, 'down to the last event, as soon as it says so');
my $before = problems_of_stream($node, 'all', 'eventsource', "e.category NOT IN ('page', 'member')");
is(join("\n", grep { !/is none of its events/ } split /\n/, $before), '', 'once and in order');
ask(q{SELECT pg_drop_replication_slot('all'); ALTER SYSTEM SET wal_level = replica});
$node->restart;
append('order-9', 'unseen');
like(error_of($node, 'log', 'SELECT * FROM eventsource.publish()'),
	qr/ERROR:  55000: events cannot be published while wal_level is "replica".*\nHINT:  ALTER SYSTEM SET wal_level = logical/s, 'wal_level is too low');
ok(wait_until(sub { ask("SELECT last_error FROM eventsource.workers WHERE database = 'log'") =~ /^publishing events: events cannot be published/ }),
	'and the worker says so');
is(ask('SELECT lag > 0 FROM eventsource.publications'), 't', 'nothing counts as published');
ask('ALTER SYSTEM RESET wal_level; ALTER SYSTEM SET eventsource.worker_enabled = off');
$node->restart;
create_slot($node, 'all');
is(publish(), '1|current|', 'it goes on');
is(told('eventsource', "ce ->> 'type'"), 'unseen', 'with what was left');
like(error_of($node, 'log', 'SET default_transaction_read_only = on; SELECT * FROM eventsource.publish()'), qr/ERROR:  25006/, 'publishing is writing');

# ---- a standby, a dump ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby = on');
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my $outbox = q{SELECT count(*), md5(string_agg(o::text, '' ORDER BY position)) FROM eventsource.outbox o};
is($standby->safe_psql('log', $outbox), ask($outbox), 'a standby has the outbox');
my $ids = q{SELECT md5(string_agg(eventsource.to_cloudevent(e)::text, '' ORDER BY position)) FROM eventsource.events e};
is($standby->safe_psql('log', $ids), ask($ids), 'and CloudEvents');
is($standby->safe_psql('log', 'SELECT prefix, version FROM eventsource.publications'), 'eventsource|1', 'and shows publications');
like(error_of($standby, 'log', "SELECT eventsource.$_"), qr/ERROR:  25006/, "but no $_") for 'publish()', 'start_publishing()', 'stop_publishing()';
append('order-9', 'before promotion');
ask('SELECT eventsource.publish()');
append('order-9', 'not yet');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->promote;
create_slot($standby, 'all');
is($standby->safe_psql('log', 'SELECT events, status FROM eventsource.publish()'), '1|current', 'promoted, it goes on where the primary was');
$standby->stop;

my $dump = "$PostgreSQL::Test::Utils::tmp_check/outbox.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, 'log' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->safe_psql('copy', slurp_file($dump));
is($node->safe_psql('copy', 'SELECT count(*), md5(string_agg(id::text, $$$$ ORDER BY position)) FROM eventsource.outbox'),
	ask('SELECT count(*), md5(string_agg(id::text, $$$$ ORDER BY position)) FROM eventsource.outbox'), 'restored, events have the ids they had');
is($node->safe_psql('copy', q{SELECT eventsource.append('order-9', 'in the copy') IS DISTINCT FROM NULL; SELECT events, status FROM eventsource.publish()}),
	"t\n2|current", 'and the publication stands where it stood');

$node->stop;
done_testing();
