// Runs a CUDA kernel on the CPU, one block after the other, each thread a fiber.
//
// What it finds: a barrier that some threads never reach, or lanes of a warp at different places (DIVERGED); two
// threads that touch one place of shared memory between two barriers, one of them writing (RACE); shared memory read
// before it is written (UNWRITTEN); an address outside of an array that ends at a guard page (OUTSIDE).
#pragma once
#include <csetjmp>
#include <csignal>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#ifndef __x86_64__
#error "the switch between fibers is written for x86-64"
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __align__(n)

namespace shim {
enum Error { FINE, DIVERGED, RACE, UNWRITTEN, OUTSIDE };
enum Place { RUNS, AT_BLOCK, AT_WARP, DONE };
struct Dim { unsigned x, y, z; };
struct Fiber { void* sp; std::vector<char> stack; Place at; int what; };

inline std::vector<Fiber> fibers;
inline void* scheduler;
inline int now, order, error;
inline unsigned epoch;          // grows at each barrier of the block
inline unsigned warp_epoch[32];
inline uint64_t seed;
inline sigjmp_buf* way_out;

// --- fibers: what a call must keep is pushed, the stack changed, and popped again -------------------------------------
extern "C" void shim_switch(void** save, void* to);
asm(".weak shim_switch\n.type shim_switch,@function\nshim_switch:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " movq %rsp,(%rdi)\n movq %rsi,%rsp\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");

inline void fail(Error found) { if (!error) error = found; }

// --- shared memory that knows who touched it ---------------------------------------------------------------------------
struct Touch { int thread = -1; unsigned epoch = 0, warp_epoch = 0; };
struct Touched { Touch writer, reader; bool by_lanes = false, by_warps = false; };   // several readers, of one warp or more
inline std::vector<unsigned char> bytes;
inline std::vector<Touched> touched;

inline bool before(const Touch& t) {        // whether a barrier lies between a touch and this thread
    if (t.thread < 0 || t.thread == now || t.epoch != epoch) return true;
    return t.thread / 32 == now / 32 && t.warp_epoch != warp_epoch[now / 32];
}
inline void touch(size_t place, size_t size, bool writes) {
    if ((place + 1) * size > bytes.size()) { fail(OUTSIDE); return; }
    Touched& t = touched[place];
    const Touch me = {now, epoch, warp_epoch[now / 32]};
    if (!before(t.writer)) fail(RACE);
    if (!writes && t.writer.thread < 0) fail(UNWRITTEN);
    const bool recent = t.reader.thread >= 0 && t.reader.epoch == epoch;
    const bool of_warp = t.reader.thread / 32 == now / 32, together = of_warp && t.reader.warp_epoch == me.warp_epoch;
    if (writes) {
        if (recent && (t.by_warps || !of_warp || (together && (t.by_lanes || t.reader.thread != now)))) fail(RACE);
        t.writer = me; t.reader = Touch{}; t.by_lanes = t.by_warps = false;
        return;
    }
    t.by_warps = recent && (t.by_warps || !of_warp);
    t.by_lanes = recent && together && (t.by_lanes || t.reader.thread != now);
    t.reader = me;
}

template <class T> struct Ref {
    size_t place;
    T& value() const { return reinterpret_cast<T*>(bytes.data())[(place + 1) * sizeof(T) > bytes.size() ? 0 : place]; }
    operator T() const { touch(place, sizeof(T), false); return value(); }
    T operator=(T x) { touch(place, sizeof(T), true); return value() = x; }
    T operator=(const Ref& x) { return *this = (T)x; }
    T operator+=(T x) { return *this = (T)*this + x; }
    T operator*=(T x) { return *this = (T)*this * x; }
};
template <class T> struct Shared {      // the arrays of a launch have elements of one type
    size_t first;
    Ref<T> operator[](long long i) const { return {first + (size_t)i}; }
    Shared operator+(long long i) const { return {first + (size_t)i}; }
};

// --- barriers ----------------------------------------------------------------------------------------------------------
inline Dim thread_index, block_index, block_dim, grid_dim;
inline void wait(Place where, int what) {
    Fiber& f = fibers[now];
    f.at = where; f.what = what;
    const int me = now;
    shim_switch(&f.sp, scheduler);
    now = me; thread_index.x = me;
}
// --- tensor cores: m16n8k8 in the layout of the PTX manual, factors cut off to TF32. Terms are cut off at the last of 24
// bits of the largest, and so is their sum: about the worst that our bounds allow. --------------------------------------
struct Lane { float* c; const float *a, *b; };
inline Lane lanes[32][32];
inline int lanes_there[32];
inline uint32_t bits_of(float x) { uint32_t y; memcpy(&y, &x, 4); return y; }
inline float float_of(uint32_t y) { float x; memcpy(&x, &y, 4); return x; }
inline double cut(float x) { return float_of(bits_of(x) & 0xffffe000u); }
inline float toward_zero(double x) {
    float y = (float)x;
    return std::fabs((double)y) > std::fabs(x) ? std::nextafter(y, 0.f) : y;
}
inline double aligned_sum(const double terms[9]) {
    double largest = 0, sum = 0;
    for (int k = 0; k < 9; k++) { largest = std::fmax(largest, std::fabs(terms[k])); sum += terms[k]; }
    if (!(largest > 0) || !std::isfinite(sum)) return sum;
    uint64_t bits;
    memcpy(&bits, &largest, 8);
    bits = (bits >> 52) - 23 << 52;                              // terms are products of floats: never so small
    double unit;
    memcpy(&unit, &bits, 8);
    const double inverse = 1 / unit;
    long long total = 0;                                         // in units of the last bit
    for (int k = 0; k < 9; k++) total += (long long)(terms[k] * inverse);
    return (double)total * unit;
}
inline void multiply_add(float c[4], const float a[4], const float b[2], int what) {
    const int w = now / 32, lane = now % 32;
    lanes[w][lane] = {c, a, b};
    if (++lanes_there[w] == 32) {
        lanes_there[w] = 0;
        for (int l = 0; l < 32; l++)
            for (int q = 0; q < 4; q++) {
                const int row = l / 4 + 8 * (q / 2), column = 2 * (l % 4) + q % 2;
                double terms[9] = {lanes[w][l].c[q]};
                for (int k = 0; k < 8; k++)
                    terms[k + 1] = cut(lanes[w][row % 8 * 4 + k % 4].a[row / 8 + 2 * (k / 4)]) *
                                   cut(lanes[w][column * 4 + k % 4].b[k / 4]);
                lanes[w][l].c[q] = toward_zero(aligned_sum(terms));
            }
    }
    wait(AT_WARP, what);
}

inline uint64_t draw() { seed = seed * 6364136223846793005ull + 1442695040888963407ull; return seed >> 33; }

using Body = void (*)(void*);
inline Body body;
inline void* arguments;
inline void enter() { body(arguments); fibers[now].at = DONE; shim_switch(&fibers[now].sp, scheduler); abort(); }

inline void start(int threads) {
    fibers.resize(threads);
    for (Fiber& f : fibers) {
        if (f.stack.empty()) f.stack.resize(1 << 16);
        f.at = RUNS;
        void** top = (void**)((uintptr_t)(f.stack.data() + f.stack.size()) & ~(uintptr_t)15);
        *--top = nullptr; *--top = (void*)enter;
        for (int r = 0; r < 6; r++) *--top = nullptr;
        f.sp = top;
    }
}

inline void release_warp(int first, int end) {
    int live = 0, there = 0, what = -1;
    bool equal = true;
    for (int i = first; i < end; i++) {
        if (fibers[i].at == DONE) continue;
        live++;
        if (fibers[i].at != AT_WARP) continue;
        there++;
        equal = equal && (what < 0 || what == fibers[i].what);
        what = fibers[i].what;
    }
    if (!live || live != there) return;
    if (!equal) { fail(DIVERGED); return; }
    warp_epoch[first / 32]++;
    for (int i = first; i < end; i++) if (fibers[i].at == AT_WARP) fibers[i].at = RUNS;
}

// Order 0: warps take turns, so that all go in step. 1: the last warp first, as far as it gets. 2: by chance.
inline bool advance(int threads) {
    const int warps = (threads + 31) / 32;
    static int turn = 0;
    const int begin = order == 2 ? (int)(draw() % warps) : turn;
    for (int tries = 0; tries < warps; tries++) {
        const int w = order == 1 ? warps - 1 - tries : (begin + tries) % warps;
        const int first = 32 * w, end = first + 32 < threads ? first + 32 : threads, size = end - first;
        bool moved = false;
        const int offset = order == 2 ? (int)(draw() % size) : 0;
        for (int j = 0; j < size && !error; j++) {
            const int i = first + (order == 1 ? size - 1 - j : (j + offset) % size);
            if (fibers[i].at != RUNS) continue;
            now = i; thread_index.x = i; moved = true;
            shim_switch(&scheduler, fibers[i].sp);
        }
        release_warp(first, end);
        if (moved) { turn = (w + 1) % warps; return true; }
    }
    return false;
}

inline void run_block(int threads) {
    start(threads);
    while (!error) {
        if (advance(threads)) continue;
        int live = 0, there = 0, what = -1;
        for (Fiber& f : fibers) {
            if (f.at == DONE) continue;
            live++; there += f.at == AT_BLOCK && (what < 0 || what == f.what);
            what = f.what;
        }
        if (!live) return;
        if (live != there || live != threads) fail(DIVERGED);   // a barrier is for all threads, those that left included
        epoch++;
        for (Fiber& f : fibers) if (f.at == AT_BLOCK) f.at = RUNS;
    }
}

inline void segfault(int) { fail(OUTSIDE); siglongjmp(*way_out, 1); }

inline int run(Dim grid, Dim block, size_t shared, int how, uint64_t chance) {
    error = FINE; order = how; seed = chance; grid_dim = grid; block_dim = block;
    epoch = 0; memset(warp_epoch, 0, sizeof warp_epoch); memset(lanes_there, 0, sizeof lanes_there);
    sigjmp_buf out;
    way_out = &out;
    static char own_stack[1 << 15];
    stack_t stack = {own_stack, 0, sizeof own_stack}, old_stack;
    struct sigaction action = {}, old_segv, old_bus;
    action.sa_handler = segfault; action.sa_flags = SA_ONSTACK | SA_NODEFER;
    sigaltstack(&stack, &old_stack);
    sigaction(SIGSEGV, &action, &old_segv); sigaction(SIGBUS, &action, &old_bus);
    if (!sigsetjmp(out, 1)) {
        const long long count = (long long)grid.x * grid.y * grid.z;
        for (long long i = 0; i < count && !error; i++) {
            const long long b = how == 1 ? count - 1 - i : i;
            block_index = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
            epoch++;
            bytes.assign(shared, 0xff);                          // not a number
            touched.assign(shared / 4, Touched{});
            run_block((int)block.x);
        }
    }
    sigaction(SIGSEGV, &old_segv, nullptr); sigaction(SIGBUS, &old_bus, nullptr);
    sigaltstack(&old_stack, nullptr);
    return error;
}

template <class... A> struct Call {
    template <size_t... I> static void go(void (*f)(A...), void** a, std::index_sequence<I...>) { f(*(A*)a[I]...); }
};
template <class... A> int launch(void (*f)(A...), Dim grid, Dim block, size_t shared, int how, uint64_t chance, void** a,
                                 int given) {
    if (given != (int)sizeof...(A)) return -1;
    static std::pair<void (*)(A...), void**> both;
    both = {f, a};
    arguments = &both;
    body = [](void* p) {
        auto& call = *(std::pair<void (*)(A...), void**>*)p;
        Call<A...>::go(call.first, call.second, std::index_sequence_for<A...>{});
    };
    return run(grid, block, shared, how, chance);
}
}  // namespace shim

#define threadIdx shim::thread_index
#define blockIdx shim::block_index
#define blockDim shim::block_dim
#define gridDim shim::grid_dim
#define __syncthreads() shim::wait(shim::AT_BLOCK, __LINE__)
#define __syncwarp() shim::wait(shim::AT_WARP, __LINE__)
#define __float_as_uint shim::bits_of
#define __uint_as_float shim::float_of
#define multiply_add(c, a, b) shim::multiply_add(c, a, b, __LINE__)
#define SHARED_PART(type) shim::Shared<type>
#define DYNAMIC_SHARED(type, name) shim::Shared<type> name{0}
