/*
 * pii.h
 *		Which fields of an event type are personal, and what becomes of each when it is
 *		anonymized.
 */
#ifndef ES_RULES_PII_H
#define ES_RULES_PII_H

#include "eventsource.h"
#include "log/personal.h"
#include "nodes/pg_list.h"

typedef enum EsPiiStrategy
{
	ES_PII_HASH,				/* a keyed hash, whose key is thrown away */
	ES_PII_MASK_IP,				/* an address without its last parts: /16, /48 */
	ES_PII_REDACT,				/* a fixed word */
	ES_PII_NULL,				/* nothing */
	ES_PII_KEEP					/* as it is */
} EsPiiStrategy;

/* In the order of the paths. */
typedef struct EsPii
{
	int			n;
	EsPersonalPath *path;
	EsPiiStrategy *strategy;
} EsPii;

/*
 * What a definition says ({"path": "strategy"}), palloc'd; NULL if it says nothing,
 * or there are problems, which are appended to the list.
 */
extern EsPii *es_pii_parse(Jsonb *definition, List **problems);

/* What one said about a field (log/vault.h); ES_PII_REDACT if it says nothing. */
extern EsPiiStrategy es_pii_strategy(const EsPii *pii, const char *field, int length);

/*
 * The address (of a network, too) without its last parts, as text; NULL if it is none.  Used for masks and
 * for anonymizing.
 */
extern char *es_pii_mask_ip(const char *address, int length);

/* Is it the name of one? */
extern bool es_pii_is_strategy(const JsonbValue *value);

/*
 * What was declared of an event as it is stored, by its type (rules/event_type.h) or
 * by who captured it; NULL: nothing.
 */
extern const EsPii *es_pii_of_event(const EsEvent *event);

/*
 * Who captures events, and may say that fields of those are personal: what an event
 * with that flag has, and all that is declared of a type (NULL: of all) in categories (NIL:
 * in any), as list of EsPii.
 */
extern void es_pii_register_captured(const EsPii *(*of_event) (const EsEvent *event),
									 List *(*declared) (List *categories, const char *type));
extern List *es_pii_declared_captured(List *categories, const char *type);

/* At module load. */
extern void es_pii_init(void);

#endif							/* ES_RULES_PII_H */
