-- Lead scoring: a score is computed from what a lead did, so it can be explained,
-- and a new way of scoring can be tried on old events before anybody relies on it.
--
-- Needs the extension (CREATE EXTENSION eventsource) and nothing else:
--
--     psql -f lead_scoring.sql
--
-- What it makes: schema "scoring" with the table scores, a projection of the
-- events of the streams prospect-anna, prospect-ben ..., the view why, and the
-- table proposal.

CREATE SCHEMA scoring;


-- 1. How leads are scored: one rule per event type.
--
-- Nobody writes to this table. Each rule is what a SET clause would say; "row" is
-- the lead's row before the event.

CREATE TABLE scoring.scores (
	lead_id       text PRIMARY KEY,
	score         integer NOT NULL DEFAULT 0,
	emails_opened integer NOT NULL DEFAULT 0
);

SELECT eventsource.create_projection('scoring.scores', '{prospect}', jsonb_build_object(
	'lead_assessed',    $$ score = (event.data->>'points')::integer $$,
	'email_opened',     $$ score = row.score + 2, emails_opened = row.emails_opened + 1 $$,
	'webinar_attended', $$ score = row.score + 14 $$,
	'unsubscribed',     $$ score = 0 $$));


-- 2. What the leads did.

INSERT INTO eventsource.events (stream, type, data, actor, occurred_at) VALUES
	('prospect-anna',  'lead_assessed',    '{"points": 60}',           'agent:joe',     '2026-01-05 09:00Z'),
	('prospect-ben',   'lead_assessed',    '{"points": 55}',           'agent:joe',     '2026-01-05 09:30Z'),
	('prospect-carla', 'lead_assessed',    '{"points": 50}',           'agent:ryan',    '2026-01-06 11:00Z'),
	('prospect-anna',  'email_opened',     '{"campaign": "spring"}',   'system:mailer', '2026-01-08 07:10Z'),
	('prospect-anna',  'email_opened',     '{"campaign": "spring"}',   'system:mailer', '2026-01-08 12:45Z'),
	('prospect-anna',  'email_opened',     '{"campaign": "listings"}', 'system:mailer', '2026-01-08 18:20Z'),
	('prospect-ben',   'email_opened',     '{"campaign": "spring"}',   'system:mailer', '2026-01-08 19:00Z'),
	('prospect-anna',  'webinar_attended', '{"topic": "mortgages"}',   'system:zoom',   '2026-01-10 17:00Z'),
	('prospect-carla', 'webinar_attended', '{"topic": "mortgages"}',   'system:zoom',   '2026-01-10 17:00Z'),
	('prospect-carla', 'email_opened',     '{"campaign": "spring"}',   'system:mailer', '2026-01-11 08:00Z'),
	('prospect-ben',   'unsubscribed',     '{}',                       'customer:ben',  '2026-01-12 10:00Z');

SELECT lead_id, score, emails_opened FROM scoring.scores ORDER BY lead_id;


-- 3. Why is Anna's score 80? It was 60.
--
-- Every event that made the score, what it was before and after, and the rule that
-- said so.

CREATE VIEW scoring.why AS
SELECT p.key AS lead_id, h.version, h.valid_from AS at, h.actor, h.type,
	   (h.changed #>> '{score,old}')::integer AS score_before,
	   (h.row_data ->> 'score')::integer AS score,
	   btrim(d.rules ->> h.type) AS rule
  FROM eventsource.projections d
 CROSS JOIN LATERAL (SELECT s.lead_id AS key FROM scoring.scores s) p
 CROSS JOIN LATERAL eventsource.row_history(d.target, p.key, basis => 'occurred') h
 WHERE d.target = 'scoring.scores'::regclass AND h.changed ? 'score';

SELECT to_char(at AT TIME ZONE 'UTC', 'Mon DD') AS day, actor, type, score_before, score, rule
  FROM scoring.why WHERE lead_id = 'anna' ORDER BY version;

-- The same as a story.
SELECT to_char(occurred_at AT TIME ZONE 'UTC', 'Mon DD') AS day, sentence
  FROM eventsource.timeline('prospect-anna');


-- 4. A new way of scoring: webinars are worth more, and only the first two emails
-- count. What would have come of it? The live table is not touched.

CREATE TABLE scoring.proposal AS SELECT jsonb_build_object(
	'lead_assessed',    $$ score = (event.data->>'points')::integer $$,
	'email_opened',     $$ score = row.score + CASE WHEN row.emails_opened < 2 THEN 2 ELSE 0 END,
						   emails_opened = row.emails_opened + 1 $$,
	'webinar_attended', $$ score = row.score + 25 $$,
	'unsubscribed',     $$ score = 0 $$) AS rules;

SELECT row_key ->> 'lead_id' AS lead_id, current -> 'score' AS score, proposed -> 'score' AS new_score
  FROM eventsource.compare_projection('scoring.scores', (SELECT rules FROM scoring.proposal))
 ORDER BY 1;

-- Who would be called that is not called now (from 75 points on)?
SELECT row_key ->> 'lead_id' AS lead_id
  FROM eventsource.compare_projection('scoring.scores', (SELECT rules FROM scoring.proposal))
 WHERE (proposed ->> 'score')::integer >= 75 AND (current ->> 'score')::integer < 75;

-- And on the events of one campaign alone?
SELECT row_key ->> 'lead_id' AS lead_id, current -> 'score' AS score, proposed -> 'score' AS new_score
  FROM eventsource.compare_projection('scoring.scores', (SELECT rules FROM scoring.proposal),
		filter => $$ event.type <> 'email_opened' OR event.data->>'campaign' = 'spring' $$)
 ORDER BY 1;


-- 5. It is adopted: the same call that defined the score, and the table is what the
-- new rules make of all events. The old rules stay in the log, as version 1.

SELECT eventsource.create_projection('scoring.scores', '{prospect}', (SELECT rules FROM scoring.proposal)) AS version;

SELECT lead_id, score, emails_opened FROM scoring.scores ORDER BY lead_id;
