/*
 * value_type.h
 *		What is known of the types of values.  For value.c and value_type.c alone.
 */
#ifndef ES_CAPTURE_VALUE_TYPE_H
#define ES_CAPTURE_VALUE_TYPE_H

#include "eventsource.h"
#include "fmgr.h"

/* The kinds before jsonb hold no JSON null. */
typedef enum EsValueKind
{
	ES_VALUE_OTHER,
	ES_VALUE_BOOL,
	ES_VALUE_INT2,
	ES_VALUE_INT4,
	ES_VALUE_INT8,
	ES_VALUE_FLOAT4,
	ES_VALUE_FLOAT8,
	ES_VALUE_NUMERIC,
	ES_VALUE_MONEY,
	ES_VALUE_TEXT,				/* a varlena of characters */
	ES_VALUE_JSONB,
	ES_VALUE_ARRAY,
	ES_VALUE_ROW
} EsValueKind;

typedef struct EsValueType
{
	Oid			type;			/* key */
	EsValueKind kind;
	Oid			base;			/* of a domain; else the type itself */
	int16		length;
	bool		by_value;
	char		align;
	Oid			element;
	bool		names_objects;	/* prints what search_path makes of it */
	Oid			owner;			/* of a type whose input may call code of
								 * users, else InvalidOid */
	FmgrInfo	print;
	FmgrInfo	read;
	Oid			read_param;
} EsValueType;

/* Valid until the end of the transaction. */
extern EsValueType *es_value_type(Oid type);

#endif							/* ES_CAPTURE_VALUE_TYPE_H */
