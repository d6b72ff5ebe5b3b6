// Codes of rows, and tables of sums by code. REAL is float or double; a code has `bits` bits, a table 2^bits buckets.

#ifdef __CUDACC__
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) unsigned char shared_bytes[]; \
    type* name = reinterpret_cast<type*>(shared_bytes)
#endif

// codes (hashes, rows), places first ... first + tokens - 1 of each: bit b of hash h of a token is set where
// products[token, h bits + b] > 0. products (tokens, hashes bits).
extern "C" __global__ void aa_pack(const REAL* products, long long tokens, int hashes, int bits, long long rows,
                                   long long first, int* codes) {
    const long long token = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (token >= tokens) return;
    for (int h = blockIdx.y; h < hashes; h += gridDim.y) {
        const REAL* own = products + (token * hashes + h) * bits;
        int code = 0;
        for (int b = 0; b < bits; b++) code |= (own[b] > 0) << b;
        codes[h * rows + first + token] = code;
    }
}

// tables (hashes, items, slabs, buckets, columns): sums in float64 of the values (items, n, columns) of a slab of
// `length` tokens, by their codes (hashes, items, n). A warp holds 32 columns of one table in shared memory and walks
// the tokens in order; a thread touches its own column only, so nothing is atomic and no barrier is needed.
extern "C" __global__ void aa_tables(const REAL* values, const int* codes, int hashes, long long items, long long n,
                                     int columns, int buckets, long long slabs, long long length, double* tables) {
    DYNAMIC_SHARED(double, sums);
    const int lane = threadIdx.x, width = blockDim.x, tiles = (columns + width - 1) / width;
    const int column = (int)(blockIdx.x % tiles) * width + lane;
    const long long slab = blockIdx.x / tiles % slabs, item = blockIdx.x / tiles / slabs;
    if (column >= columns) return;
    const long long first = slab * length, last = first + length < n ? first + length : n;
    const REAL* from = values + item * n * columns + column;
    for (int h = blockIdx.y; h < hashes; h += gridDim.y) {
        const int* code = codes + (h * items + item) * n;
        for (int b = 0; b < buckets; b++) sums[b * width + lane] = 0;
        for (long long j = first; j < last; j++) sums[code[j] * width + lane] += (double)from[j * columns];
        double* to = tables + ((h * items + item) * slabs + slab) * buckets * columns + column;
        for (int b = 0; b < buckets; b++) to[(long long)b * columns] = sums[b * width + lane];
    }
}

// total and squares (items, n, columns): what each query reads in the tables (hashes, items, buckets, columns), summed
// over all hashes; and sum over groups of (sum of the group)^2 / size. `sizes` (groups) add up to the hashes.
extern "C" __global__ void aa_read_tables(const double* tables, const int* codes, const int* sizes, int groups,
                                          long long items, long long n, int columns, int buckets, double* total,
                                          double* squares) {
    const long long entry = (long long)blockIdx.x * blockDim.x + threadIdx.x, rows = items * n;
    if (entry >= rows * columns) return;
    const long long row = entry / columns, item = row / n;
    const int column = entry % columns;
    double sum = 0, square = 0;
    long long h = 0;
    for (int g = 0; g < groups; g++) {
        double part = 0;
        for (int i = 0; i < sizes[g]; i++, h++)
            part += tables[((h * items + item) * buckets + codes[h * rows + row]) * columns + column];
        sum += part;
        square += part * part / sizes[g];
    }
    total[entry] = sum;
    squares[entry] = square;
}
