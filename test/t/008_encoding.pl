# 008_encoding.pl: a log in another encoding, restored into UTF-8: what it says stays,
# and so do its hashes.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('encoding');

for my $encoding ('LATIN1', 'EUC_JP')
{
	my $db = lc $encoding;
	my $dump = "$PostgreSQL::Test::Utils::tmp_check/$db.sql";
	my ($word, $long) = $encoding eq 'LATIN1' ? ("\x{c3}\x{a9}", 'zz') : ("\x{e6}\x{97}\x{a5}", 'zzzzz');

	$node->safe_psql('postgres',
		"CREATE DATABASE $db ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	$node->safe_psql($db, 'CREATE EXTENSION eventsource');

	# Keys whose order depends on how many bytes a letter has.
	$node->safe_psql($db, <<SQL);
SET client_encoding = 'UTF8';
SELECT eventsource.append('a-$word', '$word', '{"$word": 1, "zz": 2, "$long": {"$word$word": "$word", "abc": [1.50]}}',
	actor => '$word', metadata => '{"$word": "$word", "ab": 1}');
SELECT eventsource.append('a-$word', 'x');
SELECT eventsource.register_event_type('$word$word', 'c$word', '{"required": ["$word"]}', description => '$word');
SELECT eventsource.create_category('c$word', strict => true);
SQL
	my $types = sub {
		my ($on) = @_;
		my $try = sub { return error_of($node, $on, "SET client_encoding = 'UTF8'; SELECT eventsource.append('c$word-1', '$word$_[0]', '$_[1]')") };
		like($try->($word, '{}'), qr/DETAIL:.*"$word" /, "$on: data must match the schema of its type");
		like($try->($word, qq({"$word": 1})), qr/^no error/, "$on: and may");
		like($try->('', '{}'), qr/HINT:  Registered are: "$word$word"/, "$on: names near another are told");
	};
	$types->($db);
	is(problems_of($node, $db), '', "$encoding: nothing is wrong with the log");

	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr($db) ], "$encoding: dump");
	$node->safe_psql('postgres', "CREATE DATABASE ${db}_utf8 ENCODING 'UTF8' TEMPLATE template0");
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr("${db}_utf8") ],
		"$encoding: restore into UTF-8");
	is($node->safe_psql("${db}_utf8", 'SELECT * FROM eventsource.verify_chain()'), '', "$encoding: the chain verifies");
	is($node->safe_psql("${db}_utf8", "SELECT version FROM eventsource.append('a-$word', 'y')"), '3', "$encoding: the stream goes on");
	$types->("${db}_utf8");
	is(problems_of($node, "${db}_utf8"), '', "$encoding: nothing is wrong with the restored log");
}
$node->stop;
done_testing();
