#!/usr/bin/perl
# category.pl: writes src/rules/json_schema_category.c, the general category of each
# code point, from the Unicode data of the perl that runs it.

use strict;
use warnings;

use Unicode::UCD qw(prop_invmap);

# In the order of the table in json_schema_class.c.
my @categories = qw(Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn);
my %number = map { $categories[$_] => $_ } 0 .. $#categories;
my ($starts, $values) = prop_invmap('General_Category');
my @runs = map { sprintf '0x%08X', $starts->[$_] * 256 + $number{ $values->[$_] } }
  grep { $starts->[$_] <= 0x10FFFF } 0 .. $#$starts;
my $version = Unicode::UCD::UnicodeVersion();

print <<"C";
/*
 * json_schema_category.c
 *		The general category of each code point in Unicode $version: where each run of
 *		one category begins.  Written by tools/category.pl.
 */
#include "postgres.h"

#include "rules/json_schema_class.h"

const uint32 es_category_runs[] = {
C
while (my @line = splice @runs, 0, 8)
{
	print "\t", join(', ', @line), @runs ? ",\n" : "\n";
}
print "};\n\nconst int\tes_category_nruns = lengthof(es_category_runs);\n";
