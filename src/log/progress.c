/*
 * progress.c
 *		How far long work has come: in the view eventsource.progress, and as a
 *		NOTICE now and then.
 *
 * The numbers live where PostgreSQL keeps those of its own commands: in the
 * backend's entry of the status array, under a command number that is none of
 * PostgreSQL's, so that no pg_stat_progress_* view takes them for its own.
 * PostgreSQL clears the place when a transaction or a subtransaction aborts.
 * Where a command of PostgreSQL's has it (COPY of a query that calls us), there
 * are only notices.
 */
#include "postgres.h"

#include "log/progress.h"

#include "catalog/pg_authid.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"

/* "ES" */
#define COMMAND			((ProgressCommandType) 0x4553)

/* Our use of the parameters. */
#define PARAM_DONE			0
#define PARAM_TOTAL			1
#define PARAM_STARTED_AT	2
#define PARAM_WHAT			3	/* and those that follow */
#define WHAT_PARAMS			((int) (ES_PROGRESS_WHAT_SIZE / sizeof(int64)))

/* Units between two reports, and time between two notices. */
#define UNITS_PER_REPORT	100
#define NOTICE_INTERVAL_MS	10000

/* Columns of eventsource.progress_reports() */
#define REPORT_COLUMNS		6

PG_FUNCTION_INFO_V1(eventsource_progress_reports);

static bool holds(ProgressCommandType command);
static void publish(const EsProgress *progress);
static void give_notice(EsProgress *progress);
static void put_report(ReturnSetInfo *result, const PgBackendStatus *entry);

void
es_progress_begin(EsProgress *progress, const char *what, int64 total)
{
	memset(progress, 0, sizeof(EsProgress));
	progress->is_told = !holds(COMMAND);
	if (!progress->is_told)
		return;
	memcpy(progress->what, what, pg_mbcliplen(what, strlen(what), ES_PROGRESS_WHAT_SIZE - 1));
	progress->total = total;
	progress->started_at = GetCurrentTimestamp();
	progress->noticed_at = progress->started_at;
	publish(progress);
}

/* A subtransaction that aborted has cleared the place: then all is told anew. */
void
es_progress_step(EsProgress *progress, int64 n)
{
	progress->done += n;
	if (!progress->is_told || (progress->done - progress->reported < UNITS_PER_REPORT && holds(COMMAND)))
		return;
	progress->reported = progress->done;
	if (holds(COMMAND))
		pgstat_progress_update_param(PARAM_DONE, progress->done);
	else
		publish(progress);
	give_notice(progress);
}

void
es_progress_end(EsProgress *progress)
{
	if (progress->is_told && holds(COMMAND))
		pgstat_progress_end_command();
}

/* The works of this database, as the view eventsource.progress shows them. */
Datum
eventsource_progress_reports(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			count = pgstat_fetch_stat_numbackends();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= count; i++)
	{
		const PgBackendStatus *entry = es_compat_backend_status(i);

		if (entry->st_progress_command == COMMAND && entry->st_databaseid == MyDatabaseId)
			put_report(result, entry);
	}
	return (Datum) 0;
}

/* Is the place of this backend taken by that command? */
static bool
holds(ProgressCommandType command)
{
	return MyBEEntry != NULL && MyBEEntry->st_progress_command == command;
}

static void
publish(const EsProgress *progress)
{
	int			index[PARAM_WHAT + WHAT_PARAMS];
	int64		value[PARAM_WHAT + WHAT_PARAMS];

	StaticAssertStmt(PARAM_WHAT + WHAT_PARAMS <= PGSTAT_NUM_PROGRESS_PARAM, "too many parameters");
	if (!holds(PROGRESS_COMMAND_INVALID))
		return;
	for (int i = 0; i < PARAM_WHAT + WHAT_PARAMS; i++)
		index[i] = i;
	value[PARAM_DONE] = progress->done;
	value[PARAM_TOTAL] = progress->total;
	value[PARAM_STARTED_AT] = progress->started_at;
	memcpy(&value[PARAM_WHAT], progress->what, ES_PROGRESS_WHAT_SIZE);
	pgstat_progress_start_command(COMMAND, InvalidOid);
	pgstat_progress_update_multi_param(PARAM_WHAT + WHAT_PARAMS, index, value);
}

static void
give_notice(EsProgress *progress)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(progress->noticed_at, now, NOTICE_INTERVAL_MS))
		return;
	progress->noticed_at = now;
	if (progress->total > 0)
		ereport(NOTICE,
				(errmsg("%s: " INT64_FORMAT " of " INT64_FORMAT " done (%d %%)", progress->what,
						progress->done, progress->total,
						(int) (progress->done * 100.0 / progress->total))));
	else
		ereport(NOTICE, (errmsg("%s: " INT64_FORMAT " done", progress->what, progress->done)));
}

/* Who works is for all to see; at what, only for those who may see its query. */
static void
put_report(ReturnSetInfo *result, const PgBackendStatus *entry)
{
	const int64 *param = entry->st_progress_param;
	char		what[ES_PROGRESS_WHAT_SIZE];
	Datum		values[REPORT_COLUMNS] = {0};
	bool		nulls[REPORT_COLUMNS] = {false, false, true, true, true, true};

	values[0] = Int32GetDatum(entry->st_procpid);
	values[1] = ObjectIdGetDatum(entry->st_userid);
	if (has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		has_privs_of_role(GetUserId(), entry->st_userid))
	{
		memcpy(what, &param[PARAM_WHAT], ES_PROGRESS_WHAT_SIZE);
		what[ES_PROGRESS_WHAT_SIZE - 1] = '\0';
		values[2] = CStringGetTextDatum(what);
		values[3] = Int64GetDatum(param[PARAM_DONE]);
		values[4] = Int64GetDatum(param[PARAM_TOTAL]);
		values[5] = TimestampTzGetDatum(param[PARAM_STARTED_AT]);
		nulls[2] = nulls[3] = nulls[5] = false;
		nulls[4] = param[PARAM_TOTAL] < 0;
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
