# Retention does not pass those who follow the log, nor older snapshots; and health() says
# who keeps what is past its term.
use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('readers', 'eventsource.segment_size = 100', "eventsource.max_retention_lag = '1h'");
my $db = 'log';
my $due = 'SELECT coalesce(sum(events), 0) FROM eventsource.archive_due()';

sub value { return $node->safe_psql($db, $_[0]); }
sub positions { return value("SELECT count(*) FROM eventsource.events WHERE category = '$_[0]'"); }

sub fill
{
	my ($category, $count) = @_;
	value("SELECT count(eventsource.append('$category-' || n % 10, 'viewed', jsonb_build_object('n', n))) FROM generate_series(1, $count) n");
	return;
}

# Whatever the subscription has to deliver, some of it one by one.
sub deal_with_all
{
	value(
		q{DO $$
		DECLARE
			upto bigint;
		BEGIN
			LOOP
				SELECT max(position) INTO upto FROM eventsource.poll('feed', 1000, 'me');
				EXIT WHEN upto IS NULL;
				PERFORM eventsource.ack('feed', upto, 'me');
			END LOOP;
		END $$});
	return;
}

sub health
{
	return value(q{SELECT status || ': ' || regexp_replace(message, 'since [0-9-]+ [0-9:]+[+-][0-9]+', 'since T', 'g') FROM eventsource.health() WHERE "check" = 'retention'});
}

is(health(), 'healthy: nothing is past its term', 'nothing is');
value(q{SELECT eventsource.set_retention('page', '0', '0', 'disposable');
	SELECT eventsource.set_retention('other', '0', '0', 'disposable')});

# Each kind of follower, with nothing dealt with.
value(q{
	CREATE TABLE seen (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
	SELECT eventsource.create_projection('seen', '{page}', '{"viewed": "n = row.n + 1"}', key => '{"key": "event.stream"}', mode => 'async');
	CREATE TABLE handled (position bigint PRIMARY KEY);
	CREATE FUNCTION handle(e eventsource.events) RETURNS void LANGUAGE sql AS 'INSERT INTO public.handled VALUES (e.position)';
	SELECT eventsource.create_handler('mailer', '{page}', 'handle(eventsource.events)');
	SELECT eventsource.create_subscription('feed', '{page}');
});
fill('page', 150);
fill('other', 100);
my $pages = positions('page');
value($due);
is(positions('page'), $pages, 'what followers have not dealt with stays');
cmp_ok(positions('other'), '<', 100, 'other categories go');
like(health(), qr/^healthy: .* has \d+ event\(s\) wait since T/, 'which health tells, and is patient');
is( value(q{SET eventsource.max_retention_lag = 0; SELECT status FROM eventsource.health() WHERE "check" = 'retention'}),
	'degraded', 'but not for ever');

# They come on one after the other; the last one counts.
value('SELECT * FROM eventsource.run_projections()');
value($due);
is(positions('page'), $pages, 'a subscription that has dealt with nothing holds all');
like(health(), qr/^healthy: subscription feed has \d+ event\(s\) wait since T$/, 'by name');
my $lent = value(q{SELECT max(position) FROM eventsource.poll('feed', 30, 'me')});
value($due);
is(positions('page'), $pages, 'a batch that is lent stays');
value(qq{SELECT eventsource.ack('feed', $lent, 'me')});
cmp_ok(value($due), '>', 0, 'what was acknowledged goes');
is(value("SELECT count(*) FROM eventsource.events WHERE category = 'page' AND position <= $lent"), '0', 'all of it');
is(positions('page'), $pages - 30, 'and no more');

# An acknowledgement that is rolled back counts for nothing.
$lent = value(q{SELECT max(position) FROM eventsource.poll('feed', 30, 'me')});
value(qq{BEGIN; SELECT eventsource.ack('feed', $lent, 'me'); $due; ROLLBACK});
is(positions('page'), $pages - 30, 'rolled back with it');
my $other = $node->background_psql($db, on_error_stop => 0);
$other->query_safe(qq{BEGIN; SELECT eventsource.ack('feed', $lent, 'me')});
value($due);
is(positions('page'), $pages - 30, 'nor does one that is not committed yet');
$other->query_safe('ROLLBACK');
$other->quit;

# Parked events keep their stream, until they are discarded.
value(
	q{DO $$
	DECLARE
		failing bigint;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM eventsource.parked_events) LOOP
			SELECT min(position) INTO failing FROM eventsource.poll('feed', 1, 'me');
			PERFORM eventsource.nack('feed', failing, 'no', 'me');
		END LOOP;
	END $$});
my ($parked, $stream) = split /\|/, value(q{SELECT position, stream FROM eventsource.parked_events});
deal_with_all();
value($due);
my $end = value(q{SELECT max(upper_bound) FROM eventsource.segments WHERE state <> 'open'});
is(value(qq{SELECT DISTINCT stream FROM eventsource.events WHERE category = 'page' AND position < $end}), $stream, 'its stream stays, the others go');
like(health(), qr/^healthy: parked events of subscription feed has \d+ event\(s\) wait since T$/, 'by name, too');
value(qq{SELECT eventsource.discard('feed', $parked, 'given up')});
deal_with_all();
value($due);
is(value(qq{SELECT count(*) FROM eventsource.events WHERE category = 'page' AND position < $end}), '0', 'and goes when that is discarded');
is(health(), 'healthy: nothing is past its term', 'nothing is left');

# Legal holds are told, and are no fault.
value(q{SELECT eventsource.hold('page-1', reason => 'case')});
fill('page', 120);
value('SELECT * FROM eventsource.run_projections()');
value(q{SELECT eventsource.drop_subscription('feed')});
value($due);
like(health(), qr/^healthy: a legal hold has \d+ event\(s\) wait since T$/, 'a legal hold');
is( value(q{SET eventsource.max_retention_lag = 0; SELECT status FROM eventsource.health() WHERE "check" = 'retention'}),
	'healthy', 'is what was asked for');
value(q{SELECT eventsource.release_hold('page-1', reason => 'over')});
value($due);

# A stream that goes as a whole, and has an event that stays for ever, is due to nobody.
value(q{SELECT eventsource.set_retention('deal', '0', '0', consent_types => '{agreed}')});
value(q{SELECT count(eventsource.append('deal-1', CASE n WHEN 5 THEN 'agreed' ELSE 'said' END, '{}')) FROM generate_series(1, 5) n});
value(q{SELECT eventsource.hold('deal-1', reason => 'case')});
fill('page', 120);
value('SELECT * FROM eventsource.run_projections()');
value($due);
is(health(), 'healthy: nothing is past its term', 'so nothing of it is held up');

# Versions of rows that an older snapshot sees.
value(q{SELECT eventsource.set_retention('person', '0', '0', 'disposable')});
value(q{SELECT count(eventsource.append('person-' || n % 3, 'told', '{"name": "me"}')) FROM generate_series(1, 150) n});
my $old = $node->background_psql($db, on_error_stop => 0);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $seen = q{SELECT count(*) FROM eventsource.read_stream('person-1')};
value(q{SELECT eventsource.hold('person-1', reason => 'not to go'); SELECT eventsource.release_hold('person-1', reason => 'after all')});
value(q{SELECT eventsource.set_retention('person', '0', '100 years', 'disposable')});
value(q{SELECT * FROM eventsource.erase_subject('person-1', 'hard', 'asked', 'me')});
fill('page', 120);
value('SELECT * FROM eventsource.run_projections()');
my $before = positions('person');
value($due);
is(positions('person'), $before, 'left for later');
is($old->query_safe($seen), '50', 'as an older snapshot sees what was there before');
like(health(), qr/an older snapshot has \d+ event\(s\) wait since T/, 'which is told');
$old->query_safe('COMMIT');
$old->quit;
value($due);
is(health(), 'healthy: nothing is past its term', 'and goes when that is over');

is(value(q{SELECT count(*) FROM eventsource.verify_log() WHERE status = 'tampered'}), '0', 'the log verifies');
is(value(q{SELECT count(*) FROM eventsource.verify_projection('seen')}), '0', 'so does the projection');

$node->stop;
done_testing;
