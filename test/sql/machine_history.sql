\set ECHO none
\i test/helpers.sql
-- Looking back: states as of a moment, transitions, periods, and the replay of history.
BEGIN;
SELECT plan(37);

SELECT lives_ok($$ SELECT eventsource.create_state_machine('deal', '{
	"initial": "NEW",
	"create": {"opened": "NEW"},
	"states": {
		"NEW": {"on": {"win": {"target": "WON", "kind": "forward"}, "lose": {"target": "LOST", "reasons": ["price", "rival"]}}},
		"WON": {"on": {"revert": {"target": "NEW", "kind": "backward", "reasons": ["mistake"]}}},
		"LOST": {"type": "final"}},
	"on": {"note": {}},
	"reasons": {"price": {"category": "money"}, "rival": {"category": "market"}, "mistake": {}}}') $$, 'a machine');
SELECT lives_ok($$ SELECT eventsource.create_category('deal', 'deal') $$, 'and a category');

SELECT is(eventsource.current_state('deal-1'), NULL, 'a stream that does not exist has no state');
SELECT is(eventsource.state_at('deal-1', now()), NULL, 'nor had it one');

-- One clock goes backwards: the third event claims to be older than the second.
SELECT lives_ok($$ SELECT eventsource.append_events('[
	{"stream": "deal-1", "type": "opened", "occurred_at": "2026-01-01 00:00Z"},
	{"stream": "deal-1", "type": "win",    "occurred_at": "2026-01-11 00:00Z"},
	{"stream": "deal-1", "type": "revert", "occurred_at": "2026-01-05 00:00Z", "reason": "mistake", "actor": "ann"},
	{"stream": "deal-1", "type": "note",   "occurred_at": "2026-01-12 00:00Z"},
	{"stream": "deal-1", "type": "win",    "occurred_at": "2026-01-14 00:00Z"},
	{"stream": "deal-1", "type": "revert", "occurred_at": "2026-01-15 00:00Z", "reason": "mistake"},
	{"stream": "deal-1", "type": "lose",   "occurred_at": "2026-01-20 00:00Z", "reason": "price"},
	{"stream": "deal-2", "type": "opened", "occurred_at": "2026-01-02 00:00Z"}]') $$, 'a history');

SELECT is(eventsource.current_state('deal-1'), 'LOST', 'the state now');
SELECT is(eventsource.state_at('deal-1', '2025-12-31 00:00Z', 'occurred'), NULL, 'before it all');
SELECT is(eventsource.state_at('deal-1', '2026-01-01 00:00Z', 'occurred'), 'NEW', 'a moment includes what happened in it');
SELECT is(eventsource.state_at('deal-1', '2026-01-10 23:59Z', 'occurred'), 'NEW', 'just before a move');
SELECT is(eventsource.state_at('deal-1', '2026-01-06 00:00Z', 'occurred'), 'NEW', 'an event counts as no earlier than those before it');
SELECT is(eventsource.state_at('deal-1', '2026-01-11 00:00Z', 'occurred'), 'NEW', 'so two may fall on one moment, and the later wins');
SELECT is(eventsource.state_at('deal-1', '2026-01-14 12:00Z', 'occurred'), 'WON', 'in between');
SELECT is(eventsource.state_at('deal-1', 'infinity', 'occurred'), 'LOST', 'at the end of time');
SELECT is(eventsource.state_at('deal-1', '-infinity', 'occurred'), NULL, 'at the beginning of time');
SELECT is(eventsource.state_at('deal-1', '2026-01-14 12:00Z'), NULL, 'what was known then is another question');
SELECT is(eventsource.state_at('deal-1', clock_timestamp()), 'LOST', 'now it is known');
SELECT pg_temp.refuses($$ SELECT eventsource.state_at('deal-1', now(), 'guessed') $$,
	'22023', 'unknown basis "guessed"', 'a basis that is none');
SELECT is(eventsource.state_at(NULL, now()), NULL, 'NULL in, NULL out');

SELECT pg_temp.same_rows($$
	SELECT version, from_state, to_state, type, reason, reason_category, kind, duration
	FROM eventsource.transitions WHERE stream = 'deal-1' ORDER BY version $$, $$
	VALUES (1, NULL, 'NEW', 'opened', NULL, NULL, NULL, NULL),
		(2, 'NEW', 'WON', 'win', NULL, NULL, 'forward', interval '10 days'),
		(3, 'WON', 'NEW', 'revert', 'mistake', NULL, 'backward', interval '0'),
		(5, 'NEW', 'WON', 'win', NULL, NULL, 'forward', interval '3 days'),
		(6, 'WON', 'NEW', 'revert', 'mistake', NULL, 'backward', interval '1 day'),
		(7, 'NEW', 'LOST', 'lose', 'price', 'money', NULL, interval '5 days') $$,
	'transitions: changes of state only, durations never negative');
SELECT is(actor, 'ann', 'who did it') FROM eventsource.transitions WHERE stream = 'deal-1' AND version = 3;
SELECT is(count(*), 7::bigint, 'by category') FROM eventsource.transitions WHERE category = 'deal';
SELECT is(count(*), 1::bigint, 'by key') FROM eventsource.transitions WHERE category = 'deal' AND key = '2';

SELECT pg_temp.same_rows($$
	SELECT state, visit, entered_at AT TIME ZONE 'UTC', exited_at AT TIME ZONE 'UTC', duration, arrival_path,
		arrival_type, arrival_reason, entered_version, is_current
	FROM eventsource.state_periods WHERE stream = 'deal-1' ORDER BY entered_version $$, $$
	VALUES ('NEW', 1, timestamp '2026-01-01', timestamp '2026-01-11', interval '10 days', 'NEW', 'opened', NULL, 1, false),
		('WON', 1, '2026-01-11', '2026-01-11', '0', 'NEW > WON', 'win', NULL, 2, false),
		('NEW', 2, '2026-01-11', '2026-01-14', '3 days', 'NEW > WON > NEW', 'revert', 'mistake', 3, false),
		('WON', 2, '2026-01-14', '2026-01-15', '1 day', 'WON > NEW > WON', 'win', NULL, 5, false),
		('NEW', 3, '2026-01-15', '2026-01-20', '5 days', 'NEW > WON > NEW', 'revert', 'mistake', 6, false),
		('LOST', 1, '2026-01-20', NULL, NULL, 'WON > NEW > LOST', 'lose', 'price', 7, true) $$,
	'state_periods: one row per visit');
SELECT is(count(*), 1::bigint, 'each stream is in one state now')
FROM eventsource.state_periods WHERE stream = 'deal-2' AND is_current;
SELECT is(sum(duration), interval '18 days', 'time in a state adds up')
FROM eventsource.state_periods WHERE stream = 'deal-1' AND state = 'NEW';

-- The reason and the kind are those of the version that was in force.
SELECT lives_ok($$ SELECT eventsource.create_state_machine('deal', '{
	"initial": "NEW",
	"create": {"opened": "NEW"},
	"states": {
		"NEW": {"on": {"win": {"target": "WON", "kind": "backward"}, "lose": "LOST"}},
		"WON": {"type": "final"},
		"LOST": {"type": "final"}},
	"reasons": {"price": {"category": "other"}}}') $$, 'the rules change');
SELECT is(reason_category, 'money', 'the past keeps its meaning') FROM eventsource.transitions WHERE stream = 'deal-1' AND version = 7;
SELECT is(kind, 'forward', 'and its direction') FROM eventsource.transitions WHERE stream = 'deal-1' AND version = 2;

-- Replay.
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'history is legal under the rules of its time');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('deal-1') $$, 'one stream of it, too');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('deal-99') $$, 'a stream that does not exist');
SELECT lives_ok($$ SELECT eventsource.append('deal-2', 'win') $$, 'and it goes on under the new ones');
SELECT is(kind, 'backward', 'which give it another meaning') FROM eventsource.transitions WHERE stream = 'deal-2' AND version = 2;
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'both are legal');

-- A guard is decided again at replay, on the event as its caller gave it.
SELECT lives_ok($$ SELECT eventsource.create_state_machine('guarded', '{
	"initial": "A",
	"states": {"A": {"on": {"go": [
		{"target": "B", "guard": "event.data ? ''b'' AND NOT event.data ? ''at''", "fill": {"at": "state"}},
		{"target": "C", "guard": "state = ''A''"}]}},
		"B": {"type": "final"}, "C": {"type": "final"}}}'),
	eventsource.create_category('guarded', 'guarded'),
	eventsource.append('guarded-1', 'go', '{"b": 1}'),
	eventsource.append('guarded-2', 'go') $$, 'a machine with guards');
SELECT is(string_agg(eventsource.current_state(s), ' ' ORDER BY s), 'B C', 'takes both ways') FROM unnest('{guarded-1,guarded-2}'::text[]) s;
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'which the replay finds legal');

SELECT * FROM finish();
ROLLBACK;
