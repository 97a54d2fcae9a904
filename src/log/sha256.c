/*
 * sha256.c
 *		SHA-256 of bytes in memory.
 *
 * From version 3 on OpenSSL looks an algorithm up by its name each time that
 * pg_cryptohash begins, which takes twice as long as to hash one node of a tree, or
 * one personal field.  Where the server has that library, SHA-256 is looked up there
 * once.  Its functions are weak references to what the server is linked with: no other
 * copy is loaded, and a server without them hashes by pg_cryptohash, as one does where
 * the headers were missing.
 *
 * One hashing context serves the backend to its end.  Each use begins it anew,
 * whatever an error left in it.
 */
#include "log/sha256.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/resowner.h"

#if defined(USE_OPENSSL) && defined(__ELF__) && defined(__has_include)
#if __has_include(<openssl/evp.h>)
#include <openssl/evp.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#define HAS_FETCH
#pragma weak EVP_MD_fetch
#pragma weak EVP_MD_CTX_new
#pragma weak EVP_DigestInit_ex
#pragma weak EVP_DigestUpdate
#pragma weak EVP_DigestFinal_ex
#endif
#endif
#endif

#ifdef HAS_FETCH
/* False: this server's library is another. */
static bool
hash_fetched(const void *data, Size len, uint8 *hash)
{
	static EVP_MD *algorithm = NULL;
	static EVP_MD_CTX *ctx = NULL;

	if (EVP_MD_fetch == NULL)
		return false;
	if (algorithm == NULL)
		algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (ctx == NULL)
		ctx = EVP_MD_CTX_new();
	if (algorithm == NULL || ctx == NULL ||
		EVP_DigestInit_ex(ctx, algorithm, NULL) != 1 ||
		EVP_DigestUpdate(ctx, data, len) != 1 ||
		EVP_DigestFinal_ex(ctx, hash, NULL) != 1)
		elog(ERROR, "could not compute SHA-256");
	return true;
}
#endif

/* In a resource owner of its own: a transaction's end would take it. */
static pg_cryptohash_ctx *
hashing_context(void)
{
	static ResourceOwner keeper = NULL;
	static pg_cryptohash_ctx *ctx = NULL;
	ResourceOwner current = CurrentResourceOwner;

	if (ctx != NULL)
		return ctx;
	if (keeper == NULL)
		keeper = ResourceOwnerCreate(NULL, "eventsource hash");
	CurrentResourceOwner = keeper;
	PG_TRY();
	{
		ctx = pg_cryptohash_create(PG_SHA256);
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = current;
	}
	PG_END_TRY();
	return ctx;
}

void
es_sha256(const void *data, Size len, uint8 *hash)
{
	pg_cryptohash_ctx *ctx;

#ifdef HAS_FETCH
	if (hash_fetched(data, len, hash))
		return;
#endif
	ctx = hashing_context();
	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, data, len) < 0 ||
		pg_cryptohash_final(ctx, hash, ES_HASH_SIZE) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
}
