// Monomials of degree <= DEGREE, in the order of `approxattn.monomials.index`, for matrix products by the library.
// REAL is float or double. Tokens lie in columns, (d, n), so that neighbouring threads read neighbours.
// A row of `coordinates` names the DEGREE factors of a monomial, each counted from 1, increasing, and 0 behind the last.

#ifdef __CUDACC__
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) unsigned char shared_bytes[]; \
    type* name = reinterpret_cast<type*>(shared_bytes)
#endif

// phi (blocks, rows, length): block b, row j, place i is monomial j of token first + b length + i.
// The factors are multiplied from the last to the first, as in `contraction.features`: the same bits.
extern "C" __global__ void aa_features(const REAL* columns, long long n, const unsigned short* coordinates,
                                       long long rows, long long first, long long blocks, long long length,
                                       REAL* phi) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= blocks * length) return;
    const REAL* x = columns + first + at;
    REAL* to = phi + at / length * rows * length + at % length;
    for (long long row = blockIdx.y; row < rows; row += gridDim.y) {
        const unsigned short* c = coordinates + row * DEGREE;
        REAL p = 1;
        #pragma unroll
        for (int k = DEGREE - 1; k >= 0; k--)
            if (c[k]) p = x[(long long)(c[k] - 1) * n] * p;
        to[row * length] = p;
    }
}

// carry += sum of parts (blocks, entries) over blocks, in float64 and in order. Where `before` is no null pointer, it
// gets for each block the weighted sum of all earlier ones. An entry belongs to the monomial entry / columns.
extern "C" __global__ void aa_running_sum(const REAL* parts, long long blocks, long long entries, long long columns,
                                          const double* weights, double* carry, REAL* before) {
    const long long entry = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (entry >= entries) return;
    const double weight = weights[entry / columns];
    double sum = carry[entry];
    for (long long b = 0; b < blocks; b++) {
        if (before) before[b * entries + entry] = (REAL)(sum * weight);
        sum += (double)parts[b * entries + entry];
    }
    carry[entry] = sum;
}

// gradient (d, n), columns first ... of it: sum over monomials j of cotangent_j times the derivative of monomial j.
// cotangent (blocks, rows, length) as phi. Shared memory: d sums for each thread, which nobody else touches.
extern "C" __global__ void aa_pull_back(const REAL* columns, long long n, const unsigned short* coordinates,
                                        long long rows, long long first, long long blocks, long long length,
                                        const REAL* cotangent, int d, REAL* gradient) {
    DYNAMIC_SHARED(REAL, sums);
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= blocks * length) return;
    const int own = threadIdx.x, step = blockDim.x;
    for (int i = 0; i < d; i++) sums[i * step + own] = 0;
    const REAL* x = columns + first + at;
    const REAL* from = cotangent + at / length * rows * length + at % length;
    for (long long row = 1; row < rows; row++) {
        int c[DEGREE];
        REAL factor[DEGREE];
        #pragma unroll
        for (int k = 0; k < DEGREE; k++) {
            c[k] = coordinates[row * DEGREE + k];
            factor[k] = c[k] ? x[(long long)(c[k] - 1) * n] : (REAL)1;
        }
        const REAL whole = from[row * length];
        #pragma unroll
        for (int k = 0; k < DEGREE; k++) {
            if (!c[k] || (k && c[k] == c[k - 1])) continue;  // x_i^p has one derivative: p x_i^(p-1)
            REAL p = whole;
            int power = 0;
            #pragma unroll
            for (int l = 0; l < DEGREE; l++) {
                if (c[l] == c[k]) power++;
                if (l != k) p *= factor[l];
            }
            sums[(c[k] - 1) * step + own] += (REAL)power * p;
        }
    }
    for (int i = 0; i < d; i++) gradient[(long long)i * n + first + at] = sums[i * step + own];
}
