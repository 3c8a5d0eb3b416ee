/* The chain as a shared library of global functions. */
#define LINKAGE
#ifndef SPIN
#define SPIN 2000
#endif
#include "chain.h"
#include "leaf.h"
