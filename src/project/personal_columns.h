/*
 * personal_columns.h
 *		What personal fields of events become in a projection.
 */
#ifndef ES_PROJECT_PERSONAL_COLUMNS_H
#define ES_PROJECT_PERSONAL_COLUMNS_H

#include "nodes/bitmapset.h"
#include "project/projection.h"

typedef struct EsPersonalColumns
{
	bool		reads;			/* a rule reads personal fields */
	Bitmapset  *columns;		/* attribute numbers of those that are made of
								 * them */
	List	   *problems;		/* lines: what could not bear their erasure */
} EsPersonalColumns;

/* By what is registered now.  Everything is palloc'd. */
extern void es_personal_columns_find(const EsProjection *projection, EsPersonalColumns *found);

/*
 * Must errors of its rules, and of what they write, be kept from the current user, as
 * they may quote what he may not see?
 */
extern bool es_personal_columns_hide(const EsProjection *projection);

#endif							/* ES_PROJECT_PERSONAL_COLUMNS_H */
