# Outbox.pm: what the tests of publishing share: a server that decodes its WAL, and
# the stream that wal2json makes of it, held against the log.
package Outbox;

use strict;
use warnings;

use EventLog;
use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(has_wal2json new_decoding_server create_slot problems_of_stream messages_of);

# Its plugin must be there for this server.
sub has_wal2json
{
	my ($libraries) = run_command([ 'pg_config', '--pkglibdir' ]);
	return -e "$libraries/wal2json.so";
}

# Newer minor releases load plugins that they are told of alone.
sub new_decoding_server
{
	my ($name, @settings) = @_;
	my $node = new_server($name, 'wal_level = logical', 'max_wal_senders = 5', @settings);

	if ($node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'"))
	{
		$node->append_conf('postgresql.conf', "output_plugin_libraries = 'pgoutput, test_decoding, wal2json'");
		$node->reload;
	}
	return $node;
}

sub create_slot
{
	my ($node, $slot) = @_;
	$node->safe_psql('log', "SELECT pg_create_logical_replication_slot('$slot', 'wal2json')");
	return;
}

# Reads a slot (peek or get) as rows of CloudEvents: n, prefix, content. No table of the
# log is asked for, messages alone.
sub messages_of
{
	my ($slot, $verb) = @_;
	$verb //= 'peek';
	return <<"SQL";
SELECT row_number() OVER () AS n, data::jsonb ->> 'prefix' AS prefix, (data::jsonb ->> 'content')::jsonb AS ce
  FROM pg_logical_slot_${verb}_changes('$slot', NULL, NULL, 'format-version', '2', 'include-transaction', 'false',
	'add-tables', 'none.none')
 WHERE data::jsonb ->> 'action' = 'M'
SQL
}

# Each event that the condition takes is in the stream of this prefix once, in order of
# position, as it is in the log; nothing else is. One line for each problem.
sub problems_of_stream
{
	my ($node, $slot, $prefix, $condition) = @_;
	$condition //= 'true';
	my $messages = messages_of($slot);
	return $node->safe_psql('log', <<"SQL");
CREATE TEMP TABLE message AS SELECT n, ce, (ce ->> 'sequence')::bigint AS position FROM ($messages) m WHERE prefix = '$prefix';
CREATE TEMP TABLE event AS
SELECT e.position, eventsource.to_cloudevent(e) AS ce FROM eventsource.events e WHERE e.category <> '\$config' AND ($condition);
SELECT format('position %s comes after %s', position, before)
  FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM message) m WHERE position <= before;
SELECT format('position %s is missing', position) FROM event EXCEPT SELECT format('position %s is missing', position) FROM message;
SELECT format('position %s is none of its events', position) FROM message WHERE position NOT IN (SELECT position FROM event);
SELECT format('position %s says %s, not %s', position, m.ce, e.ce) FROM message m JOIN event e USING (position) WHERE m.ce <> e.ce;
SELECT format('id %s', m.ce ->> 'id') FROM message m WHERE eventsource.event_position((m.ce ->> 'id')::uuid) IS DISTINCT FROM position;
SELECT 'there are no messages' WHERE NOT EXISTS (SELECT FROM message);
SQL
}

1;
