-- Jobs: what must happen because of an event, later or elsewhere. src/append/job.h.

CREATE SEQUENCE eventsource.job_seq;
COMMENT ON SEQUENCE eventsource.job_seq IS 'Private: ids and turns of jobs.';

-- turn: where it stands among the jobs of its order key; drawn anew when it is redriven.
-- attempts: claims ever, which tells one lease from another; attempts_before: those of
-- them that do not count any more. queue: names that begin with $ are for run_due().
CREATE TABLE eventsource.job (
	id               bigint      NOT NULL CONSTRAINT job_pkey PRIMARY KEY,
	turn             bigint      NOT NULL,
	queue            text        COLLATE "C" NOT NULL,
	state            text        COLLATE "C" NOT NULL CONSTRAINT job_state_check
		CHECK (state IN ('scheduled', 'available', 'claimed', 'done', 'discarded', 'cancelled')),
	priority         integer     NOT NULL,
	run_at           timestamptz NOT NULL,
	order_key        text        COLLATE "C",
	job_key          text        COLLATE "C",
	payload          jsonb       NOT NULL,
	attempts         integer     NOT NULL DEFAULT 0,
	attempts_before  integer     NOT NULL DEFAULT 0,
	max_attempts     integer,
	lease_until      timestamptz,
	worker           text        COLLATE "C",
	claimed_by       text        COLLATE "C",
	error_code       text        COLLATE "C",
	error            text        COLLATE "C",
	result           jsonb,
	reaction         text        COLLATE "C",
	reaction_version bigint,
	step             integer,
	event_position   bigint,
	stream           text        COLLATE "C",
	subject          text        COLLATE "C",
	created_at       timestamptz NOT NULL,
	finished_at      timestamptz,
	finish_reason    text        COLLATE "C",
	CONSTRAINT job_claimed_check CHECK ((state = 'claimed') = (lease_until IS NOT NULL)),
	CONSTRAINT job_finished_check CHECK ((state IN ('done', 'discarded', 'cancelled')) = (finished_at IS NOT NULL))
) USING heap WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE eventsource.job IS 'Private: jobs. Read the view eventsource.jobs.';
CREATE UNIQUE INDEX job_key_idx ON eventsource.job (job_key, queue)
	WHERE job_key IS NOT NULL AND state IN ('scheduled', 'available', 'claimed');
CREATE UNIQUE INDEX job_order_idx ON eventsource.job (queue, order_key)
	WHERE state = 'claimed' AND order_key IS NOT NULL;
CREATE INDEX job_turn_idx ON eventsource.job (queue, order_key, turn)
	WHERE order_key IS NOT NULL AND state IN ('scheduled', 'available', 'claimed');
CREATE INDEX job_available_idx ON eventsource.job (queue, priority DESC, run_at, turn) WHERE state = 'available';
CREATE INDEX job_scheduled_idx ON eventsource.job (queue, run_at) WHERE state = 'scheduled';
CREATE INDEX job_lease_idx ON eventsource.job (queue, lease_until) WHERE state = 'claimed';
CREATE INDEX job_finished_idx ON eventsource.job (queue, state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_subject_idx ON eventsource.job (subject) WHERE subject IS NOT NULL;
CREATE INDEX job_stream_idx ON eventsource.job (stream) WHERE stream IS NOT NULL;
-- No statistics, which would be copies of what can be erased.
ALTER TABLE eventsource.job ALTER COLUMN payload SET STATISTICS 0, ALTER COLUMN result SET STATISTICS 0,
	ALTER COLUMN subject SET STATISTICS 0, ALTER COLUMN stream SET STATISTICS 0, ALTER COLUMN error SET STATISTICS 0,
	ALTER COLUMN job_key SET STATISTICS 0, ALTER COLUMN order_key SET STATISTICS 0;
SELECT pg_catalog.pg_extension_config_dump('eventsource.job', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.job_seq', '');
