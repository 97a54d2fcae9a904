# 056_rights.pl: limited readers where sessions differ: in one that has not loaded the
# library, while somebody else gives and takes rights, and in copies of the database.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('rights');
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

$node->safe_psql('log', <<'SQL');
SELECT count(eventsource.append(c || '-' || i, 'x', jsonb_build_object('secret', c || i))) FROM unnest('{a,b,c}'::text[]) c, generate_series(1, 5) i;
CREATE ROLE lim LOGIN;
CREATE ROLE grp;
CREATE ROLE unl LOGIN;
CREATE ROLE gone LOGIN;
SELECT eventsource.grant_reader('lim', '{a}');
SELECT eventsource.grant_writer('grp', '{b}');
SELECT eventsource.grant_reader('unl');
SELECT eventsource.grant_reader('gone', '{c}');
CREATE FUNCTION leak(jsonb) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;
SQL

# ---- a session that has not loaded the library ----

my $query = 'SELECT count(*) FROM eventsource.events v WHERE leak(v.data)';
my ($rc, $out, $err) = $node->psql('log', $query, extra_params => [ '-U', 'lim' ]);
isnt($rc, 0, 'the first query of a session, when the library comes too late');
like($err, qr/was not loaded when this query was planned.*DETAIL: .*HINT: .*try again/s, 'is refused, and says what to do');
unlike($err, qr/secret/, 'and has seen nothing');
($rc, $out, $err) = $node->psql('log', "SELECT 1; SELECT eventsource.watermark() > 0; $query", extra_params => [ '-U', 'lim' ]);
like($out, qr/^5$/m, 'the next ones are not');
unlike($err, qr/secret": "[bc]/, 'and see what they may');
is($node->safe_psql('log', 'SELECT count(*) > 15 FROM eventsource.events', extra_params => [ '-U', 'unl' ]), 't', 'who reads everything does not notice');
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.read_all()", extra_params => [ '-U', 'lim' ]), 5, 'nor does who calls a function');

$node->psql('log', $query, extra_params => [ '-U', 'lim' ], stderr => \$err);
my ($remedy) = $err =~ /HINT: .*(ALTER DATABASE .*)\./;
ok($remedy, 'what it says');
$node->safe_psql('postgres', $remedy);

sub sees { my ($db, $role) = @_; return $node->safe_psql($db, q{SELECT coalesce(string_agg(DISTINCT category, ','), '') FROM eventsource.events WHERE category !~ '[$]'}, extra_params => [ '-U', $role ]) }
is(sees('log', 'lim'), 'a', 'with the library in every session, at once');

# ---- rights that change meanwhile ----

my $session = $node->background_psql('log', extra_params => [ '-U', 'lim' ], on_error_stop => 0);
$session->query_safe(q{SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT string_agg(DISTINCT category, ',') FROM eventsource.events WHERE category !~ '[$]'});
my $read = q{SELECT string_agg(DISTINCT category, ',') FROM eventsource.read_all(0, NULL) WHERE category !~ '[$]'};
sub both { return $session->query_safe('EXECUTE p') . ' ' . $session->query_safe($read) }
is(both(), 'a a', 'a session');
for my $step (
	[ q{SELECT eventsource.grant_reader('lim', '{c}')}, 'a,c a,c', 'a category more' ],
	[ q{GRANT grp TO lim}, 'a,b,c a,b,c', 'those of a role, by membership' ],
	[ q{SELECT eventsource.revoke_reader('lim', '{a,c}'); SELECT eventsource.grant_doors('lim')}, 'b b', 'two less' ],
	[ q{REVOKE grp FROM lim; SELECT eventsource.grant_reader('lim')}, 'a,b,c a,b,c', 'everything' ],
	[ q{SELECT eventsource.revoke_reader('lim'); SELECT eventsource.grant_reader('lim', '{c}')}, 'c c', 'and one again' ],
	[ q{ALTER ROLE lim SUPERUSER}, 'a,b,c a,b,c', 'a superuser' ],
	[ q{ALTER ROLE lim NOSUPERUSER}, 'c c', 'is none any more' ],
	[ q{BEGIN; SELECT eventsource.grant_reader('lim', '{a}'); ROLLBACK}, 'c c', 'what is rolled back was never given' ])
{
	$node->safe_psql('log', $step->[0]);
	is(both(), $step->[1], "another session changes its rights: $step->[2]");
}
$node->safe_psql('log', q{SELECT eventsource.revoke_reader('lim')});
isnt($session->query('EXECUTE p'), 'c', 'all is taken');
$session->quit;
$node->safe_psql('log', q{SELECT eventsource.grant_reader('lim', '{a}'); GRANT grp TO lim});

# ---- copies ----

my $list = q{SELECT string_agg(concat_ws(' ', role, category, may_append), ', ' ORDER BY role, category) FROM eventsource.category_rights};
is($node->safe_psql('log', $list), 'gone c f, grp b t, lim a f', 'what is given');
$node->safe_psql('log', q{ALTER ROLE gone RENAME TO went});
is(sees('log', 'went'), 'c', 'a renamed role');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tmp/rights.dump", 'log' ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->safe_psql('postgres', "ALTER DATABASE copy SET session_preload_libraries = 'eventsource'");
$node->command_ok([ 'pg_restore', '-d', 'copy', "$tmp/rights.dump" ], 'restore');
$node->safe_psql('copy', q{SELECT eventsource.append('a-9', 'x')});
is(sees('copy', 'lim'), 'a,b', 'a limited reader is limited in the copy');
is(sees('copy', 'unl'), 'a,b,c', 'who reads everything does');
is($node->safe_psql('copy', $list), 'grp b t, lim a f', 'a role is known by the name it had when it was given the right');
is($node->safe_psql('copy', q{SELECT version FROM eventsource.append('b-1', 'x')}, extra_params => [ '-U', 'lim' ]), 2, 'a writer by membership appends');
($rc, $out, $err) = $node->psql('copy', q{SELECT eventsource.append('a-1', 'x')}, extra_params => [ '-U', 'lim' ]);
like($err, qr/permission denied for category "a"/, 'where it may');
$node->safe_psql('copy', q{SELECT eventsource.revoke_reader('lim', '{a}'); SELECT eventsource.grant_doors('lim')});
is(sees('copy', 'lim') . ' ' . sees('log', 'lim'), 'b a,b', 'what is taken in the copy is taken there alone');

# ---- roles that are gone ----

$node->safe_psql('log', q{SELECT eventsource.revoke_reader('went')});
$node->safe_psql('copy', q{DROP OWNED BY went});
$node->safe_psql('log', q{DROP ROLE went; CREATE ROLE went LOGIN; SELECT eventsource.grant_doors('went')});
is(sees('log', 'went'), '', 'a role of the same name has none of its rights');
$node->safe_psql('log', q{DROP OWNED BY lim; DROP ROLE lim; CREATE ROLE lim LOGIN; SELECT eventsource.grant_doors('lim')})
  if $node->safe_psql('copy', q{DROP OWNED BY lim}) eq '';
is(sees('log', 'lim'), '', 'nor where they were not taken back');
is($node->safe_psql('log', $list), 'grp b t', 'the view forgets it');
is($node->safe_psql('log', 'SELECT * FROM eventsource.verify_log()'), '', 'the log verifies');
$node->stop;

done_testing();
