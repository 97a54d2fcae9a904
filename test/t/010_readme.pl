# 010_readme.pl: the README cannot rot. Its ```sql blocks run in order, in one
# session on a fresh server, and must do what the README shows: print the table in
# the ```text block that follows, and raise the errors that stand as comments
# ("-- ERROR:  ...") after the statement, no others.
#
# What is new in every run (clock times, hashes, the id of the log) is not
# compared. README_OUT=FILE writes the README as it should be.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $file = ($ENV{TESTDIR} // '.') . '/README.md';
my $readme = slurp_file($file);

# Text, and examples: a ```sql block with the ```text block below it, if any.
my @parts = split /^(```sql\n.*?^```\n(?:\n```text\n.*?^```\n)?)/ms, $readme;
my $about_message = qr/^--[ ](?:ERROR|DETAIL|HINT|CONTEXT|NOTICE|WARNING|[ ]{4})/;

# ---- run them ----

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init(extra => [ '-E', 'UTF8', '--locale=C' ]);
$node->start;

# Examples show the role's name.
$node->safe_psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN')
  unless $node->safe_psql('postgres', q(SELECT count(*) FROM pg_roles WHERE rolname = 'postgres'));
$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER postgres');

my $script = <<'PSQL';
\pset format aligned
\pset tuples_only off
\pset pager off
SET timezone = 'UTC';
PSQL
my (%is_example, %first_line);
for my $n (0 .. $#parts)
{
	next unless $parts[$n] =~ /\A```sql\n(.*?)^```\n/ms;
	$is_example{$n} = 1;
	$script .= "\\echo ==== $n\n\\warn ==== $n\n";
	$first_line{$n} = ($script =~ tr/\n//) + 1;
	$script .= $1;
}
my ($stdout, $stderr) = ('', '');
$node->psql(
	'shop', $script,
	stdout => \$stdout,
	stderr => \$stderr,
	on_error_stop => 0,
	extra_params => [ '-U', 'postgres' ]);
my %stdout = (split /^==== (\d+)\n/m, "$stdout\n")[ 1 .. 2 * keys %is_example ];
my %stderr = (split /^==== (\d+)\n/m, "$stderr\n")[ 1 .. 2 * keys %is_example ];

# ---- compare ----

# The example as it should be: messages behind their statements, output below.
sub render
{
	my ($n) = @_;
	my ($sql) = $parts[$n] =~ /\A```sql\n(.*?)^```\n/ms;
	my (%messages, $line);
	for my $message (split /\n/, $stderr{$n} // '')
	{
		if ($message =~ s/^psql:<stdin>:(\d+): //)
		{
			$line = $1 - $first_line{$n};
			push @{ $messages{$line} }, "-- $message\n";
		}
		elsif (defined $line && $message ne '')
		{
			my $indent = $message =~ /^[A-Z]+: / ? '' : '    ';
			push @{ $messages{$line} }, "-- $indent$message\n";
		}
	}
	my ($number, $result) = (0, '');
	for (split /^/m, $sql)
	{
		$result .= $_ unless /$about_message/;
		$result .= join '', @{ $messages{$number} // [] };
		$number++;
	}
	my $output = $stdout{$n} // 'NOT RUN';
	$output =~ s/[ ]+$//mg;
	$output =~ s/\A\n+|\n+\z//g;
	$result = "```sql\n$result```\n";
	$result .= "\n```text\n$output\n```\n" if $output ne '';
	return $result;
}

sub without_what_changes
{
	my ($text) = @_;
	for ($text)
	{
		s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00/<time>/g;
		s/\d\d:\d\d:\d\d\.\d+/<duration>/g;
		s/\\x[0-9a-f]{64}/<hash>/g;
		s/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/<uuid>/g;
		s/[ ]+/ /g;
		s/-{2,}/--/g;
	}
	return $text;
}

my $heading = 'README';
my $new = '';
for my $n (0 .. $#parts)
{
	if (!$is_example{$n})
	{
		$heading = $1 while $parts[$n] =~ /^#+ (.*)$/mg;
		$new .= $parts[$n];
		next;
	}
	my $rendered = render($n);
	is(without_what_changes($rendered), without_what_changes($parts[$n]), "example $n, under \"$heading\"");
	$new .= $rendered;
}
cmp_ok(scalar keys %is_example, '>', 20, 'the examples were found');

if ($ENV{README_OUT})
{
	open my $out, '>', $ENV{README_OUT} or die "$ENV{README_OUT}: $!";
	print $out $new;
	close $out;
}

# ---- nothing is left out ----

my $undocumented = $node->safe_psql(
	'shop', <<'SQL');
LOAD 'eventsource';
SELECT p.proname FROM pg_proc p
 WHERE p.pronamespace = 'eventsource'::regnamespace AND p.prorettype <> 'trigger'::regtype
   AND coalesce(obj_description(p.oid, 'pg_proc'), '') !~ '^Private'
UNION
SELECT c.relname FROM pg_class c
 WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind = 'v'
   AND coalesce(obj_description(c.oid, 'pg_class'), '') !~ '^Private'
UNION
SELECT name FROM pg_settings WHERE name LIKE 'eventsource.%'
SQL
my @missing = grep { my $name = quotemeta; $readme !~ /\b$name\b/ } split /\n/, $undocumented;
is("@missing", '', 'every public function, view and setting is in the README');

$node->stop;
done_testing();
