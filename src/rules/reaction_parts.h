/*
 * reaction_parts.h
 *		What the files of reactions share: reaction.c (cache), reaction_read.c (from a
 *		definition), reaction_graph.c (what leads to what).
 */
#ifndef ES_RULES_REACTION_PARTS_H
#define ES_RULES_REACTION_PARTS_H

#include "rules/reaction.h"

/* Sets the category that an append's streams are of, where the expression tells. */
extern void es_reaction_find_category(const EsReaction *reaction, EsReactionAction *action);

#endif							/* ES_RULES_REACTION_PARTS_H */
