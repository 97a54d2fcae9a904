#!/bin/bash
# check-links.sh: every relative link of a Markdown file leads to a file that is there,
# and its anchor to a heading of it. Links within ``` blocks are none.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$ROOT"

# shellcheck disable=SC2016 # It is Perl's $ in there.
find . -maxdepth 3 -name '*.md' -not -path './.git/*' -not -path '*/node_modules/*' | sort | xargs perl -e '
	use strict;
	use warnings;
	use File::Basename;
	use File::Spec;

	# What GitHub makes of the headings of a file, and its text without blocks of code.
	my %anchors;

	sub text_of
	{
		my ($file) = @_;
		open my $in, "<", $file or die "$file: $!";
		my ($text, $is_code) = ("", 0);
		while (my $line = <$in>)
		{
			$is_code = !$is_code if $line =~ /^```/;
			$text .= $is_code ? "\n" : $line;
		}
		return $text;
	}

	sub anchors_of
	{
		my ($file) = @_;
		return $anchors{$file} //= do
		{
			my (%seen, %found);
			for my $heading (text_of($file) =~ /^#+ (.*)$/mg)
			{
				my $anchor = lc $heading;
				$anchor =~ s/[^\w\- ]//g;
				$anchor =~ tr/ /-/;
				$found{ $seen{$anchor}++ ? "$anchor-" . ($seen{$anchor} - 1) : $anchor } = 1;
			}
			\%found;
		};
	}

	my $bad = 0;
	for my $file (@ARGV)
	{
		my $number = 0;
		for my $line (split /\n/, text_of($file))
		{
			$number++;
			while ($line =~ /\]\(([^)\s]+)\)/g)
			{
				my $link = $1;
				next if $link =~ /^[a-z]+:/;
				my ($path, $anchor) = split /#/, $link, 2;
				my $to = $path eq "" ? $file : File::Spec->canonpath(dirname($file) . "/$path");
				my $problem =
				  !-e $to ? "there is no $to" :
				  defined $anchor && !anchors_of($to)->{$anchor} ? "$to has no heading #$anchor" : next;
				print "$file:$number: $link: $problem\n";
				$bad = 1;
			}
		}
	}
	exit $bad;'
