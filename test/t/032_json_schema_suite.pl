# 032_json_schema_suite.pl: the suite that all validators of JSON Schema are held
# against: Debian's package json-schema-test-suite has draft-07. ES_JSON_SCHEMA_SUITE
# names a newer copy, whose draft 2020-12 is then run, too. Its remote schemas are put
# where ours have to be: into the schema. Its optional tests are run as well, those of
# formats with formats asserted; what we do not claim of them is listed below, with
# the reason.

use strict;
use warnings;

use EventLog;
use File::Find;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $suite = $ENV{ES_JSON_SCHEMA_SUITE} // '/usr/share/json-schema-test-suite';
my %schema_of = (
	'draft7' => 'http://json-schema.org/draft-07/schema#',
	'draft2020-12' => 'https://json-schema.org/draft/2020-12/schema');
my %least = ('draft7' => 400, 'draft2020-12' => 1000);

# Of the optional tests, by file or case.
my $not_asserted = 'a format that only describes';
my %unclaimed = (
	'/format/(idn-|iri|uri-(reference|template)|(relative-)?json-pointer|(ecmascript-)?regex|duration)' => $not_asserted,
	'/ecmascript-regex: ECMA 262 regex non-compliance: .*\.NET' => $not_asserted,
	'/format/hostname: validation of A-label' => 'punycode is not decoded',
	'draft7/optional/content' => 'contents only describe, as newer drafts have it',
	'draft7/optional/cross-draft: refs to future drafts' => 'names draft 2019-09',
	'draft2020-12/optional/cross-draft: .*: first item not a string' => 'names draft 2019-09');

plan skip_all => "there is no $suite" if !-d "$suite/tests/draft7";

my $node = new_server('schema_suite');
$node->safe_psql('log', <<'SQL');
CREATE TABLE remote (uri text, doc jsonb, is_of_draft boolean);
CREATE TABLE suite (what text, test text, schema jsonb, data jsonb, valid text);
-- The schema as one document: its dialect said, and what it refers to within it.
CREATE FUNCTION bundle(schema jsonb, draft text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	defs text := CASE WHEN draft LIKE '%2020-12%' THEN '$defs' ELSE 'definitions' END;
	remotes jsonb;
BEGIN
	IF jsonb_typeof(schema) <> 'object' THEN
		RETURN schema;
	END IF;
	IF schema::text LIKE '%localhost:1234%' OR schema::text LIKE '%urn:%' THEN
		SELECT jsonb_object_agg(r.name, r.doc) INTO remotes
		  FROM remote, LATERAL (
				SELECT 'remote ' || uri, doc || jsonb_build_object('$id', coalesce(doc->>'$id', uri))
				UNION ALL  -- one that calls itself otherwise has two names
				SELECT 'name ' || uri, jsonb_build_object('$id', uri, '$ref', doc->>'$id') WHERE doc->>'$id' <> uri) AS r(name, doc)
		 WHERE schema::text NOT LIKE '%"$id": "' || uri || '"%'
		   AND (is_of_draft OR schema::text LIKE '%"' || uri || '"%');
		schema := schema || jsonb_build_object(defs, coalesce(schema->defs, '{}') || coalesce(remotes, '{}'));
	END IF;
	RETURN jsonb_build_object('$schema', draft) || schema;
END
$$;
CREATE FUNCTION outcome(schema jsonb, data jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	valid boolean;
BEGIN
	valid := eventsource.jsonb_matches_schema(schema, data);
	IF valid <> (cardinality(eventsource.jsonschema_validation_errors(schema, data)) = 0) THEN
		RETURN 'the list of errors disagrees';
	END IF;
	RETURN valid;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, detail);
END
$$;
SQL

for my $draft (sort keys %schema_of)
{
	next if !-d "$suite/tests/$draft";
	my $folder = "$suite/tests/$draft";
	my $cases = 0;

	add_remotes($draft);
	foreach my $file (sort(glob("$folder/*.json"), glob("$folder/optional/*.json"), glob("$folder/optional/format/*.json")))
	{
		my ($name) = $file =~ m{tests/(.*)\.json$};
		$cases += run_file($name, $file, $schema_of{$draft}) if !unclaimed($name);
	}
	cmp_ok($cases, '>=', $least{$draft}, "$draft: $cases cases");
}
$node->stop;
done_testing();

# Those of the draft are there for all of its schemas, others for who names them.
sub add_remotes
{
	my ($draft) = @_;
	my @files;

	find(sub { push @files, $File::Find::name if /\.json$/ }, "$suite/remotes");
	$node->safe_psql('log', join '', 'TRUNCATE remote;', map {
		my $path = substr $_, length "$suite/remotes";
		my $is_of_draft = $path !~ m{^/(?!$draft/)(draft|v)\d} ? 'true' : 'false';
		"INSERT INTO remote VALUES ('http://localhost:1234$path', pg_read_file('$_')::jsonb, $is_of_draft);";
	} @files);
}

# How many cases there were.
sub run_file
{
	my ($name, $file, $schema) = @_;
	my $assert = $name =~ m{/format/} ? 'on' : 'off';
	my $wrong = $node->safe_psql('log', <<"SQL");
SET eventsource.assert_formats = $assert;
TRUNCATE suite;
INSERT INTO suite
SELECT g->>'description', t->>'description', (g->'schema')::jsonb, (t->'data')::jsonb, t->>'valid'
  FROM json_array_elements(replace(pg_read_file('$file'), E'\\\\u0000', '(NUL)')::json) g, json_array_elements(g->'tests') t
 WHERE concat(g->'schema', t) NOT LIKE '%(NUL)%';  -- jsonb has none
SELECT format('%s: %s: %s', what, test, outcome(bundle(schema, '$schema'), data)) FROM suite
 WHERE outcome(bundle(schema, '$schema'), data) <> valid;
SQL
	my @lines = grep { !unclaimed("$name: $_") } split /\n(?=[^\n]*: )/, $wrong;
	is(join("\n", @lines), '', $name);
	return $node->safe_psql('log', 'SELECT count(*) FROM suite');
}

# The reason why we do not claim it, if it is so; noted.
sub unclaimed
{
	my ($what) = @_;
	my ($reason) = map { $unclaimed{$_} } grep { $what =~ /$_/ } sort keys %unclaimed;

	note("not claimed: $what: $reason") if defined $reason;
	return $reason;
}
