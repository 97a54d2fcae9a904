/*
 * erase_personal.h
 *		Personal fields when a subject is erased.
 */
#ifndef ES_TRUST_ERASE_PERSONAL_H
#define ES_TRUST_ERASE_PERSONAL_H

/* At module load; before whatever is made anew from the fields. */
extern void es_erase_personal_init(void);

#endif							/* ES_TRUST_ERASE_PERSONAL_H */
