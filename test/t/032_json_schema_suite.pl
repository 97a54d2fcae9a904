# 032_json_schema_suite.pl: the suite that all validators of JSON Schema are held
# against: Debian's package json-schema-test-suite has draft-07. ES_JSON_SCHEMA_SUITE
# names a newer copy, whose draft 2020-12 is then run, too. Its remote schemas are put
# where ours have to be: into the schema.

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

plan skip_all => "there is no $suite" if !-d "$suite/tests/draft7";

my $node = new_server('schema_suite');
$node->safe_psql('log', <<'SQL');
CREATE TABLE remote (uri text, doc jsonb);
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
		  FROM (SELECT 'remote ' || uri, uri, doc || jsonb_build_object('$id', coalesce(doc->>'$id', uri)) FROM remote
				UNION ALL  -- one that calls itself otherwise has two names
				SELECT 'name ' || uri, uri, jsonb_build_object('$id', uri, '$ref', doc->>'$id') FROM remote
				 WHERE doc->>'$id' <> uri) AS r(name, uri, doc)
		 WHERE schema::text NOT LIKE '%"$id": "' || uri || '"%';
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
	my $cases = 0;
	my @remotes;

	find(sub { push @remotes, $File::Find::name if /\.json$/ && $File::Find::name !~ m{remotes/draft(?!.*\Q$draft\E)} }, "$suite/remotes");
	$node->safe_psql('log', join '', 'TRUNCATE remote;',
		map { "INSERT INTO remote VALUES ('http://localhost:1234" . substr($_, length "$suite/remotes") . "', pg_read_file('$_')::jsonb);" } @remotes);
	for my $file (sort glob "$suite/tests/$draft/*.json")
	{
		my ($name) = $file =~ m{([^/]+)\.json$};
		my $wrong = $node->safe_psql('log', <<"SQL");
TRUNCATE suite;
INSERT INTO suite
SELECT g->>'description', t->>'description', (g->'schema')::jsonb, (t->'data')::jsonb, t->>'valid'
  FROM json_array_elements(pg_read_file('$file')::json) g, json_array_elements(g->'tests') t
 WHERE g::text NOT LIKE E'%\\\\u0000%';  -- jsonb has none
SELECT format('%s: %s: %s', what, test, outcome(bundle(schema, '$schema_of{$draft}'), data)) FROM suite
 WHERE outcome(bundle(schema, '$schema_of{$draft}'), data) <> valid;
SQL
		is($wrong, '', "$draft: $name");
		$cases += $node->safe_psql('log', 'SELECT count(*) FROM suite');
	}
	cmp_ok($cases, '>=', $least{$draft}, "$draft: $cases cases");
}
$node->stop;
done_testing();
