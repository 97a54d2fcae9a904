/*
 * eventsource.h
 *		What every room shares: the event as the view eventsource.events shows
 *		it, the names of the private schema, limits and settings.
 */
#ifndef ES_EVENTSOURCE_H
#define ES_EVENTSOURCE_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define ES_SCHEMA			"eventsource"
#define ES_CONFIG_CATEGORY	"$config"
#define ES_ERASURE_CATEGORY	"$erasure"

/* Limits: input beyond them is refused, never cut. */
#define ES_MAX_STREAM_NAME	1024	/* bytes */
#define ES_MAX_WORD			256 /* bytes: type, state, reason, actor */
#define ES_MAX_KEY			1024	/* bytes: idempotency key */
#define ES_MAX_DATA			(64 * 1024 * 1024)	/* bytes of jsonb */
#define ES_MAX_ATTEMPTS		1000	/* at a job */
#define ES_HASH_SIZE		32
#define ES_MAX_PERSONAL		1000	/* personal fields of one event */

/*
 * Columns of the view eventsource.events, in its order.  The same order serves
 * the rows that reading functions return and what an expression calls "event".
 */
typedef enum EsEventColumn
{
	ES_EVENT_POSITION,			/* bigint */
	ES_EVENT_STREAM,			/* text */
	ES_EVENT_CATEGORY,			/* text */
	ES_EVENT_KEY,				/* text */
	ES_EVENT_SUBJECT,			/* text */
	ES_EVENT_VERSION,			/* bigint */
	ES_EVENT_TYPE,				/* text */
	ES_EVENT_SCHEMA_VERSION,	/* int */
	ES_EVENT_DATA,				/* jsonb */
	ES_EVENT_METADATA,			/* jsonb */
	ES_EVENT_ACTOR,				/* text */
	ES_EVENT_RECORDED_BY,		/* text */
	ES_EVENT_REASON,			/* text */
	ES_EVENT_FROM_STATE,		/* text */
	ES_EVENT_TO_STATE,			/* text */
	ES_EVENT_IS_SYNTHETIC,		/* boolean */
	ES_EVENT_OCCURRED_AT,		/* timestamptz */
	ES_EVENT_RECORDED_AT,		/* timestamptz */
	ES_EVENT_HASH,				/* bytea */
	ES_EVENT_NCOLUMNS
} EsEventColumn;

/* Columns of the view that follow, and are no part of what was recorded. */
#define ES_VIEW_IDEMPOTENCY_KEY	ES_EVENT_NCOLUMNS	/* text */
#define ES_VIEW_IS_UPCAST		(ES_EVENT_NCOLUMNS + 1) /* boolean */
#define ES_VIEW_NCOLUMNS		(ES_EVENT_NCOLUMNS + 2)

/*
 * An event in memory.  value/isnull are the view's columns; while an event is
 * being decided, position, hash and to_state are still null.  The ids beside
 * them are how the log stores the words (0: none).
 */
typedef struct EsEvent
{
	Datum		value[ES_EVENT_NCOLUMNS];
	bool		isnull[ES_EVENT_NCOLUMNS];
	int64		stream_id;
	const text *machine;		/* "name@version" of the machine that allowed
								 * it, or NULL */
	int			flags;			/* ES_EVENT_* */
	int32		type_id;		/* of the type's word; 0: not looked up */
	bool		is_upcast;		/* data is not as stored: see log/reading.h */
	const uint8 *commitment;	/* to its personal fields; NULL: it has none */
	int64		vault;			/* position whose personal fields data lacks;
								 * 0: it lacks none */
	struct EsPersonal *personal;	/* those of an event on its way, or that
									 * were put back; or NULL */
} EsEvent;

/* What is special about an event; as the log stores it. */
#define ES_EVENT_SYNTHETIC		0x0001	/* made up from older data */
#define ES_EVENT_HAS_KEY		0x0002	/* has an idempotency key */
#define ES_EVENT_CAPTURED		0x0004	/* a change of a tracked table */
#define ES_EVENT_VIOLATION		0x0008	/* recorded though the rules forbid it */
#define ES_EVENT_CORRECTION		0x0010	/* says what another event should have
										 * said */
#define ES_EVENT_VOID			0x0020	/* says that another event does not
										 * count */
#define ES_EVENT_ERASED			0x0040	/* a tombstone: data and metadata are
										 * gone, the hash is of what they were */

/* Text values inside an event are never toasted and never compressed. */
static inline text *
es_event_text(const EsEvent *event, EsEventColumn column)
{
	return event->isnull[column] ? NULL : (text *) DatumGetPointer(event->value[column]);
}

static inline void
es_event_set(EsEvent *event, EsEventColumn column, Datum value)
{
	event->value[column] = value;
	event->isnull[column] = false;
}

/* The same bytes, or both NULL. */
static inline bool
es_text_same(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* A text Datum of no bytes, static. */
extern const text *es_empty_text(void);

/* Settings (eventsource.c defines them). */
extern char *es_guc_actor;
extern char *es_guc_reason;
extern char *es_guc_correlation_id;
extern char *es_guc_causation_id;
extern int	es_guc_segment_size;
extern bool es_guc_include_synthetic;

#endif							/* ES_EVENTSOURCE_H */
