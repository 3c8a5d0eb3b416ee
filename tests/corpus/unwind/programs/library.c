/* What plt.c calls. */
void imported(void) { __asm__ volatile("int3"); }
