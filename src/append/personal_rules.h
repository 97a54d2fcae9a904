/*
 * personal_rules.h
 *		What is defined already, and personal fields.
 */
#ifndef ES_APPEND_PERSONAL_RULES_H
#define ES_APPEND_PERSONAL_RULES_H

#include "project/projection.h"
#include "rules/category.h"
#include "rules/reaction.h"

/*
 * What a state machine reads of personal columns of its category's context: lines.
 * proposed: the projection, if it is about to be defined; NULL: as it is now.
 */
extern List *es_personal_context_problems(const EsCategoryText *category, Jsonb *machine,
										  const EsProjection *proposed);

/* The same of all categories with this context, and of reactions to their events. */
extern List *es_personal_contexts_problems(const EsProjection *proposed);

/*
 * What a category's subject reads of personal fields, in types that have none of their
 * own: lines.
 */
extern List *es_personal_subject_problems(const char *category, const char *subject);

/*
 * What a reaction reads of personal fields, and of columns of its row that are made of such:
 * lines.  proposed: as above.
 */
extern List *es_personal_reaction_problems(const EsReaction *reaction, const EsProjection *proposed);

/* Of all that is defined, what could not bear what is personal now. */
extern List *es_personal_problems(void);

#endif							/* ES_APPEND_PERSONAL_RULES_H */
