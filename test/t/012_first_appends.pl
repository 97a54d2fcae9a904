# 012_first_appends.pl: the first append of a session holds the sequence of positions
# against the log. While others append, that must not look like a sequence moved back.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('first', 'eventsource.segment_size = 1000', 'max_connections = 50');
my $script = "$PostgreSQL::Test::Utils::tmp_check/append.sql";

append_to_file($script, "SELECT version FROM eventsource.append('b-' || random(), 'x');\n");
$node->command_checks_all([ 'pgbench', '-n', '-C', '-c', '8', '-T', '4', '-f', $script, $node->connstr('log') ],
	0, [qr/number of failed transactions: 0 /], [qr/^(?!.*moved backwards)/s], 'every append a session of its own');
is(problems_of($node, 'log'), '', 'nothing is wrong with the log');
$node->stop;
done_testing();
