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
 * The address without its last parts, as text; NULL if it is none.  Used for masks and
 * for anonymizing.
 */
extern char *es_pii_mask_ip(const char *address, int length);

/* At module load. */
extern void es_pii_init(void);

#endif							/* ES_RULES_PII_H */
