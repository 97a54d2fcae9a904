/*
 * sign.c
 *		Signatures of webhooks as Standard Webhooks has them: HMAC-SHA256 of
 *		"<id>.<timestamp>.<body>".
 *
 * SHA-256 is written out (FIPS 180-4): libcurl does not lend its own, and a library
 * for that alone would be one more to install.
 */
#include "sign.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK		64

/* A key as the standard wants it. */
#define LEAST_SECRET	24
#define MOST_SECRET		64

static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t
rotate(uint32_t word, int bits)
{
	return word >> bits | word << (32 - bits);
}

static void
add_block(uint32_t *state, const unsigned char *block)
{
	uint32_t	w[64];
	uint32_t	v[8];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t) block[4 * i] << 24 | (uint32_t) block[4 * i + 1] << 16 |
			(uint32_t) block[4 * i + 2] << 8 | block[4 * i + 3];
	for (int i = 16; i < 64; i++)
	{
		uint32_t	s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t	s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}

	memcpy(v, state, sizeof(v));
	for (int i = 0; i < 64; i++)
	{
		uint32_t	s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
		uint32_t	choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
		uint32_t	t1 = v[7] + s1 + choice + round_constants[i] + w[i];
		uint32_t	s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
		uint32_t	majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);

		memmove(v + 1, v, 7 * sizeof(uint32_t));
		v[4] += t1;
		v[0] = t1 + s0 + majority;
	}
	for (int i = 0; i < 8; i++)
		state[i] += v[i];
}

void
sha256(const void *data, size_t len, unsigned char *hash)
{
	uint32_t	state[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};
	const unsigned char *bytes = data;
	unsigned char tail[2 * BLOCK] = {0};
	size_t		whole = len - len % BLOCK;
	size_t		tail_len = len % BLOCK < BLOCK - 8 ? BLOCK : 2 * BLOCK;

	for (size_t at = 0; at < whole; at += BLOCK)
		add_block(state, bytes + at);
	memcpy(tail, bytes + whole, len - whole);
	tail[len - whole] = 0x80;
	for (int i = 0; i < 8; i++)
		tail[tail_len - 1 - i] = (unsigned char) ((uint64_t) len * 8 >> 8 * i);
	for (size_t at = 0; at < tail_len; at += BLOCK)
		add_block(state, tail + at);
	for (int i = 0; i < SHA256_SIZE; i++)
		hash[i] = (unsigned char) (state[i / 4] >> (24 - 8 * (i % 4)));
}

void
hmac_sha256(const Secret *secret, const void *data, size_t len, unsigned char *mac)
{
	unsigned char key[BLOCK] = {0};
	unsigned char outer[BLOCK + SHA256_SIZE];
	unsigned char *inner = memory_new(BLOCK + len);

	if (secret->len > BLOCK)
		sha256(secret->key, secret->len, key);
	else
		memcpy(key, secret->key, secret->len);
	for (int i = 0; i < BLOCK; i++)
	{
		inner[i] = key[i] ^ 0x36;
		outer[i] = key[i] ^ 0x5c;
	}
	memcpy(inner + BLOCK, data, len);
	sha256(inner, BLOCK + len, outer + BLOCK);
	sha256(outer, sizeof(outer), mac);
	free(inner);
}

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool
secret_parse(const char *written, Secret *secret)
{
	static const char prefix[] = "whsec_";
	size_t		len;
	size_t		digits;
	uint32_t	bits = 0;
	int			bit_count = 0;

	if (strncmp(written, prefix, sizeof(prefix) - 1) != 0)
		return false;
	written += sizeof(prefix) - 1;
	len = strlen(written);
	digits = len;
	while (digits > 0 && written[digits - 1] == '=')
		digits--;
	if (len % 4 != 0 || len - digits > 2 || digits * 3 / 4 < LEAST_SECRET || digits * 3 / 4 > MOST_SECRET)
		return false;

	secret->key = memory_new(digits);
	secret->len = 0;
	for (size_t i = 0; i < digits; i++)
	{
		int			digit = base64_digit(written[i]);

		if (digit < 0)
		{
			free(secret->key);
			return false;
		}
		bits = bits << 6 | (uint32_t) digit;
		bit_count += 6;
		if (bit_count >= 8)
		{
			bit_count -= 8;
			secret->key[secret->len++] = (unsigned char) (bits >> bit_count);
		}
	}
	return true;
}

void
sign_message(Text *header, const Secret *secrets, int secret_count, const char *id,
			 const char *timestamp, const char *body, size_t body_len)
{
	Text		content = {0};

	text_printf(&content, "%s.%s.", id, timestamp);
	text_append(&content, body, body_len);
	for (int i = 0; i < secret_count; i++)
	{
		unsigned char mac[SHA256_SIZE];

		hmac_sha256(&secrets[i], content.data, content.len, mac);
		text_add(header, i > 0 ? " v1," : "v1,");
		text_base64(header, mac, sizeof(mac));
	}
	text_free(&content);
}
