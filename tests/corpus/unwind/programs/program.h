/* What all programs share. They use no library: the corpus stays small. */
#define NOINLINE __attribute__((noinline, noclone, noipa))

/* A breakpoint, where the recorder takes the state of the process. */
static inline void record(void) { __asm__ volatile("int3" ::: "memory"); }

/* Keeps a call from being the last thing its function does. */
static inline void stay(void) { __asm__ volatile("" ::: "memory"); }

static inline long call4(long number, long a, long b, long c, long d) {
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

void __restore_rt(void);
void with_frame_pointer(void (*function)(void));
void program(void);
