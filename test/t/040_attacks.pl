# 040_attacks.pl: every way around the log that we know, as an application, as the owner
# of the tables and as a superuser, with the library preloaded and without. What came of
# it is the table in docs/threats.md, which must say so; nothing may be "possible".
#
# THREATS_OUT=FILE writes the document anew, with the columns of this major.

use strict;
use warnings;

use Attacks;
use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('attacks', 'eventsource.segment_size = 1000');
my $major = int($node->safe_psql('log', 'SHOW server_version_num') / 10000);
my $document = "$ENV{TESTDIR}/docs/threats.md";
my $mark = '<!-- What follows is written by test/t/040_attacks.pl. -->';

# ---- a log, an application, an owner ----

$node->safe_psql('log', <<'SQL');
CREATE ROLE es_app LOGIN;
CREATE ROLE es_owner LOGIN;
GRANT CREATE ON SCHEMA public TO es_app, es_owner;
SELECT eventsource.grant_writer('es_app'), eventsource.grant_admin('es_owner');
SELECT count(eventsource.append('a-' || i % 5, 'happened', jsonb_build_object('n', i))) FROM generate_series(1, 60) i;
BEGIN;
SELECT eventsource.allow_maintenance('tables of an owner who is no superuser');
GRANT EXECUTE ON FUNCTION eventsource.guard(), eventsource.append_only_guard() TO es_owner WITH GRANT OPTION;
DO $$
DECLARE
	c regclass;
BEGIN
	FOR c IN SELECT oid FROM pg_class WHERE relnamespace = 'eventsource'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
			  ORDER BY relkind = 'S' LOOP
		EXECUTE format('ALTER TABLE %s OWNER TO es_owner', c);
	END LOOP;
END
$$;
ALTER SCHEMA eventsource OWNER TO es_owner;
SELECT eventsource.renew_manifest();
COMMIT;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
GRANT USAGE ON FOREIGN SERVER elsewhere TO es_owner;
SET SESSION AUTHORIZATION es_owner;
CREATE TYPE outcome AS ENUM ('paid', 'open');
CREATE TYPE pair AS (a int, b int);
CREATE TABLE audit (day date NOT NULL, what text) PARTITION BY RANGE (day);
CREATE TABLE audit_1 PARTITION OF audit FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO audit VALUES ('2020-02-02', 'a');
SELECT eventsource.make_append_only('audit');
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON audit, audit_1 TO es_app;
CREATE TABLE shown (key text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('shown', '{a}', '{"happened": "n = row.n + 1"}');
GRANT UPDATE ON shown TO es_app;
RESET SESSION AUTHORIZATION;
SELECT count(eventsource.append('a-1', 'happened'));
SELECT eventsource.seal();
SQL
# Statements on jobs run as the owner of the tables, who owns none of the functions.
is( $node->safe_psql('log', <<'SQL'), "1 2|t", 'jobs are lent where functions and tables have different owners');
SET SESSION AUTHORIZATION es_app;
SELECT count(eventsource.enqueue('post', to_jsonb(n), order_key => 'k' || n % 2)) FROM generate_series(1, 100) n \g /dev/null
SELECT string_agg(payload::text, ' ' ORDER BY job_id), bool_and(eventsource.complete(job_id, worker => 'w') IS NOT NULL)
  FROM eventsource.claim('post', 100, worker => 'w');
SQL
my $segment = 'eventsource.' . $node->safe_psql('log', 'SELECT table_name FROM eventsource.segments ORDER BY lower_bound LIMIT 1');
my $checkpoint = $node->safe_psql('log', 'SELECT eventsource.checkpoint()') . "\n";
my $contents = q{SELECT md5(concat((SELECT string_agg(e::text, ',' ORDER BY position) FROM eventsource.events e),
	(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM audit a)))};
my $before = $node->safe_psql('log', $contents);

# Rows: something is wrong. One more event must be there after an append.
my $detection = <<"SQL";
SELECT 'guard ' || guard || ', ' || protects || ': ' || detail FROM eventsource.check_guards() WHERE NOT is_intact;
SELECT 'chain ' || c::text FROM eventsource.verify_chain() c;
SELECT 'log ' || v::text FROM eventsource.verify_log('$checkpoint') v;
SQL

sub verdict_of
{
	my ($attack, $role) = @_;
	my $sql = $attack->{sql} =~ s/\bSEGMENT\b/$segment/gr;
	my ($out, $err) = ('', '');

	return '-' if $major < ($attack->{min} // 0);
	$node->psql(
		'log', join("\n",
			'BEGIN;', map({ "$_;" } $attack->{before} // ()),
			$role eq 'superuser' ? () : "SET LOCAL SESSION AUTHORIZATION $role;",
			"$sql;", '\echo ran', 'RESET SESSION AUTHORIZATION;', 'SET LOCAL session_replication_role = origin;',
			$detection, '\echo same', "$contents;", q{SELECT 'appended' FROM eventsource.append('a-1', 'happened');},
			'SELECT count(*) FROM eventsource.events;', 'ROLLBACK;'),
		stdout => \$out,
		stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	$node->safe_psql('log', $attack->{after}) if $attack->{after};
	if ($out !~ /^ran$/m)
	{
		my ($code) = $err =~ /(?:ERROR|FATAL):  (\w{5}):/;

		# What is not there cannot be refused: then the attack is wrong.
		ok(0, "$attack->{name}: $err") if !defined $code || $code =~ /^(42601|42P01|42703|42883|3F000)$/;
		note("$attack->{name} ($role): $err");
		return 'refused';
	}
	my ($found, $after) = $out =~ /^ran\n(.*?)^same\n(.*)/ms;
	return 'detected' if $err =~ /(ERROR|FATAL|PANIC):/ || $found ne '';
	note("$attack->{name} ($role): $out");
	return 'possible';
}

# ---- what is said of them ----

# {name, role, column} -> verdict, and the lines before the table.
sub read_document
{
	my (%said, @columns, $prose);

	return ('', {}) unless -e $document;
	($prose, my $table) = split /^\Q$mark\E\n/m, slurp_file($document), 2;
	for my $line (split /\n/, $table // '')
	{
		my @cells = map { s/^\s+|\s+$//gr } split /\|/, $line =~ s/^\||\|$//gr;

		next unless $line =~ /^\| / && @cells > 2;
		if ($cells[0] eq 'Attack')
		{
			@columns = @cells;
			next;
		}
		$said{"$cells[0]/$cells[1]/$columns[$_]"} = $cells[$_] for 2 .. $#columns;
	}
	return ($prose, \%said);
}

sub write_document
{
	my ($file, $prose, $said, $columns) = @_;
	my $heading = '';
	my $text = "$prose$mark\n";

	for my $attack (attacks())
	{
		if ($attack->{heading} ne $heading)
		{
			$heading = $attack->{heading};
			$text .= "\n### $heading\n\n| Attack | Role | " . join(' | ', @$columns) . " |\n" . '|---' x (2 + @$columns) . "|\n";
		}
		for my $role ('es_app', 'es_owner', 'superuser')
		{
			$text .= '| ' . join(' | ', $attack->{name}, $role,
				map { $said->{"$attack->{name}/$role/$_"} // '' } @$columns) . " |\n";
		}
	}
	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out;
	return;
}

is($node->safe_psql('log', $detection), '', 'nothing is wrong before');
my ($prose, $said) = read_document();
my %now = %$said;
for my $mode ('', ' preloaded')
{
	my $column = "$major$mode";
	my (@possible, @differ);

	if ($mode ne '')
	{
		$node->append_conf('postgresql.conf', 'shared_preload_libraries = eventsource');
		$node->restart;
	}
	for my $attack (attacks())
	{
		for my $role ('es_app', 'es_owner', 'superuser')
		{
			my $key = "$attack->{name}/$role/$column";

			$now{$key} = verdict_of($attack, $role);
			push @possible, $key if $now{$key} eq 'possible';
			push @differ, "$key: $now{$key}, not " . ($said->{$key} // 'listed') if $now{$key} ne ($said->{$key} // '');
		}
	}
	is(join("\n", @possible), '', "$column: nothing is possible");
	is(join("\n", @differ), '', "$column: docs/threats.md says so") unless $ENV{THREATS_OUT};
	is($node->safe_psql('log', $contents), $before, "$column: nothing came of it");
	my %count;
	$count{ $now{$_} }++ for grep { m{/\Q$column\E$} } keys %now;
	diag("$column: " . join(', ', map { "$count{$_} $_" } sort keys %count));
}
if ($ENV{THREATS_OUT})
{
	my %columns = map { m{/([^/]*)$} ? ($1 => 1) : () } keys %now;

	write_document($ENV{THREATS_OUT}, $prose, \%now, [ sort keys %columns ]);
}
$node->stop;
done_testing();
