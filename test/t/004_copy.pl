# 004_copy.pl: COPY of 100,000 events into the view: over few streams and over so
# many that the wide lock is taken, with rules on, and all or nothing.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('copy', 'eventsource.segment_size = 30000');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $rows = 100_000;
my $has_machines = has_function($node, 'log', 'create_state_machine');
my $has_projections = has_function($node, 'log', 'create_projection');

$node->safe_psql('log', <<'SQL') if $has_machines;
SELECT eventsource.create_state_machine('lamp', '{"initial": "OFF",
	"states": {"OFF": {"on": {"on": "ON"}}, "ON": {"on": {"off": "OFF", "broke": "BROKEN"}}, "BROKEN": {"type": "final"}}}');
SELECT eventsource.create_category(c, 'lamp') FROM unnest(ARRAY['few', 'many', 'bad']) c;
SQL
$node->safe_psql('log', 'CREATE TABLE lamp (stream text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, state text)');
$node->safe_psql('log', <<'SQL') if $has_projections;
SELECT eventsource.create_projection('lamp', ARRAY['few', 'many'],
	jsonb_build_object('*', $$ n = row.n + 1, state = event.to_state $$), key => '{"stream": "event.stream"}');
SQL

# Rows of a COPY: so many events of a category over so many streams, taking turns;
# one row may be another, half-way and at the turn of stream 0.
sub write_rows
{
	my ($category, $count, $streams, $instead) = @_;
	my $file = "$dir/$category.$streams";
	my $at = $count / 2;
	open my $fh, '>', $file or die;
	for my $i (0 .. $count - 1)
	{
		my $type = int($i / $streams) % 2 ? 'off' : 'on';
		my $stream = "$category-" . $i % $streams;
		print $fh defined $instead && $i == $at
		  ? $instead
		  : "$stream\t$type\t{\"n\": $i, \"text\": \"row $i\"}\n";
	}
	close $fh;
	return $file;
}

sub copy_rows
{
	my ($file) = @_;
	return "\\copy eventsource.events (stream, type, data) FROM '$file'";
}

# Counts, versions and order of what a COPY of write_rows() must have made.
sub check_copied
{
	my ($category, $streams) = @_;
	is( $node->safe_psql('log', <<"SQL"), "$rows|$streams|" . $rows / $streams . '|t', "$category: counts and versions");
SELECT count(*), count(DISTINCT stream), max(version),
	   bool_and(version = (data->>'n')::int / $streams + 1 AND key = ((data->>'n')::int % $streams)::text)
  FROM eventsource.events WHERE category = '$category'
SQL
	is( $node->safe_psql('log', <<"SQL"), '0', "$category: positions in the order of the rows");
SELECT count(*) FROM (SELECT position, lag(position) OVER (ORDER BY (data->>'n')::int) AS before
						FROM eventsource.events WHERE category = '$category') o WHERE position <= before
SQL
	return if !$has_projections;
	is( $node->safe_psql('log', <<"SQL"), '0', "$category: projection rows");
SELECT count(*) FROM (SELECT stream, count(*) AS n, (array_agg(to_state ORDER BY version DESC))[1] AS state
						FROM eventsource.events WHERE category = '$category' GROUP BY 1) e
  FULL JOIN (SELECT * FROM lamp WHERE stream LIKE '$category-%') l USING (stream)
 WHERE (e.n, e.state) IS DISTINCT FROM (l.n, l.state)
SQL
	return;
}

$node->safe_psql('log', copy_rows(write_rows('few', $rows, 10)));
check_copied('few', 10);
$node->safe_psql('log', copy_rows(write_rows('many', $rows, 5000)));
check_copied('many', 5000);
is(problems_of($node, 'log'), '', 'the log is whole');

# ---- all or nothing ----

my $count = 'SELECT count(*) || \' \' || (SELECT count(*) FROM eventsource.streams) FROM eventsource.events';
my $before = $node->safe_psql('log', $count);
my %bad = (
	'no category' => [ "nocategory\ton\t{}\n", qr/ERROR:  42602:/ ],
	'malformed JSON' => [ "bad-0\toff\t{\n", qr/ERROR:  22P02:/ ],
	'no type' => [ "bad-0\t\\N\t{}\n", qr/ERROR:  2[23]\w{3}:/ ],
	'a category of ours' => [ "\$config-x.y\ton\t{}\n", qr/ERROR:  \w{5}:/ ]);
$bad{'an illegal step'} = [ "bad-0\ton\t{}\n", qr/ERROR:  ZE002:.*line 6001/s ] if $has_machines;

for my $what (sort keys %bad)
{
	my ($line, $error) = @{ $bad{$what} };
	my $file = write_rows('bad', 12000, 2000, $line);
	like(error_of($node, 'log', copy_rows($file)), $error, "$what: refused");
	is($node->safe_psql('log', $count), $before, "$what: nothing was written");
}
is(problems_of($node, 'log'), '', 'the log is whole afterwards');

$node->stop;
done_testing;
