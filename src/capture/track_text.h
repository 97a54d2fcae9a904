/*
 * track_text.h
 *		The definition of a tracked table as it is written in the log.  For the
 *		files of capture alone.
 */
#ifndef ES_CAPTURE_TRACK_TEXT_H
#define ES_CAPTURE_TRACK_TEXT_H

#include "eventsource.h"

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "capture/track.h"
#include "log/config.h"
#include "nodes/pg_list.h"
#include "rules/pii.h"

/* Types of the events of a definition. */
#define ES_TRACKING_DEFINED	"tracking_defined"	/* by track_table() */
#define ES_TRACKING_RENEWED	"tracking_renewed"	/* by capture: the table was
												 * altered, or restored */
#define ES_TRACKING_REMOVED	"tracking_removed"	/* by untrack_table() */

typedef struct EsColumnText
{
	int			id;
	char	   *name;
	AttrNumber	attno;
	int			key;			/* place in the key, from 1; 0: not part of it */
	bool		is_state;
	bool		is_reason;
	bool		is_actor;
	bool		is_ignored;
	char	   *event;			/* or NULL */
	char	   *pii;			/* strategy of a personal column, or NULL */
} EsColumnText;

typedef struct EsTrackingText
{
	char	   *table;			/* qualified; as it was called then */
	Oid			relid;
	int64		opened;			/* in which incarnation of the log relid and
								 * attnos hold; written by es_define() */
	List	   *columns;		/* EsColumnText *, in order of attno */
	bool		only_listed;	/* columns that come later are ignored */
	bool		records_violations;
	Jsonb	   *states;			/* {"word": "STATE"} or NULL */
	Jsonb	   *edges;			/* {"OLD->NEW": "type"} or NULL */
	char	   *subject;		/* expression over "row", or NULL */
} EsTrackingText;

/* What a definition said, and from which position on. */
typedef struct EsTrackingVersion
{
	int64		position;
	TimestampTz recorded_at;
	char	   *type;
	EsTrackingText text;
	EsPii	   *pii;			/* where its events have personal fields */
} EsTrackingVersion;

extern void es_tracking_read(Jsonb *data, EsTrackingText *definition);
extern Jsonb *es_tracking_write(const char *category, const EsTrackingText *definition);

/*
 * The columns as they are in the table now: renamed, dropped (left out) and new
 * ones.  by_name: attnos mean nothing, as the table is not the one that was
 * defined.  next_id: first id for new ones.
 */
extern List *es_tracking_renew(const EsTrackingText *definition, TupleDesc table, bool by_name, int next_id,
							   bool *differs);

/* The edges of event_types.  List of EsTrackedEdge *. */
extern List *es_tracking_edges(Jsonb *object);

/* track.c: the definition that held when the event at a position was captured. */
extern const EsTrackingVersion *es_tracking_version_at(const EsTracking *tracking, int64 position);

/* track_build.c: the category's tracking, built from its latest definition. */
extern EsTracking *es_tracking_build(const char *category, const EsDefinition *latest);

/*
 * track.c: any change of the table ends what is known of all.  To be said before
 * the table is looked at, so that a change meanwhile is not lost.
 */
extern void es_tracking_watch(Oid relid);

#endif							/* ES_CAPTURE_TRACK_TEXT_H */
