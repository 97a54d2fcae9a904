/*
 * event_type.h
 *		What is registered about event types: versions with their schemas, and
 *		whom an event is about.
 *
 * A registration is of a type in one category, or in every category that has none
 * of its own.  An event's is that of its category, else the general one, else it
 * has none.
 */
#ifndef ES_RULES_EVENT_TYPE_H
#define ES_RULES_EVENT_TYPE_H

#include "eventsource.h"
#include "nodes/pg_list.h"
#include "rules/category.h"
#include "rules/json_schema.h"
#include "rules/pii.h"

#define ES_EVENT_TYPE_KIND			"event_type"
#define ES_EVENT_TYPE_REGISTERED	"event_type_registered"
#define ES_EVENT_TYPE_WITHDRAWN		"event_type_withdrawn"

/* The log keeps an event's schema_version in two bytes. */
#define ES_MAX_SCHEMA_VERSION	PG_INT16_MAX

/* What one definition says, nothing compiled; NULL where it says nothing. */
typedef struct EsTypeVersion
{
	int32		number;
	Jsonb	   *schema;			/* NULL: any data */
	bool		asserts_formats;	/* of the schema */
	char	   *compatibility;	/* with earlier versions, as it was asked for */
	char	   *subject;		/* expression over event */
	char	   *description;
	char	   *phase;
	Jsonb	   *pii;			/* which fields are personal */
	EsPii	   *personal;		/* the same, as it was read */
	EsSchema   *program;		/* of the schema, once it was needed */
} EsTypeVersion;

typedef struct EsEventType
{
	char	   *category;		/* NULL: every one that has none of its own */
	char	   *name;
	bool		is_withdrawn;	/* new events need not match it; what its
								 * versions say of stored ones, and of
								 * personal fields, holds */
	Oid			owner;			/* of the latest version; InvalidOid: gone */
	EsExpr	   *subject;		/* of the latest version, or NULL */
	int			n_versions;
	EsTypeVersion *version;		/* in order of their numbers, each as it was
								 * said last */
	MemoryContext context;
} EsEventType;

/*
 * The registration of a stored event, withdrawn or not, or NULL.  Valid until the end
 * of the transaction.
 */
extern const EsEventType *es_event_type_get(const text *category, const text *type);

/* What a new event's data must match: its registration, unless it is withdrawn. */
static inline const EsEventType *
es_event_type_in_force(const EsEventType *type)
{
	return type != NULL && type->is_withdrawn ? NULL : type;
}

/* True the first time that it is asked of a type in this session, more or less. */
extern bool es_event_type_is_news(const text *category, const text *type);

/*
 * The registration of exactly this category, or NULL for the general one, read
 * anew into the current context, nothing compiled; NULL if there is none.
 */
extern EsEventType *es_event_type_read(const char *category, const char *type);

/* How its definitions are called. */
extern char *es_event_type_definition_name(const char *category, const char *type);

/* Definition of a version. */
extern Jsonb *es_event_type_write(const char *category, const char *type, const EsTypeVersion *version);

/* Which fields of an event are personal: by its type and schema version; or NULL. */
extern const EsPii *es_event_type_pii(const EsEventType *type, int32 number);
extern const EsPii *es_event_type_pii_of(const EsEvent *event);

/* NULL if there is none of this number. */
extern EsTypeVersion *es_event_type_version(const EsEventType *type, int32 number);

static inline EsTypeVersion *
es_event_type_latest(const EsEventType *type)
{
	return &type->version[type->n_versions - 1];
}

/* The program of a version of a cached registration; NULL: any data will do. */
extern EsSchema *es_event_type_program(const EsEventType *type, EsTypeVersion *version);

/*
 * Not asked about their type are what the database itself writes for tracked
 * tables, and corrections.  (Definitions are no matter of rules at all.)
 */
static inline bool
es_event_type_counts(int flags)
{
	return (flags & (ES_EVENT_CAPTURED | ES_EVENT_VIOLATION | ES_EVENT_CORRECTION | ES_EVENT_VOID)) == 0;
}

/* ---- event_type_check.c: an event and its registration ---- */

/* Setting: what is done about events of types that are not registered. */
typedef enum EsUnregistered
{
	ES_UNREGISTERED_ALLOW,
	ES_UNREGISTERED_WARN
} EsUnregistered;

extern int	es_guc_unregistered_types;

/*
 * The registration of an event that is about to be appended, withdrawn or not; NULL
 * if it has none.
 * Sets its schema_version, given (0: not said) or the latest.  Errors: ZE006.
 */
extern const EsEventType *es_event_type_admit(const EsCategory *category, EsEvent *event, int32 given);

/* Whom the event is about: by its type, else by its category; NULL: its stream. */
extern const text *es_event_type_subject(const EsEventType *type, const EsCategory *category,
										 const EsEvent *event);

/* Error (ZE007), with the hint unless it is NULL, unless its data matches the schema of its version. */
extern void es_event_type_check(const EsEventType *type, const EsEvent *event, const char *hint);

#endif							/* ES_RULES_EVENT_TYPE_H */
