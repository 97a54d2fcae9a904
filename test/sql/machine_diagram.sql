\set ECHO none
\i test/helpers.sql
-- Diagrams, drawn from the table that steps the machine.
BEGIN;
SELECT plan(8);

SELECT lives_ok($$ SELECT eventsource.create_state_machine('order', '{
	"create": {"placed": "Placed"},
	"states": {
		"Placed": {"on": {"paid": {"target": "in work: \"now\"", "guard": {"enough": "true", "in_time": "true"}},
			"cancelled": {"target": "end", "reason": "required"}}},
		"in work: \"now\"": {"on": {"shipped": "end", "refunded": {"target": "Placed", "kind": "backward"}, "checked;": {}}},
		"end": {"type": "final"}},
	"on": {"noted": {}, "deleted": "end"}}') $$, 'a machine with awkward names');

SELECT is(eventsource.state_machine_diagram('order'), $$stateDiagram-v2
    state "in work#58; #34;now#34;" as s3
    state "end" as s1
    [*] --> Placed : placed
    Placed --> s3 : paid [enough, in_time]
    Placed --> s1 : cancelled (reason)
    Placed --> s1 : deleted
    s3 --> s1 : shipped
    s3 --> s3 : checked#59;
    s3 --> Placed : refunded
    s3 --> s1 : deleted
    s1 --> [*]
    %% in every state: noted$$, 'mermaid');

SELECT is(eventsource.state_machine_diagram('order', 'dot'), $$digraph "order" {
    rankdir=LR;
    node [shape=box, style=rounded];
    "_start" [shape=point, label=""];
    "Placed" [label="Placed"];
    "s3" [label="in work: \"now\""];
    "s1" [label="end", peripheries=2];
    "_start" -> "Placed" [label="placed"];
    "Placed" -> "s3" [label="paid [enough, in_time]"];
    "Placed" -> "s1" [label="cancelled (reason)"];
    "Placed" -> "s1" [label="deleted"];
    "s3" -> "s1" [label="shipped"];
    "s3" -> "s3" [label="checked;"];
    "s3" -> "Placed" [label="refunded", style=dashed];
    "s3" -> "s1" [label="deleted"];
    label="in every state: noted";
}$$, 'dot');

SELECT lives_ok($$ SELECT eventsource.create_state_machine('door', '{"initial": "OPEN",
	"states": {"OPEN": {"on": {"close": "CLOSED"}}, "CLOSED": {"on": {"open": "OPEN"}}}}') $$, 'a machine without creating events');
SELECT is(eventsource.state_machine_diagram('door', 'MERMAID'), $$stateDiagram-v2
    [*] --> OPEN
    OPEN --> CLOSED : close
    CLOSED --> OPEN : open$$, 'starts in its initial state');

SELECT pg_temp.refuses($$ SELECT eventsource.state_machine_diagram('door', 'png') $$, '22023', 'unknown diagram format "png"', 'another format');
SELECT pg_temp.refuses($$ SELECT eventsource.state_machine_diagram('window') $$, '42704', 'state machine "window" does not exist', 'another machine');
SELECT is(eventsource.state_machine_diagram(NULL), NULL, 'NULL in, NULL out');

SELECT * FROM finish();
ROLLBACK;
