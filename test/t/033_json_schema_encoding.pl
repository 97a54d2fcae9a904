# 033_json_schema_encoding.pl: JSON Schema in databases of other encodings: lengths,
# patterns and references mean the same characters.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('schema_encoding');

# Asks in UTF-8 whether an instance matches a schema.
sub matches
{
	my ($db, $schema, $data) = @_;
	return $node->safe_psql($db, "SET client_encoding = 'UTF8';\nSELECT eventsource.jsonb_matches_schema('$schema', '$data');");
}

for my $encoding ('LATIN1', 'EUC_JP', 'UTF8')
{
	my $db = 'schema_' . lc $encoding;
	my ($letter, $escape, $percent) =
	  $encoding eq 'EUC_JP' ? ("\x{e6}\x{97}\x{a5}", 'u65e5', '%E6%97%A5') : ("\x{c3}\x{a9}", 'u00e9', '%C3%A9');

	$node->safe_psql('postgres',
		"CREATE DATABASE $db ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	$node->safe_psql($db, 'CREATE EXTENSION eventsource');
	is(matches($db, '{"minLength": 2, "maxLength": 2}', "\"$letter$letter\""), 't', "$encoding: characters are counted");
	is(matches($db, '{"minLength": 2}', "\"$letter\""), 'f', "$encoding: and not bytes");
	is(matches($db, "{\"pattern\": \"^\\\\$escape\$\"}", "\"$letter\""), 't', "$encoding: an escape in a pattern");
	is(matches($db, '{"pattern": "^\\\\p{L}.$"}', "\"$letter$letter\""), 't', "$encoding: a property in a pattern");
	is(matches($db, "{\"pattern\": \"^[$letter]+\$\"}", "\"$letter$letter\""), 't', "$encoding: a letter in a pattern");
	is(matches($db, "{\"pattern\": \"^[^$letter]+\$\"}", "\"$letter$letter\""), 'f', "$encoding: another pattern");
	is(matches($db, "{\"\$ref\": \"#/\$defs/$percent\", \"\$defs\": {\"$letter\": {\"const\": 1}}}", '1'),
		't', "$encoding: a reference");
	is(matches($db, "{\"properties\": {\"$letter\": {\"const\": 1}}, \"additionalProperties\": false, \"required\": [\"$letter\"]}", "{\"$letter\": 1}"),
		't', "$encoding: a property");
}

# Which goes without the engine, and which a group sends there: they must agree.
my $simple = q{
	SELECT count(*), count(*) FILTER (WHERE eventsource.jsonb_matches_schema(jsonb_build_object('pattern', p), to_jsonb(s))),
		   count(*) FILTER (WHERE eventsource.jsonb_matches_schema(jsonb_build_object('pattern', p), to_jsonb(s))
			<> eventsource.jsonb_matches_schema(jsonb_build_object('pattern', '(?:' || p || ')'), to_jsonb(s)))
	  FROM unnest(ARRAY['^[^a]$', '^[^a]{2}$', '^[^a]+a$', '^a[^b]*$', '^[^b]?a', '^\w+$', '^[a-z]{0,2}$']) p,
		   unnest(ARRAY['', 'a', 'xa', LETTERS]) s};
my %letters = (
	schema_latin1 => q{E'\xe9', E'\xe9\xe9', E'\xe9a', E'a\xe9', E'\xe9b'},
	schema_euc_jp => q{E'\xc6\xfc', E'\xc6\xfc\xc6\xfc', E'\xc6\xfca', E'a\xc6\xfc', E'\xc6\xfcb'},
	schema_utf8 => q{E'\u65e5', E'\u65e5\u65e5', E'\u65e5a', E'a\u65e5', E'\u65e5b'},
	schema_ascii => q{E'\xe9', E'\xe9\xff', E'\xe9a', E'a\xe9', E'\xe9b'});

# Without an encoding there are bytes.
$node->safe_psql('postgres',
	"CREATE DATABASE schema_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
$node->safe_psql('schema_ascii', 'CREATE EXTENSION eventsource');
is($node->safe_psql('schema_ascii', q{SELECT eventsource.jsonb_matches_schema('{"pattern": "^..$", "maxLength": 2}', to_jsonb(E'\xe9\xff'::text))}),
	't', 'SQL_ASCII: bytes that are no UTF-8');
is($node->safe_psql('schema_ascii', q{SELECT cardinality(eventsource.jsonschema_validation_errors('{"additionalProperties": false}', jsonb_build_object(E'\xe9/\xff', 1)))}),
	'1', 'SQL_ASCII: and in names');

for my $db (sort keys %letters)
{
	is($node->safe_psql($db, $simple =~ s/LETTERS/$letters{$db}/r), '56|16|0', "$db: simple patterns say what the engine says");
}
$node->stop;
done_testing();
