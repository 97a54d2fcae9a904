# 008_encoding.pl: a log in another encoding, restored into UTF-8: what it says stays,
# and so do its hashes, personal fields, erasures and proofs.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('encoding');

# An export is UTF-8, and verified without a database.
sub verified_outside
{
	my ($db) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$db";

	$node->safe_psql($db, 'SELECT eventsource.seal()');
	run_log([ 'psql', '-XAtq', '-o', "$file.export", '-c', "SET client_encoding = 'UTF8'", '-c', 'SELECT * FROM eventsource.export_log()',
			$node->connstr($db) ]);
	run_log([ 'psql', '-XAtq', '-o', "$file.checkpoint", '-c', 'SELECT eventsource.checkpoint()', $node->connstr($db) ]);
	my ($out, $err) = run_command([ 'python3', "$ENV{TESTDIR}/tools/verify_log.py", 'log', "$file.export", "$file.checkpoint" ]);
	return (split /\n/, $out)[0] . $err;
}

# Personal fields about whom letters name, in members whose order depends on the encoding: of
# one who stays, one anonymized, one erased, and one hidden whose name fits a stream in one of
# the encodings alone.
sub append_personal
{
	my ($db, $word, $other) = @_;

	$node->safe_psql($db, <<SQL);
SET client_encoding = 'UTF8';
SELECT eventsource.register_event_type('joined', 'm', subject => \$\$event.data->>'who'\$\$,
	pii => '{"$word": "hash", "$other": "redact", "home.$word": "null", "home.$other": "keep"}');
SELECT eventsource.append('m-1', 'joined', jsonb_build_object('who', who, '$word', 'a$word', '$other', 'b$word', 'n', 1,
	'home', jsonb_build_object('$word', 'c$word', '$other', 'd$word', 'city', '$word')))
  FROM unnest(ARRAY['stays$word', 'fades$word', 'goes$word', repeat('$word', 700)]) WITH ORDINALITY w (who, n) ORDER BY n;
SELECT eventsource.seal();
SELECT count(*) FROM eventsource.erase_subject('fades$word', 'anonymize', '$word', '$word');
SELECT count(*) FROM eventsource.erase_subject('goes$word', 'hard', '$word', '$word');
SELECT count(*) FROM eventsource.erase_subject(repeat('$word', 700), 'soft', '$word', '$word');
SQL
	return;
}

sub check_personal
{
	my ($db, $word, $other) = @_;
	my $ask = sub { return $node->safe_psql($db, "SET client_encoding = 'UTF8'; $_[0]") };
	my $append = sub { return error_of($node, $db, "SET client_encoding = 'UTF8'; SELECT eventsource.append('m-1', 'joined', jsonb_build_object('who', $_[0]))") };
	my $home = qq({"$word": "c$word", "$other": "d$word", "city": "$word"});
	my $stays = qq({"who": "stays$word", "$word": "a$word", "$other": "b$word", "n": 1, "home": $home});

	is( $ask->("SELECT array_agg(data = '$stays' OR data - '$word' = '{\"who\": \"fades$word\", \"$other\": \"[redacted]\", \"n\": 1,"
			  . " \"home\": {\"city\": \"$word\", \"$other\": \"d$word\"}}' OR data IS NULL OR NOT data ? '$word' ORDER BY version) FROM eventsource.events WHERE stream = 'm-1'"),
		'{t,t,t,t}', "$db: personal fields, what is left of them");
	is($ask->("SELECT e.data = '$stays' FROM jsonb_to_recordset(eventsource.export_subject('stays$word') -> 'events') e (data jsonb)"),
		't', "$db: all about one who stays");
	is($ask->("SELECT string_agg(v.version || v.status, ' ' ORDER BY v.event_position) FROM eventsource.verify_log() v"),
		'2redacted 3redacted', "$db: erasures account for what is gone");
	like(verified_outside($db), qr/ 2 redacted, 0 tampered$/, "$db: outside, too");
	like($append->($_), qr/ERROR:  ZE009/, "$db: nothing more about who is erased")
	  for "'fades$word'", "'goes$word'", "repeat('$word', 700)";
	return;
}

for my $encoding ('LATIN1', 'EUC_JP')
{
	my $db = lc $encoding;
	my $dump = "$PostgreSQL::Test::Utils::tmp_check/$db.sql";
	my ($word, $long) = $encoding eq 'LATIN1' ? ("\x{c3}\x{a9}", 'zz') : ("\x{e6}\x{97}\x{a5}", 'zzzzz');

	# Of these two the one comes first in EUC_JP, the other in UTF-8.
	my @names = $encoding eq 'LATIN1' ? ($word, 'zz') : ("\x{e4}\x{ba}\x{9c}", "\x{e4}\x{b8}\x{80}");

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
	append_personal($db, @names);
	check_personal($db, @names);
	is(problems_of($node, $db), '', "$encoding: nothing is wrong with the log");

	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr($db) ], "$encoding: dump");
	$node->safe_psql('postgres', "CREATE DATABASE ${db}_utf8 ENCODING 'UTF8' TEMPLATE template0");
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr("${db}_utf8") ],
		"$encoding: restore into UTF-8");
	is($node->safe_psql("${db}_utf8", 'SELECT * FROM eventsource.verify_chain()'), '', "$encoding: the chain verifies");
	is($node->safe_psql("${db}_utf8", "SELECT version FROM eventsource.append('a-$word', 'y')"), '3', "$encoding: the stream goes on");
	$types->("${db}_utf8");
	check_personal("${db}_utf8", @names);
	my $back = $node->safe_psql("${db}_utf8", "SELECT count(*) FROM eventsource.revert_erasure(repeat('$names[0]', 700), 'x', 'dpo:x');"
		  . " SELECT data ->> '$names[0]' FROM eventsource.events WHERE stream = 'm-1' AND version = 4");
	like($back, qr/^\d+\na$names[0]$/, "$encoding: who was hidden, comes back");
	is(problems_of($node, "${db}_utf8"), '', "$encoding: nothing is wrong with the restored log");
}

# Without an encoding there are bytes: those of UTF-8 are letters, others are no JSON.
$node->safe_psql('postgres', "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
$node->safe_psql('ascii', 'CREATE EXTENSION eventsource');
append_personal('ascii', "\x{c3}\x{a9}", 'zz');
check_personal('ascii', "\x{c3}\x{a9}", 'zz');
like(error_of($node, 'ascii', "SELECT eventsource.append('m-1', 'joined', '{\"zz\": \"\x{e9}\"}')"),
	qr/ERROR:  22021: invalid byte sequence/, 'ascii: what is not UTF-8 is refused');
like(error_of($node, 'ascii', "SELECT eventsource.append('m-\x{e9}', 'joined')"),
	qr/ERROR:  22021: invalid byte sequence/, 'ascii: in names, too');
is(problems_of($node, 'ascii'), '', 'ascii: nothing is wrong with the log');
$node->stop;
done_testing();
