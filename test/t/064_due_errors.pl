# 064_due_errors.pl: where personal fields are declared, what a called function said when it failed is kept
# nowhere in the database; the server's log has the whole of it, and no client is sent it.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('due');
sub sql { return $node->safe_psql('log', $_[0]) }
sub logged { return scalar(() = slurp_file($node->logfile) =~ /$_[0]/g) }

sql(<<'SQL');
SELECT eventsource.register_event_type('joined', 'member', pii => '{"email": "hash"}');
CREATE FUNCTION ask(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'lost' THEN
		RAISE serialization_failure USING MESSAGE = 'a race was lost';
	END IF;
	RAISE EXCEPTION 'no room for %', e.data->>'email' USING DETAIL = 'It is full.', HINT = 'Make room.', ERRCODE = 'P0009';
END
$$;
SELECT eventsource.create_reaction('ask', 'member', 'joined', action => '{"call": "public.ask(eventsource.events,jsonb)"}');
SELECT eventsource.append('member-1', 'joined', '{"email": "ann@example.com"}');
SQL
my ($code, $out, $err) = $node->psql('log', 'SET client_min_messages = debug1; SELECT * FROM eventsource.run_due()');
is($code, 0, 'the statement goes on');
unlike("$out$err", qr/ann\@example/, 'who runs it is told nothing');
is(sql("SELECT error_code || ' ' || error FROM eventsource.jobs WHERE stream = 'member-1'"), 'P0009 (the error may quote personal fields)', 'nor who looks at the job');
my $job = sql("SELECT job_id FROM eventsource.jobs WHERE stream = 'member-1'");
is(logged(qr/LOG:  job $job failed in step 1 of reaction "ask": no room for ann\@example\.com\n/), 1, 'the log has the message');
is(logged(qr/DETAIL:  It is full\.\n/), 1, 'and its detail');
is(logged(qr/HINT:  Make room\.\n/), 1, 'its hint');
is(logged(qr/CONTEXT:  PL\/pgSQL function public\.ask\(eventsource\.events,jsonb\) line 6 at RAISE/), 1, 'and where it was');

# What is only put off is not told of.
sql(q(SELECT eventsource.append('member-2', 'joined', '{"lost": true}'); SELECT * FROM eventsource.run_due()));
is(sql("SELECT payload ? 'postponed' FROM eventsource.job WHERE stream = 'member-2'"), 't', 'a lost race');
is(logged(qr/a race was lost/), 0, 'is not in the log');

# What an error does not have is left out.
sql(q(DROP FUNCTION ask; SELECT eventsource.append('member-3', 'joined'); SELECT * FROM eventsource.run_due()));
is(logged(qr/failed in step 1 of reaction "ask": public\.ask\(eventsource\.events,jsonb\) cannot be called by a reaction\n/), 1, 'a function that is gone');
is(logged(qr/\(null\)/), 0, 'what is not there is not told');

done_testing();
