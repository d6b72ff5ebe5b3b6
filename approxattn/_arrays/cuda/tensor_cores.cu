// Sums with monomials on tensor cores, in TF32; no monomial ever lies in memory.
//
// Monomials of degree <= DEGREE in D variables are those of degree DEGREE in D + 1 variables, x_0 = 1. A tile is 16
// parents, of degree DEGREE - 1; an item is the 16 monomials x_c * parent of one tile and one c. An item also holds
// monomials that another item has (c above the parent's first variable): their weight is 0. Values have m columns, in
// tiles of 8.
// Lanes hold fragments of m16n8k8 (PTX manual): lane = 4 g + t has A[g + 8 (q % 2)][t + 4 (q / 2)] for q < 4,
// B[t + 4 q][g] for q < 2, and C[g + 8 (q / 2)][2 t + q % 2] for q < 4.

#define N (COLUMN_TILES * 8)
#define VALUE_STRIDE (N % 16 ? N : N + 8)       // no two lanes of a fragment of B in one bank
#define WARPS 8
#define THREADS (WARPS * 32)
#define STAGE_TOKENS 32
#define STAGE_STRIDE (STAGE_TOKENS + 4)
#define TOKENS (WARPS * 16 * TOKEN_TILES)       // of a block that reads
#define TOKEN_STRIDE (TOKENS + 8)
#define STAGE_ITEMS 4

#ifdef __CUDACC__
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) unsigned char shared_bytes[]; \
    type* name = reinterpret_cast<type*>(shared_bytes)
#define SHARED_PART(type) type*
__device__ __forceinline__ void multiply_add(float c[4], const float a[4], const float b[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif

// c[j] += a b[j] for all tiles of columns j.
#if PASSES == 1
// A tensor core reads the upper 19 bits of a float; half a unit of the last one is added first: 2^-11 relatively.
__device__ __forceinline__ float half_up(float x) { return __uint_as_float(__float_as_uint(x) + 0x1000u); }

__device__ __forceinline__ void products(float c[][4], const float a[4], const float b[][2]) {
    float p[4];
    #pragma unroll
    for (int q = 0; q < 4; q++) p[q] = half_up(a[q]);
    #pragma unroll
    for (int j = 0; j < COLUMN_TILES; j++) {
        const float r[2] = {half_up(b[j][0]), half_up(b[j][1])};
        multiply_add(c[j], p, r);
    }
}
#else
// A factor is split into the nearest number of 11 bits, which a tensor core reads exactly, and the rest, which is exact
// too. The product of the rests is left out. The sum of 8 products starts from 0, the smallest first, so that what the
// core cuts off is never of the size of c, and is added to c outside, rounded to nearest. (The compiler may fuse the
// product behind a factor with the subtraction: that is more exact.) Some columns go side by side, to wait less.
#define SIDE_BY_SIDE 3
__device__ __forceinline__ float upper(float x) {
    return __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u);
}

__device__ __forceinline__ void products(float c[][4], const float a[4], const float b[][2]) {
    float p[4], rest[4];
    #pragma unroll
    for (int q = 0; q < 4; q++) rest[q] = a[q] - (p[q] = upper(a[q]));
    #pragma unroll
    for (int first = 0; first < COLUMN_TILES; first += SIDE_BY_SIDE) {
        float sum[SIDE_BY_SIDE][4] = {};
        #pragma unroll
        for (int pass = 0; pass < 3; pass++)
            #pragma unroll
            for (int j = 0; j < SIDE_BY_SIDE; j++) {
                if (first + j >= COLUMN_TILES) continue;
                float r[2];
                #pragma unroll
                for (int q = 0; q < 2; q++) {
                    r[q] = upper(b[first + j][q]);
                    if (pass == 1) r[q] = b[first + j][q] - r[q];
                }
                multiply_add(sum[j], pass ? p : rest, r);
            }
        #pragma unroll
        for (int j = 0; j < SIDE_BY_SIDE; j++)
            #pragma unroll
            for (int q = 0; q < 4; q++)
                if (first + j < COLUMN_TILES) c[first + j][q] += sum[j][q];
    }
}
#endif

// parts (blocks, items, 16, N): for each block of `length` tokens the sums of monomial times value. x (n, D),
// values (n, m), parents (tiles, 16, DEGREE - 1), tiles and firsts (items). A warp owns ITEMS_A_WARP items.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
aa_accumulate(const float* x, const float* values, const unsigned char* parents, const int* tiles,
              const unsigned char* firsts, int items, long long n, int m, long long length, float* parts) {
    DYNAMIC_SHARED(float, tokens);                                  // (D + 1, STAGE_STRIDE), then (STAGE_TOKENS, VALUE_STRIDE)
    SHARED_PART(float) held = tokens + (D + 1) * STAGE_STRIDE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const long long first = blockIdx.x * length, last = first + length < n ? first + length : n;
    const int own = ((int)blockIdx.y * WARPS + warp) * ITEMS_A_WARP;
    int factors[ITEMS_A_WARP][2][DEGREE - 1], leads[ITEMS_A_WARP], fresh = 1;
    float sums[ITEMS_A_WARP][COLUMN_TILES][4], parent[4];
    #pragma unroll
    for (int i = 0; i < ITEMS_A_WARP; i++) {
        const int item = own + i < items ? own + i : items - 1;
        leads[i] = firsts[item] * STAGE_STRIDE + t;
        if (item && tiles[item] != tiles[item - 1]) fresh |= 1 << i;
        #pragma unroll
        for (int h = 0; h < 2; h++)
            #pragma unroll
            for (int k = 0; k < DEGREE - 1; k++)
                factors[i][h][k] = parents[(tiles[item] * 16 + g + 8 * h) * (DEGREE - 1) + k] * STAGE_STRIDE + t;
        #pragma unroll
        for (int j = 0; j < COLUMN_TILES; j++) sums[i][j][0] = sums[i][j][1] = sums[i][j][2] = sums[i][j][3] = 0.f;
    }
    for (long long start = first; start < last; start += STAGE_TOKENS) {
        __syncthreads();                                            // nobody reads the stage before any more
        for (int e = threadIdx.x; e < D * STAGE_TOKENS; e += THREADS) {
            const long long token = start + e / D;
            tokens[(e % D + 1) * STAGE_STRIDE + e / D] = token < last ? x[token * D + e % D] : 0.f;
        }
        for (int e = threadIdx.x; e < STAGE_TOKENS; e += THREADS) tokens[e] = 1.f;
        for (int e = threadIdx.x; e < STAGE_TOKENS * N; e += THREADS) {
            const long long token = start + e / N;
            held[e / N * VALUE_STRIDE + e % N] = token < last && e % N < m ? values[token * m + e % N] : 0.f;
        }
        __syncthreads();
        #pragma unroll 1
        for (int at = 0; at < STAGE_TOKENS; at += 8) {
            float right[COLUMN_TILES][2];
            #pragma unroll
            for (int j = 0; j < COLUMN_TILES; j++)
                #pragma unroll
                for (int q = 0; q < 2; q++) right[j][q] = held[(at + t + 4 * q) * VALUE_STRIDE + 8 * j + g];
            #pragma unroll
            for (int i = 0; i < ITEMS_A_WARP; i++) {
                if (fresh >> i & 1)                                 // the same in all lanes of a warp
                    #pragma unroll
                    for (int q = 0; q < 4; q++) {
                        parent[q] = tokens[factors[i][q % 2][0] + at + 4 * (q / 2)];
                        #pragma unroll
                        for (int k = 1; k < DEGREE - 1; k++)
                            parent[q] *= tokens[factors[i][q % 2][k] + at + 4 * (q / 2)];
                    }
                const float low = tokens[leads[i] + at], high = tokens[leads[i] + at + 4];
                const float left[4] = {parent[0] * low, parent[1] * low, parent[2] * high, parent[3] * high};
                products(sums[i], left, right);
            }
        }
    }
    #pragma unroll
    for (int i = 0; i < ITEMS_A_WARP; i++) {
        if (own + i >= items) continue;
        float* to = parts + ((long long)blockIdx.x * items + own + i) * 16 * N;
        #pragma unroll
        for (int j = 0; j < COLUMN_TILES; j++)
            #pragma unroll
            for (int q = 0; q < 4; q++) to[(g + 8 * (q / 2)) * N + 8 * j + 2 * t + q % 2] = sums[i][j][q];
    }
}

// out (n, m): for each token the sum of monomial times state (items, 16, N), in which weights are.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
aa_read_out(const float* x, const float* state, const unsigned char* parents, const int* tiles,
            const unsigned char* firsts, int items, long long n, int m, float* out) {
    DYNAMIC_SHARED(float, tokens);                                  // (D + 1, TOKEN_STRIDE), then (STAGE_ITEMS 16, VALUE_STRIDE)
    SHARED_PART(float) held = tokens + (D + 1) * TOKEN_STRIDE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const long long first = (long long)blockIdx.x * TOKENS;
    for (int e = threadIdx.x; e < D * TOKENS; e += THREADS) {
        const long long token = first + e / D;
        tokens[(e % D + 1) * TOKEN_STRIDE + e / D] = token < n ? x[token * D + e % D] : 0.f;
    }
    for (int e = threadIdx.x; e < TOKENS; e += THREADS) tokens[e] = 1.f;
    float sums[TOKEN_TILES][COLUMN_TILES][4] = {}, parent[TOKEN_TILES][2][4];
    const int row = warp * 16 * TOKEN_TILES + g;
    int tile = -1;
    for (int base = 0; base < items; base += STAGE_ITEMS) {
        __syncthreads();
        for (int e = threadIdx.x; e < STAGE_ITEMS * 16 * N; e += THREADS)
            held[e / N * VALUE_STRIDE + e % N] =
                base + e / (16 * N) < items ? state[(long long)base * 16 * N + e] : 0.f;
        __syncthreads();
        #pragma unroll 1
        for (int i = 0; i < STAGE_ITEMS && base + i < items; i++) {
            if (tiles[base + i] != tile) {                          // the same in the whole block
                tile = tiles[base + i];
                #pragma unroll
                for (int half = 0; half < 2; half++)
                    #pragma unroll
                    for (int q = 0; q < 2; q++) {
                        const unsigned char* c = parents + (tile * 16 + half * 8 + t + 4 * q) * (DEGREE - 1);
                        #pragma unroll
                        for (int u = 0; u < TOKEN_TILES; u++)
                            #pragma unroll
                            for (int h = 0; h < 2; h++) {
                                float p = tokens[c[0] * TOKEN_STRIDE + row + 16 * u + 8 * h];
                                #pragma unroll
                                for (int k = 1; k < DEGREE - 1; k++)
                                    p *= tokens[c[k] * TOKEN_STRIDE + row + 16 * u + 8 * h];
                                parent[u][half][2 * q + h] = p;
                            }
                    }
            }
            const int lead = firsts[base + i] * TOKEN_STRIDE + row;
            #pragma unroll
            for (int half = 0; half < 2; half++) {
                float right[COLUMN_TILES][2];
                #pragma unroll
                for (int j = 0; j < COLUMN_TILES; j++)
                    #pragma unroll
                    for (int q = 0; q < 2; q++)
                        right[j][q] = held[(i * 16 + half * 8 + t + 4 * q) * VALUE_STRIDE + 8 * j + g];
                #pragma unroll
                for (int u = 0; u < TOKEN_TILES; u++) {
                    const float low = tokens[lead + 16 * u], high = tokens[lead + 16 * u + 8];
                    const float left[4] = {parent[u][half][0] * low, parent[u][half][1] * high,
                                           parent[u][half][2] * low, parent[u][half][3] * high};
                    products(sums[u], left, right);
                }
            }
        }
    }
    #pragma unroll
    for (int u = 0; u < TOKEN_TILES; u++)
        #pragma unroll
        for (int j = 0; j < COLUMN_TILES; j++)
            #pragma unroll
            for (int q = 0; q < 4; q++) {
                const long long token = first + row + 16 * u + 8 * (q / 2);
                const int column = 8 * j + 2 * t + q % 2;
                if (token < n && column < m) out[token * m + column] = sums[u][j][q];
            }
}

// out (cases, 16, 8) = c + a b for a (cases, 16, 8), b (cases, 8, 8), c (cases, 16, 8), one product each: what the
// tensor core of this device really does. A warp a case.
extern "C" __global__ void aa_probe(const float* a, const float* b, const float* c, float* out) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const long long at = (long long)blockIdx.x * 128, right = (long long)blockIdx.x * 64;
    float left[4], other[2], sum[4];
    for (int q = 0; q < 4; q++) left[q] = a[at + (g + 8 * (q % 2)) * 8 + t + 4 * (q / 2)];
    for (int q = 0; q < 2; q++) other[q] = b[right + (t + 4 * q) * 8 + g];
    for (int q = 0; q < 4; q++) sum[q] = c[at + (g + 8 * (q / 2)) * 8 + 2 * t + q % 2];
    multiply_add(sum, left, other);
    for (int q = 0; q < 4; q++) out[at + (g + 8 * (q / 2)) * 8 + 2 * t + q % 2] = sum[q];
}
