#!/usr/bin/env perl
# upgrade-script.pl OLD PART...: the script from a released version of eventsource_crm to
# this one, on standard output. OLD is the released install script, sql/released/NAME--VERSION.sql.
#
# Both make functions only, each with its COMMENT, so the two can be compared: a function that is
# gone is dropped, one whose arguments or result are others is dropped first, all others are
# replaced. Views are install()'s and call functions: until it is called again they wait, which
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

# By identity, as COMMENT ON has it: what it is, and what CREATE OR REPLACE cannot change.
sub routines
{
	my ($text) = @_;
	my (%found, $header, $kind);
	while ($text =~ m{^(?:CREATE (FUNCTION|AGGREGATE) (.*?)(?=\s(?:LANGUAGE|AS)\b|;\n)|COMMENT ON (?:FUNCTION|AGGREGATE) (.+?) IS\s)}gms)
	{
		my $identity = $3;
		if (defined $1)
		{
			($kind, $header) = ($1, $2);
			$header =~ s/\s+/ /g;
		}
		else
		{
			my ($of) = $identity =~ /^([^(]+)/;
			defined $header && $header =~ /^\Q$of\E\(/ or die "upgrade-script.pl: no function before the comment on $identity\n";
			$found{$identity} = { kind => $kind, header => $header };
			undef $header;
		}
	}
	return \%found;
}

sub views { my %seen; return grep { !$seen{$_}++ } $_[0] =~ /put_view\('(\w+)'/g }

my ($old, $new) = (slurp($old_file), slurp(@parts));
my ($was, $is) = (routines($old), routines($new));
my %stays = map { $_ => 1 } views($new);
my @waiting = grep { $stays{$_} } views($old);
my @gone = grep { !$stays{$_} } views($old);
my @drops = grep { !$is->{$_} || $is->{$_}{header} ne $was->{$_}{header} } sort keys %$was;
$must_stay{s/\(.*//r} && die "upgrade-script.pl: $_ must stay as it is: its grants tell who reads, writes and defines\n" for @drops;
# An aggregate holds its functions.
my ($held) = map { qr/\b(?:$_)\b/ } join '|', map { quotemeta s/\(.*//r } @drops, 'no function';
my @aggregates = grep { my $of = $_; $was->{$of}{kind} eq 'AGGREGATE' && ($was->{$of}{header} =~ $held || grep { $_ eq $of } @drops) } sort keys %$was;

print <<"SQL";
\\echo Use "ALTER EXTENSION $extension UPDATE" to load this file. \\quit
-- From $version; made by tools/upgrade-script.pl.

-- Views that call functions wait for install(), which makes them again; who reads one before is told so.
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
		EXECUTE format('CREATE OR REPLACE VIEW crm.%I WITH (security_barrier) AS SELECT %s WHERE ''$extension was updated; call crm.install()''::text::boolean',
					   v, columns);
		EXECUTE format('ALTER EXTENSION $extension DROP VIEW crm.%I', v);
	END LOOP;
END
\$do\$;
SQL
print "\n" if @drops || @gone;
print "DROP VIEW IF EXISTS crm.$_;\n" for @gone;
print "DROP AGGREGATE $_;\n" for @aggregates;
print "DROP FUNCTION $_;\n" for grep { $was->{$_}{kind} eq 'FUNCTION' } @drops;
print "\n", $new =~ s/^CREATE (FUNCTION|AGGREGATE) /CREATE OR REPLACE $1 /gmr;
