/* A chain of 20 functions, f01 to f20, whose frames differ in every way that
 * unwinding has to cope with; f20 calls leaf(). Compiled with -O2
 * -fomit-frame-pointer. Programs say what leaf() does.
 *
 * LINKAGE is `static` for a chain within the program; a shared library's chain
 * is global, so that each call goes through the PLT (or the GOT). */
#ifndef LINKAGE
#define LINKAGE static
#endif

#define NOINLINE __attribute__((noinline, noclone))
/* The compiler must believe that memory is needed. */
#define KEEP(memory) __asm__ volatile("" : : "r"(memory) : "memory")
/* Leave something in the frame pointer that leads nowhere: without unwinding
 * information nobody gets past this frame. */
#if defined(__x86_64__)
#define SPOIL __asm__ volatile("movl $1, %%ebp" : : : "rbp")
#else
#define SPOIL
#endif

/* A frame of SIZE words. What is computed after the call needs the frame, so
 * the call isn't the function's last act. */
#define PLAIN(name, next, SIZE)                                               \
    LINKAGE NOINLINE long name(long n) {                                      \
        long space[SIZE];                                                     \
        KEEP(space);                                                          \
        long result = next(n + 1);                                            \
        KEEP(space);                                                          \
        return result * 3 + n;                                                \
    }
#define SPOILING(name, next)                                                  \
    LINKAGE NOINLINE long name(long n) {                                      \
        SPOIL;                                                                \
        long result = next(n + 1);                                            \
        SPOIL;                                                                \
        return result * 3 + n;                                                \
    }
/* Its size isn't known before it runs: the frame pointer is needed after all. */
#define VARIABLE(name, next)                                                  \
    LINKAGE NOINLINE long name(long n) {                                      \
        long space[(n & 15) + 1];                                             \
        KEEP(space);                                                          \
        long result = next(n + 1);                                            \
        KEEP(space);                                                          \
        return result * 3 + n;                                                \
    }
/* The stack is aligned to more than the ABI's 16 bytes. */
#define ALIGNED(name, next)                                                   \
    LINKAGE NOINLINE long name(long n) {                                      \
        long space[8] __attribute__((aligned(128)));                          \
        KEEP(space);                                                          \
        long result = next(n + 1);                                            \
        KEEP(space);                                                          \
        return result * 3 + n;                                                \
    }
/* Aligned, of variable size and with arguments on the stack: needs a pointer to
 * the arguments, so the canonical frame address is an expression. */
#define REALIGNED(name, next)                                                 \
    LINKAGE NOINLINE long name##_with(long a, long b, long c, long d, long e, \
                                      long f, long g, long n) {               \
        long space[8] __attribute__((aligned(64)));                           \
        long more[(n & 15) + 1];                                              \
        KEEP(space);                                                          \
        KEEP(more);                                                           \
        long result = next(n + 1);                                            \
        KEEP(space);                                                          \
        KEEP(more);                                                           \
        return result + a + b + c + d + e + f + g + n;                        \
    }                                                                         \
    LINKAGE NOINLINE long name(long n) {                                      \
        return name##_with(n, 2, 3, 4, 5, 6, 7, n) * 3;                       \
    }

LINKAGE NOINLINE long leaf(long n);

PLAIN(f20, leaf, 1)
PLAIN(f19, f20, 2)
SPOILING(f18, f19)
PLAIN(f17, f18, 300)
PLAIN(f16, f17, 3)
VARIABLE(f15, f16)
PLAIN(f14, f15, 5)
SPOILING(f13, f14)
PLAIN(f12, f13, 9)
ALIGNED(f11, f12)
PLAIN(f10, f11, 17)
PLAIN(f09, f10, 700)
REALIGNED(f08, f09)
PLAIN(f07, f08, 4)
SPOILING(f06, f07)
PLAIN(f05, f06, 33)
VARIABLE(f04, f05)
PLAIN(f03, f04, 6)
PLAIN(f02, f03, 1)
PLAIN(f01, f02, 2)
