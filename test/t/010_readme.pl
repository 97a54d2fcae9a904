# 010_readme.pl: README.md and docs/ cannot rot. The ```sql blocks of a page run in
# order, in one psql session in a database of its own, and must do what the page shows:
# print the table in the ```text block that follows, and raise the errors that stand as
# comments ("-- ERROR:  ...") after the statement, no others.
#
# What is new in every run (clock times, hashes, the id of the log) is not
# compared. README_OUT=FILE writes the README as it should be, and the pages into docs/
# beside it.

use strict;
use warnings;

use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chdir($ENV{TESTDIR} // '.') or die;
my @files = ('README.md', sort grep { $_ ne 'docs/threats.md' } glob 'docs/*.md');
my $about_message = qr/^--[ ](?:ERROR|DETAIL|HINT|CONTEXT|NOTICE|WARNING|[ ]{4})/;
my $psql_settings = <<'PSQL';
\pset format aligned
\pset tuples_only off
\pset pager off
SET timezone = 'UTC';
PSQL

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init(extra => [ '-E', 'UTF8', '--locale=C' ]);

# One page decodes the WAL, with a plugin that newer minor releases must be told of.
$node->append_conf('postgresql.conf', 'wal_level = logical');
$node->start;
if ($node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'"))
{
	$node->append_conf('postgresql.conf', "output_plugin_libraries = 'wal2json'");
	$node->reload;
}

# Examples show the role's name.
$node->safe_psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN')
  unless $node->safe_psql('postgres', q(SELECT count(*) FROM pg_roles WHERE rolname = 'postgres'));
$node->safe_psql('postgres', 'CREATE DATABASE "README" OWNER postgres');
# To have the extension in it takes longer than most pages.
$node->safe_psql('postgres', 'CREATE DATABASE empty_log OWNER postgres');
$node->safe_psql('empty_log', 'CREATE EXTENSION eventsource', extra_params => [ '-U', 'postgres' ]);

# ---- run and compare ----

# Text, and examples: a ```sql block with the ```text block below it, if any.
sub parts_of
{
	return split /^(```sql\n.*?^```\n(?:\n```text\n.*?^```\n)?)/ms, shift;
}

# Runs a page's examples: what each wrote to stdout and to stderr, and its first line.
sub run_examples
{
	my ($database, @parts) = @_;
	my ($script, %first_line) = ($psql_settings);
	for my $n (0 .. $#parts)
	{
		next unless $parts[$n] =~ /\A```sql\n(.*?)^```\n/ms;
		$script .= "\\echo ==== $n\n\\warn ==== $n\n";
		$first_line{$n} = ($script =~ tr/\n//) + 1;
		$script .= $1;
	}
	my ($stdout, $stderr) = ('', '');
	$node->psql(
		$database, $script,
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_stop => 0,
		extra_params => [ '-U', 'postgres' ]);
	my %stdout = (split /^==== (\d+)\n/m, "$stdout\n", -1)[ 1 .. 2 * keys %first_line ];
	my %stderr = (split /^==== (\d+)\n/m, "$stderr\n", -1)[ 1 .. 2 * keys %first_line ];
	return map { $_ => { stdout => $stdout{$_}, stderr => $stderr{$_}, line => $first_line{$_} } } keys %first_line;
}

# The example as it should be: messages behind their statements, output below.
sub render
{
	my ($part, $run) = @_;
	my ($sql) = $part =~ /\A```sql\n(.*?)^```\n/ms;
	my (%messages, $line);
	for my $message (split /\n/, $run->{stderr} // '')
	{
		if ($message =~ s/^psql:<stdin>:(\d+): //)
		{
			$line = $1 - $run->{line};
			push @{ $messages{$line} }, "-- $message\n";
		}
		elsif (defined $line && $message ne '')
		{
			my $indent = $message =~ /^[A-Z]+: / ? '' : '    ';
			push @{ $messages{$line} }, "-- $indent$message\n";
		}
		elsif ($message ne '')
		{
			# Of a file that the example includes.
			push @{ $messages{0} }, "-- $message\n";
		}
	}
	my ($number, $result) = (0, '');
	for (split /^/m, $sql)
	{
		$result .= $_ unless /$about_message/;
		$result .= join '', @{ $messages{$number} // [] };
		$number++;
	}
	my $output = $run->{stdout} // 'NOT RUN';
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

# Where they agree, a page keeps what it shows of what changes.
sub check_page
{
	my ($file, $text, $database) = @_;
	my @parts = parts_of($text);
	my %runs = $database ? run_examples($database, @parts) : ();
	my ($heading, $new) = ($file, '');
	for my $n (0 .. $#parts)
	{
		my $part = $parts[$n];
		if (!$runs{$n})
		{
			$heading = $1 while $part =~ /^#+ (.*)$/mg;
			$new .= $part;
			next;
		}
		my $rendered = render($part, $runs{$n});
		my $agrees = is(without_what_changes($rendered), without_what_changes($part), "$file, example $n, under \"$heading\"");
		$new .= $agrees ? $part : $rendered;
	}
	write_page($file, $new) if $ENV{README_OUT};
	return scalar keys %runs;
}

sub write_page
{
	my ($file, $text) = @_;
	my $out = dirname($ENV{README_OUT}) . "/$file";
	mkdir dirname($out);
	open my $handle, '>', $out or die "$out: $!";
	print $handle $text;
	close $handle;
}

my ($examples, $all) = (0, '');
for my $file (@files)
{
	my $text = slurp_file($file);
	my $database = $text =~ /^```sql$/m ? basename($file, '.md') : undef;
	if ($database && $file ne 'README.md')
	{
		$node->safe_psql('postgres', "CREATE DATABASE \"$database\" OWNER postgres TEMPLATE empty_log");
	}
	$examples += check_page($file, $text, $database);
	$all .= $text;
}
cmp_ok($examples, '>', 100, 'the examples were found');

# ---- nothing is left out ----

sub ask
{
	return split /\n/, $node->safe_psql('empty_log', "LOAD 'eventsource'; $_[0]");
}

# The pages have their databases by now.
$node->safe_psql('empty_log', 'CREATE EXTENSION eventsource_crm; SELECT crm.install()', extra_params => [ '-U', 'postgres' ]);
my $ours = q{IN ('eventsource'::regnamespace, 'crm'::regnamespace)};
my $public = q{coalesce(obj_description(oid, tableoid::regclass::name), '') !~ '^Private'};
my @functions = ask("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace $ours
	AND prorettype <> 'trigger'::regtype AND $public");
my @views = ask("SELECT relname FROM pg_class WHERE relnamespace $ours AND relkind = 'v' AND $public");
my @missing = grep { $all !~ /\b$_\b/ } @functions, @views;
is("@missing", '', 'every public function and view is in README.md or docs/');

# What else cannot be shown in a few lines has to be named here.
my %without_example = map { $_ => 1 } qw(personal_data resume_handler resume_projection);
my $examples_of_all = join '', $all =~ /^```sql\n(.*?)^```$/msg;
@missing = grep { $examples_of_all !~ /\b$_\b/ && !$without_example{$_} } @functions, @views;
is("@missing", '', 'each is in an example that runs');

# The first cells of a page's tables, and the cells behind each.
sub rows_of
{
	my ($file) = @_;
	return map { /^\| `?([\w.]+)[^|]*\| ([^|]*?) \| ([^|]*)/ ? ($1 => [ $2, $3 ]) : () } split /\n/, slurp_file($file);
}

my %settings = rows_of('docs/settings.md');
my @settings = ask("SELECT name, CASE WHEN boot_val = '' THEN 'empty' ELSE boot_val END, coalesce(unit, ''), context
	FROM pg_settings WHERE name LIKE 'eventsource.%' ORDER BY name");
is(join(' ', sort grep { /^eventsource/ } keys %settings), join(' ', map { (split /\|/)[0] } @settings), 'docs/settings.md has every setting');
for (@settings)
{
	my ($name, $default, $unit, $context) = split /\|/;
	my $row = $settings{$name} // next;
	my ($number, $told_unit) = $row->[0] =~ /^(\d+) (ms|s|min|h|d)$/;
	my %seconds = (ms => 0.001, s => 1, min => 60, h => 3600, d => 86400);
	is($told_unit ? $number * $seconds{$told_unit} : $row->[0], $unit ? $default * $seconds{$unit} : $default, "default of $name");
	is($row->[1] =~ /Superusers set it/ ? 1 : 0, $context eq 'superuser' ? 1 : 0, "who sets $name");
}

my %errors = rows_of('docs/errors.md');
my $header = slurp_file('src/errors.h');
my %codes;
$codes{"ZE$2$3$4"} = lc $1 while $header =~ /ES_ERRCODE_(\w+)\s+MAKE_SQLSTATE\('Z', 'E', '(\d)', '(\d)', '(\d)'\)/g;
is(join(' ', sort grep { /^ZE/ } keys %errors), join(' ', sort keys %codes), 'docs/errors.md has every SQLSTATE of ours');
for (sort keys %codes)
{
	like($errors{$_}->[0] // '', qr/^$codes{$_}/, "name of $_");
}

my %rights = rows_of('docs/privileges.md');
for my $right ([ grant_writer => 'writer' ], [ grant_admin => 'admin' ], [ grant_eraser => 'eraser' ])
{
	my ($grant, $role) = @$right;
	my @of_role = ask("SELECT unnest(eventsource.${role}_functions()) ORDER BY 1");
	is(join(' ', sort(($rights{$grant}->[1] // '') =~ /`(\w+)`/g)), "@of_role", "docs/privileges.md: what $grant allows");
}
is(join(' ', sort grep { /^grant_/ } keys %rights), join(' ', sort grep { /^grant_(?!consent)/ } @functions), 'every right');

$node->stop;
done_testing();
