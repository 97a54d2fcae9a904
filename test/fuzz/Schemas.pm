package Schemas;

# Random JSON Schemas and instances, as JSON texts. Most schemas are good ones, and
# names and values come from small pools, so that they meet one another; some have a
# part that may not be there, and some refer to themselves in ways that may not be.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(seed_schemas next_schema next_instance next_pattern);

my @names = qw("a" "b" "c" "foo" "bar" "foobar" "x1" "" "é" "a/b");
my @strings = (@names, '"1"', '"A"', '"aaa"', '"foo\nbar"', '"💩"', '"ab12"', '"2024-02-30"', '" "');
my @numbers = qw(0 1 -1 2 3 4 5 6 10 1.0 2.0 0.5 2.5 -0.5 1e2 100 12345678901 -7);
my @counts = qw(0 1 1 2 2 3 3 4 2.0);
my @types = qw("null" "boolean" "object" "array" "number" "string" "integer");
my @defs = qw(d0 d1 d2 d3);
my $draft = '2020';
my $root_uri = '';    # written in front of references to the root, where that is not near

sub seed_schemas { srand $_[0]; return; }
sub pick { return $_[ rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub list { my ($from, $to) = @_; return 1 .. $from + int rand($to - $from + 1); }

sub next_instance
{
	my ($depth) = @_;
	$depth //= 3;
	my $what = rand();
	return pick('null', 'true', 'false') if $what < 0.1;
	return pick(@numbers) if $what < 0.3;
	return pick(@strings) if $what < 0.45 || !$depth;
	return '[' . join(',', map { next_instance($depth - 1) } list(0, 4)) . ']' if $what < 0.65;
	my %members = map { pick(@names) => next_instance($depth - 1) } list(0, 4);
	return object(%members);
}

sub object
{
	my (%members) = @_;
	return '{' . join(',', map { "$_:$members{$_}" } sort keys %members) . '}';
}

# Whole regular expressions of ECMA-262 with flag u.
sub next_pattern
{
	my ($depth) = @_;
	$depth //= 3;
	my $branch = join '', map { piece($depth) } list(0, 3);
	$branch = "^$branch" if chance(0.2);
	$branch .= '$' if chance(0.2);
	return $depth && chance(0.2) ? "$branch|" . next_pattern($depth - 1) : $branch;
}

sub piece
{
	my ($depth) = @_;
	my $what = rand();
	return pick(qw(\b \B)) if $what < 0.04;
	return pick('(?=', '(?!', '(?<=', '(?<!') . next_pattern($depth - 1) . ')' if $what < 0.1 && $depth;
	my $atom = pick('a', 'b', 'f', 'o', '1', 'A', 'é', '💩', ' ', '.', '\d', '\w', '\s', '\D', '\W', '\S', '\/', '\.', '\n', '\t',
		'\x61', '\u0061', '\u{1F4A9}', '\uD83D\uDCA9', '\cJ', '\p{L}', '\P{L}', '\p{Lu}', '\p{Letter}', '\p{Nd}', '\p{gc=Ll}',
		'[abc]', '[^abc]', '[a-f]', '[^a-fé]', '[\d_]', '[\s\S]', '[^\s]', '[\w.-]', '[^]', '[]', '[\p{L}\d]', '[^\P{L}]', '[\u00e0-\u00ff]', '[\b]', '[\]\\\\]');
	$atom = '(?:' . next_pattern($depth - 1) . ')' if $depth && chance(0.1);
	$atom = '(' . next_pattern($depth - 1) . ')' if $depth && chance(0.1);
	$atom .= pick('*', '+', '?', '*?', '{2}', '{1,2}', '{0,1}', '{1,}', '{0,300}', '{2,400}?') if chance(0.25);
	return $atom;
}

sub json_string
{
	my ($text) = @_;
	$text =~ s/([\\"])/\\$1/g;
	return "\"$text\"";
}

sub schema
{
	my ($depth, $in_place) = @_;
	return pick('true', 'false', 'true', '{}') if !$depth || chance(0.06);
	my %s;
	for (list(1, 3))
	{
		my $what = int rand 34;
		my ($key, $value) = keyword($what, $depth - 1, $in_place);
		$s{"\"$key\""} = $value if defined $key;
	}

	# Unlike draft-07, ajv looks at what stands beside a $ref.
	%s = ('"$ref"' => $s{'"$ref"'}) if $s{'"$ref"'} && $draft eq '7';
	return object(%s);
}

sub schemas { my ($d, $p, @n) = @_; return '[' . join(',', map { schema($d, $p) } list(@n)) . ']'; }
sub map_of { my ($d, $p, @k) = @_; return object(map { pick(@k) => schema($d, $p) } list(1, 3)); }

# Without "", which ajv does not require.
sub names_list { my %n = map { pick(grep { $_ ne '""' } @names) => 1 } list(1, 2); return '[' . join(',', sort keys %n) . ']'; }

# "In place" means that the schema meets the same value as the root does.
sub keyword
{
	my ($what, $depth, $in_place) = @_;
	my $new = $draft eq '2020';
	return ('type', chance(0.7) ? pick(@types) : '[' . join(',', (sort { rand() <=> 0.5 } @types)[ 0 .. 1 ]) . ']') if $what < 4;
	return ('const', next_instance(2)) if $what == 4;
	return ('enum', '[' . join(',', map { next_instance(2) } list(1, 4)) . ']') if $what == 5;
	return (pick('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'), pick(@numbers)) if $what == 6;
	return ('multipleOf', pick(1, 2, 3, 0.5, 2.5)) if $what == 7;
	return (pick('minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'), pick(@counts)) if $what < 10;
	return ('pattern', json_string(next_pattern(2))) if $what == 10;
	return ('uniqueItems', pick('true', 'false')) if $what == 11;
	return ('items', !$new && chance(0.4) ? schemas($depth, 0, 1, 3) : schema($depth, 0)) if $what < 14;
	return $new ? ('prefixItems', schemas($depth, 0, 1, 3)) : ('additionalItems', schema($depth, 0)) if $what == 14;
	return ('contains', schema($depth, 0)) if $what == 15;
	return (pick('minContains', 'maxContains'), pick(@counts)) if $what == 16;
	return ('properties', map_of($depth, 0, @names)) if $what < 20;
	return ('patternProperties', map_of($depth, 0, '"^f"', '"a"', '"^.$"', '"o+b"', '"\\\\d$"')) if $what == 20;
	return ('additionalProperties', schema($depth, 0)) if $what == 21;
	return ('propertyNames', schema($depth, 0)) if $what == 22;
	return ('required', names_list()) if $what == 23;
	return ('dependentRequired', object(pick(@names) => names_list())) if $what == 24;
	return ($new ? 'dependentSchemas' : 'dependencies', map_of($depth, $in_place, @names)) if $what == 25;
	return (pick('allOf', 'anyOf', 'oneOf'), schemas($depth, $in_place, 1, 3)) if $what < 29;
	return ('not', schema($depth, $in_place)) if $what == 29;
	return (pick('if', 'then', 'else'), schema($depth, $in_place)) if $what == 30;
	return (pick('unevaluatedItems', 'unevaluatedProperties'), schema($depth, 0)) if $what == 31 && $new;
	return if $in_place && chance(0.97);
	return ('$dynamicRef', "\"$root_uri#" . pick('dyn', 'dyn', '/$defs/d1') . '"') if $new && chance(0.2);
	return ('$ref', '"' . reference() . '"');
}

sub reference
{
	my $defs = $draft eq '2020' ? '$defs' : 'definitions';
	return $root_uri . pick('#', map { "#/$defs/$_" } @defs) if chance(0.7);
	return pick("$root_uri#anchor", 'http://example.com/sub', 'http://example.com/sub#/properties/a', 'sub#inner',
		$draft eq '2020' ? 'https://json-schema.org/draft/2020-12/schema' : 'http://json-schema.org/draft-07/schema#');
}

# A schema and its draft. References lead to where there is something.
sub next_schema
{
	($draft) = @_;
	my ($defs, $name) = $draft eq '2020' ? ('$defs', '$anchor') : ('definitions', '$id');
	my $hash = $draft eq '2020' ? '' : '#';
	my %s;
	my %d = map { ("\"$_\"" => schema(3, 1)) } @defs;
	my $root = schema(4, 1);
	$root_uri = 'http://example.com/root';
	my $embedded = object('"$id"' => '"sub"', '"properties"' => object('"a"' => schema(2, 0), '"b"' => schema(2, 0)),
		"\"$defs\"" => object('"i"' => "{\"$name\":\"${hash}inner\",\"minimum\":1}"));
	$root_uri = '';

	$d{'"anchored"'} = "{\"$name\":\"${hash}anchor\",\"type\":" . pick(@types) . '}';
	$d{'"dynamic"'} = '{"$dynamicAnchor":"dyn","type":[' . pick('"null"', '"integer"') . ',"object"]}';
	$d{'"embedded"'} = $embedded;
	$root = '{}' if $root !~ /^\{/;
	%s = ('"$id"' => '"http://example.com/root"', "\"$defs\"" => object(%d));
	$s{'"$schema"'} = $draft eq '2020' ? '"https://json-schema.org/draft/2020-12/schema"' : '"http://json-schema.org/draft-07/schema#"';
	$root =~ s/^\{//;
	$root = '{' . join(',', map { "$_:$s{$_}" } sort keys %s) . ($root eq '}' ? '' : ',') . $root;
	$root =~ s/("[a-z]\w*":)("[a-z]+"|-?\d+|true)/chance(0.1) ? $1 . next_instance(1) : "$1$2"/e if chance(0.05);
	return $root;
}

1;
