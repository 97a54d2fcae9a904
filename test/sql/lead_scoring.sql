\set ECHO none
\i test/helpers.sql
-- examples/lead_scoring.sql: a score goes from 60 to 80, why it did, and other rules tried on the same events.
BEGIN;
\o /dev/null
\i examples/lead_scoring.sql
\o
SELECT plan(9);

SELECT pg_temp.same_rows('SELECT lead_id, score, emails_opened FROM scoring.scores ORDER BY lead_id',
	$$ VALUES ('anna', 87 + 2, 3), ('ben', 0, 1), ('carla', 77, 1) $$, 'the new rules are in force');
SELECT is_empty('SELECT * FROM eventsource.compare_projection(''scoring.scores'', (SELECT rules FROM scoring.proposal))', 'trying them now makes no difference');

-- The rules that were: tried in their turn, they tell what was shown before.
SELECT (SELECT data->'rules' FROM eventsource.read_stream('$config-projection.scoring.scores', 1, 1)) AS old_rules \gset
SELECT pg_temp.same_rows(format($$ SELECT row_key->>'lead_id', proposed->'score', current->'score' FROM eventsource.compare_projection('scoring.scores', %L) ORDER BY 1 $$, :'old_rules'),
	$$ VALUES ('anna', 80, 89), ('carla', 66, 77) $$, 'the comparison that the script shows');
SELECT is_empty(format($$ SELECT * FROM eventsource.compare_projection('scoring.scores', %L, until => '2026-01-09 00:00Z', basis => 'occurred') WHERE row_key->>'lead_id' <> 'anna' $$, :'old_rules'),
	'before the webinar, only the third email made one');
SELECT is(current->'score', '64'::jsonb, 'of two points') FROM eventsource.compare_projection('scoring.scores', :'old_rules', until => '2026-01-09 00:00Z', basis => 'occurred');

-- Why.
SELECT eventsource.create_projection('scoring.scores', '{prospect}', :'old_rules') AS version \gset
SELECT pg_temp.same_rows($$ SELECT type, score_before, score, rule FROM scoring.why WHERE lead_id = 'anna' ORDER BY version $$,
	$$ VALUES ('lead_assessed', NULL::int, 60, 'score = (event.data->>''points'')::integer'),
		('email_opened', 60, 62, 'score = row.score + 2, emails_opened = row.emails_opened + 1'),
		('email_opened', 62, 64, 'score = row.score + 2, emails_opened = row.emails_opened + 1'),
		('email_opened', 64, 66, 'score = row.score + 2, emails_opened = row.emails_opened + 1'),
		('webinar_attended', 66, 80, 'score = row.score + 14') $$, '60 becomes 80, event by event, each with its rule');
SELECT is(array_agg(sentence ORDER BY version), ARRAY['agent joe: Lead assessed, points: 60', 'system mailer: Email opened, campaign: spring',
	'system mailer: Email opened, campaign: spring', 'system mailer: Email opened, campaign: listings', 'system zoom: Webinar attended, topic: mortgages'], 'the same as a story')
	FROM eventsource.timeline('prospect-anna');
-- By the events alone.
SELECT is((SELECT score FROM scoring.scores WHERE lead_id = 'anna'),
	(SELECT sum(CASE type WHEN 'lead_assessed' THEN (data->>'points')::int WHEN 'email_opened' THEN 2 WHEN 'webinar_attended' THEN 14 END)::int
	   FROM eventsource.events WHERE stream = 'prospect-anna'), 'as in plain SQL');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('scoring.scores') $$, 'and the table holds what the events make');

SELECT * FROM finish();
ROLLBACK;
