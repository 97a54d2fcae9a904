/*
 * sign.h
 *		Signatures of webhooks as Standard Webhooks has them.
 */
#ifndef RELAY_SIGN_H
#define RELAY_SIGN_H

#include "text.h"

#define SHA256_SIZE		32

/* Several secrets while one takes the place of another: a message carries a signature by each. */
#define MAX_SECRETS		4

typedef struct Secret
{
	unsigned char *key;
	size_t		len;
} Secret;

extern void sha256(const void *data, size_t len, unsigned char *hash);
extern void hmac_sha256(const Secret *secret, const void *data, size_t len, unsigned char *mac);

/*
 * A secret as it is written: "whsec_" and base64.  False if it is not, or holds less
 * than 24 bytes or more than 64.
 */
extern bool secret_parse(const char *written, Secret *secret);

/* "v1,<base64>" by each secret, with blanks between them. */
extern void sign_message(Text *header, const Secret *secrets, int secret_count, const char *id,
						 const char *timestamp, const char *body, size_t body_len);

#endif							/* RELAY_SIGN_H */
