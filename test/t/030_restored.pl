# 030_restored.pl: the worker comes to a database that is being restored: parts of the
# log and of its progress come in any order (pg_restore -j), and it does nothing until
# the log is opened by the first append.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('restored', 'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = on',
	'eventsource.worker_interval = 50', 'eventsource.worker_databases = copy');
my $dir = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql('log', $_[0]) }
sub copy { return $node->safe_psql('copy', $_[0]) }

sql(<<'SQL');
CREATE TABLE calls (n int GENERATED ALWAYS AS IDENTITY, position bigint);
CREATE FUNCTION note(e eventsource.events) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.calls (position) VALUES (e.position) $$;
CREATE TABLE total (account text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_handler('note', '{move}', 'note(eventsource.events)', settings => '{"interval": "0 s"}'),
	eventsource.create_projection('total', '{move}', '{"*": "n = row.n + 1"}', '{"account": "''all''"}', settings => '{"interval": "0 s"}');
SELECT eventsource.create_subscription('follow', '{move}', partitions => 2);
SELECT eventsource.append('move-' || n, 'moved') FROM generate_series(1, 3) n;
SELECT * FROM eventsource.run_projections();
SELECT eventsource.append('move-4', 'moved');
SQL
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", 'log' ], 'dumped');

# The cursors come last, or never.
my ($list) = run_command([ 'pg_restore', '-l', "$dir/dump" ]);
my @cursors = grep { /TABLE DATA eventsource projection_cursor / } split /\n/, $list;
is(scalar(@cursors), 1, 'cursors are dumped');
PostgreSQL::Test::Utils::append_to_file("$dir/first", join("\n", grep { !/TABLE DATA eventsource (projection|subscription)_cursor / } split /\n/, $list) . "\n");
PostgreSQL::Test::Utils::append_to_file("$dir/last", "@cursors\n");

# Passes of the worker since this was called.
sub passes
{
	my $query = q{SELECT coalesce(sum(passes), 0) FROM eventsource.workers WHERE database = 'copy'};
	my $before = copy($query);
	return wait_until(sub { copy($query) > $before + 3 }, 30);
}

$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-d', 'copy', '-L', "$dir/first", "$dir/dump" ], 'restored but for the cursors');
ok(passes(), 'the worker is there');
is(copy('SELECT count(*) FROM calls'), '3', 'it calls no handler from the beginning');
$node->command_ok([ 'pg_restore', '-d', 'copy', '-L', "$dir/last", "$dir/dump" ], 'the cursors, too');
ok(passes(), 'the worker is there');
is(copy('SELECT count(*) FROM calls'), '3', 'it waits for the log to be opened');
is(copy('SELECT count(*) FROM eventsource.published_watermark'), '0', 'and publishes nothing');

copy(q{SELECT eventsource.append('move-5', 'moved')});
ok(wait_until(sub { copy('SELECT count(*) FROM calls') eq '5' }, 30), 'then the handler goes on where it stood');
is(copy('SELECT count(*) = count(DISTINCT position) FROM calls'), 't', 'each event once');
ok(wait_until(sub { copy('SELECT n FROM total') eq '5' }, 30), 'so does the projection');
is(copy(q{SELECT count(*) FROM eventsource.verify_projection('total')}), '0', 'which is the fold of its events');
like(error_of($node, 'copy', q{SELECT * FROM eventsource.poll('follow')}), qr/progress of subscription "follow" is missing/,
	'a subscription whose progress was not restored');
copy(q{SELECT eventsource.drop_subscription('follow'); SELECT eventsource.create_subscription('follow', '{move}', partitions => 2)});
is(copy(q{SELECT count(*) FROM generate_series(0, 1) n, eventsource.poll('follow', partition => n)}), '5', 'can be made anew');
is(problems_of($node, 'copy'), '', 'the log is whole');
$node->stop;

done_testing();
