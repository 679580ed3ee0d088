/* A 64-bit digest of bytes: fast, the same on every machine, not cryptographic.
 *
 *   fold(a, b) = low half xor high half of the 128-bit product a * b
 *   step(s, w0, w1, k) = a = s xor w0, b = k xor w1: fold(a, b) + rotl(a, 29) + b
 *
 * The two sums keep a and b alive when the other one is zero and the product
 * vanishes. Four lanes take the words of each 64-byte stripe, 16 bytes a lane,
 * so that four multiplications are in flight; the rest goes into lanes 0..3 in
 * pieces of 16 bytes, the last one padded with zeros. The length joins at the
 * end (it tells padding from data), then two multiply-shift rounds spread every
 * bit over all 64.
 *
 * The constants are the leading 64 bits of the fractional parts of the natural
 * logarithms of the primes 2 to 29, made odd.
 *
 * The slow twin is relive.trace.digest; the tests hold the two together. */
#include "mem.h"

#include <string.h>

#define LANES 4
#define STRIPE 64

static const uint64_t lane_start[LANES] = {
    UINT64_C(0xb17217f7d1cf79ab),
    UINT64_C(0x193ea7aad030a977),
    UINT64_C(0x9c041f7ed8d336af),
    UINT64_C(0xf2272ae325a57547),
};
static const uint64_t lane_key[LANES] = {
    UINT64_C(0x65dc76efe6e976f7),
    UINT64_C(0x90a08566318a1fd1),
    UINT64_C(0xd54d783f4fef39df),
    UINT64_C(0xf1c6c0c096658e41),
};
#define END_KEY_0 UINT64_C(0x22afbfba367e0123)
#define END_KEY_1 UINT64_C(0x5e071979bfc3d7ad)

static uint64_t word(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static uint64_t rotl(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

static uint64_t step(uint64_t s, uint64_t w0, uint64_t w1, uint64_t k)
{
    uint64_t a = s ^ w0, b = k ^ w1;
    __extension__ unsigned __int128 p = (unsigned __int128)a * b;
    return ((uint64_t)p ^ (uint64_t)(p >> 64)) + rotl(a, 29) + b;
}

uint64_t digest64(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *p = data;
    size_t left = len;
    uint64_t s0 = seed ^ lane_start[0];
    uint64_t s1 = rotl(seed, 17) ^ lane_start[1];
    uint64_t s2 = rotl(seed, 34) ^ lane_start[2];
    uint64_t s3 = rotl(seed, 51) ^ lane_start[3];

    for (; left >= STRIPE; left -= STRIPE, p += STRIPE) {
        s0 = step(s0, word(p), word(p + 8), lane_key[0]);
        s1 = step(s1, word(p + 16), word(p + 24), lane_key[1]);
        s2 = step(s2, word(p + 32), word(p + 40), lane_key[2]);
        s3 = step(s3, word(p + 48), word(p + 56), lane_key[3]);
    }
    if (left > 0) {
        uint8_t end[STRIPE] = {0};
        memcpy(end, p, left);
        s0 = step(s0, word(end), word(end + 8), lane_key[0]);
        if (left > 16)
            s1 = step(s1, word(end + 16), word(end + 24), lane_key[1]);
        if (left > 32)
            s2 = step(s2, word(end + 32), word(end + 40), lane_key[2]);
        if (left > 48)
            s3 = step(s3, word(end + 48), word(end + 56), lane_key[3]);
    }

    uint64_t h = step(seed ^ (uint64_t)len * lane_key[0], s0, s1, END_KEY_0);
    h = step(h, s2, s3, END_KEY_1);
    h ^= h >> 32;
    h *= lane_start[0];
    h ^= h >> 29;
    h *= lane_key[2];
    h ^= h >> 32;
    return h;
}
