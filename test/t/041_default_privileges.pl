# 041_default_privileges.pl: default privileges of who installs the extension, and of who
# owns its tables, open nothing: neither when it is installed nor when segments are made.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('defaults');

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', <<'SQL');
CREATE ROLE "es Favoured";
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "es Favoured", PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO "es Favoured";
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO "es Favoured";
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO "es Favoured";
CREATE EXTENSION eventsource;
SELECT eventsource.append('a-1', 'happened');
SQL
my $granted = <<'SQL';
SELECT c.relname FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
 WHERE c.relnamespace = 'eventsource'::regnamespace AND a.grantee <> c.relowner
UNION ALL
SELECT p.proname FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a
 WHERE p.pronamespace = 'eventsource'::regnamespace AND a.grantee <> p.proowner
UNION ALL
SELECT n.nspname FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
 WHERE n.nspname = 'eventsource' AND a.grantee <> n.nspowner
SQL
is($node->safe_psql('other', $granted), '', 'nobody may do anything');
is($node->safe_psql('other', q{SELECT count(*) FROM pg_proc
	WHERE pronamespace = 'eventsource'::regnamespace AND has_function_privilege('es Favoured', oid, 'EXECUTE')}), '0',
	'nor call functions');
is($node->safe_psql('other', 'SELECT guard, detail FROM eventsource.check_guards() WHERE NOT is_intact'), '', 'guards are intact');
is($node->safe_psql('other', q{SELECT eventsource.grant_reader('"es Favoured"'); SET ROLE "es Favoured";
	SELECT count(*) FROM eventsource.events WHERE category = 'a'}) =~ s/^\n//r, '1', 'who is let read reads');
my ($result, $out, $err) = $node->psql('other', 'SET ROLE "es Favoured"; SELECT * FROM eventsource.vault');
like($err, qr/permission denied for table vault/, 'but no table');

$node->stop;
done_testing();
