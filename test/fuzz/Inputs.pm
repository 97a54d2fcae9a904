# Inputs.pm: the inputs of calls. All randomness is rand() after one srand(), so
# that a seed repeats a run.
package Inputs;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(seed_inputs next_input);

my $any_bytes;    # does the database take them?
my $slips = 0;    # how often something else stands where it does not belong

sub seed_inputs { srand $_[0]; return }
sub chance { return rand() < $_[0] }
sub pick { return $_[ rand @_ ] }

# One of several pieces of code.
sub any { return $_[ rand @_ ]->() }

# ---- text ----

sub quote
{
	my ($text) = @_;
	return 'NULL' if !defined $text;
	return "'" . $text =~ s/'/''/gr . "'" if $text !~ /\\/;
	return "E'" . $text =~ s/\\/\\\\/gr =~ s/'/''/gr . "'";
}

my @names = qw(a b lead-1 order $config-x $config-state_machine.a a-b-c - -a a- -- a-1 key _ x.y "quoted" a'b a\b %s %n {} [] null NULL 0 -1 1e9
  position stream type row event state OLD NEW $1 ${x} ../../etc ; /* */ *);
my @odd = (
	'', ' ', "\t", "\n", "\r\n", "a-\n", "\x01", "\x7f", "a-\x1f", "\xc3\xa4-\xc3\xb6", "\xe2\x80\xae-x",
	"\xf0\x9f\x92\xa9-1", "\xcc\x88-\xcc\x88", "\xef\xbb\xbfa-1", "\xc2\xa0-1", "a-" . "\xe2\x82\xac" x 200,
	'a' x 63 . '-1', 'a' x 64 . '-1', 'a' x 255 . '-b', 'a-' . 'b' x 253, 'a-' . 'b' x 1000, 'x' x 5000, '-' x 300);

# An SQL literal of type text, or an expression where a literal would be long.
sub text_value
{
	my $r = rand;
	return quote(pick(@names)) if $r < 0.5;
	return quote(pick(@odd)) if $r < 0.8;
	return 'NULL' if $r < 0.87;
	return "repeat('x-', " . pick(100, 1000, 100_000, 2_000_000) . ')' if $r < 0.9;
	return "repeat(" . quote(pick(@odd)) . ', ' . int(rand 50) . ')' if $r < 0.94;
	return bytes() if $any_bytes && $r < 0.98;
	return quote(join '', map { chr 1 + rand 126 } 1 .. rand 40);
}

# Bytes that are no valid UTF-8, or a part of something that is.
sub bytes
{
	my $hex = join '', map { sprintf '%02x', 1 + rand 255 } 1 .. 1 + rand 20;
	return "convert_from('\\x612d$hex', 'SQL_ASCII')";
}

my $stream_number = 0;

sub stream
{
	my $r = rand;
	return text_value() if $r < 0.25;
	return quote(pick(qw(a b lead order fuzz)) . '-' . int rand 30) if $r < 0.9;
	return quote('new-' . ++$stream_number);
}

sub category { return chance(0.3) ? text_value() : quote(pick(qw(a b lead order fuzz))) }
sub machine { return chance(0.2) ? text_value() : quote(pick(qw(m1 m2 m3))) }
sub type { return chance(0.25) ? text_value() : quote(pick(qw(made opened shut painted t1))) }
sub reason { return chance(0.5) ? 'NULL' : chance(0.5) ? quote(pick(qw(r1 r2 r3))) : text_value() }

# ---- numbers and times ----

sub integer
{
	return any(
		sub { int rand 10 },
		sub { -1 - int rand 10 },
		sub { pick('0', 'NULL', '2147483647', '-2147483648', '2147483648', '32767', '32768', '65536') },
		sub { pick('9223372036854775807', "'-9223372036854775808'", "'9223372036854775808'", "'x'", "'1.5'") });
}

sub timestamp
{
	return pick(
		'NULL', 'now()', "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31 23:59:59.999999+00'",
		"'294277-01-01'", "'epoch'", "'2000-01-01 00:00:00.0000005'", "'nonsense'", "'2024-02-30'",
		"now() - interval '1 day'", "now() + interval '100 years'");
}

# ---- JSON ----

my @json_keys = qw(stream type data reason actor metadata expected_version occurred_at idempotency_key
  schema_version initial create states on target guard guards reasons fill kind label category set key where each
  missing a b position Stream version);

sub json_string
{
	return any(
		sub { '"' . pick(@json_keys) . '"' },
		sub { '"' . pick('', ' ', 'a-1', '\u0000', '\ud83d', '\ud83d\ude00', '\u00e4', '\n', 'x' x 300, '\"', '\\\\') . '"' },
		sub { '"' . pick(qw(S0 S1 S2 r1 made opened text 2024-01-01 1e3 NaN)) . '"' });
}

sub json_number
{
	return pick(qw(0 -0 1 -1 1.50 1e400 1e-400 1E+5 0.1e-10 9223372036854775808 1e131071 1e131072 00 1. .5 NaN Infinity 0x10),
		'9' x 400, int rand 1000);
}

sub json
{
	my ($depth) = @_;
	my $r = rand;

	$depth //= 3;
	$r *= 0.5 if $depth <= 0;
	return json_string() if $r < 0.2;
	return json_number() if $r < 0.35;
	return pick(qw(null true false)) if $r < 0.49;
	return pick('', '{', '}', '[1,]', '{"a"}', '{"a":1,}', '"', 'nul', '{"a":1}}', "{'a':1}", '[[]', '{1:2}') if $r < 0.5;
	return '[' . join(',', map { json($depth - 1) } 1 .. rand 4) . ']' if $r < 0.7;
	return deep() if $r < 0.71;
	return '{' . join(',', map { json_key() . ':' . json($depth - 1) } 1 .. rand 5) . '}';
}

sub json_key { return chance(0.7) ? '"' . pick(@json_keys) . '"' : json_string() }

sub deep
{
	my $n = pick(50, 500, 3000, 20_000);
	return any(
		sub { '[' x $n . ']' x $n },
		sub { '{"a":' x $n . '1' . '}' x $n },
		sub { '[' x $n });
}

# Now and then something else than what belongs here.
sub maybe
{
	my ($json) = @_;
	return chance($slips) ? json(2) : $json;
}

# An object of these pairs, now and then some left out, doubled, or joined by a stranger.
sub object
{
	my %pairs = @_;
	my @members;
	for my $key (sort keys %pairs)
	{
		next if chance($slips);
		my $name = chance($slips) ? pick(@json_keys) : $key;
		push @members, "\"$name\":" . maybe($pairs{$key});
	}
	push @members, json_key() . ':' . json(1) if chance($slips);
	push @members, $members[0] if @members && chance($slips);
	return '{' . join(',', @members) . '}';
}

sub json_of
{
	my ($json) = @_;
	return 'NULL' if chance(0.02);
	return quote($json) if length $json < 30_000 || $json !~ /^((.)\2{400,})/;
	return quote($json);
}

sub jsonb_value
{
	my $r = rand;
	return 'NULL' if $r < 0.05;
	return "'{}'" if $r < 0.2;
	return "jsonb_build_object('big', repeat('x', " . pick(1000, 100_000, 1_000_000) . '))' if $r < 0.22;
	return "(SELECT jsonb_object_agg(i, i) FROM generate_series(1, " . pick(10, 1000, 20_000) . ') i)' if $r < 0.23;
	return '(' . quote(json()) . ')::jsonb';
}

# ---- expressions ----

my @atoms = (
	'event', 'row', 'state', 'event.data', 'event.type', 'event.version', 'event.stream', 'event.position', 'event.key',
	"event.data->>'a'", "event.data->'a'->'b'", "(event.data->>'n')::int", 'row.n', 'row.s', 'row.key', 'row.nosuch',
	'event.nosuch', 'row.*', 'event.*', 'row.ctid', 'row.xmin', '1', '0', '-1', '1.5', 'NULL', 'true', "''", "'x'",
	"'2024-01-01'", 'now()', 'random()', 'current_user', 'clock_timestamp()', 'pg_sleep(0)', '(SELECT 1)', 'ARRAY[1,2]',
	'ROW(1,2)', 'item', 'item.a', '$1', ':x', '?', 'count(*)', 'generate_series(1,3)', 'lag(1) OVER ()', 'CURRENT_DATE',
	'DEFAULT', "nextval('fuzz.counter')", "'fuzz.plain'::regclass", "'1 day'::interval", 'event.occurred_at',
	"repeat('x', 100000)", "jsonb_build_object('a', 1)", '9223372036854775807', "'{'::jsonb", 'fuzz.plain', 'a.b.c.d',
	"set_config('eventsource.actor', 'x', false)", "eventsource.append('a-1', 'made')", "pg_read_file('/etc/passwd')",
	"query_to_xml('select 1', true, true, '')", "event.occurred_at + interval '1 day'", "E'\\xff'", "U&'\\0000'", 'row');
my @operators = ('+', '-', '*', '/', '%', '||', '=', '<', '>', '<>', '->', '->>', 'AND', 'OR', 'IS', 'IN', 'LIKE', '~', '::', '@>', '#>>', ',', '.', ';');

sub expression
{
	my ($depth) = @_;
	my $r = rand;

	$depth //= 2;
	$r *= 0.45 if $depth <= 0;
	return pick(@atoms) if $r < 0.45;
	return expression($depth - 1) . ' ' . pick(@operators) . ' ' . expression($depth - 1) if $r < 0.65;
	return '(' . expression($depth - 1) . ')' if $r < 0.7;
	return pick(qw(NOT - + ~ @), 'NOT NOT') . ' ' . expression($depth - 1) if $r < 0.73;
	return pick(qw(coalesce greatest nullif length upper abs sum max format to_char date_trunc jsonb_array_elements nosuch pg_sleep))
	  . '(' . join(', ', map { expression($depth - 1) } 1 .. rand 3) . ')' if $r < 0.83;
	return 'CASE WHEN ' . expression($depth - 1) . ' THEN ' . expression($depth - 1) . ' END' if $r < 0.87;
	return '(' . expression($depth - 1) . ')::' . pick(qw(int bigint text jsonb numeric date timestamptz regclass record nosuch int[] xml fuzz.positive)) if $r < 0.93;
	return pick('1' . '+1' x pick(10, 1000, 20_000), '(' x pick(10, 20_000) . '1', '--', '/*', "'", '"', '$$', ')', '', ' ', '1 1', "\x01", 'SELECT 1', '1; DROP TABLE fuzz.plain')
	  if $r < 0.96;
	return expression($depth - 1);
}

sub boolean_expression
{
	return expression() if chance($slips * 5);
	return pick('true', 'event.version > 1', "event.data->>'a' = '1'", 'event.version % 3 <> 0', "state = 'S1'", "event.data ? 'a'",
		"(event.data->>'n')::int > 0", 'event.occurred_at < event.recorded_at', "length(event.key) > 1 AND NOT event.type = 'x'");
}

sub set_list
{
	my @sets;
	push @sets, pick('n = row.n + 1', "n = (event.data->>'n')::int", 'n = event.version', 'n = 100 / (event.version - 3)', 'n = row.n * 1000', 'n = NULL')
	  if chance(0.8);
	push @sets, pick('s = event.type', 's = left(event.type, 5)', 's = row.s || event.key', "s = event.data->>'a'") if !@sets || chance(0.2);
	push @sets, pick(qw(n s at j a d key nosuch ctid), '"n"', 'n.x', 'a[1]', '(n, s)', '*') . pick(' = ', ' = ', ' ', ' := ', ' == ') . expression()
	  if chance($slips * 5);
	return join ', ', @sets;
}

sub json_text
{
	my ($text) = @_;
	$text =~ s/([\\"])/\\$1/g;
	$text =~ s/([\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;
	return "\"$text\"";
}

# ---- what writes ----

sub edge
{
	my @states = @_;
	my %edge;
	return maybe('"' . pick(@states, chance($slips * 5) ? 'NOWHERE' : ()) . '"') if chance(0.4);
	return '[' . join(',', map { edge(@states) } 1 .. rand 4) . ']' if chance(0.1);
	$edge{target} = '"' . pick(@states) . '"' if chance(0.8);
	$edge{reason} = '"' . pick(qw(required optional forbidden)) . '"' if chance(0.3);
	$edge{reasons} = pick('["r1"]', '["r1","r2","r3"]', '[]', '["r1","r1"]', '["r4"]') if chance(0.1);
	$edge{guard} = json_text(boolean_expression()) if chance(0.3);
	$edge{guard} = '{' . join(',', map { "\"g$_\":" . json_text(boolean_expression()) } 1 .. rand 3) . '}' if chance(0.1);
	$edge{fill} = '{"a":' . json_text(chance($slips * 5) ? expression() : pick('event.version', 'event.type')) . '}' if chance(0.15);
	$edge{kind} = '"' . pick(qw(forward backward), chance($slips) ? 'sideways' : ()) . '"' if chance(0.1);
	$edge{label} = json_string() if chance(0.1);
	return object(%edge);
}

# States in a row, each left by one event for the next, and some more edges.
sub definition
{
	my @states = map { "S$_" } 0 .. rand 5;
	my @types = qw(made opened shut painted t1);
	my %states;
	for my $i (0 .. $#states - 1)
	{
		my %on = map { pick(@types) => edge(@states) } 1 .. rand 3;
		$on{ $types[ $i % @types ] } = '"' . $states[ $i + 1 ] . '"';
		$states{ $states[$i] } = object(on => object(%on));
	}
	$states{ $states[-1] } = chance(0.5) ? '{"type":"final"}' : object(on => object(made => '"S0"'));
	return object(
		initial => '"S0"',
		chance(0.3) ? (create => object(made => '"S0"')) : (),
		states => object(%states),
		chance(0.6) ? (on => object(noted => '{}', map { ("t$_" => object(label => '"x"')) } 1 .. rand 3)) : (),
		reasons => object(map { ("r$_" => object(category => '"c"', label => '"l"')) } 1 .. 3));
}

sub one_event
{
	return object(
		stream => '"' . pick(qw(a b lead order fuzz)) . '-' . int(rand 20) . '"',
		type => '"' . pick(qw(made opened shut painted)) . '"',
		chance(0.5) ? (data => json(1)) : (),
		chance(0.2) ? (reason => '"' . pick(qw(r1 r2)) . '"') : (),
		chance(0.1) ? (expected_version => pick(0, 1, 2, -1, '"1"', 1.5)) : (),
		chance(0.1) ? (metadata => json(1)) : (),
		chance(0.1) ? (occurred_at => pick('"2024-01-01"', '"infinity"', '1', '"x"')) : (),
		chance(0.1) ? (idempotency_key => '"k' . int(rand 9) . '"') : (),
		chance(0.1) ? (schema_version => pick(1, 0, -1, 40_000, 1e10)) : ());
}

# Keys that fit the tables that can be targets.
my %key_of = (
	'fuzz.plain' => '', 'fuzz.other' => 'key => \'{"key":"event.stream"}\'',
	'fuzz.pair' => 'key => \'{"a":"event.key","b":"1"}\', mode => \'inline\'',
	'fuzz.numbered' => 'key => \'{"id":"event.version % 7"}\', mode => \'inline\'', 'fuzz.computed' => '');

my @tables = qw(fuzz.plain fuzz.plain fuzz.other fuzz.pair fuzz.numbered fuzz.bare fuzz.ident fuzz.computed fuzz.child fuzz.parted
  fuzz.secret fuzz.unlogged fuzz.seen fuzz.kept fuzz.counter pg_class eventsource.event eventsource.events pg_toast.pg_toast_1255);

sub table
{
	return pick('NULL', '0', '1', '4294967295', '123456789', quote('nosuch'), quote('no.such.table.here'), "''") if chance(0.1);
	return quote(pick(@tables));
}

sub rule
{
	return json_text(set_list()) if chance(0.6);
	return '"DELETE"' if chance(0.1);
	return object(
		set => json_text(set_list()),
		chance(0.3) ? (where => json_text(boolean_expression())) : (),
		chance(0.2) ? (missing => '"' . pick(qw(create skip error), chance($slips) ? 'ignore' : ()) . '"') : (),
		chance(0.05) ? (key => object(key => json_text(expression(1)))) : (),
		chance(0.1) ? (each => json_text(pick("jsonb_array_elements(event.data->'a')", expression()))) : ());
}

sub create_projection
{
	my $rules = object(map { (pick(qw(made opened shut painted t1 *)) => rule()) } 1 .. 1 + rand 3);
	my $categories = chance($slips) ? array() : 'ARRAY[' . join(',', map { quote(pick(qw(a b lead order fuzz))) } 1 .. 1 + rand 2) . ']';
	my $table = chance(0.5) ? pick(sort keys %key_of) : undef;
	my @more = defined $table && $key_of{$table} ne '' ? $key_of{$table} : ();
	if (!defined $table)
	{
		push @more, 'key => ' . json_of(object(map { (pick(qw(key a b id nosuch)) => json_text(pick('event.key', "event.data->>'a'", expression(1)))) } 1 .. 1 + rand 2)) if chance(0.4);
		push @more, 'mode => ' . quote(pick(qw(inline async nosuch))) if chance(0.5);
		push @more, 'each => ' . quote(expression()) if chance(0.1);
		push @more, 'settings => ' . jsonb_value() if chance(0.1);
	}
	return 'SELECT eventsource.create_projection('
	  . join(', ', defined $table ? quote($table) : table(), $categories, json_of($rules), @more) . ')';
}

sub create_category
{
	my @more;
	push @more, 'context => ' . (chance(0.5) ? "'fuzz.plain'" : table()) if chance(0.3);
	push @more, 'strict => ' . pick('true', 'false', 'NULL') if chance(0.3);
	push @more, 'subject => ' . quote(chance(0.5) ? expression() : "event.data->>'a'") if chance(0.3);
	return 'SELECT eventsource.create_category(' . join(', ', category(), chance(0.2) ? 'NULL' : machine(), @more) . ')';
}

# Most schemas take most data, so that types do not die out.
sub register
{
	my @schemas = ('true', '{"type": "object"}', '{"not": {"required": ["missing"]}}', '{"properties": {"a": {"type": ["string", "null", "object"]}}}',
		'{"maxProperties": 9, "properties": {"b": {"not": {"const": "text"}}}}', '{"description": "x"}', '{"$defs": {"d": {"$ref": "#"}}, "properties": {"a": {"$ref": "#/$defs/d"}}}');
	my @more;
	push @more, 'category => ' . category() if chance(0.6);
	push @more, 'schema => ' . json_of(chance($slips) ? object(map { ($_ => json(3)) } qw(type items properties pattern)) : pick(@schemas)) if chance(0.8);
	push @more, 'version => ' . integer() if chance(0.1);
	push @more, 'compatibility => ' . (chance(0.1) ? text_value() : quote(pick(qw(none none none backward forward full full_transitive)))) if chance(0.8);
	push @more, 'subject => ' . quote(chance($slips) ? expression() : "event.data->>'a'") if chance(0.3);
	push @more, pick('description', 'phase') . ' => ' . text_value() if chance(0.3);
	return 'SELECT eventsource.register_event_type(' . join(', ', type(), @more) . ')';
}

sub append
{
	my @more;
	push @more, 'data => ' . jsonb_value() if chance(0.7);
	push @more, 'reason => ' . reason() if chance(0.3);
	push @more, 'actor => ' . text_value() if chance(0.2);
	push @more, 'metadata => ' . jsonb_value() if chance(0.2);
	push @more, 'expected_version => ' . integer() if chance(0.2);
	push @more, 'occurred_at => ' . timestamp() if chance(0.2);
	push @more, 'idempotency_key => ' . text_value() if chance(0.2);
	push @more, 'schema_version => ' . integer() if chance(0.2);
	return 'SELECT count(*) FILTER (WHERE NOT is_duplicate) FROM eventsource.append('
	  . join(', ', stream(), type(), @more) . ')';
}

sub append_events
{
	my $events = '[' . join(',', map { maybe(one_event()) } 1 .. rand 6) . ']';
	return 'SELECT count(*) FILTER (WHERE NOT is_duplicate) FROM eventsource.append_events('
	  . json_of(maybe($events)) . ')';
}

sub insert
{
	my @columns = ('stream', 'type');
	push @columns, pick(qw(data metadata version reason actor occurred_at schema_version position stream hash nosuch is_synthetic recorded_by key)) if chance(0.6);
	my %value = (
		stream => \&stream, type => \&type, data => \&jsonb_value, metadata => \&jsonb_value, version => \&integer,
		reason => \&reason, actor => \&text_value, occurred_at => \&timestamp, schema_version => \&integer);
	my $rows = join ', ', map {
		'(' . join(', ', map { ($value{$_} // sub { 'NULL' })->() } @columns) . ')'
	} 1 .. 1 + rand 4;
	return 'WITH i AS (INSERT INTO eventsource.events (' . join(', ', @columns) . ") VALUES $rows RETURNING 1)"
	  . ' SELECT count(*) FROM i';
}

# ---- corrections, what-if, the past ----

# Of an event that there probably is.
sub position { return chance(0.2) ? integer() : '(SELECT max(position) - ' . int(rand 200) . ' FROM eventsource.event)' }
sub why { return chance(0.8) ? quote('because') : text_value() }

sub correct
{
	return 'SELECT eventsource.void_event(' . join(', ', position(), why(), why()) . ')' if chance(0.3);
	return 'SELECT eventsource.correct_event(' . join(', ', position(), jsonb_value(), why(), why()) . ')';
}

# Of one event: its data with something more.
sub correct_a_little
{
	return 'SELECT eventsource.correct_event(position, data || ' . quote('{"n":' . int(rand 9) . ',"a":"' . int(rand 9) . '"}')
	  . ", 'because', 'fuzz') FROM eventsource.events WHERE position = " . position();
}

sub basis { return chance(0.1) ? text_value() : quote(pick(qw(recorded occurred))) }

sub filters
{
	my @more;
	push @more, 'filter => ' . quote(boolean_expression()) if chance(0.5);
	push @more, 'since => ' . timestamp() if chance(0.2);
	push @more, 'until => ' . timestamp() if chance(0.2);
	push @more, 'basis => ' . basis() if chance(0.2);
	return @more;
}

sub compare
{
	my $rules = object(map { (pick(qw(made opened shut painted t1 *)) => rule()) } 1 .. 1 + rand 3);
	my @more = filters();

	if (chance(0.4))
	{
		push @more, 'all_differences => true' if chance(0.5);
		return 'SELECT 0 * count(*) FROM eventsource.compare_machine(' . join(', ', category(), json_of(definition()), @more) . ')';
	}
	push @more, 'key => ' . json_of(object(key => json_text(pick('event.key', 'event.type', expression(1))))) if chance(0.2);
	push @more, 'each => ' . quote(expression()) if chance(0.1);
	return 'SELECT 0 * count(*) FROM eventsource.compare_projection(' . join(', ', table(), json_of($rules), @more) . ')';
}

my @rows = qw(fuzz.tracked fuzz.tracked fuzz.lines);
my @row_columns = qw(id status agent n j at tags nosuch);

sub row_table { return chance(0.3) ? table() : quote(pick(@rows)) }
sub row_key { return chance(0.2) ? text_value() : quote(pick(map { ($_, "$_,1") } 0 .. 9)) }
sub of_stream { return chance(0.5) ? stream() : quote('tracked-' . int rand 10) }

sub past
{
	my $real = pick(qw(fuzz.tracked fuzz.always fuzz.lines fuzz.plain fuzz.pair fuzz.numbered fuzz.computed fuzz.seen eventsource.events));
	my @basis = chance(0.5) ? ('basis => ' . basis()) : ();
	my @key = chance(0.5) ? ('key => ' . row_key()) : ();
	my $call = any(
		sub { 'as_of(' . join(', ', "NULL::$real", timestamp(), @key, @basis) . ')' },
		sub { 'row_history(' . join(', ', row_table(), row_key(), @basis) . ')' },
		sub { 'attribute_periods(' . join(', ', row_table(), quote(pick(@row_columns)), @key, @basis) . ')' },
		sub { 'replay(' . join(', ', of_stream(), (chance(0.5) ? 'at => ' . timestamp() : ()), @basis, (chance(0.5) ? 'target => ' . row_table() : ())) . ')' },
		sub { 'timeline(' . of_stream() . ')' });
	return "SELECT 0 * count(*) FROM eventsource.$call";
}

# ---- tracked tables ----

sub track
{
	my @more;
	push @more, 'key => ' . (chance(0.7) ? quote(pick('id', 'id, line', 'status', 'id,id', '')) : text_value()) if chance(0.3);
	push @more, 'state_column => ' . quote(pick(@row_columns)), 'state_machine => ' . machine() if chance(0.5);
	push @more, 'states => ' . json_of(object(new => '"S0"', old => '"S1"')) if chance(0.3);
	push @more, 'event_types => ' . json_of(object(pick(@row_columns) => json_string(), 'S0->S1' => '"made"')) if chance(0.3);
	push @more, 'reason_column => ' . quote(pick(@row_columns)) if chance(0.1);
	push @more, 'actor_column => ' . quote(pick(@row_columns)) if chance(0.2);
	push @more, pick('columns', 'ignore') . ' => ' . any(\&array, sub { quote(pick('{id,status,agent}', '{at}', '{n,j}')) }) if chance(0.3);
	push @more, 'on_violation => ' . quote(pick(qw(refuse refuse nosuch))) if chance(0.3);
	return 'SELECT eventsource.untrack_table(' . row_table() . ')' if chance(0.15);
	return 'SELECT eventsource.track_table(' . join(', ', row_table(), chance(0.1) ? category() : quote(pick(qw(tracked lines))), @more) . ')';
}

sub backfill
{
	my @more;
	push @more, 'occurred_at => ' . quote(pick('at', 'row.at', "row.at - interval '1 day'", 'n', expression(1))) if chance(0.6);
	push @more, 'max_rows => ' . integer() if chance(0.3);
	push @more, 'history => ' . quote(pick(
		"SELECT id::text, at, 'noted', '{}'::jsonb, 'joe', NULL::text FROM fuzz.tracked", 'SELECT 1', 'TABLE nosuch', '', expression(1),
		"SELECT '1', now(), 'made', '[]'::jsonb, NULL, NULL", 'DELETE FROM fuzz.tracked RETURNING 1')) if chance(0.4);
	return 'SELECT eventsource.backfill(' . join(', ', row_table(), @more) . ')';
}

my %row_value = (
	id => sub { int rand 10 },
	status => sub { quote(pick(qw(new old S0 S1 S2))) },
	agent => \&text_value,
	n => sub { pick('NULL', '0', '1.50', "'NaN'", '1e50', "'Infinity'", int rand 100) },
	j => \&jsonb_value,
	at => \&timestamp,
	tags => sub { pick('NULL', "'{}'", "'{a,NULL,\"\"}'", "'{{a},{b}}'", "'[0:1]={a,b}'") });

sub change_rows
{
	my $table = pick(@rows, 'fuzz.always');
	my $where = 'id ' . pick('=', '=', '=', '<') . ' ' . int rand 10;
	my @columns = grep { chance(0.4) } sort keys %row_value;
	my %given = map { $_ => $row_value{$_}->() } @columns;

	return "INSERT INTO $table (" . join(', ', 'id', grep { $_ ne 'id' } @columns) . ') VALUES ('
	  . join(', ', int rand 10, map { $given{$_} } grep { $_ ne 'id' } @columns) . ')'
	  . pick('', ' ON CONFLICT DO NOTHING', $table ne 'fuzz.lines' ? ' ON CONFLICT (id) DO UPDATE SET n = 1, status = EXCLUDED.status' : '')
	  if chance(0.5);
	return "DELETE FROM $table WHERE $where" if chance(0.2);
	return "TRUNCATE $table" if chance(0.02);
	return pick("ALTER TABLE $table ADD COLUMN IF NOT EXISTS more int DEFAULT 5", "ALTER TABLE $table DROP COLUMN IF EXISTS more",
		"ALTER TABLE $table ALTER agent TYPE varchar", "ALTER TABLE $table ALTER agent TYPE text") if chance(0.03);
	@columns = ('n') if !@columns;
	$given{n} //= 3;
	return "UPDATE $table SET " . join(', ', map { "$_ = $given{$_}" } @columns) . " WHERE $where";
}

# What must never work, whoever asks.
sub forbidden
{
	if (chance(0.3))
	{
		my $target = pick(sort keys %key_of);
		return pick("UPDATE $target SET n = n", "DELETE FROM $target", "TRUNCATE $target CASCADE", "ALTER TABLE $target ADD COLUMN more int",
			"INSERT INTO $target DEFAULT VALUES", "ALTER TABLE $target DROP COLUMN IF EXISTS more");
	}
	my $table = pick(qw(event word stream stream_segment segment idempotency log local events event_1));
	return pick("UPDATE eventsource.$table SET " . pick(qw(position stream version id name)) . ' = NULL',
		"DELETE FROM eventsource.$table", "TRUNCATE eventsource.$table CASCADE",
		"INSERT INTO eventsource.$table SELECT * FROM eventsource.$table LIMIT 1",
		"INSERT INTO eventsource.$table DEFAULT VALUES",
		"MERGE INTO eventsource.$table t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE");
}

# ---- any function, by the types of its arguments ----

sub array
{
	return pick('NULL', "'{}'", 'ARRAY[' . join(',', map { text_value() } 1 .. 3) . ']::text[]', "'{{a,b},{c,d}}'", "'{NULL}'");
}

my %value_of = (
	'text' => sub { any(\&text_value, \&stream, \&category, \&machine, \&type, sub { quote(pick(qw(recorded occurred mermaid dot))) }) },
	'jsonb' => sub { any(\&jsonb_value, sub { json_of(definition()) }) },
	'bigint' => \&integer,
	'integer' => \&integer,
	'boolean' => sub { pick('true', 'false', 'NULL') },
	'timestamp with time zone' => \&timestamp,
	'regclass' => \&table,
	'text[]' => \&array,
	'interval' => sub { pick('NULL', "'1 day'", "'1 month -31 days'", "'-1 us'", "'178000000 years'", "'nonsense'") },
	'boolean[]' => sub { 'VARIADIC ' . pick('NULL::boolean[]', "'{}'", "'{t,NULL,f}'", "'{{t,f},{t,t}}'", 'array_fill(true, ARRAY[' . int(rand 70) . '])') },
	'eventsource.state_period[]' => sub { pick('NULL', "'{}'", "'{NULL}'", "'{\"(a,,)\"}'", "'[3:4]={\"(a,2026-01-01,2026-01-02)\",\"(b,infinity,-infinity)\"}'") . '::eventsource.state_period[]' },
	'regrole' => sub { pick('NULL', '0', "'nosuch'", "'pg_monitor'") });

my %written_by_hand = map { $_ => 1 } qw(append append_events create_state_machine create_category register_event_type create_projection drop_projection
  correct_event void_event track_table untrack_table backfill set_snapshot_policy);

# Those that go through the whole log come seldom.
my $slow = qr/^(verify_|rebuild_|read_all|read_category|compare_)/;

sub generic
{
	my ($functions) = @_;
	my $function = pick(@$functions);

	$function = pick(@$functions) while $written_by_hand{ $function->{name} } || $function->{name} =~ $slow && !chance(0.1);
	my $arguments = join ', ', map { ($value_of{$_} // sub { pick('NULL', "''", "'x'") })->() } @{ $function->{types} };
	return "SELECT 0 FROM (SELECT eventsource.$function->{name}($arguments)) a" if $function->{kind} eq 'a';
	return "SELECT 0 * count(*) FROM eventsource.$function->{name}($arguments)";
}

sub setting
{
	return "SELECT 0 * count(*) FROM set_config("
	  . quote(pick(map { "eventsource.$_" } qw(actor reason correlation_id causation_id segment_size unregistered_types nosuch)))
	  . ', ' . text_value() . ', ' . pick('true', 'true', 'false') . ')';
}

# The next input: whether the number of events is to be counted before and after
# (else the statement returns it), and the statement.
sub next_input
{
	my ($functions, $takes_any_bytes) = @_;
	my $r = rand;

	$any_bytes = $takes_any_bytes;
	$slips = pick(0, 0, 0.01, 0.03, 0.1);
	return [ 0, append() ] if $r < 0.25;
	return [ 0, append_events() ] if $r < 0.35;
	return [ 0, insert() ] if $r < 0.43;
	return [ 1, 'SELECT eventsource.create_state_machine(' . machine() . ', ' . json_of(maybe(definition())) . ')' ] if $r < 0.53;
	return [ 1, create_category() ] if $r < 0.58;
	return [ 1, register() ] if $r < 0.60;
	return [ 1, create_projection() ] if $r < 0.69;
	return [ 1, 'SELECT eventsource.drop_projection(' . table() . ')' ] if $r < 0.70;
	return [ 1, forbidden() ] if $r < 0.72;
	return [ 0, setting() ] if $r < 0.74;
	return [ 1, chance(0.5) ? correct() : correct_a_little() ] if $r < 0.79;
	return [ 0, compare() ] if $r < 0.80;
	return [ 0, past() ] if $r < 0.84;
	return [ 1, track() ] if $r < 0.85;
	return [ 1, backfill() ] if $r < 0.86;
	return [ 1, change_rows() ] if $r < 0.92;
	return [ 1, 'SELECT eventsource.set_snapshot_policy(' . join(', ', category(), chance(0.6) ? int(rand 20) : integer()) . ')' ] if $r < 0.93;
	return [ 1, generic($functions) ];
}

1;
