/* The end of the chain: spins. */
LINKAGE NOINLINE long leaf(long n) {
    static volatile long sink;
    for (long i = 0; i < SPIN; i++) sink += i;
    return sink + n;
}
