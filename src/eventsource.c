/*
 * eventsource.c
 *		Module load: settings, and a flat list of init calls.
 */
#include "eventsource.h"

#include "append/draft.h"
#include "append/hall.h"
#include "capture/capture.h"
#include "capture/snapshot.h"
#include "capture/track.h"
#include "capture/track_personal.h"
#include "capture/value.h"
#include "feed/subscription.h"
#include "feed/needs.h"
#include "feed/subscription_erase.h"
#include "feed/worker.h"
#include "fmgr.h"
#include "log/bell.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/erased.h"
#include "log/erasing.h"
#include "log/fence.h"
#include "log/heads.h"
#include "log/position.h"
#include "log/rights.h"
#include "log/segment.h"
#include "log/shared.h"
#include "log/stream.h"
#include "log/stream_name.h"
#include "log/word.h"
#include "project/fold.h"
#include "project/refold_erased.h"
#include "rules/event_type.h"
#include "rules/expr.h"
#include "rules/json_schema.h"
#include "rules/pii.h"
#include "rules/upcast.h"
#include "trust/archive.h"
#include "trust/guard_hooks.h"
#include "trust/maintenance.h"
#include "trust/seal.h"
#include "trust/erase_personal.h"
#include "utils/guc.h"
#include "work/due.h"
#include "work/job_erase.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

char	   *es_guc_actor;
char	   *es_guc_reason;
char	   *es_guc_correlation_id;
char	   *es_guc_causation_id;
int			es_guc_segment_size;
bool		es_guc_include_synthetic;

const text *
es_empty_text(void)
{
	static const struct
	{
		int32		header;
	}			empty = {
#ifdef WORDS_BIGENDIAN
		VARHDRSZ
#else
		VARHDRSZ << 2
#endif
	};

	return (const text *) &empty;
}

static const struct config_enum_entry unregistered_types[] = {
	{"allow", ES_UNREGISTERED_ALLOW, false},
	{"warn", ES_UNREGISTERED_WARN, false},
	{NULL, 0, false}
};

/* health(), which is written in SQL, asks for them with current_setting(). */
static int	max_feed_lag;
static int	health_sample;
static int	max_retention_lag;

static void
define_settings(void)
{
	DefineCustomStringVariable("eventsource.actor",
							   "Who acts, for appends that do not say: the default of append()'s actor.",
							   "Empty: the session user.",
							   &es_guc_actor, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventsource.reason",
							   "Reason code for appends that do not say, where the transition takes one.",
							   "Empty: none.",
							   &es_guc_reason, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventsource.correlation_id",
							   "Put into the metadata of appended events as correlation_id.",
							   "Empty: none.",
							   &es_guc_correlation_id, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventsource.causation_id",
							   "Put into the metadata of appended events as causation_id: the position of the event that caused them.",
							   "Empty: none.",
							   &es_guc_causation_id, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventsource.segment_size",
							"How many positions a new segment of the log holds.",
							"Segments that are there keep their size.",
							&es_guc_segment_size, 10000000, 100, PG_INT32_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("eventsource.include_synthetic",
							 "Whether views of transitions and periods count events that were made up from older data.",
							 "Off: they say that there is no history before.",
							 &es_guc_include_synthetic, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventsource.max_feed_lag",
							"How long a transaction that has appended may be open before health() calls the feed degraded.",
							NULL,
							&max_feed_lag, 60, 0, PG_INT32_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("eventsource.health_sample",
							"How many rows of each projection health() folds anew.",
							"0: none.",
							&health_sample, 10, 0, 10000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventsource.max_retention_lag",
							"How long something may be past its term of retention before health() calls it degraded.",
							NULL,
							&max_retention_lag, 86400, 0, PG_INT32_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomBoolVariable("eventsource.assert_formats",
							 "Whether the formats that a JSON Schema names are asserted.",
							 "Off: they only describe, as the drafts have it. Asserted are date-time, date, time, email, hostname, ipv4, ipv6, uri and uuid.",
							 &es_guc_assert_formats, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventsource.archive_tablespace",
							   "Tablespace that segments go to as they are archived.",
							   "Empty: they stay where they are.",
							   &es_guc_archive_tablespace, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("eventsource.unregistered_types",
							 "What is done about events of types that are not registered, where the category is not strict.",
							 "allow: nothing; warn: the session is warned once of each type.",
							 &es_guc_unregistered_types, ES_UNREGISTERED_ALLOW, unregistered_types,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	define_settings();
	es_shared_init();
	es_bell_init();
	es_heads_init();
	es_worker_init();
	es_duties_init();
	es_seal_init();
	es_worker_add_duty("sealing", es_seal_duty);
	es_worker_add_duty("archiving", es_archive_duty);
	es_guard_watch_init();
	es_worker_add_duty("looking after the guards", es_guard_watch_duty);
	es_due_init();
	es_worker_add_duty("doing what is due", es_due_duty);
	es_subscription_wait_init();
	MarkGUCPrefixReserved("eventsource");
	es_catalog_init();
	es_word_init();
	es_stream_init();
	es_stream_name_init();
	es_segment_init();
	es_position_init();
	es_erased_init();
	es_config_init();
	es_rights_init();
	es_fence_init();
	es_expr_init();
	es_upcast_init();
	es_pii_init();
	es_fold_init();
	es_erasing_init();
	es_subscription_erase_init();
	es_job_erase_init();
	es_feed_needs_init();
	es_erase_personal_init();
	es_archive_erase_init();
	es_refold_erased_init();
	es_draft_register();
	es_batch_init();
	es_view_init();
	es_value_init();
	es_tracking_init();
	es_track_personal_init();
	es_capture_init();
	es_snapshot_init();
	es_maintenance_init();
	es_guard_hooks_init();
	es_guard_catalog_init();
}
