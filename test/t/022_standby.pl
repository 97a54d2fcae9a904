# 022_standby.pl: readers of the feed on a physical standby. It cannot see who is
# about to commit a low position, and goes by the watermark that the primary wrote
# down: nothing is skipped, whatever commits late, and promotion goes on from there.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '-E', 'UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', join "\n",
	'log_statement = none', 'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = off',
	'max_prepared_transactions = 20', 'eventsource.segment_size = 300', 'wal_receiver_status_interval = 1');
$primary->start;
create_log($primary, 'log');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub append { return $primary->safe_psql('log', "SELECT position FROM eventsource.append('$_[0]', '$_[1]')") }
sub publish { return $primary->safe_psql('log', 'SELECT eventsource.publish_watermark()') }
sub mark { return $standby->safe_psql('log', 'SELECT eventsource.watermark()') }

# What the standby's feed says, once all of the primary's WAL was replayed.
sub fed
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return $standby->safe_psql('log',
		"SELECT string_agg(type, ' ' ORDER BY position) FROM eventsource.read_all(0, NULL)");
}

# ---- what is published, and what is not ----

append('s-1', 'one');
is(fed(), '', 'nothing is final where nothing was published');
is(mark(), 0, 'and the watermark says so');
is($standby->safe_psql('log', 'SELECT type FROM eventsource.events'), 'one', 'though the event is there');
is($standby->safe_psql('log', 'SELECT watermark, published_watermark IS NULL, published_at IS NULL, is_standby FROM eventsource.feed'),
	'0|t|t|t', 'the view tells');

my $first = publish();
is(fed(), 'one', 'published');
is(mark(), $first, 'as far as that');
is($standby->safe_psql('log', "SELECT value FROM eventsource.metrics WHERE metric = 'feed_lag_positions'"), 0,
	'nothing lags, though the sequence is logged ahead');
append('s-1', 'two');
is(fed(), 'one', 'no further');
publish();
is(fed(), 'one two', 'until it is published anew');
my $row = 'SELECT xmin, position FROM eventsource.published_watermark';
my $before = $primary->safe_psql('log', $row);
publish();
is($primary->safe_psql('log', $row), $before, 'where nothing moved nothing is written');

like(error_of($standby, 'log', 'SELECT eventsource.publish_watermark()'), qr/ERROR:  25006/,
	'a standby does not publish');
like(error_of($standby, 'log', "SELECT eventsource.append('s-1', 'no')"), qr/ERROR:  25006/, 'nor does it append');
like(error_of($primary, 'log', 'UPDATE eventsource.published_watermark SET position = 1'), qr/ERROR:  ZE001/,
	'nobody else writes the row');

# ---- a low position that commits after a high one ----

my $low = $primary->background_psql('log');
$low->query_safe("BEGIN; SELECT eventsource.append('low-1', 'low')");
append('high-1', 'high');
publish();
is(fed(), 'one two', 'a low position is open');
is($standby->safe_psql('log', "SELECT count(*) FROM eventsource.events WHERE type = 'high'"), '1', 'the high one is there');
is($standby->safe_psql('log', 'SELECT count(*) FROM eventsource.read_category($$high$$)'), '0', 'but not final');
$low->query_safe('COMMIT');
is(fed(), 'one two', 'the low one is there, but nobody said so');
publish();
is(fed(), 'one two low high', 'both, in order');

# A reader with an old snapshot of its own.
my $reader = $standby->background_psql('log');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM eventsource.events');
append('s-1', 'three');
publish();
fed();
is($reader->query_safe('SELECT count(*) FROM eventsource.read_all(0, NULL)'), '5', 'its reading functions do not go by it');
$reader->query_safe('COMMIT');
$reader->quit;

# Two who publish at once.
$low->query_safe("BEGIN; SELECT eventsource.append('s-2', 'four'); COMMIT; BEGIN; SELECT eventsource.publish_watermark()");
my $held = publish();
cmp_ok($held, '<', $primary->safe_psql('log', 'SELECT eventsource.watermark()'), 'one who comes second does not wait');
$low->query_safe('ROLLBACK');
cmp_ok(publish(), '>', $held, 'and what was rolled back is not published');

# ---- subscriptions are to be seen, and served on the primary alone ----

$primary->safe_psql('log', "SELECT eventsource.create_subscription('seen')");
publish();
fed();
is($standby->safe_psql('log', 'SELECT name, position, lag > 0 FROM eventsource.subscriptions'), 'seen|0|t', 'a subscription');
is($standby->safe_psql('log', 'SELECT pending_position > 0 FROM eventsource.subscription_partitions'), 't', 'and what it has to do');
like(error_of($standby, 'log', "SELECT eventsource.$_"), qr/ERROR:  25006/, "no $_")
  for "poll('seen')", "ack('seen', 1)", "nack('seen', 1)", "wait_for_events('seen')";

# ---- many at once: what the standby's feed hands out, page by page, is the log ----

my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/write.sql", <<'SQL');
\set stream random(1, 40)
\set pause random(0, 20)
\set end random(1, 8)
BEGIN;
SELECT eventsource.append('load-' || :stream, 'made', expected_version => NULL);
\sleep :pause ms
SAVEPOINT a;
SELECT eventsource.append('load-' || :stream, 'kept');
\if :end = 1
ROLLBACK TO a;
\endif
\if :end = 2
ROLLBACK;
\elif :end = 3
PREPARE TRANSACTION 'load-:client_id';
\sleep :pause ms
COMMIT PREPARED 'load-:client_id';
\else
COMMIT;
\endif
SQL
append_to_file("$dir/publish.sql", "SELECT eventsource.publish_watermark();\n\\sleep 3 ms\n");

sub pgbench
{
	my ($clients, $script) = @_;
	my ($out, $err) = ('', '');
	return IPC::Run::start(
		[ 'pgbench', '-n', '-c', $clients, '-j', 1, '-T', 3, '-f', "$dir/$script",
			'-h', $primary->host, '-p', $primary->port, 'log' ],
		'>', \$out, '2>', \$err);
}

$reader = $standby->background_psql('log');
my $from = $reader->query_safe('SELECT eventsource.watermark()');
my $last = $from;
my (@got, $pages);
my @runs = (pgbench(6, 'write.sql'), pgbench(1, 'publish.sql'));
my $stop = time + 3;
while (time <= $stop)
{
	my $page = $reader->query_safe("SELECT position FROM eventsource.read_all($last, 20)");
	my @positions = split /\n/, $page;
	next unless @positions;
	$last = $positions[-1];
	push @got, @positions;
	$pages++;
}
ok($_->finish, "run ended well") for @runs;
publish();
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
push @got, split /\n/, $reader->query_safe("SELECT position FROM eventsource.read_all($last, NULL)");
$reader->quit;
cmp_ok($pages, '>', 10, 'pages were read meanwhile');
is(join(' ', @got), $primary->safe_psql('log', "SELECT string_agg(position::text, ' ' ORDER BY position)
	FROM eventsource.events WHERE position > $from"), 'every event, once, in order');

# ---- promotion ----

my $mark = publish();
$low->query_safe("BEGIN; SELECT eventsource.append('low-2', 'prepared'); PREPARE TRANSACTION 'late'");
append('high-2', 'above');
publish();
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(mark(), $mark, 'a prepared transaction holds the standby below it');
$low->quit;
$primary->stop('immediate');
$standby->promote;
is(mark(), $mark, 'after the promotion it still does');
is($standby->safe_psql('log', "SELECT holds_watermark FROM eventsource.open_appenders WHERE gid = 'late'"), 't', 'and is shown');
$standby->safe_psql('log', "SELECT eventsource.append('high-2', 'new')");
is($standby->safe_psql('log', "SELECT count(*) FROM eventsource.read_all($mark)"), '0', 'what is appended now waits as well');
$standby->safe_psql('log', "COMMIT PREPARED 'late'");
is($standby->safe_psql('log', "SELECT string_agg(type, ' ' ORDER BY position) FROM eventsource.read_all($mark)"),
	'prepared above new', 'in order');
is(problems_of($standby, 'log'), '', 'the log is whole');

done_testing();
