#!/usr/bin/env perl
# upgrade-script.pl OLD PART...: the script from a released version of eventsource_crm to
# this one, on standard output. OLD is the released install script, sql/released/NAME--VERSION.sql.
#
# Both make functions only, each with its COMMENT, so the two can be compared: a function that is
# gone is dropped, one whose arguments or result are others is dropped first (another default is none
# of that), all others are replaced. What is otherwise stops it. Views are install()'s and call functions: until it is called again they wait, which
# keeps who may read them, and views of others that read them.
use strict;
use warnings;

my ($old_file, @parts) = @ARGV;
my ($extension, $version) = $old_file =~ m{([^/]+?)--([^/]+?)\.sql$} or die "upgrade-script.pl: $old_file has no version in its name\n";

# What tells install() who reads, writes and defines: were it dropped, nobody would know any more.
my %must_stay = map { $_ => 1 } qw(crm.masked crm.token_hash crm.admin_campaign);

sub slurp
{
	my $text = '';
	for my $file (@_)
	{
		open my $in, '<', $file or die "upgrade-script.pl: $file: $!\n";
		local $/;
		$text .= <$in>;
	}
	return $text;
}

# Every other statement would be lost, or done twice.
sub expect_functions_only
{
	my ($text, $where) = @_;
	$text =~ /^((?:CREATE (?!FUNCTION|AGGREGATE)|COMMENT ON (?!FUNCTION|AGGREGATE|SCHEMA)|ALTER|GRANT|REVOKE|DROP|INSERT|UPDATE|DELETE|TRUNCATE|WITH|CALL|SET)\b.*)/m and die "upgrade-script.pl: $where makes something else: $1\n";
	return $text;
}

# What CREATE OR REPLACE cannot change. It can change a default, and give one where none was.
sub fixed
{
	my ($header) = @_;
	my $count = () = $header =~ / DEFAULT /g;
	$header =~ s/ DEFAULT (?:'(?:[^']|'')*'|(\((?:[^()']|'(?:[^']|'')*'|(?1))*\))|[^,()'])+//g;
	return ($header, $count);
}

sub is_replaceable
{
	my ($was, $is) = @_;
	my ($old_header, $old_count) = fixed($was->{header});
	my ($new_header, $new_count) = fixed($is->{header});
	return $old_header eq $new_header && $new_count >= $old_count;
}

# By identity, as COMMENT ON has it. holds: what it needs to be there for as long as it is; a body that is text needs nothing.
sub routines
{
	my ($text) = @_;
	my (%found, $header, $kind, $start);
	while ($text =~ m{^(?:CREATE (FUNCTION|AGGREGATE) (.*?)(?=\s(?:LANGUAGE|AS)\b|;\n)|COMMENT ON (?:FUNCTION|AGGREGATE) (.+?) IS\s)}gms)
	{
		my ($identity, $at) = ($3, $-[0]);
		if (defined $1)
		{
			die "upgrade-script.pl: no comment on the function before $2\n" if defined $header;
			($kind, $header, $start) = ($1, $2, $at);
			$header =~ s/\s+/ /g;
		}
		else
		{
			my ($of) = $identity =~ /^([^(]+)/;
			defined $header && $header =~ /^\Q$of\E\(/ or die "upgrade-script.pl: no function before the comment on $identity\n";
			my $source = substr $text, $start, $at - $start;
			$found{$identity} = { kind => $kind, header => $header, holds => $source =~ /\sAS \$/ ? '' : $source };
			undef $header;
		}
	}
	die "upgrade-script.pl: no comment on the function $header\n" if defined $header;
	return \%found;
}

sub views { my %seen; return grep { !$seen{$_}++ } $_[0] =~ /put_view\('(\w+)'/g }

my ($old, $new) = (expect_functions_only(slurp($old_file), $old_file), expect_functions_only(slurp(@parts), 'the new script'));
my ($was, $is) = (routines($old), routines($new));
my %stays = map { $_ => 1 } views($new);
my @waiting = grep { $stays{$_} } views($old);
my @gone = grep { !$stays{$_} } views($old);
my @drops = grep { !$is->{$_} || !is_replaceable($was->{$_}, $is->{$_}) } sort keys %$was;
# Who holds one that is dropped goes before it: an aggregate its functions, a body that is no text what it calls.
sub holds { my ($holder, $held) = @_; my $name = $held =~ s/\(.*//r; return $holder ne $held && $was->{$holder}{holds} =~ /\b\Q$name\E\b/ }
my %dropped = map { $_ => 1 } @drops;
for (my $i = 0; $i < @drops; $i++)
{
	push @drops, grep { holds($_, $drops[$i]) && !$dropped{$_}++ } sort keys %$was;
}
my @left = @drops;
@drops = ();
while (@left)
{
	my ($free) = grep { my $one = $_; !grep { holds($_, $one) } @left } @left or die "upgrade-script.pl: functions hold each other: @left\n";
	push @drops, $free;
	@left = grep { $_ ne $free } @left;
}
$must_stay{s/\(.*//r} && die "upgrade-script.pl: $_ must stay as it is: its grants tell who reads, writes and defines\n" for @drops;
# What views call while they wait.
my ($waits) = $new =~ /^(CREATE FUNCTION crm\.expect_installed_again\(\).*?^\$\$;\n)/ms or die "upgrade-script.pl: there is no crm.expect_installed_again()\n";
$waits =~ s/^CREATE /CREATE OR REPLACE /;

print <<"SQL";
\\echo Use "ALTER EXTENSION $extension UPDATE" to load this file. \\quit
-- From $version; made by tools/upgrade-script.pl.

-- Views that call functions wait for install(), which makes them again; who reads one before is told so.
$waits
DO \$do\$
DECLARE
	v name;
	columns text;
BEGIN
	FOREACH v IN ARRAY '{@{[ join ',', @waiting ]}}'::name[] LOOP
		SELECT string_agg(format('NULL::%s%s AS %I', format_type(a.atttypid, a.atttypmod),
								 CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation END, a.attname),
						  ', ' ORDER BY a.attnum) INTO columns
		  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
		 WHERE a.attrelid = to_regclass(format('crm.%I', v)) AND a.attnum > 0 AND NOT a.attisdropped;
		CONTINUE WHEN columns IS NULL;
		-- A script may replace only what belongs to its extension.
		EXECUTE format('ALTER EXTENSION $extension ADD VIEW crm.%I', v);
		EXECUTE format('CREATE OR REPLACE VIEW crm.%I WITH (security_barrier) AS SELECT %s WHERE crm.expect_installed_again()',
					   v, columns);
		EXECUTE format('ALTER EXTENSION $extension DROP VIEW crm.%I', v);
	END LOOP;
END
\$do\$;
SQL
print "\n" if @drops || @gone;
print "DROP VIEW IF EXISTS crm.$_;\n" for @gone;
print "DROP $was->{$_}{kind} $_;\n" for @drops;
print "\n", $new =~ s/^CREATE (FUNCTION|AGGREGATE) /CREATE OR REPLACE $1 /gmr;
